"""Proofs in a file of their own (C2SP tlog-proof): index, hashes, checkpoint. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import MalformedInput, VerificationError
from signer import strict_base64
from signer.checkpoint import Checkpoint, parse_checkpoint
from signer.merkle import HASH_BYTES, verify_inclusion
from signer.note import VerifierKey, parse_note, verify_note
from signer.witnessing import parse_size

HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class TlogProof:
    """That a leaf is in the tree of a checkpoint: its index, the hashes (leaf sibling first), the note."""

    index: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes = b""


def format_proof(proof: TlogProof) -> bytes:
    """The bytes of a ``.tlog-proof`` file."""
    lines = [HEADER]
    if proof.extra:
        lines.append(f"extra {strict_base64.encode(proof.extra)}")
    lines += [f"index {proof.index}", *(strict_base64.encode(one) for one in proof.hashes), ""]
    return "".join(f"{line}\n" for line in lines).encode() + proof.note


def parse_proof(data: bytes) -> TlogProof:
    """Read what :func:`format_proof` wrote.

    Raises:
        MalformedInput: anything else.
    """
    head, empty, note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedInput("got a tlog-proof whose head is not ASCII") from None
    if not empty or lines[0] != HEADER:
        raise MalformedInput(f"got first line {lines[0][:60]!r}, expected {HEADER}")
    extra = (
        strict_base64.decode(lines.pop(1).removeprefix("extra ")) if lines[1:2] and lines[1][:6] == "extra " else b""
    )
    if len(lines) < 2 or not lines[1].startswith("index "):
        raise MalformedInput("got a tlog-proof without an index line")
    hashes = tuple(strict_base64.decode(line) for line in lines[2:])
    if any(len(one) != HASH_BYTES for one in hashes):
        raise MalformedInput(f"got a hash that is not of {HASH_BYTES} bytes")
    proof = TlogProof(parse_size(lines[1].removeprefix("index ")), hashes, note, extra)
    if format_proof(proof) != data:
        raise MalformedInput("got a second spelling of a tlog-proof, expected ours")
    return proof


def verify_proof(proof: TlogProof, leaf_hash: bytes, key: VerifierKey) -> Checkpoint:
    """Check that a leaf is in the log that ``key`` signs; return the checkpoint.

    Raises:
        VerificationError: it is not, or the checkpoint is not signed, or is of another log.
    """
    try:
        note = parse_note(proof.note)
        checkpoint = parse_checkpoint(note.text)
    except MalformedInput as error:
        raise VerificationError(str(error)) from None
    if checkpoint.origin != key.name:
        raise VerificationError(f"got a proof in {checkpoint.origin!r}, expected {key.name!r}")
    verify_note(note, [key])
    verify_inclusion(proof.index, checkpoint.size, leaf_hash, proof.hashes, checkpoint.root)
    return checkpoint
