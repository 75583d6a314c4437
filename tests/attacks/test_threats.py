"""The threat table, line by line. Each attack is carried out with what its attacker has; each test says what finds
it, with which exit code, and in which words. Attackers have the whole object store (``ledger/``, ``anchor/``), the
database, or the signing key; nobody has the witness, the authority, the locked copies, or the auditor's policy.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from outside_world import Outside, outside
from sealed_records import sealed
from signed_ledger import DEPLOYMENT, KEY, SHARD, ListEvidence, World

from schemas.errors import LedgerContradiction
from schemas.evidence import Status
from signer.anchors import head_folder, stored_heads
from signer.anchors.object_lock import ObjectLockAnchor, locked_copies
from signer.keyfile import FileKey
from signer.origin import ANCHOR_SHARD
from signer.policy import Policy, Revoked
from signer.report import Report


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """Some hundred records, anchored several times."""
    with outside(tmp_path_factory.mktemp("honest")) as made:
        asyncio.run(made.live(sets=5, records=300))
        asyncio.run(made.live(sets=5, records=40))
        yield made


def taken(made: Outside) -> Outside:
    """A copy in the attacker's hands: ledger and attestations, not the copies under lock."""
    other = made.world.copy()
    other.bus = made.world.bus
    for info in made.world.objects.list("anchor/"):
        other.objects.put(info.key, made.world.objects.get(info.key))
    other.now = made.clock()
    return replace(made, world=other)


def rewritten(made: Outside, path: Path, *, count: int, key: FileKey = KEY, ahead_ms: int = 0) -> Outside:
    """The operator builds another history with the deployment's own key: as many records as are asked for, sets and
    checkpoints, all sound in themselves. What vouches for it is what the attacker can have: nothing."""
    world = World()
    world.key = key
    world.now = time.time_ns() // 1_000_000 + ahead_ms
    asyncio.run(world.append(count))
    asyncio.run(world.sign())
    for _ in range(12):
        asyncio.run(world.anchor())
    return replace(made, world=world)


def verify(made: Outside, **scope: Any) -> Report:
    """As an auditor does: policy and locked copies from elsewhere, no lock rows of the operator."""
    return made.verify(control=None, **scope)


def sentence(report: Report) -> str:
    logs = [item for log in report.logs for item in log.findings]
    every = [*report.findings, *report.anchors.findings, *logs]
    return "; ".join(f"{item.step} {item.message}" for item in every)


def evidence(made: Outside) -> ListEvidence:
    return asyncio.run(made.world.evidence())


# --- the lines of the table


def test_a_payload_is_edited_in_the_database(honest: Outside) -> None:
    held = evidence(honest)
    record = bytearray(held.held[SHARD][7].record)
    record[-1] ^= 1
    held.held[SHARD][7] = held.held[SHARD][7]._replace(record=bytes(record))
    report = verify(honest, source=held, keys=honest.world.keys)
    assert report.exit_code == 1
    assert report.statuses[Status.MISMATCH] >= 1
    assert "MISMATCH" in sentence(report)


@pytest.mark.parametrize("what", ["edited", "reordered", "removed", "inserted"])
def test_a_log_entry_is(honest: Outside, what: str) -> None:
    from signer.tiles import decode_bundle, encode_bundle

    made = taken(honest)
    key = f"ledger/{made.world.origin(SHARD)}/tile/entries/000"
    entries = decode_bundle(made.world.objects.get(key), 256)
    changed = {
        "edited": [entries[0], entries[1][:-1] + bytes([entries[1][-1] ^ 1]), *entries[2:]],
        "reordered": [entries[0], entries[2], entries[1], *entries[3:]],
        "removed": [entries[0], *entries[2:], entries[-1]],
        "inserted": [entries[0], entries[1], *entries[1:-1]],
    }[what]
    made.world.objects.put(key, encode_bundle(changed))
    report = verify(made)
    assert report.exit_code == 1
    assert "6 " in sentence(report)
    assert "is not that of entry 1" in sentence(report) or "is not that of entry 2" in sentence(report)


def test_a_payload_is_deleted_without_authority(honest: Outside) -> None:
    held = evidence(honest)
    del held.held[SHARD][7]
    report = verify(honest, source=held, keys=honest.world.keys)
    assert report.exit_code == 1
    assert report.statuses[Status.MISSING] == 3


def test_an_early_shredding_says_that_it_is_sealed_and_nothing_more(honest: Outside) -> None:
    """The residual of the table: a key that is gone. The proofs hold; that a key went is on the control log."""
    report = verify(honest, source=evidence(honest), keys=None)
    assert report.exit_code == 0
    assert report.statuses[Status.SEALED] == report.records * 3


def test_the_tail_is_cut_off(honest: Outside) -> None:
    """Ledger and attestations are cut back alike, to a state that was signed once."""
    made = taken(honest)
    origin = made.anchor_origin
    heads = list(stored_heads(made.world.objects, origin))
    middle = heads[len(heads) // 2]
    note = made.world.objects.get(head_folder(origin, middle.size) + "checkpoint")
    made.world.objects.put(f"ledger/{origin}/checkpoint", note)
    for head in heads:
        if head.size > middle.size:
            made.world.objects.delete([head.key(file) for file in head.files])
    report = verify(made)
    assert report.exit_code == 2
    assert "a locked copy in s3://far/away has seen it at size" in sentence(report)
    later = replace(made)
    later.world.now += 300_000
    report = later.verify(control=None, copies=False)
    assert report.exit_code == 2
    assert "A4 " in sentence(report)
    assert "the signer is down, or the tail is not here" in sentence(report)


def test_the_database_is_restored_from_yesterday(honest: Outside, tmp_path: Path) -> None:
    """Everything goes on from an old state: the witness, and the locked copies, have seen more."""
    made = rewritten(honest, tmp_path, count=10)
    from signer.anchors import AnchoredHead

    origin = made.world.origin(ANCHOR_SHARD)
    lock = made.world.control.lock(origin)
    assert lock is not None
    small = AnchoredHead(origin, 2, made.world.ledger.checkpoint(origin))
    vault = ObjectLockAnchor("far", honest.vault, "s3://far/away", [KEY.public_key])
    with pytest.raises(LedgerContradiction, match="it was set back; restore control database and object store"):
        vault.attest(small, lambda old: [])


def test_a_fork_is_shown_to_the_auditor(honest: Outside, tmp_path: Path) -> None:
    """The operator rewrites everything since last month with the real key, and shows only that."""
    made = rewritten(honest, tmp_path, count=300)
    report = verify(made)
    assert report.exit_code == 1
    assert "a locked copy in s3://far/away has seen root" in sentence(report)
    report = made.verify(control=None, copies=False)
    assert report.exit_code == 2
    assert "no head of the anchor log is vouched for by quorum witness and 1 of the authorities clock" in sentence(
        report
    )


def test_a_fork_with_the_real_attestations_beside_it(honest: Outside, tmp_path: Path) -> None:
    made = rewritten(honest, tmp_path, count=300)
    for info in honest.world.objects.list("anchor/"):
        made.world.objects.put(info.key, honest.world.objects.get(info.key))
    report = made.verify(control=None, copies=False)
    assert report.exit_code == 1
    assert "A6 " in sentence(report)
    assert "an archived checkpoint has seen root" in sentence(report)


def test_the_witness_does_not_cosign_a_fork(honest: Outside, tmp_path: Path) -> None:
    import httpx

    from signer.anchors import AnchoredHead
    from signer.anchors.witness import WitnessAnchor

    made = rewritten(honest, tmp_path, count=300)
    origin = made.world.origin(ANCHOR_SHARD)
    lock = made.world.control.lock(origin)
    assert lock is not None
    with httpx.Client(timeout=10, trust_env=False) as client:
        anchor = WitnessAnchor(honest.witness.policy, [KEY.public_key], client)
        from schemas.errors import Refused
        from signer.ledger import Ledger
        from signer.merkle import consistency_ranges

        def proof(old: int) -> list[bytes]:
            return Ledger(made.world.objects).hashes(origin, lock.size, consistency_ranges(old, lock.size))

        with pytest.raises((Refused, LedgerContradiction), match=r"inconsistent with what it saw|set back|forked"):
            anchor.attest(AnchoredHead(origin, lock.size, lock.note), proof)


def test_a_stolen_key_signs_a_history_of_its_own(honest: Outside, tmp_path: Path) -> None:
    """The thief has the key and no anchor; the policy says since when the key was in other hands."""
    made = rewritten(honest, tmp_path, count=20)
    stolen = Revoked(KEY.public_key, time.time_ns() // 1_000_000 - 60_000)
    policy = Policy(made.world.trust, revoked=(stolen,))
    report = made.world.verify_as(policy.trust, policy=policy, control=None)
    assert report.exit_code == 1
    assert "signed with a key that is revoked since" in sentence(report)
    assert "nobody vouches that they existed before" in sentence(report)


def test_a_thief_cannot_backdate(honest: Outside, tmp_path: Path) -> None:
    """Another key of the thief's own choice, under the deployment's name: the auditor's policy does not list it."""
    thief = FileKey(Ed25519PrivateKey.generate())
    made = rewritten(honest, tmp_path, count=20, key=thief)
    report = made.world.verify_as(honest.policy.trust, policy=honest.policy, control=None)
    assert report.exit_code == 1
    assert "expected one by a trusted key" in sentence(report)


def test_a_whole_log_is_deleted(honest: Outside) -> None:
    made = taken(honest)
    origin = made.world.origin(SHARD)
    for info in list(made.world.objects.list(f"ledger/{origin}/")):
        made.world.objects.delete([info.key])
    report = verify(made)
    assert report.exit_code == 2
    assert f"A5 step A5: got no log {origin}, which checkpoint sets list" in sentence(report)


def test_everything_is_deleted(honest: Outside) -> None:
    """An emptied prefix is no success: CloudTrail's own tool exits 0 here."""
    made = taken(honest)
    for info in list(made.world.objects.list("")):
        made.world.objects.delete([info.key])
    report = verify(made)
    assert report.exit_code == 2
    assert "has no anchor log: nothing bounds its age" in sentence(report)
    assert next(iter(locked_copies(honest.vault, honest.anchor_origin)), None) is not None, "and the copies say so"


@pytest.mark.parametrize(
    ("shift", "words"), [(-600_000, "the log's clock ran behind"), (600_000, "the log's clock ran ahead")]
)
async def test_the_clock_lies(tmp_path: Path, shift: int, words: str) -> None:
    with outside(tmp_path) as made:

        def clock() -> int:
            made.world.now = time.time_ns() // 1_000_000 + shift
            return made.world.now

        made.clock = clock  # type: ignore[method-assign]
        await made.live(sets=12)
        report = made.verify(freshness_ms=10**9)
        assert report.exit_code == 1
        assert words in sentence(report)


async def test_the_bus_loses_what_was_signed() -> None:
    """A malicious or unlucky broker: start-up halts, and signs nothing over it."""
    world = World()
    await world.append(30)
    await world.sign()
    world.bus._messages[SHARD] = world.bus._messages[SHARD][:10]
    with pytest.raises(LedgerContradiction, match="it has lost messages that were signed; restore the bus"):
        await world.sign()


async def test_the_bus_sends_a_record_twice() -> None:
    """A replay is a second record under the same event id: both are signed, and visible as repeats."""
    world = World()
    batch = sealed(world.keys, 10, start=0, topic="events")
    await world.bus.append(batch)
    await world.bus.append(batch[:1])
    await world.sign()
    await world.anchor()
    held = (await world.evidence()).held[SHARD]
    assert [one.event_id for one in held].count(batch[0].event_id) == 2
    assert world.verify(source=await world.evidence(), keys=world.keys).exit_code == 0


def test_an_erased_answer_is_not_guessed() -> None:
    """A commitment to "yes" tells nothing without its salt: 2²⁵⁶ salts fit every guess alike."""
    from schemas.parts import CONTENT, commit

    salt = os.urandom(32)
    there = commit(salt, CONTENT, b'{"answer":"yes"}')
    guesses = {commit(os.urandom(32), CONTENT, b'{"answer":"yes"}') for _ in range(1000)}
    assert there not in guesses
    assert commit(salt, CONTENT, b'{"answer":"yes"}') == there


def test_a_node_is_passed_off_as_a_leaf() -> None:
    """Second preimages between levels: leaves begin with 0x00, nodes with 0x01, and an entry is never 64 bytes long."""
    from signer import merkle

    left, right = merkle.leaf(b"a"), merkle.leaf(b"b")
    assert merkle.leaf(left + right) != merkle.node(left, right)
    assert (64 - 19) % 33 != 0


def test_signatures_of_strangers_are_not_counted(honest: Outside) -> None:
    """Pangea's mistakes: the key comes from the policy, never from the record, and a skipped check is no success."""
    policy = replace(honest.policy, trust=honest.policy.trust._replace(public_keys=(bytes(range(1, 33)),)))
    report = honest.world.verify_as(policy.trust, policy=policy, control=None)
    assert report.exit_code == 1
    assert "expected one by a trusted key" in sentence(report)


def test_old_records_sealed_again_with_the_present_key(honest: Outside) -> None:
    """journald's resealing (CVE-2023-31439): an old stretch is replaced, under the key that is valid today."""
    made = taken(honest)
    fresh = World()
    fresh.now = made.world.now
    asyncio.run(fresh.append(300))
    asyncio.run(fresh.sign())
    origin = made.world.origin(SHARD)
    for info in list(made.world.objects.list(f"ledger/{origin}/")):
        made.world.objects.delete([info.key])
    for info in fresh.objects.list(f"ledger/{origin}/"):
        made.world.objects.put(info.key, fresh.objects.get(info.key))
    report = verify(made)
    assert report.exit_code in (1, 2)
    assert "13 " in sentence(report)
    assert "a checkpoint set has seen" in sentence(report)


def test_verification_never_stops_at_the_first_that_it_skips(honest: Outside) -> None:
    """A sealed record in front of a changed one: both are reported."""
    held = evidence(honest)
    record = bytearray(held.held[SHARD][200].record)
    record[-1] ^= 1
    held.held[SHARD][200] = held.held[SHARD][200]._replace(record=bytes(record))
    report = verify(honest, source=held, keys=honest.world.keys)
    assert report.exit_code == 1
    assert "offset" in sentence(report) or report.failures >= 1
    assert report.deployment == DEPLOYMENT
