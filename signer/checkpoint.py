"""Checkpoints: the signed statement of a log's size and root (C2SP tlog-checkpoint). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.errors import MalformedInput, VerificationError
from signer import strict_base64
from signer.merkle import EMPTY_ROOT, HASH_BYTES
from signer.note import SigningKey, VerifierKey, format_note, parse_note, sign_note, verify_note


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits itself to: its origin, its number of leaves, its root (32 bytes).

    ``extensions`` are further lines that other logs may write; ours write none, because nobody audits them.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Origin, decimal size, base64 root, extensions: one line each."""
    lines = (
        checkpoint.origin,
        str(checkpoint.size),
        strict_base64.encode(checkpoint.root),
        *checkpoint.extensions,
    )
    text = "".join(f"{line}\n" for line in lines)
    parse_checkpoint(text)
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint (a note's text, with its last line break).

    Raises:
        MalformedInput: fewer than three lines, an empty line, a size with leading zeros, a root that is not 32 bytes of
            canonical base64, or a root of size 0 that is not the root of no leaves.
    """
    lines = text.split("\n")
    if len(lines) < 4 or lines.pop() or not all(lines):
        raise MalformedInput("got a checkpoint that is not three or more non-empty lines: origin, size, root")
    origin, decimal, encoded = lines[:3]
    if not decimal.isascii() or not decimal.isdigit() or len(decimal) > 19 or str(int(decimal)) != decimal:
        raise MalformedInput(f"got checkpoint size {decimal[:40]!r}, expected a decimal number without leading zeros")
    root = strict_base64.decode(encoded)
    if len(root) != HASH_BYTES:
        raise MalformedInput(f"got a checkpoint root of {len(root)} bytes, expected {HASH_BYTES}")
    if decimal == "0" and root != EMPTY_ROOT:
        raise MalformedInput(f"got root {root.hex()} for size 0, expected {EMPTY_ROOT.hex()}")
    return Checkpoint(origin, int(decimal), root, tuple(lines[3:]))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The note of a checkpoint, signed under its origin as key name (C2SP: the two should be equal)."""
    return sign_note(format_checkpoint(checkpoint), checkpoint.origin, key)


def open_checkpoint(data: bytes, origin: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Read and verify a checkpoint note.

    Its bytes must be exactly those that we would write: other logs' base64 may carry stray bits, ours never does, so
    that no bit of a checkpoint object can change unseen.

    Raises:
        VerificationError: malformed, not signed by one of ``keys``, or of another origin.
    """
    try:
        note = parse_note(data)
        checkpoint = parse_checkpoint(note.text)
    except MalformedInput as error:
        raise VerificationError(f"checkpoint of {origin}: {error}") from None
    if format_note(note) != data:
        raise VerificationError(f"checkpoint of {origin}: got a second spelling of the same note, expected ours")
    if checkpoint.origin != origin:
        raise VerificationError(f"got a checkpoint of origin {checkpoint.origin!r}, expected {origin!r}")
    verify_note(note, keys)
    return checkpoint
