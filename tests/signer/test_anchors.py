"""The anchor log: what goes into a set, and what a set may not say."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from signed_ledger import ANCHOR_ORIGIN, CONTROL_ORIGIN, DEPLOYMENT, EVENTS_ORIGIN, KEY, START_MS, World, until

from schemas.errors import EvidenceIncomplete, LedgerContradiction, VerificationError
from schemas.ids import Shard
from signer.anchorer import Anchorer
from signer.batch import EMPTY, extend
from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.checkpoint_set import CheckpointSet, LogHead, encode_set, encode_sets
from signer.genesis import format_genesis, genesis_entry
from signer.ledger import GENESIS, ledger_key
from signer.origin import ANCHOR_SHARD
from signer.startup import first_genesis
from signer.verify_anchors import verify_anchors, verify_freshness, verify_origins

A, B = LogHead(CONTROL_ORIGIN, 4, b"\x01" * 32, b"\x02" * 32), LogHead(EVENTS_ORIGIN, 9, b"\x03" * 32, b"\x04" * 32)


async def test_silence_is_anchored_too() -> None:
    world = World()
    await world.append_opaque(3)
    await world.sign()
    for _ in range(4):
        await world.anchor()
        world.now += 10_000
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)
    assert (anchors.sets, anchors.size) == (4, 5)
    assert (anchors.first_ms, anchors.last_ms, anchors.longest_silence_ms) == (START_MS, START_MS + 30_000, 10_000)
    assert [head.size for head in anchors.history[EVENTS_ORIGIN]] == [4], "each state once"
    assert anchors.last_size(CONTROL_ORIGIN) == 1
    assert anchors.last_size("unknown") == 0


async def test_nothing_is_anchored_before_there_is_a_log() -> None:
    world = World()
    await world.anchor()
    assert world.verify().exit_code == 2
    with pytest.raises(EvidenceIncomplete, match=r"step A2: .* holds no checkpoint set"):
        verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)


async def test_it_anchors_every_interval_until_it_is_stopped() -> None:
    world = World()
    await world.sign()

    async def run(shards: object, stop: asyncio.Event) -> None:
        await Anchorer(world.control, world.objects, KEY, DEPLOYMENT, clock=world.clock, interval=0.001).run(stop)

    def has_five() -> bool:
        lock = world.control.lock(ANCHOR_ORIGIN)
        return lock is not None and lock.size >= 6

    await until(run, [], has_five)
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust, lock=world.control.lock(ANCHOR_ORIGIN))
    assert anchors.sets >= 5


async def test_a_log_that_is_being_published_is_stated_as_before() -> None:
    world = World()
    await world.append_opaque(3)
    await world.sign()
    await world.anchor()
    lock = world.control.lock(EVENTS_ORIGIN)
    assert lock is not None
    ahead = extend(world.ledger.head(EVENTS_ORIGIN, lock.size, lock.chain), [b"one more"])
    note = sign_checkpoint(Checkpoint(EVENTS_ORIGIN, 5, ahead.root), KEY)
    world.control.replace_lock(lock, replace(lock, size=5, root=ahead.root, chain=ahead.head.chain, note=note))
    await world.anchor()
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)
    assert (anchors.sets, [head.size for head in anchors.history[EVENTS_ORIGIN]]) == (2, [4])


async def test_it_halts_when_a_log_was_shortened_or_is_gone() -> None:
    world = World()
    await world.append_opaque(3)
    await world.sign()
    await world.anchor()
    log, lock = world.control._logs[EVENTS_ORIGIN], world.control._locks[EVENTS_ORIGIN]
    shorter = extend(EMPTY, [world.ledger.entry(EVENTS_ORIGIN, 4, index) for index in range(3)])
    note = sign_checkpoint(Checkpoint(EVENTS_ORIGIN, 3, shorter.root), KEY)
    world.control._locks[EVENTS_ORIGIN] = replace(lock, size=3, root=shorter.root, note=note)
    world.objects.put(ledger_key(EVENTS_ORIGIN, "checkpoint"), note)
    with pytest.raises(LedgerContradiction, match="got size 3, and the last checkpoint set has size 4"):
        await world.anchor()
    del world.control._logs[EVENTS_ORIGIN]
    with pytest.raises(LedgerContradiction, match="the control database does not know it"):
        await world.anchor()
    world.control._logs[EVENTS_ORIGIN] = log
    del world.control._locks[EVENTS_ORIGIN]
    with pytest.raises(LedgerContradiction, match="its lock row is gone"):
        await world.anchor()


async def test_it_halts_when_its_last_set_is_broken() -> None:
    world = World()
    await world.append_opaque(1)
    await world.sign()
    for _ in range(255):
        await world.anchor()
    key = ledger_key(ANCHOR_ORIGIN, "tile/entries/000")
    good = world.objects.get(key)
    world.objects.put(key, good[:-1])
    with pytest.raises(LedgerContradiction, match=r"H5 .* is not whole"):
        await world.anchor()
    world.objects.put(key, good[: len(good) - 200] + bytes(200))
    with pytest.raises(LedgerContradiction, match=r"H5 .* the last entry does not parse"):
        await world.anchor()


async def test_a_set_over_hundreds_of_logs() -> None:
    """More than one entry holds: it is split, read back, and goes on."""
    world = World()
    await world.append_opaque(1)
    await world.sign()
    log, lock = world.control._logs[EVENTS_ORIGIN], world.control._locks[EVENTS_ORIGIN]
    for number in range(1, 700):
        origin = f"{DEPLOYMENT}/events/{number}/2025q4"
        note = sign_checkpoint(Checkpoint(origin, lock.size, lock.root), KEY)
        world.control.open_log(
            replace(log, origin=origin, shard=Shard("events", number)), replace(lock, origin=origin, note=note)
        )
        world.objects.put(ledger_key(origin, "checkpoint"), note)
    await world.anchor()
    await world.anchor()
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)
    assert (anchors.sets, anchors.size, len(anchors.history)) == (2, 5, 701)


# --- what a set may not say


def ledger_of(*entries: bytes) -> World:
    """An anchor log with these entries behind its genesis, correctly signed."""
    world = World()
    genesis = first_genesis(KEY, DEPLOYMENT, ANCHOR_SHARD, START_MS)
    document = format_genesis(genesis)
    batch = extend(EMPTY, [genesis_entry(document, START_MS), *entries])
    for path, data in ((GENESIS, document), *batch.objects):
        world.objects.put(ledger_key(ANCHOR_ORIGIN, path), data)
    note = sign_checkpoint(Checkpoint(ANCHOR_ORIGIN, batch.head.size, batch.root), KEY)
    world.objects.put(ledger_key(ANCHOR_ORIGIN, "checkpoint"), note)
    return world


def entry(sequence: int, *heads: LogHead, time_ms: int = START_MS, token: bytes = bytes(32)) -> bytes:
    return encode_set(CheckpointSet(sequence, time_ms, heads, token))


BAD = {
    "not a set": ([b"\x01\x01" + bytes(60)], "A2", "entry 1: got version 1 and kind 0x01"),
    "a number left out": ([entry(0, A), entry(2, A)], "A2", "entry 2: got set number 2, expected 1"),
    "the first number": ([entry(1, A)], "A2", "entry 1: got set number 1, expected 0"),
    "time goes back": ([entry(0, A), entry(1, A, time_ms=START_MS - 1)], "A2", "entry 2: got time"),
    "before the log": ([entry(0, A, time_ms=START_MS - 1)], "A2", "entry 1: got time"),
    "continued with another time": ([entry(0, A), entry(0, B, time_ms=START_MS + 1)], "A2", "another time or token"),
    "continued with another token": ([entry(0, A), entry(0, B, token=b"\x01" * 32)], "A2", "another time or token"),
    "listed twice": ([entry(0, A, B), entry(0, B)], "A2", "is listed twice, or out of order"),
    "out of order": ([entry(0, B), entry(0, A)], "A2", "is listed twice, or out of order"),
    "left out": ([entry(0, A, B), entry(1, A)], "A3", "set 1 does not list"),
    "smaller": ([entry(0, A), entry(1, A._replace(size=3))], "A3", "has size 3, after 4"),
    "other root": ([entry(0, A), entry(1, A._replace(root=b"\x09" * 32))], "A3", "has size 4, after 4"),
    "other chain": ([entry(0, A), entry(1, A._replace(chain=b"\x09" * 32))], "A3", "has size 4, after 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_sets_that_contradict(name: str) -> None:
    entries, step, match = BAD[name]
    world = ledger_of(*entries)
    with pytest.raises(VerificationError, match=rf"step {step}: .*{match}"):
        verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)


def test_a_split_set_is_one_set() -> None:
    world = ledger_of(entry(0, A), entry(0, B), *encode_sets(1, START_MS, [A, B]))
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)
    assert (anchors.sets, set(anchors.history)) == (2, {CONTROL_ORIGIN, EVENTS_ORIGIN})


def test_freshness_and_origins() -> None:
    world = ledger_of(entry(0, A, B))
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)
    verify_freshness(anchors, START_MS + 60_000)
    with pytest.raises(EvidenceIncomplete, match=r"step A4: .* is 60 s old, expected at most 60 s"):
        verify_freshness(anchors, START_MS + 60_001)
    verify_origins(anchors, [CONTROL_ORIGIN, EVENTS_ORIGIN])
    verify_origins(anchors, [CONTROL_ORIGIN, EVENTS_ORIGIN, "new"], ["new"])
    with pytest.raises(EvidenceIncomplete, match=r"step A5: got no log .*events/0"):
        verify_origins(anchors, [CONTROL_ORIGIN])
    with pytest.raises(EvidenceIncomplete, match=r"step A5: got log old, which no checkpoint set lists"):
        verify_origins(anchors, [CONTROL_ORIGIN, EVENTS_ORIGIN, "old"])
