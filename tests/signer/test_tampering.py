"""Whatever is done to a ledger is found, with the right exit code: 1 for a contradiction, 2 for something absent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from signed_ledger import ANCHOR_ORIGIN, CONTROL_ORIGIN, EVENTS_ORIGIN, ListEvidence, World

from schemas.errors import EvidenceIncomplete, VerificationError
from schemas.evidence import Status
from signer.batch import EMPTY, extend
from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.genesis import genesis_entry, parse_genesis
from signer.ledger import ledger_key
from signer.report import Report
from signer.tiles import decode_bundle
from signer.verify import verify_log
from signer.verify_anchors import verify_anchors
from signer.verify_tree import read_checkpoint

SAMPLES = 12


@pytest.fixture(scope="module")
def honest() -> tuple[World, ListEvidence]:
    """A ledger with full tiles, two levels, older partial tiles, two logs and some checkpoint sets."""

    async def build() -> tuple[World, ListEvidence]:
        world = World()
        for count in (100, 200, 220, 5):
            await world.append(count)
            await world.append(1, "control")
            await world.sign()
            world.now += 1000
            await world.anchor()
        return world, await world.evidence()

    return asyncio.run(build())


def messages(report: Report) -> list[str]:
    found = [*report.findings, *(finding for log in (report.anchors, *report.logs) for finding in log.findings)]
    return [finding.message for finding in found]


def steps(report: Report) -> set[str]:
    found = [*report.findings, *(finding for log in (report.anchors, *report.logs) for finding in log.findings)]
    return {finding.step for finding in found}


def keys_of(world: World) -> Iterator[str]:
    return (info.key for info in world.objects.list("ledger/"))


def test_the_honest_ledger_verifies(honest: tuple[World, ListEvidence]) -> None:
    world, evidence = honest
    report = world.verify(source=evidence, keys=world.keys)
    assert messages(report) == []
    assert report.exit_code == 0
    assert report.records == 529
    assert report.statuses[Status.OK] == 529 * 3
    assert report.anchors.anchored_size == 5
    assert {log.anchored_size for log in report.logs} == {526, 5}


@pytest.mark.parametrize("with_locks", [True, False], ids=["with lock rows", "without"])
def test_a_flipped_bit_in_any_object(honest: tuple[World, ListEvidence], with_locks: bool) -> None:
    world = honest[0].copy()
    chosen = random.Random(20251124)
    checked = 0
    for key in list(keys_of(world)):
        good = world.objects.get(key)
        for at in {0, len(good) - 1, *(chosen.randrange(len(good)) for _ in range(SAMPLES))}:
            bad = bytearray(good)
            bad[at] ^= 1 << chosen.randrange(8)
            world.objects.put(key, bytes(bad))
            report = world.verify(**({} if with_locks else {"control": None}))
            assert report.exit_code == 1, (key, at, messages(report))
            checked += 1
        world.objects.put(key, good)
    assert checked > 200
    assert world.verify().exit_code == 0


def test_a_removed_object(honest: tuple[World, ListEvidence]) -> None:
    """Absent is 2, never 0, unless the object was a superseded partial tile, which anybody may drop."""
    world = honest[0].copy()
    needed = 0
    for key in list(keys_of(world)):
        good = world.objects.get(key)
        world.objects.delete([key])
        report = world.verify(control=None)
        superseded = ".p/" in key and report.exit_code == 0
        assert superseded or report.exit_code == 2, (key, messages(report))
        needed += not superseded
        world.objects.put(key, good)
    assert needed >= 16


def test_bytes_cut_from_or_added_to_any_object(honest: tuple[World, ListEvidence]) -> None:
    world = honest[0].copy()
    for key in list(keys_of(world)):
        good = world.objects.get(key)
        for bad in (good[:-1], good + b"\x00", good[:-32], b""):
            world.objects.put(key, bad)
            assert world.verify(control=None).exit_code == 1, key
        world.objects.put(key, good)


def test_an_object_that_belongs_to_no_log(honest: tuple[World, ListEvidence]) -> None:
    world = honest[0].copy()
    world.objects.put(ledger_key(EVENTS_ORIGIN, "tile/0/notes"), b"x")
    report = world.verify()
    assert (report.exit_code, steps(report)) == (1, {"14"})


def shortened(world: World, origin: str, size: int) -> World:
    """A ledger whose tail was cut off by somebody who kept an older checkpoint (or has the key)."""
    other = world.copy()
    document = world.ledger.genesis(origin)
    whole = read_checkpoint(world.ledger, origin, world.trust).size
    entries = [world.ledger.entry(origin, whole, index) for index in range(size)]
    assert entries[0] == genesis_entry(document, parse_genesis(document).opened_ms)
    batch = extend(EMPTY, entries)
    other.objects.delete([key for key in keys_of(other) if key.startswith(ledger_key(origin, "tile/"))])
    for path, data in batch.objects:
        other.objects.put(ledger_key(origin, path), data)
    note = sign_checkpoint(Checkpoint(origin, size, batch.root), world.key)
    other.objects.put(ledger_key(origin, "checkpoint"), note)
    return other


def test_a_shortened_tail(honest: tuple[World, ListEvidence]) -> None:
    for size in (525, 301, 256, 2, 1):
        world = shortened(honest[0], EVENTS_ORIGIN, size)
        report = world.verify(control=None)
        assert report.exit_code == 2, messages(report)
        assert steps(report) == {"13"}
        assert "its tail is not here" in messages(report)[0]
        locked = world.verify()
        assert locked.exit_code == 2, "by the lock row as well"
        against = world.verify(control=None, source=honest[1], keys=world.keys)
        assert against.exit_code == 2, messages(against)


def test_a_shortened_tail_of_the_anchor_log(honest: tuple[World, ListEvidence]) -> None:
    world = shortened(honest[0], ANCHOR_ORIGIN, 3)
    world.now += 59_001
    report = world.verify(control=None)
    assert (report.exit_code, steps(report)) == (2, {"A4"})
    assert "the last checkpoint set is 61 s old, expected at most 60 s" in messages(report)[0]
    assert steps(world.verify()) == {"12"}


def test_everything_shortened_alike_is_stale(honest: tuple[World, ListEvidence]) -> None:
    world = shortened(shortened(honest[0], EVENTS_ORIGIN, 101), ANCHOR_ORIGIN, 2)
    world.objects.put(
        ledger_key(CONTROL_ORIGIN, "checkpoint"),
        shortened(honest[0], CONTROL_ORIGIN, 2).ledger.checkpoint(CONTROL_ORIGIN),
    )
    world.now += 57_001
    report = world.verify(control=None)
    assert (report.exit_code, "A4" in steps(report)) == (2, True)
    against = world.verify(control=None, source=honest[1], keys=world.keys, freshness_ms=10_000_000)
    assert against.exit_code == 2
    assert "R5" in steps(against), "a destination that holds more gives it away too"


def test_a_removed_log(honest: tuple[World, ListEvidence]) -> None:
    world = honest[0].copy()
    world.objects.delete([key for key in keys_of(world) if CONTROL_ORIGIN in key])
    report = world.verify(control=None)
    assert (report.exit_code, steps(report)) == (2, {"A5"})
    assert world.verify().exit_code == 2


def test_a_removed_anchor_log(honest: tuple[World, ListEvidence]) -> None:
    world = honest[0].copy()
    world.objects.delete([key for key in keys_of(world) if ANCHOR_ORIGIN in key])
    report = world.verify(control=None)
    assert (report.exit_code, steps(report)) == (2, {"A1"})


def test_an_empty_ledger_is_no_success() -> None:
    report = World().verify()
    assert report.exit_code == 2
    assert report.records == 0


async def test_a_ledger_without_a_record_is_no_success() -> None:
    world = World()
    await world.sign()
    await world.anchor()
    report = world.verify()
    assert (report.exit_code, messages(report)) == (2, ["got no record at all, expected at least one"])


def test_a_rewritten_history(honest: tuple[World, ListEvidence]) -> None:
    """Whoever holds the key can sign another history; checkpoint sets and lock row remember the first."""
    source = honest[0]
    world = source.copy()
    entries = [source.ledger.entry(EVENTS_ORIGIN, 526, index) for index in range(526)]
    entries[7] = entries[7][:-1] + bytes((entries[7][-1] ^ 1,))
    batch = extend(EMPTY, entries)
    world.objects.delete([key for key in keys_of(world) if ledger_key(EVENTS_ORIGIN, "tile/") in key])
    for path, data in batch.objects:
        world.objects.put(ledger_key(EVENTS_ORIGIN, path), data)
    note = sign_checkpoint(Checkpoint(EVENTS_ORIGIN, 526, batch.root), source.key)
    world.objects.put(ledger_key(EVENTS_ORIGIN, "checkpoint"), note)
    verify_log(world.ledger, EVENTS_ORIGIN, world.trust)
    report = world.verify(control=None)
    assert (report.exit_code, steps(report)) == (1, {"13"})
    with pytest.raises(VerificationError, match=r"step 12: .* the signer's lock row has seen root"):
        verify_log(world.ledger, EVENTS_ORIGIN, world.trust, lock=world.control.lock(EVENTS_ORIGIN))


def test_entries_out_of_place(honest: tuple[World, ListEvidence]) -> None:
    source = honest[0]
    original = decode_bundle(source.objects.get(ledger_key(EVENTS_ORIGIN, "tile/entries/000")), 256)
    swapped = [*original[:5], original[6], original[5], *original[7:]]
    later = [*original[:9], original[9][:10] + b"\xff" * 8 + original[9][18:], *original[10:]]
    kind = [*original[:9], original[9][:1] + b"\x02" + original[9][2:], *original[10:]]
    version = [*original[:9], b"\x02" + original[9][1:], *original[10:]]
    short = [*original[:9], original[9][:12], *original[10:]]
    no_genesis = [original[1], *original[1:]]
    for entries, step, match in (
        (swapped, "9", "entry 5: got bus offset 5, expected 4"),
        (later, "10", "entry 10: got time"),
        (kind, "5", "entry 9: got kind 0x02, expected 0x01 or 0x03"),
        (version, "5", "entry 9: got entry version 2, expected 1"),
        (short, "5", "entry 9: got an entry of 12 bytes, expected at least 19"),
        (no_genesis, "4", "entry 0 does not commit to the genesis document"),
    ):
        world = source.copy()
        batch = extend(EMPTY, entries)
        world.objects.delete([key for key in keys_of(world) if ledger_key(EVENTS_ORIGIN, "tile/") in key])
        for path, data in batch.objects:
            world.objects.put(ledger_key(EVENTS_ORIGIN, path), data)
        note = sign_checkpoint(Checkpoint(EVENTS_ORIGIN, 256, batch.root), source.key)
        world.objects.put(ledger_key(EVENTS_ORIGIN, "checkpoint"), note)
        with pytest.raises(VerificationError, match=rf"step {step}: .* {match}"):
            verify_log(world.ledger, EVENTS_ORIGIN, world.trust)


def test_verify_log_raises_with_its_step(honest: tuple[World, ListEvidence]) -> None:
    world = honest[0].copy()
    with pytest.raises(VerificationError, match=r"step 2: got a log of other.example.com"):
        verify_log(world.ledger, "other.example.com/events/0/2025q4", world.trust)
    with pytest.raises(EvidenceIncomplete, match=r"step 1: .*events/7/2025q4: checkpoint is not there"):
        verify_log(world.ledger, "audit.example.com/events/7/2025q4", world.trust)
    with pytest.raises(EvidenceIncomplete, match=r"step 1: .* checkpoint is not there"):
        verify_anchors(world.ledger, "audit.example.com/anchor/2026q1", world.trust)
