"""What a witness is asked and what it answers (C2SP tlog-witness). Pure.

::

    POST <submission prefix>/add-checkpoint
    old <size>
    <base64 hash>                a consistency proof from that size, up to 63 lines

    <checkpoint note>
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from schemas.errors import MalformedInput, VerificationError
from signer import strict_base64
from signer.checkpoint import Checkpoint, parse_checkpoint
from signer.merkle import HASH_BYTES, verify_consistency
from signer.note import Note, VerifierKey, format_note, parse_note, verify_note

ADD_CHECKPOINT = "add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MAX_HASHES = 63
MAX_BODY_BYTES = 1 << 16


class Submission(NamedTuple):
    """A request: the checkpoint's note, and how it follows from the size that the witness is thought to have seen."""

    old: int
    proof: tuple[bytes, ...]
    note: Note


class Answer(NamedTuple):
    """What is answered, and the checkpoint that is to be remembered before, and cosigned (``None`` for a refusal)."""

    status: int
    body: bytes
    type: str = "text/plain; charset=utf-8"
    checkpoint: Checkpoint | None = None


def format_submission(submission: Submission) -> bytes:
    """The body of a request."""
    lines = [f"old {submission.old}", *(strict_base64.encode(one) for one in submission.proof), ""]
    return "".join(f"{line}\n" for line in lines).encode() + format_note(submission.note)


def parse_submission(body: bytes) -> Submission:
    """Read what :func:`format_submission` wrote.

    Raises:
        MalformedInput: anything else, more than 63 hashes, or a size with leading zeros.
    """
    head, empty, note = body.partition(b"\n\n")
    if not empty:
        raise MalformedInput("got a request without an empty line, expected one before the checkpoint")
    try:
        first, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedInput("got a request whose head is not ASCII") from None
    if not first.startswith("old "):
        raise MalformedInput(f"got first line {first[:40]!r}, expected 'old <size>'")
    if len(hashes) > MAX_HASHES:
        raise MalformedInput(f"got {len(hashes)} hashes, expected at most {MAX_HASHES}")
    proof = tuple(strict_base64.decode(one) for one in hashes)
    if any(len(one) != HASH_BYTES for one in proof):
        raise MalformedInput(f"got a hash that is not of {HASH_BYTES} bytes")
    return Submission(parse_size(first.removeprefix("old ")), proof, parse_note(note))


def parse_size(text: str) -> int:
    """A size in decimal, without leading zeros."""
    if not text.isascii() or not text.isdigit() or len(text) > 19 or str(int(text)) != text:
        raise MalformedInput(f"got size {text[:40]!r}, expected a decimal number without leading zeros")
    return int(text)


def judge(submission: Submission, keys: Sequence[VerifierKey], seen: Checkpoint | None) -> Answer:
    """Decide about a request, in the order of the specification.

    Args:
        submission: what was asked.
        keys: those of the log that the checkpoint names; none when it is not known.
        seen: the largest checkpoint of it that was cosigned before.
    """
    try:
        checkpoint = parse_checkpoint(submission.note.text)
    except MalformedInput as error:
        return _no(400, str(error))
    if not keys:
        return _no(404, f"unknown log {checkpoint.origin}")
    try:
        verify_note(submission.note, keys)
    except VerificationError as error:
        return _no(403, f"invalid signature: {error}")
    if submission.old > checkpoint.size:
        return _no(400, f"got old size {submission.old}, larger than the checkpoint's {checkpoint.size}")
    size = seen.size if seen else 0
    if submission.old != size:
        return Answer(409, f"{size}\n".encode(), SIZE_TYPE)
    try:
        _follow(submission, seen, checkpoint)
    except VerificationError as error:
        return _no(422, f"consistency proof: {error}")
    return Answer(200, b"", checkpoint=checkpoint)


def _follow(submission: Submission, seen: Checkpoint | None, checkpoint: Checkpoint) -> None:
    if seen is None or seen.size == 0:
        if submission.proof:
            raise VerificationError("got hashes, expected none from size 0")
        return
    verify_consistency(seen.size, checkpoint.size, seen.root, checkpoint.root, submission.proof)


def monitoring_path(origin: str) -> str:
    """Where a witness shows the latest checkpoint that it cosigned, below its monitoring prefix."""
    return f"{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"


def _no(status: int, words: str) -> Answer:
    return Answer(status, f"{words}\n".encode())
