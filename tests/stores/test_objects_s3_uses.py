"""The ledger and the archive in S3: what was made over other stores is made over this one, and verifies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from faults import Crash, Fault, Faults
from memory_keys import MemoryKeys
from s3_proxy import Dropped, Reply, S3Proxy, nth
from s3_server import S3Server
from sealed_records import messages, sealed
from signed_ledger import SHARD, World
from sink_subjects import Held, Subject

from schemas.errors import Unavailable
from schemas.ids import Offset, Shard
from signer.ledger import CHECKPOINT
from sinks.archive import ArchiveEvidence, ArchiveSink
from sinks.contract import Delivered, Retry
from stores.objects.s3 import S3Objects
from stores.objects.s3_config import S3Config

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def config(s3_server: S3Server, request: pytest.FixtureRequest) -> S3Config:
    """Through the proxy where the test has one."""
    if "proxy" in request.fixturenames:
        return s3_server.config(endpoint=request.getfixturevalue("proxy").endpoint, attempts=1)
    return s3_server.config()


@pytest.fixture
def objects(config: S3Config) -> Iterator[S3Objects]:
    objects = S3Objects(config)
    yield objects
    objects.close()


@pytest.fixture
def world(objects: S3Objects) -> World:
    world = World()
    world.objects = objects  # type: ignore[assignment]
    return world


async def test_a_ledger_in_s3_verifies(world: World, objects: S3Objects) -> None:
    await world.append_opaque(2500)
    await world.sign(max_records=1000)
    await world.append_opaque(40)
    await world.sign()
    await world.anchor()
    report = await asyncio.to_thread(world.verify)
    assert report.exit_code == 0, report
    assert list(objects.shadowed()) == []
    assert [info.key for info in objects.list("staging/")] == []


async def test_whoever_writes_to_the_bucket_changes_nothing_that_was_signed(
    world: World, objects: S3Objects, config: S3Config, s3_server: S3Server
) -> None:
    await world.append_opaque(600)
    await world.sign()
    client = s3_server.client()
    for number, info in enumerate(list(objects.list("ledger/"))):
        if info.key.endswith(CHECKPOINT) or number % 2:
            client.delete_object(Bucket=config.bucket, Key=config.full_key(info.key))
        else:
            client.put_object(Bucket=config.bucket, Key=config.full_key(info.key), Body=b"forged")
    client.close()
    await world.append_opaque(600)
    await world.sign()
    await world.anchor()
    report = await asyncio.to_thread(world.verify)
    assert report.exit_code == 0, report
    assert len(list(objects.shadowed("ledger/"))) > 5


async def test_a_signer_that_fails_at_a_write_is_followed_by_one_that_does_not(world: World) -> None:
    counted = Faults()
    await world.append_opaque(20)
    await world.sign(counted)
    for number, fault in zip(range(1, counted.writes + 1, 2), cycle(Fault)):
        await world.append_opaque(20)
        with suppress(Crash, BaseExceptionGroup):
            await world.sign(Faults({number: fault}))
        await world.sign()
    await world.anchor()
    report = await asyncio.to_thread(world.verify)
    assert report.exit_code == 0, report


async def test_a_service_that_is_busy_now_and_then_holds_nothing_up(world: World, proxy: S3Proxy) -> None:
    rng, busy = random.Random(1), Reply(503, "SlowDown", (("Retry-After", "0"),))
    proxy.fault = lambda asked, path: busy if rng.random() < 0.1 else None
    await world.append_opaque(300)
    with suppress(Unavailable, BaseExceptionGroup):  # the test, too, asks the store how far it is
        await world.sign(max_records=100)
    proxy.fault = lambda asked, path: None
    await world.sign()
    await world.anchor()
    report = await asyncio.to_thread(world.verify)
    assert report.exit_code == 0, report


# The archive: all of the sinks' contract, with another destination

CONTRACT = Path(__file__).parents[1] / "sinks" / "test_sink_contract.py"
_spec = spec_from_file_location("sink_contract_over_s3", CONTRACT)
assert _spec is not None
assert _spec.loader is not None
_contract = module_from_spec(_spec)
_spec.loader.exec_module(_contract)


def _needs(test: Any) -> set[str]:
    """The fixtures that a test of the contract asks for."""
    given = {mark.args[0] for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"}
    return set(signature(test).parameters) - given


_tests = {name: value for name, value in vars(_contract).items() if name.startswith("test_")}
_taken = {name: test for name, test in _tests.items() if _needs(test) <= {"subject", "shared"}}
assert len(_taken) >= 12, "the contract's tests have other fixtures now: make them here"
for _name in ("test_6_any_interleaving_of_owners", "test_any_sequence_of_batches_and_restarts"):
    _taken[_name] = pytest.mark.soak(_taken[_name])  # hundreds of flushes, and all is read back after each
globals().update(_taken)


@pytest.fixture
def shared(subject: Subject) -> Subject:
    """A destination that several processes write to at once."""
    return subject


@pytest.fixture
def subject(objects: S3Objects) -> Iterator[Subject]:
    evidence = ArchiveEvidence(objects)

    def held(shard: Shard) -> Held:
        found = evidence.scan(shard, Offset(0), Offset(1 << 40))
        return [(item.offset, item.event_id, item.record) for item in found]

    subject = Subject(MemoryKeys(), lambda: ArchiveSink(objects), held, exact=True)
    subject.restart().open()
    yield subject
    assert list(objects.shadowed()) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_flush_that_is_cut_short_is_completed(subject: Subject, proxy: S3Proxy, number: int, after: bool) -> None:
    batch = messages(sealed(subject.keys, 40), SHARD)
    sink = subject.restart()
    sink.resume(SHARD, Offset(0))
    assert sink.deliver(SHARD, batch[:15]) == Delivered()
    proxy.fault = nth("PUT object", number, Dropped(after))
    outcome = sink.deliver(SHARD, batch[15:])
    assert isinstance(outcome, Retry) or outcome == Delivered()
    proxy.fault = lambda asked, path: None
    sink = subject.restart()
    position = sink.resume(SHARD, Offset(0))
    if position < len(batch):
        assert sink.deliver(SHARD, batch[position:]) == Delivered()
    assert subject.held(SHARD) == [(item.offset, item.event_id, item.value) for item in batch]
