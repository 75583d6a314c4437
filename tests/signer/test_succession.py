"""Closing a log and opening the next: crash-safe, exactly once at the seam, and verified for ever after."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_clock import eventually
from faults import Crash, Fault, Faults, FaultyControl, FaultyObjects, matrix
from independent_verifier import exit_code
from signed_ledger import (
    ANCHOR_ORIGIN,
    CONTROL_SHARD,
    DEPLOYMENT,
    EVENTS_ORIGIN,
    KEY,
    SHARD,
    START_MS,
    World,
    until,
)

from schemas.errors import EvidenceIncomplete, LedgerContradiction, LockLost, Refused, Unavailable, VerificationError
from schemas.ids import Offset, Shard
from signer.checkpoint_set import decode_set
from signer.genesis import parse_genesis
from signer.keyfile import FileKey, deployment_vkey
from signer.ledger import ledger_key
from signer.loop import LogChange
from signer.origin import ANCHOR_SHARD, next_term, parse_origin, term_order
from signer.partitions import grown_reason, recorded_partitions, with_partitions
from signer.policy import policy_of
from signer.repair import KEY_ROTATION, close_and_open_next
from signer.report import Report
from signer.startup import Stores
from signer.status import log_statuses
from signer.succession import succeed
from signer.trust import Trust, parse_trust
from signer.verify_anchors import verify_anchors
from signer.verify_event import verify_event
from signer.verify_links import link

SECOND = EVENTS_ORIGIN + ".2"


def stores(world: World, faults: Faults | None = None) -> Stores:
    faults = faults or Faults()
    return Stores(FaultyControl(world.control, faults), FaultyObjects(world.objects, faults), world.key)


async def signed(count: int = 300, **options: int) -> World:
    world = World(shards=[SHARD], **options)
    await world.append(count)
    await world.sign()
    await world.anchor()
    return world


def follow(world: World, faults: Faults | None = None, start: int | None = None, reason: str = "a drill") -> None:
    topic_id = world.bus._identities["events"]
    succeed(stores(world, faults), DEPLOYMENT, SHARD, reason, world.now, topic_id=topic_id, start_offset=start)


async def mend(world: World, reason: str = "a drill", shard: Shard = SHARD) -> LogChange:
    return await close_and_open_next(world.bus, stores(world), DEPLOYMENT, shard, reason, world.now)


def steps(report: Report) -> list[tuple[str, int]]:
    found = [*report.findings, *report.anchors.findings, *(item for log in report.logs for item in log.findings)]
    return [(finding.step, finding.exit_code) for finding in found]


def independent(world: World, trust_key: FileKey = KEY) -> int:
    objects = {info.key: world.objects.get(info.key) for info in world.objects.list("ledger/")}
    return exit_code(objects, deployment_vkey(trust_key, DEPLOYMENT), world.now)


# --- terms and reasons


def test_terms_follow_each_other() -> None:
    assert next_term("2025q4", START_MS) == "2025q4.2"
    assert next_term("2025q4.9", START_MS) == "2025q4.10"
    assert next_term("2025q3.4", START_MS) == "2025q4"
    assert next_term("2026q1", START_MS) == "2026q1.2", "also when the clock has gone back"
    terms = ["2025q4", "2025q4.2", "2025q4.10", "2026q1"]
    assert sorted(sorted(terms), key=term_order) == terms


def test_partitions_are_recorded_in_the_reason() -> None:
    assert recorded_partitions(with_partitions("first log of this shard", "events", 12)) == 12
    assert recorded_partitions(grown_reason("events", 2, 4)) == 4
    assert with_partitions("first log of this shard", "control", 1) == "first log of this shard"
    for reason in ("first log of this shard", "partitions of events: 3 or so", "partitions of events: 3; a drill"):
        assert recorded_partitions(reason) is None


# --- quarters


NEXT_QUARTER_MS = 1_767_225_600_000 + 3_600_000
"""2026-01-01 01:00 UTC."""


async def test_a_quarter_ends_every_log_by_itself() -> None:
    world = World()
    await world.append(300)
    await world.append(20, topic="control")
    await world.sign()
    await world.anchor()
    changes: list[LogChange] = []

    async def told(change: LogChange) -> None:
        changes.append(change)

    world.now = NEXT_QUARTER_MS
    await world.append(50)
    await world.sign(on_logs=told)
    await world.anchor()
    world.now += 10_000
    await world.anchor()
    logs = {log.origin: log.closed for log in world.control.logs()}
    assert logs == {
        name.replace("2025q4", term): term == "2025q4"
        for name in (EVENTS_ORIGIN, ANCHOR_ORIGIN, EVENTS_ORIGIN.replace("events", "control"))
        for term in ("2025q4", "2026q1")
    }
    events = parse_genesis(world.ledger.genesis(EVENTS_ORIGIN.replace("2025q4", "2026q1")))
    assert events.reason == "quarter: 2025q4 → 2026q1; partitions of events: 1"
    assert recorded_partitions(events.reason) == 1
    assert {change.reason.partition(";")[0] for change in changes} == {"quarter: 2025q4 → 2026q1"}
    report = world.verify(source=await world.evidence(), keys=world.keys)
    assert (steps(report), report.records) == ([], 370)
    assert independent(world) == 0


async def test_a_set_speaks_of_the_newest_log_of_each_shard() -> None:
    """What has ended leaves the sets, which would grow for ever; its successor's genesis holds where it ended."""
    world = await signed(20)
    world.now = NEXT_QUARTER_MS
    await world.append(20)
    await world.sign()
    for _ in range(3):
        await world.anchor()
        world.now += 10_000
    anchor = ANCHOR_ORIGIN.replace("2025q4", "2026q1")
    lock = world.control.lock(anchor)
    assert lock is not None
    last = decode_set(world.ledger.entry(anchor, lock.size, lock.size - 1))
    assert [head.origin for head in last.heads] == [EVENTS_ORIGIN.replace("2025q4", "2026q1")]
    assert steps(world.verify()) == []
    cut = world.copy()
    for info in list(cut.objects.list(f"ledger/{EVENTS_ORIGIN}/")):
        cut.objects.delete([info.key])
    assert ("A5", 2) in steps(cut.verify(control=None)), "it is missed all the same"
    assert independent(cut) == 2


async def test_a_running_signer_meets_the_end_of_the_quarter() -> None:
    world = World()
    await world.append(5)
    await world.sign()
    signer = world.signer(compare=0.01, poll=0.01)
    stop = asyncio.Event()
    task = asyncio.ensure_future(signer.sign(world.shards, stop))
    await eventually(lambda: all(one.state == "signing" for one in signer.snapshot().shards) and world.shards != [])
    world.now = NEXT_QUARTER_MS
    await eventually(lambda: sum(log.closed for log in world.control.logs()) == 2)
    await world.append(5)
    second = EVENTS_ORIGIN.replace("2025q4", "2026q1")
    await eventually(lambda: (lock := world.control.lock(second)) is not None and lock.size == 6)
    stop.set()
    await task
    await world.anchor()
    assert steps(world.verify()) == []


# --- a seamless succession


async def test_the_next_log_goes_on_where_the_last_one_ended() -> None:
    world = await signed(300)
    follow(world)
    await world.append(200)
    await world.sign()
    await world.anchor()
    first, second = (status for status in log_statuses(world.control, world.objects) if status.shard == SHARD)
    assert (first.origin, first.size, first.closed) == (EVENTS_ORIGIN, 301, True)
    assert (second.origin, second.size, second.closed, second.next_offset) == (SECOND, 201, False, 500)
    previous = parse_genesis(world.ledger.genesis(SECOND)).previous
    lock = world.control.lock(EVENTS_ORIGIN)
    assert previous is not None
    assert lock is not None
    assert (previous.origin, previous.size, previous.root) == (EVENTS_ORIGIN, 301, lock.root)
    report = world.verify(source=await world.evidence(), keys=world.keys)
    assert (report.exit_code, report.records) == (0, 500), report.as_dict()
    assert independent(world) == 0
    for offset in (0, 299, 300, 499):
        assert verify_event(world.objects, policy_of(world.trust), SHARD, offset).offset == offset
    with pytest.raises(EvidenceIncomplete, match=r"2025q4\.2 is signed up to offset 499"):
        verify_event(world.objects, policy_of(world.trust), SHARD, 500)


async def test_nobody_signs_on_a_closed_log() -> None:
    world = await signed(10)
    signer = world.signer(poll=0.01)
    stop = asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await eventually(lambda: [state.state for state in signer.snapshot().shards] == ["signing"])
    follow(world)
    await eventually(lambda: signer.snapshot().shards[0].origin == SECOND)
    await world.append(5)
    await eventually(lambda: signer.snapshot().shards[0].next_offset == 15)
    stop.set()
    await task
    await world.anchor()
    assert world.verify().exit_code == 0


async def test_of_two_one_succeeds() -> None:
    world = await signed(10)
    await world.append(1)
    inner = world.control.succeed_log

    def rival(*args: object) -> object:
        world.control.succeed_log = inner  # type: ignore[method-assign]
        asyncio.run(world.sign(tidy=False))  # a signer goes on meanwhile
        return inner(*args)  # type: ignore[arg-type]

    world.control.succeed_log = rival  # type: ignore[method-assign, assignment]
    with pytest.raises(LockLost, match="the lock is no longer the checkpoint of size 11"):
        await asyncio.to_thread(follow, world)
    await world.anchor()
    assert world.verify().exit_code == 0


async def drill(faults: Faults) -> World:
    """Sign, succeed under faults until it is done, sign on."""
    world = await signed(260)
    for _ in range(4):
        if any(log.origin == SECOND for log in world.control.logs()):
            break
        try:
            follow(world, faults)
        except (Unavailable, Crash):
            await world.append_opaque(1)
            await world.sign(tidy=False)  # what was staged for the next log lies there until that is opened
            await world.anchor()
            report = world.verify()
            assert report.exit_code == 0, (steps(report), faults.trace)
    await world.append_opaque(3)
    await world.sign()
    await world.anchor()
    return world


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
async def test_any_write_of_a_succession_may_fail(fault: Fault) -> None:
    faults = Faults()
    await drill(faults)
    assert {name.split(" ")[0] for name in faults.trace} >= {"control.succeed_log", "objects.create", "objects.put"}
    for number, planned in matrix(faults.writes, [fault]):
        world = await drill(Faults({number: planned}))
        report = world.verify()
        assert report.exit_code == 0, (number, steps(report))
        assert report.records == (await world.bus.bounds(SHARD)).end
        assert [log.origin for log in world.control.logs() if log.shard == SHARD] == [EVENTS_ORIGIN, SECOND]
        assert independent(world) == 0
        assert list(world.objects.list("staging/")) == []


# --- more partitions


async def test_more_partitions_end_every_log_of_the_topic() -> None:
    world = World(partitions=2)
    await world.append_opaque(50)
    changes: list[LogChange] = []

    async def told(change: LogChange) -> None:
        changes.append(change)

    await world.sign(on_logs=told)
    assert {(change.shard, change.closed) for change in changes} == {(shard, "") for shard in world.shards}
    await world.anchor()
    changes.clear()
    signer = world.signer(poll=0.01, on_logs=told)
    stop = asyncio.Event()
    task = asyncio.ensure_future(signer.sign(world.shards, stop))
    await eventually(lambda: len([s for s in signer.snapshot().shards if s.state == "signing"]) == 3)
    world.grow(4)
    await eventually(lambda: len(changes) == 2)
    stop.set()
    await task
    assert sorted((change.shard, change.closed_size > 1, change.reason) for change in changes) == [
        (Shard("events", 0), True, "partitions of events: 2 → 4"),
        (Shard("events", 1), True, "partitions of events: 2 → 4"),
    ]
    await world.append_opaque(200)
    await world.sign(on_logs=told)
    await world.sign(on_logs=told)
    assert sorted((change.shard.partition, change.closed) for change in changes[2:]) == [(2, ""), (3, "")]
    await world.anchor()
    report = world.verify()
    assert (report.exit_code, report.records) == (0, 250), report.as_dict()
    assert len(report.logs) == 7
    assert independent(world) == 0
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)
    assert anchors.last_size(EVENTS_ORIGIN) > 1, "a closed log stays listed"


async def test_a_bus_that_shows_fewer_partitions_than_recorded_is_behind() -> None:
    world = World(partitions=2)
    await world.append_opaque(50)
    await world.sign()
    world.grow(1)
    changes: list[LogChange] = []

    async def told(change: LogChange) -> None:
        changes.append(change)

    world.shards = [SHARD, CONTROL_SHARD]
    await world.sign(on_logs=told)
    assert changes == []


async def test_what_cannot_be_told_now_is_told_later() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(3)
    told: list[LogChange] = []
    tries = 0

    async def tell(change: LogChange) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("the bus takes nothing at the moment")
        told.append(change)

    signer, stop = world.signer(poll=0.01, on_logs=tell), asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await eventually(lambda: bool(told))
    assert signer.snapshot().shards[0].next_offset == 3, "signing did not wait"
    stop.set()
    await task
    assert [change.opened for change in told] == [EVENTS_ORIGIN]


# --- after a halt


def created_again(world: World) -> None:
    world.bus._identities["events"] = "another"
    world.bus._messages[SHARD].clear()


def truncated(world: World) -> None:
    del world.bus._messages[SHARD][250:]


def truncated_and_grown(world: World) -> None:
    truncated(world)
    asyncio.run(world.append_opaque(70))


def taken_by_retention(world: World) -> None:
    asyncio.run(world.append_opaque(20))
    world.bus.trim(SHARD, Offset(310))


def gap(world: World) -> None:
    asyncio.run(world.append_opaque(3))
    messages = world.bus._messages[SHARD]
    messages[300:] = [None, None, *(m._replace(offset=Offset(m.offset + 2)) for m in messages[300:])]  # type: ignore[list-item]
    read = world.bus.read

    async def refusing(shard: Shard, offset: Offset, **options: int) -> object:
        if offset in (300, 301):
            raise LedgerContradiction(f"{shard} offset {offset}: there is a gap")
        return await read(shard, offset, **options)  # type: ignore[arg-type]

    world.bus.read = refusing  # type: ignore[method-assign, assignment]


def clock_set_back(world: World) -> None:
    asyncio.run(world.append_opaque(3))
    messages = world.bus._messages[SHARD]
    messages[300:] = [message._replace(time_ms=message.time_ms - 3_600_000) for message in messages[300:]]


LOSSES: dict[Callable[[World], None], tuple[str, str, int, int]] = {
    created_again: ("H7 .* created again", r"topic .* was created again as another", 0, 2),
    truncated: ("H7 .* has lost messages", r"the bus lost offsets 250 to 299, which were signed", 250, 2),
    truncated_and_grown: ("H7 .* not the one that was signed", r"the bus lost offsets 250 to 299", 250, 2),
    taken_by_retention: ("H7 .* never signed", r"retention took offsets 300 to 309 before they were signed", 310, 2),
    gap: ("there is a gap", r"offset_gap: offsets 300 to 301 do not exist", 302, 2),
    clock_set_back: ("3600 s before the highest time", r"the bus's time stepped back to", 300, 0),
}


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_a_loss_is_put_on_record(lose: Callable[[World], None]) -> None:
    halt, wrong, start, code = LOSSES[lose]
    world = asyncio.run(signed(300))
    lose(world)
    with pytest.raises(LedgerContradiction, match=halt):
        asyncio.run(until(world.signer().sign, [SHARD], lambda: False))
    change = asyncio.run(mend(world, "decided by Ada"))
    assert (change.opened, change.start_offset, change.closed, change.closed_size) == (
        SECOND,
        start,
        EVENTS_ORIGIN,
        301,
    )
    genesis = parse_genesis(world.ledger.genesis(SECOND))
    assert genesis.reason.startswith("decided by Ada (")
    assert recorded_partitions(genesis.reason) == 1
    assert re.search(wrong, genesis.reason)
    asyncio.run(world.append_opaque(5))
    asyncio.run(world.sign())
    asyncio.run(world.anchor())
    report = world.verify()
    assert steps(report) == ([("16", 2)] if code == 2 else [])
    assert report.exit_code == code == independent(world)
    if code == 2:
        assert "decided by Ada" in next(item.message for log in report.logs for item in log.findings)
    with pytest.raises(Refused, match="nothing is wrong with"):
        asyncio.run(mend(world))


async def test_a_hole_in_a_destination_and_offsets_signed_twice() -> None:
    world = await signed(300)
    await world.append(20)
    before = await world.evidence()
    world.bus.trim(SHARD, Offset(310))
    await mend(world)
    await world.sign()
    await world.anchor()
    report = world.verify(source=before, keys=world.keys)
    assert steps(report) == [("16", 2), *[("R1", 2)] * 10]
    with pytest.raises(EvidenceIncomplete, match=r"step E1: .* offset 305: never signed, between .*retention took"):
        verify_event(world.objects, policy_of(world.trust), SHARD, 305)

    world = await signed(300)
    before = await world.evidence()
    del world.bus._messages[SHARD][250:]
    await mend(world)
    await world.append(20)
    await world.sign()
    await world.anchor()
    report = world.verify(source=before, keys=world.keys)
    assert steps(report) == [("R1", 2), ("16", 2), ("R1", 2)]
    assert verify_event(world.objects, policy_of(world.trust), SHARD, 260).origin == SECOND
    assert verify_event(world.objects, policy_of(world.trust), SHARD, 290).origin == EVENTS_ORIGIN


async def test_what_can_still_be_signed_is_signed_first() -> None:
    world = await signed(10)
    await world.append(5)
    messages = world.bus._messages[SHARD]
    messages[13:] = [message._replace(time_ms=message.time_ms - 3_600_000) for message in messages[13:]]
    with pytest.raises(
        Refused, match="3 messages from offset 10 on can still be signed; run the signer until it halts"
    ):
        await mend(world)
    with pytest.raises(LedgerContradiction, match=r"offset 13: got bus time"):
        await world.sign()
    assert (await mend(world)).start_offset == 13


async def test_a_log_that_contradicts_itself_is_not_followed() -> None:
    world = await signed(10)
    world.objects.delete([ledger_key(EVENTS_ORIGIN, "tile/0/000.p/11")])
    with pytest.raises(LedgerContradiction, match="H5"):
        await mend(world, KEY_ROTATION)
    with pytest.raises(Refused, match="has no log that another could follow"):
        await mend(World(shards=[SHARD]))


# --- another key


async def test_every_log_is_followed_when_the_key_is_replaced() -> None:
    world = World()
    await world.append(20)
    await world.sign()
    for _ in range(3):
        await world.anchor()
    old, world.key = world.key, FileKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))))
    with pytest.raises(LedgerContradiction, match=r"H2 .* not signed by the key at hand"):
        await until(world.signer().sign, [SHARD], lambda: False)
    for shard in (*world.shards, ANCHOR_SHARD):
        change = await mend(world, KEY_ROTATION, shard)
        assert "the key at hand is not" in change.reason
    await world.append(20)
    world.now += 1000
    await world.sign()
    for _ in range(2):
        await world.anchor()
    both = trust_of(old, world.key)
    world_trust = world.verify_as(both)
    assert (world_trust.exit_code, world_trust.records) == (0, 40), world_trust.as_dict()
    anchors = verify_anchors(world.ledger, [ANCHOR_ORIGIN, ANCHOR_ORIGIN + ".2"], both)
    assert anchors.sets == 5
    assert anchors.last_size(EVENTS_ORIGIN) == 21
    assert world.verify_as(trust_of(world.key)).exit_code == 1
    with pytest.raises(EvidenceIncomplete, match=r"step 15: .*anchor/2025q4\.2: follows .*, which is not here"):
        verify_anchors(world.ledger, ANCHOR_ORIGIN + ".2", both)


def trust_of(*keys: FileKey) -> Trust:
    return parse_trust([deployment_vkey(key, DEPLOYMENT) for key in keys])


async def test_the_same_key_may_go_on_in_a_new_term() -> None:
    world = await signed(10)
    change = await mend(world, KEY_ROTATION)
    assert (change.start_offset, change.reason) == (10, "key rotation; partitions of events: 1")
    with pytest.raises(Refused, match="nothing is wrong"):
        await mend(world, "I felt like it")


# --- what a verifier must see


async def test_a_log_that_went_on_after_it_was_closed_is_a_fork() -> None:
    world = await signed(10)
    follow(world)
    fork = world.copy()
    log = world.control._logs[EVENTS_ORIGIN]
    world.control._logs = {**world.control._logs, EVENTS_ORIGIN: replace(log, closed=False)}
    second = world.control._logs.pop(SECOND)
    await world.append(3)
    await world.sign()
    world.control._logs[SECOND] = second
    await world.anchor()
    assert ("15", 1) in steps(world.verify())
    assert independent(world) == 1
    assert steps(fork.verify(control=None, freshness_ms=10**9)) == []


async def test_a_missing_predecessor_and_a_missing_end() -> None:
    world = await signed(10)
    follow(world)
    await world.append(3)
    await world.sign()
    without = world.copy()
    without.objects.delete([info.key for info in without.objects.list(f"ledger/{EVENTS_ORIGIN}/")])
    assert ("15", 2) in steps(without.verify(control=None))
    assert independent(without) == 2


async def test_a_predecessor_whose_end_is_cut_off() -> None:
    world = World(shards=[SHARD])
    await world.append(5)
    await world.sign()
    older = world.ledger.checkpoint(EVENTS_ORIGIN)
    await world.append(5)
    await world.sign()
    follow(world)
    await world.append(3)
    await world.sign()
    await world.anchor()
    assert world.verify().exit_code == 0
    world.objects.put(ledger_key(EVENTS_ORIGIN, "checkpoint"), older)
    report = world.verify(control=None)
    assert report.exit_code == 2
    message = next(item.message for log in report.logs for item in log.findings if item.origin == EVENTS_ORIGIN)
    assert "ends at size 6" in message
    assert independent(world) == 2


async def test_a_second_log_that_names_nobody() -> None:
    world = await signed(10)
    await asyncio.to_thread(follow, world)
    genesis = parse_genesis(world.ledger.genesis(SECOND))
    assert genesis.previous is not None

    first = parse_genesis(world.ledger.genesis(EVENTS_ORIGIN))
    logs = {parse_origin(EVENTS_ORIGIN): first, parse_origin(SECOND): replace(genesis, previous=None)}
    links = link(logs, {})
    with pytest.raises(VerificationError, match=r"step 15: .*2025q4\.2: names no log before it"):
        raise links.errors[SECOND][0]
    third = SECOND.replace(".2", ".3")
    logs = {
        parse_origin(EVENTS_ORIGIN): first,
        parse_origin(SECOND): genesis,
        parse_origin(third): replace(genesis, origin=third),
    }
    with pytest.raises(VerificationError, match=r"step 15: .*2025q4\.3: follows .*2025q4, and so does another"):
        raise link(logs, {}).errors[third][0]
