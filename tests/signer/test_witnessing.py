"""Witnesses: the protocol against another implementation's exchanges, our own against our log, and forks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from witness_server import RunningWitness, witness_server

from affidavit.witness.state import WitnessState
from schemas.errors import LedgerContradiction, MalformedInput, Refused, Unavailable
from signer.anchors import AnchoredHead
from signer.anchors.witness import WitnessAnchor
from signer.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from signer.cosignature import verify_cosignature
from signer.keyfile import FileKey
from signer.merkle import consistency_ranges, leaf, range_hash, root_of
from signer.note import Note, VerifierKey, parse_note, parse_signature
from signer.witnessing import Submission, format_submission, judge, parse_submission

ORIGIN = "audit.example.com/anchor/2026q4"
KEY = FileKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
LOG = VerifierKey("audit.example.com", KEY.public_key)


class Tree:
    """A log of our own making: heads of any size, and proofs between them."""

    def __init__(self, flavour: bytes = b"") -> None:
        self.leaves = [leaf(b"%d" % number + (flavour if number > 3 else b"")) for number in range(64)]

    def head(self, size: int, origin: str = ORIGIN, key: FileKey = KEY) -> AnchoredHead:
        checkpoint = Checkpoint(origin, size, root_of(self.leaves[:size]))
        return AnchoredHead(origin, size, sign_checkpoint(checkpoint, key))

    def proof(self, old: int, new: int) -> list[bytes]:
        return [
            range_hash(start, end, lambda first, last: root_of(self.leaves[first:last]))
            for start, end in consistency_ranges(old, new)
        ]


TREE, FORK = Tree(), Tree(b"another history")


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[RunningWitness]:
    with witness_server(tmp_path, [LOG]) as running:
        yield running


@pytest.fixture
def anchor(witness: RunningWitness) -> WitnessAnchor:
    return anchor_of(witness)


@pytest.fixture(autouse=True)
def clients() -> Iterator[list[httpx.Client]]:
    """Closed at the end of each test."""
    CLIENTS.clear()
    yield CLIENTS
    for client in CLIENTS:
        client.close()


CLIENTS: list[httpx.Client] = []


def client(seconds: float = 10.0) -> httpx.Client:
    CLIENTS.append(httpx.Client(timeout=seconds, trust_env=False))
    return CLIENTS[-1]


def anchor_of(witness: RunningWitness) -> WitnessAnchor:
    return WitnessAnchor(witness.policy, [KEY.public_key], client())


def attest(anchor: WitnessAnchor, size: int, tree: Tree = TREE) -> bytes:
    return anchor.attest(tree.head(size), lambda old: tree.proof(old, size)).evidence


def test_other_implementations_exchanges(vectors: Path) -> None:
    """The sequence of litewitness, statuses as the specification has them now (404 for an unknown log)."""
    vector = json.loads((vectors / "torchwood-witness.json").read_text())
    key = VerifierKey(vector["log_origin"], bytes.fromhex(vector["log_pubkey_hex"]))
    seen: Checkpoint | None = None
    statuses = []
    for exchange in vector["sequence"]:
        submission = parse_submission(exchange["body"].encode())
        origin = submission.note.text.partition("\n")[0]
        answer = judge(submission, [key] if origin == key.name else [], seen)
        seen = answer.checkpoint or seen
        expected = 404 if exchange["body_contains"] == "unknown log" else exchange["status"]
        assert answer.status == expected, exchange["body"]
        assert (exchange["body_contains"] or "").encode() in answer.body or answer.status == 200
        if answer.status == 200:  # others may carry stray bits in their base64
            assert format_submission(submission) == exchange["body"].encode()
        statuses.append(answer.status)
    assert statuses == [200, 403, 404, 422, 422, 200, 409, 200, 409]


def test_a_log_is_cosigned_as_it_grows(witness: RunningWitness, anchor: WitnessAnchor) -> None:
    for size in (1, 2, 7, 7, 32, 64):
        line = attest(anchor, size)
        note = Note(parse_note(TREE.head(size).note).text, (parse_signature(line.decode()),))
        assert verify_cosignature(note, witness.policy.key) > 0


def test_a_new_process_asks_for_the_size(witness: RunningWitness, anchor: WitnessAnchor) -> None:
    attest(anchor, 9)
    again = anchor_of(witness)
    assert attest(again, 12)


def test_what_it_saw_is_shown(witness: RunningWitness, anchor: WitnessAnchor) -> None:
    attest(anchor, 5)
    from signer.witnessing import monitoring_path

    answer = httpx.get(f"{witness.policy.url}/{monitoring_path(ORIGIN)}", trust_env=False)
    note = parse_note(answer.content)
    assert parse_checkpoint(note.text).size == 5
    assert verify_cosignature(note, witness.policy.key) > 0
    assert httpx.get(f"{witness.policy.url}/{monitoring_path('x')}", trust_env=False).status_code == 404


def test_a_log_that_was_set_back_is_halted(witness: RunningWitness, anchor: WitnessAnchor) -> None:
    attest(anchor, 20)
    with pytest.raises(LedgerContradiction, match=r"shows a checkpoint of size 20 .* it was set back"):
        attest(anchor_of(witness), 12)


def test_a_fork_of_one_size_is_halted(witness: RunningWitness, anchor: WitnessAnchor) -> None:
    attest(anchor, 20)
    with pytest.raises(LedgerContradiction, match=r"shows another root of size 20.* the log was forked"):
        attest(anchor_of(witness), 20, FORK)


def test_a_fork_that_is_longer_is_refused(witness: RunningWitness, anchor: WitnessAnchor) -> None:
    attest(anchor, 20)
    with pytest.raises(Refused, match="finds the log inconsistent with what it saw: consistency proof"):
        attest(anchor_of(witness), 30, FORK)


def test_a_stranger_is_not_witnessed(witness: RunningWitness, anchor: WitnessAnchor) -> None:
    other = FileKey(Ed25519PrivateKey.generate())
    with pytest.raises(Refused, match="HTTP status 403: invalid signature"):
        anchor.attest(TREE.head(3, key=other), lambda old: [])
    with pytest.raises(Refused, match="HTTP status 404: unknown log other"):
        anchor.attest(TREE.head(3, origin="other.example/anchor/2026q4"), lambda old: [])


def test_another_witness_in_its_place_is_refused(witness: RunningWitness, tmp_path: Path) -> None:
    with witness_server(tmp_path / "other", [LOG], seed=9) as impostor:
        swapped = witness.policy.__class__(witness.policy.name, witness.policy.key, impostor.policy.url)
        anchor = WitnessAnchor(swapped, [KEY.public_key], client())
        with pytest.raises(Refused, match="something else than its cosignature"):
            attest(anchor, 3)


def test_a_witness_that_is_away() -> None:
    from signer.policy import Witness

    away = Witness("w", VerifierKey("w.example", bytes(32), 4), "http://127.0.0.1:9")
    anchor = WitnessAnchor(away, [KEY.public_key], client(2))
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9/add-checkpoint"):
        attest(anchor, 3)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "without an empty line"),
        (b"old 01\n\nx\n", "got size '01'"),
        (b"new 1\n\nx\n", "expected 'old <size>'"),
        (b"old 1\nAAAA\n\nx\n", "a hash that is not of 32 bytes"),
        (b"old 1\n" + b"A\n" * 64 + b"\nx\n", "got 64 hashes, expected at most 63"),
        (b"old 1\n\nno note", "got a note without an empty line"),
        (b"old \xff\n\nx\n", "not ASCII"),
    ],
)
def test_malformed_requests(witness: RunningWitness, body: bytes, words: str) -> None:
    with pytest.raises(MalformedInput, match=words):
        parse_submission(body)
    answer = httpx.post(f"{witness.policy.url}/add-checkpoint", content=body, trust_env=False)
    assert answer.status_code == 400


def test_a_body_without_end_is_cut_off(witness: RunningWitness) -> None:
    answer = httpx.post(f"{witness.policy.url}/add-checkpoint", content=bytes(1 << 20), trust_env=False)
    assert answer.status_code == 413


def test_of_two_requests_at_once_the_larger_stays(tmp_path: Path) -> None:
    """The race of the specification: both are judged by size 4, and one of them must be judged again."""
    with witness_server(tmp_path, [LOG]) as witness:
        witness.server.add_checkpoint(format_submission(submission(0, 4)))
        barrier = threading.Barrier(2)
        real = WitnessState.advance

        def together(state: WitnessState, before: bytes | None, note: bytes) -> bool:
            if not barrier.broken:
                with suppress(threading.BrokenBarrierError):
                    barrier.wait(5)
                barrier.abort()
            return real(state, before, note)

        WitnessState.advance = together  # type: ignore[method-assign]
        try:
            answers = asyncio.run(both(witness))
        finally:
            WitnessState.advance = real  # type: ignore[method-assign]
        assert sorted(answers) == [200, 409]
        shown = witness.state.note(ORIGIN)
        assert shown is not None
        assert parse_checkpoint(parse_note(shown).text).size in (8, 16)


async def both(witness: RunningWitness) -> list[int]:
    bodies = [format_submission(submission(4, size)) for size in (8, 16)]
    answers = await asyncio.gather(*(asyncio.to_thread(witness.server.add_checkpoint, body) for body in bodies))
    return [answer.status for answer in answers]


def submission(old: int, size: int) -> Submission:
    proof = tuple(TREE.proof(old, size)) if old else ()
    return Submission(old, proof, parse_note(TREE.head(size).note))


def test_what_was_seen_survives(tmp_path: Path) -> None:
    with witness_server(tmp_path, [LOG]) as witness:
        attest(anchor_of(witness), 20)
    with witness_server(tmp_path, [LOG]) as witness, pytest.raises(LedgerContradiction, match="it was set back"):
        attest(anchor_of(witness), 12)
