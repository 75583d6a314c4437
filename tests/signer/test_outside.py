"""Anchors beside the anchor log: kept, repeated, never in the way; and halting it when they prove a fork."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from fake_clock import eventually
from memory_objects import MemoryObjects
from signed_ledger import ANCHOR_ORIGIN, DEPLOYMENT, KEY, World

from schemas.entry import ZERO
from schemas.errors import AffidavitError, LedgerContradiction, Refused, Unavailable
from signer.anchorer import Anchorer
from signer.anchors import (
    AnchoredHead,
    AnchorKind,
    Attestation,
    ConsistencyProof,
    parse_evidence_name,
    stored_heads,
    token_of,
)
from signer.anchors.object_lock import ObjectLockAnchor, copy_key, locked_copies
from signer.anchors.runner import AnchorRunner
from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.ledger import Ledger
from signer.merkle import verify_consistency
from signer.note import parse_note
from signer.verify_anchors import verify_anchors


@dataclass
class Fake:
    """An anchor that answers what it is told to, and remembers what it was asked."""

    name: str = "fake"
    kind: AnchorKind = "tsa"
    interval_seconds: float = 0.0
    answers: list[AffidavitError | None] = field(default_factory=list)
    asked: list[AnchoredHead] = field(default_factory=list)
    proofs: list[list[bytes]] = field(default_factory=list)

    def attest(self, head: AnchoredHead, proof: ConsistencyProof) -> Attestation:
        self.asked.append(head)
        if len(self.asked) > 1 and 0 < self.asked[-2].size < head.size:
            self.proofs.append(proof(self.asked[-2].size))
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return Attestation(b"evidence of %d" % head.size, ((".tsq", b"request"),), 1)

    def close(self) -> None:
        self.answers = []


async def world() -> World:
    made = World()
    await made.append_opaque(3)
    await made.sign()
    return made


async def anchored(world: World, runner: AnchorRunner, sets: int) -> None:
    """Run an anchorer until it has taken so many sets in this call."""
    anchorer = Anchorer(world.control, world.objects, KEY, DEPLOYMENT, clock=world.clock, interval=0.01, outside=runner)
    stop = asyncio.Event()
    task = asyncio.ensure_future(anchorer.run(stop))
    try:
        await eventually(lambda: task.done() or anchorer.snapshot().sets >= sets)
    finally:
        stop.set()
        await task


async def test_heads_are_attested_and_the_next_set_says_so() -> None:
    made, fake = await world(), Fake()
    runner = AnchorRunner(made.objects, [fake], clock=made.clock)
    await anchored(made, runner, 6)
    heads = list(stored_heads(made.objects, ANCHOR_ORIGIN))
    assert len(heads) >= 2
    for head in heads:
        assert head.files == ("checkpoint", "tsa-fake.tsq", "tsa-fake.tsr")
        assert made.objects.get(head.key("tsa-fake.tsr")) == b"evidence of %d" % head.size
        note = made.objects.get(head.key("checkpoint"))
        assert len(parse_note(note).signatures) == 1
        assert note in [one.note for one in fake.asked]
    tokens = {token_of(made.objects.get(head.key("tsa-fake.tsr"))) for head in heads} | {ZERO}
    anchors = verify_anchors(made.ledger, ANCHOR_ORIGIN, made.trust)
    assert anchors.sets >= 6
    assert set(runner_tokens(made)) <= tokens
    assert runner.token in tokens
    state = runner.snapshot()[0]
    assert (state.attestations, state.in_a_row) == (len(heads), 0)
    assert state.last_size == heads[-1].size


def runner_tokens(world: World) -> list[bytes]:
    from signer.checkpoint_set import decode_set

    ledger = Ledger(world.objects)
    lock = world.control.lock(ANCHOR_ORIGIN)
    assert lock is not None
    return [decode_set(ledger.entry(ANCHOR_ORIGIN, lock.size, index)).token for index in range(1, lock.size)]


async def test_a_token_is_carried_on_by_the_next_process() -> None:
    made = await world()
    await anchored(made, AnchorRunner(made.objects, [Fake()], clock=made.clock), 4)
    before = runner_tokens(made)[-1]
    assert before != ZERO
    await anchored(made, AnchorRunner(made.objects, [], clock=made.clock), 2)
    assert runner_tokens(made)[-1] == before


async def test_proofs_lead_from_what_was_seen() -> None:
    made, fake = await world(), Fake()
    await anchored(made, AnchorRunner(made.objects, [fake], clock=made.clock), 5)
    assert fake.proofs
    from signer.checkpoint import parse_checkpoint

    heads = [parse_checkpoint(parse_note(one.note).text) for one in fake.asked]
    for before, after, proof in zip(heads, heads[1:], fake.proofs, strict=False):
        verify_consistency(before.size, after.size, before.root, after.root, proof)


@pytest.mark.parametrize(
    ("error", "failures", "refusals"), [(Unavailable("away", retry_after=0.01), 1, 0), (Refused("no"), 0, 1)]
)
async def test_an_anchor_that_fails_holds_nothing_up(error: AffidavitError, failures: int, refusals: int) -> None:
    made = await world()
    bad, good = Fake("bad", answers=[error]), Fake("good", "rekor")
    runner = AnchorRunner(made.objects, [bad, good], clock=made.clock)
    await anchored(made, runner, 4)
    states = {state.name: state for state in runner.snapshot()}
    assert states["good"].attestations >= 1
    assert (states["bad"].failures, states["bad"].refusals) == (failures, refusals)
    assert states["bad"].in_a_row == 1
    assert states["bad"].last_message in ("away", "no")
    assert verify_anchors(made.ledger, ANCHOR_ORIGIN, made.trust).sets >= 4


async def test_a_proven_fork_halts_the_anchor_log() -> None:
    made = await world()
    runner = AnchorRunner(made.objects, [Fake(answers=[LedgerContradiction("H8 forked")])], clock=made.clock)
    with pytest.raises(LedgerContradiction, match="H8 forked"):
        await anchored(made, runner, 100)
    assert runner.contradiction is not None


async def test_an_attestation_that_is_kept_is_not_replaced() -> None:
    """Another process was first: its evidence stays, ours is left."""
    from signer.anchors import store

    objects, head = MemoryObjects(), AnchoredHead(ANCHOR_ORIGIN, 9, b"note")
    assert store(objects, head, Fake(), Attestation(b"first"))
    assert not store(objects, head, Fake(), Attestation(b"second", ((".tsq", b"of the second"),)))
    (stored,) = stored_heads(objects, ANCHOR_ORIGIN)
    assert stored.files == ("checkpoint", "tsa-fake.tsr")
    assert objects.get(stored.key("tsa-fake.tsr")) == b"first"


def test_stored_heads_go_on_where_asked() -> None:
    from signer.anchors import store

    objects = MemoryObjects()
    for size in (3, 9, 27):
        store(objects, AnchoredHead(ANCHOR_ORIGIN, size, b"note"), Fake(), Attestation(b"e"))
    assert [head.size for head in stored_heads(objects, ANCHOR_ORIGIN, since=9)] == [9, 27]
    assert [head.size for head in stored_heads(objects, ANCHOR_ORIGIN, since=10)] == [27]


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("tsa-a.tsr", ("tsa", "a")),
        ("tsa-a.tsq", None),
        ("witness-w-1", ("witness", "w-1")),
        ("rekor-r.json", ("rekor", "r")),
        ("rekor-r", None),
        ("lock-l.json", ("lock", "l")),
        ("checkpoint", None),
        ("ots-x", None),
    ],
)
def test_names_of_evidence(file: str, found: tuple[str, str] | None) -> None:
    assert parse_evidence_name(file) == found


def lock_anchor(objects: MemoryObjects) -> ObjectLockAnchor:
    return ObjectLockAnchor("off-site", objects, "s3://far/away", [KEY.public_key])


def head_of(size: int, root: bytes) -> AnchoredHead:
    return AnchoredHead(ANCHOR_ORIGIN, size, sign_checkpoint(Checkpoint(ANCHOR_ORIGIN, size, root), KEY))


def no_proof(old: int) -> list[bytes]:
    raise AssertionError("a copy needs no proof")


def test_copies_are_locked() -> None:
    objects = MemoryObjects()
    anchor = lock_anchor(objects)
    for size in (3, 9):
        anchor.attest(head_of(size, bytes([size]) * 32), no_proof)
        anchor.attest(head_of(size, bytes([size]) * 32), no_proof)
    assert [copy.size for copy in locked_copies(objects, ANCHOR_ORIGIN)] == [3, 9]
    info = objects.head(copy_key(ANCHOR_ORIGIN, 9))
    assert info is not None
    assert info.retain_until is not None


def test_a_copy_of_a_fork_halts() -> None:
    objects = MemoryObjects()
    lock_anchor(objects).attest(head_of(9, bytes(32)), no_proof)
    with pytest.raises(LedgerContradiction, match=r"another checkpoint of size 9 .* the log was forked"):
        lock_anchor(objects).attest(head_of(9, b"\x01" * 32), no_proof)


def test_a_copy_of_a_longer_log_halts() -> None:
    objects = MemoryObjects()
    lock_anchor(objects).attest(head_of(9, bytes(32)), no_proof)
    with pytest.raises(LedgerContradiction, match=r"locked checkpoint of size 9 .* it was set back"):
        lock_anchor(objects).attest(head_of(4, bytes(32)), no_proof)


def test_what_strangers_wrote_is_no_proof() -> None:
    from stores.objects import NewObject

    objects = MemoryObjects()
    objects.create([NewObject(copy_key(ANCHOR_ORIGIN, 4), b"x"), NewObject(copy_key(ANCHOR_ORIGIN, 99), b"x")])
    with pytest.raises(Refused, match="bytes that none of our keys signed"):
        lock_anchor(objects).attest(head_of(4, bytes(32)), no_proof)
    lock_anchor(objects).attest(head_of(5, bytes(32)), no_proof)
