"""The signer on a good day: what it signs, publishes, and leaves behind."""

from __future__ import annotations

import asyncio

import pytest
from sealed_records import strays
from signed_ledger import (
    CONTROL_ORIGIN,
    EVENTS_ORIGIN,
    SHARD,
    START_MS,
    World,
)

from schemas.entry import CONTROL, EVENT, INVALID, decode_entry
from schemas.errors import ConfigurationError
from schemas.evidence import Status
from schemas.ids import Shard
from signer.loop import Signed, schema_fingerprints
from signer.status import log_statuses
from signer.verify import verify_log


async def test_every_message_gets_an_entry() -> None:
    world = World()
    await world.append(300)
    await world.bus.append(strays()[:4])
    await world.append(2, "control")
    await world.sign()
    await world.anchor()
    verified = verify_log(world.ledger, EVENTS_ORIGIN, world.trust)
    assert (verified.size, verified.records, verified.invalid) == (305, 304, 4)
    entries = [decode_entry(world.ledger.entry(EVENTS_ORIGIN, 305, index)) for index in range(1, 305)]
    assert [entry.kind for entry in entries] == [EVENT] * 300 + [INVALID] * 4
    control = world.ledger.entry(CONTROL_ORIGIN, 3, 1)
    assert decode_entry(control).kind == CONTROL
    report = world.verify(source=await world.evidence(), keys=world.keys)
    assert report.findings == ()
    assert [finding for log in report.logs for finding in log.findings] == []
    assert report.exit_code == 0
    assert report.statuses[Status.OK] == 302 * 3 + 4
    assert report.records == 306


async def test_commitments_over_no_record_are_signed_and_fail_the_comparison() -> None:
    world = World(shards=[SHARD])
    await world.bus.append(strays()[4:])
    await world.sign()
    await world.anchor()
    assert world.verify().exit_code == 0
    report = world.verify(source=await world.evidence(), keys=world.keys)
    assert report.exit_code == 1
    assert report.logs[0].findings[0].message.startswith("MISMATCH: not a record")


async def test_genesis_says_what_is_fixed() -> None:
    world = World()
    await world.sign()
    log = verify_log(world.ledger, EVENTS_ORIGIN, world.trust)
    genesis = log.genesis
    assert genesis.topic_id == await world.bus.identity("events")
    assert (genesis.start_offset, genesis.opened_ms, genesis.previous) == (0, START_MS, None)
    assert dict(genesis.schemas).keys() == {"metadata.v1", "record.v1"}
    assert genesis.schemas == schema_fingerprints()
    assert genesis.vkey.startswith(EVENTS_ORIGIN + "+")


async def test_a_log_grows_over_many_runs_and_leaves_no_litter() -> None:
    world = World(shards=[SHARD])
    for count in (1, 1, 252, 1, 1, 1, 600, 3):
        await world.append(count)
        await world.sign()
        await world.anchor()
        report = world.verify()
        assert report.exit_code == 0, report.as_dict()
    paths = set(world.ledger.paths(EVENTS_ORIGIN))
    assert not [path for path in paths if path.startswith(("tile/0/000.p", "tile/entries/000.p", "tile/0/001.p"))]
    assert {"tile/0/000", "tile/0/001", "tile/0/002", "tile/entries/002"} <= paths
    assert list(world.objects.list("staging/")) == []


async def test_a_batch_is_at_most_so_large() -> None:
    world = World(shards=[SHARD])
    await world.append(250)
    told: list[Signed] = []
    await world.sign(max_records=100, on_signed=told.append)
    assert [signed.records for signed in told] == [100, 100, 50]
    assert [signed.size for signed in told] == [101, 201, 251]
    assert told[-1].last_ms == START_MS


async def test_the_log_does_not_depend_on_the_batches() -> None:
    whole, parts = World(shards=[SHARD]), World(shards=[SHARD])
    await whole.append(700)
    parts.bus = whole.bus
    await whole.sign()
    await parts.sign(max_records=97)
    assert whole.control.lock(EVENTS_ORIGIN) == parts.control.lock(EVENTS_ORIGIN)


async def test_signing_goes_on_where_it_stopped_without_a_group_offset() -> None:
    world = World(shards=[SHARD])
    await world.append(5)
    await world.sign()
    assert await world.bus.committed("signer", SHARD) is None
    status = log_statuses(world.control, world.objects)[0]
    assert (status.origin, status.size, status.published, status.next_offset) == (EVENTS_ORIGIN, 6, 6, 5)
    assert status.root == verify_log(world.ledger, EVENTS_ORIGIN, world.trust).root


async def test_topics_that_are_not_signed_are_refused() -> None:
    world = World()
    with pytest.raises(ConfigurationError, match="got shards deadletter/0, expected shards of events or control"):
        await world.signer().sign([Shard("deadletter", 0)], asyncio.Event())


async def test_a_log_can_begin_behind_what_retention_took() -> None:
    world = World(shards=[SHARD])
    await world.append(10)
    world.bus.trim(SHARD, 4)  # type: ignore[arg-type]
    await world.sign()
    verified = verify_log(world.ledger, EVENTS_ORIGIN, world.trust)
    assert (verified.genesis.start_offset, verified.records) == (4, 6)


async def test_permanent_bytes_per_event_stay_in_budget() -> None:
    world = World(shards=[SHARD])
    await world.append(4_095)
    await world.sign()
    stored = sum(info.size for info in world.objects.list("ledger/"))
    assert stored / 4_095 <= 160
