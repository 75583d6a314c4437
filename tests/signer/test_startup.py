"""Start-up: what a crash at each letter leaves, and every contradiction that halts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from faults import Crash, Fault, Faults
from memory_control import MemoryControl
from memory_objects import MemoryObjects
from signed_ledger import CONTROL_SHARD, EVENTS_ORIGIN, KEY, SHARD, World, until

from schemas.errors import LedgerContradiction
from schemas.ids import Offset
from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.keyfile import FileKey
from signer.ledger import ledger_key
from signer.staging import Staged, encode_staging, staging_key
from stores.bus.headers import Foreign
from stores.control import Lock
from stores.objects import NewObject

CHECKPOINT = ledger_key(EVENTS_ORIGIN, "checkpoint")


async def signed(count: int = 300) -> World:
    world = World(shards=[SHARD])
    await world.append_opaque(count)
    await world.sign()
    return world


def lock_of(world: World) -> Lock:
    lock = world.control.lock(EVENTS_ORIGIN)
    assert lock is not None
    return lock


def staging(world: World) -> list[str]:
    return [info.key for info in world.objects.list("staging/")]


LETTERS = {
    "C": ("objects.create staging/", Fault.CRASHED_AFTER, False),
    "D": ("control.replace_lock", Fault.CRASHED_BEFORE, False),
    "E": ("control.replace_lock", Fault.CRASHED_AFTER, True),
    "F": ("objects.create ledger/", Fault.CRASHED_AFTER, True),
    "G": ("objects.put ledger/", Fault.CRASHED_AFTER, True),
    "I": ("objects.delete staging/", Fault.CRASHED_AFTER, True),
}


@pytest.mark.parametrize("letter", LETTERS)
async def test_a_crash_at_each_letter(letter: str) -> None:
    """Before E nothing happened; from E on the batch is signed, and the next start publishes what is not yet."""
    name, fault, is_signed = LETTERS[letter]
    world = await signed(300)
    before = lock_of(world)
    await world.append_opaque(7)
    rehearsal = World(shards=[SHARD])
    rehearsal.bus, (rehearsal.objects, rehearsal.control) = world.bus, copies(world)
    trace = Faults()
    await rehearsal.sign(trace)
    number = 1 + next(at for at, write in enumerate(trace.trace) if write.startswith(name))
    with pytest.raises(BaseExceptionGroup, match="unhandled") as caught:
        await world.sign(Faults({number: fault}))
    assert caught.value.subgroup(Crash) is not None
    assert (lock_of(world) != before) == is_signed
    published = world.ledger.checkpoint(EVENTS_ORIGIN)
    assert (published == lock_of(world).note) == (letter not in "EF")
    assert bool(staging(world)) == (letter != "I")
    await world.sign()
    assert lock_of(world) == rehearsal.control.lock(EVENTS_ORIGIN)
    assert world.ledger.checkpoint(EVENTS_ORIGIN) == lock_of(world).note
    assert staging(world) == []


def copies(world: World) -> tuple[MemoryObjects, MemoryControl]:
    """Copies of object store and control database."""
    other = World(shards=[SHARD])
    other.objects.create([NewObject(info.key, world.objects.get(info.key)) for info in world.objects.list("")])
    for log in world.control.logs():
        lock = world.control.lock(log.origin)
        assert lock is not None
        other.control.open_log(log, lock)
    return other.objects, other.control


async def test_staging_of_a_batch_that_was_never_signed_is_deleted_once_the_log_is_past_it() -> None:
    world = await signed(10)
    stray = staging_key(EVENTS_ORIGIN, 12, b"\xee" * 32)
    world.objects.create([NewObject(stray, encode_staging(Staged(11, 12, ())))])
    await until(world.signer().sign, [SHARD], lambda: True)
    assert staging(world) == [stray], "it may belong to a signer that lives"
    await world.append_opaque(5)
    await until(world.signer().sign, [SHARD], lambda: lock_of(world).size == 16)
    await world.sign()
    assert staging(world) == []


async def test_a_checkpoint_that_was_set_back_is_published_again() -> None:
    """A signer that slept between F and G may publish its older checkpoint over a newer one; nothing is lost by it."""
    world = await signed(10)
    older = world.ledger.checkpoint(EVENTS_ORIGIN)
    await world.append_opaque(300)
    await world.sign()
    world.objects.put(CHECKPOINT, older)
    await world.sign()
    assert world.ledger.checkpoint(EVENTS_ORIGIN) == lock_of(world).note


# --- contradictions


def forged(size: int, root: bytes, key: FileKey = KEY) -> bytes:
    return sign_checkpoint(Checkpoint(EVENTS_ORIGIN, size, root), key)


def set_lock(world: World, **changes: object) -> None:
    world.control._locks[EVENTS_ORIGIN] = replace(lock_of(world), **changes)  # type: ignore[arg-type]


def second_log(world: World) -> None:
    log = next(log for log in world.control.logs())
    other = replace(log, origin=EVENTS_ORIGIN + ".2")
    world.control._logs[other.origin] = other
    world.control._locks[other.origin] = replace(lock_of(world), origin=other.origin)


def other_deployment(world: World) -> None:
    log = world.control._logs.pop(EVENTS_ORIGIN)
    world.control._logs["x"] = replace(log, origin="other.example.com/events/0/2025q4")


def no_lock_row(world: World) -> None:
    del world.control._locks[EVENTS_ORIGIN]


def closed_log(world: World) -> None:
    world.control._logs[EVENTS_ORIGIN] = replace(world.control._logs[EVENTS_ORIGIN], closed=True)


def other_key(world: World) -> None:
    world.key = FileKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))))


def edited_lock(world: World) -> None:
    set_lock(world, size=300)


def no_genesis(world: World) -> None:
    world.objects.delete([ledger_key(EVENTS_ORIGIN, "genesis.json")])


def other_genesis(world: World) -> None:
    data = world.ledger.genesis(EVENTS_ORIGIN)
    world.objects.put(ledger_key(EVENTS_ORIGIN, "genesis.json"), data.replace(b"first log", b"other log"))


def edited_log_row(world: World) -> None:
    world.control._logs[EVENTS_ORIGIN] = replace(world.control._logs[EVENTS_ORIGIN], start_offset=5)


def restored_database(world: World) -> None:
    world.objects.put(CHECKPOINT, forged(400, b"\x01" * 32))


def two_histories(world: World) -> None:
    world.objects.put(CHECKPOINT, forged(301, b"\x01" * 32))


def foreign_checkpoint(world: World) -> None:
    world.objects.put(CHECKPOINT, world.ledger.checkpoint(EVENTS_ORIGIN).replace(b"301", b"302"))


def missing_tile(world: World) -> None:
    world.objects.delete([ledger_key(EVENTS_ORIGIN, "tile/0/001.p/45")])


def missing_tail(world: World) -> None:
    set_lock(world, size=400, root=b"\x01" * 32, note=forged(400, b"\x01" * 32))


def changed_tile(world: World) -> None:
    key = ledger_key(EVENTS_ORIGIN, "tile/0/001.p/45")
    world.objects.put(key, b"\x01" + world.objects.get(key)[1:])


def changed_bundle(world: World) -> None:
    key = ledger_key(EVENTS_ORIGIN, "tile/entries/001.p/45")
    data = bytearray(world.objects.get(key))
    data[50] ^= 1
    world.objects.put(key, bytes(data))


def broken_bundle(world: World) -> None:
    key = ledger_key(EVENTS_ORIGIN, "tile/entries/001.p/45")
    world.objects.put(key, world.objects.get(key)[:-1])


def broken_staging(world: World) -> None:
    lock = lock_of(world)
    world.objects.put(staging_key(EVENTS_ORIGIN, lock.size, lock.root), b"not staging")


def staging_of_another_size(world: World) -> None:
    lock = lock_of(world)
    world.objects.put(staging_key(EVENTS_ORIGIN, lock.size, lock.root), encode_staging(Staged(1, 2, ())))


def staging_of_other_tiles(world: World) -> None:
    lock = lock_of(world)
    staged = Staged(1, lock.size, (("tile/0/000", b"\x01" * 8192),))
    world.objects.put(staging_key(EVENTS_ORIGIN, lock.size, lock.root), encode_staging(staged))


def clock_set_back(world: World) -> None:
    world.now -= 3_600_000


def topic_created_again(world: World) -> None:
    world.bus._identities["events"] = "another"


def bus_lost_its_end(world: World) -> None:
    del world.bus._messages[SHARD][-1]


def retention_was_faster(world: World) -> None:
    asyncio.run(world.append_opaque(5))
    world.bus.trim(SHARD, Offset(303))


def bus_was_rewritten(world: World) -> None:
    last = world.bus._messages[SHARD][-1]
    world.bus._messages[SHARD][-1] = last._replace(commitments=b"\x01" + b"\x07" * 32)


CONTRADICTIONS: dict[Callable[[World], None], str] = {
    second_log: "H1 events/0: got 2 open logs",
    other_deployment: "H1 events/0: the open log is other.example.com",
    no_lock_row: "H1 .* its lock row is gone",
    closed_log: "H1 events/0: its last log, .*, is closed and no other follows it",
    other_key: "H2 .* not signed by the key at hand",
    edited_lock: "H2 .* the lock row says size 300, its checkpoint 301",
    no_genesis: "H3 .* genesis.json is not there",
    other_genesis: "H3 .* is not the recorded one",
    edited_log_row: "H5 .* entry 300 is for offset 299, expected 304|H3 .* names another origin, start or key",
    restored_database: "H4 .* size 400 is published and the lock row says 301",
    two_histories: "H4 .* two histories were signed",
    foreign_checkpoint: "H4 .* the published checkpoint is not ours",
    broken_staging: "H4 staging/.* expected .* after b'affidavit/staging|H4 staging/.* is cut short",
    staging_of_another_size: "H4 staging/.* got size 2, expected 301",
    staging_of_other_tiles: "exists with other bytes",
    missing_tile: "H5 .* its tiles are not complete",
    missing_tail: "H5 .* its tiles are not complete",
    changed_tile: "H5 .* the tiles at size 301 give root",
    changed_bundle: "H5 .* does not hold the entries of its tile",
    broken_bundle: "H5 .* its tiles are not complete",
    clock_set_back: "H6 .* set the clock right",
    topic_created_again: "H7 .* the topic was deleted and created again",
    bus_lost_its_end: "H7 .* it has lost messages that were signed",
    retention_was_faster: "H7 .* retention took messages that were never signed",
    bus_was_rewritten: "H7 .* is not the one that was signed",
}


@pytest.mark.parametrize("contradict", CONTRADICTIONS, ids=lambda contradict: contradict.__name__)
def test_start_up_halts(contradict: Callable[[World], None]) -> None:
    world = asyncio.run(signed(300))
    contradict(world)
    before = {info.key: world.objects.get(info.key) for info in world.objects.list("ledger/")}
    lock = world.control.lock(EVENTS_ORIGIN)
    with pytest.raises(LedgerContradiction, match=CONTRADICTIONS[contradict]):
        asyncio.run(until(world.signer().sign, [SHARD], lambda: False))
    assert {info.key: world.objects.get(info.key) for info in world.objects.list("ledger/")} == before
    assert world.control.lock(EVENTS_ORIGIN) == lock, "nothing was signed"


@pytest.mark.parametrize("size", [255, 511])
async def test_a_full_last_bundle_that_is_broken_or_gone_halts(size: int) -> None:
    world = await signed(size)
    key = ledger_key(EVENTS_ORIGIN, f"tile/entries/{size // 256:03d}")
    world.objects.put(key, world.objects.get(key)[:-1])
    with pytest.raises(LedgerContradiction, match=r"H5 .* is not whole: got a bundle of"):
        await until(world.signer().sign, [SHARD], lambda: False)
    world.objects.delete([key])
    with pytest.raises(LedgerContradiction, match=r"H5 .* is not whole: .* is not there"):
        await until(world.signer().sign, [SHARD], lambda: False)


async def test_one_shard_that_halts_does_not_hold_up_another() -> None:
    world = World()
    await world.append_opaque(3)
    await world.sign()
    no_lock_row(world)
    await world.append(4, "control")
    signer = world.signer()
    origin = "audit.example.com/control/0/2025q4"

    def is_done() -> bool:
        lock = world.control.lock(origin)
        return bool(signer.halted) and lock is not None and lock.size == 5

    with pytest.raises(LedgerContradiction, match=r"H1 .* its lock row is gone"):
        await until(signer.sign, [SHARD, CONTROL_SHARD], is_done)
    assert set(signer.halted) == {SHARD}


async def test_a_gap_halts_behind_what_can_be_signed() -> None:
    world = await signed(5)
    lock = lock_of(world)
    await world.append_opaque(3)
    messages = world.bus._messages[SHARD]
    messages[6:] = [message._replace(offset=Offset(message.offset + 1)) for message in messages[6:]]
    with pytest.raises(LedgerContradiction, match="got offset 7 after 5, expected 6: offsets of a shard have no gaps"):
        await world.sign()
    assert lock_of(world).size == lock.size + 1, "what lies before it is signed"


async def test_a_bus_clock_that_was_set_back_halts_behind_what_can_be_signed() -> None:
    world = await signed(5)
    await world.append_opaque(3)
    messages = world.bus._messages[SHARD]
    messages[7] = messages[7]._replace(time_ms=messages[4].time_ms - 60_001)
    with pytest.raises(LedgerContradiction, match=r"events/0 offset 7: got bus time .*, 60 s before the highest"):
        await world.sign()
    assert lock_of(world).size == 8, "what lies before it is signed"


async def test_messages_that_vanish_while_it_runs_halt() -> None:
    world = await signed(5)
    signer = world.signer()
    stop = asyncio.Event()

    async def lose() -> bool:
        world.bus.trim(SHARD, Offset(7))
        await world.bus.append([Foreign("events", b"", b"")] * 3)
        return True

    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    while not any(log.shard == SHARD for log in world.control.logs()) or task.done():
        await asyncio.sleep(0)
    await lose()
    with pytest.raises(LedgerContradiction, match=r"no longer on the bus|retention took"):
        await task
