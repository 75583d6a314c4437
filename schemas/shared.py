"""Runs of bytes that parts share, as an image that every turn sends again. Avro ``shared.v1.avsc``, codec 4.

A *run* is a stretch of a part that is sealed by itself, under a key that follows from the subject key and the run's own
bytes. So equal runs under one subject key have equal ciphertext and one blob, whoever seals them, and when; nobody has
to remember anything. What is left of the part is sealed as always, and may repeat earlier records
(:mod:`schemas.chunks`). The keys of its runs lie within the part: whoever can open the part can open them, and whoever
destroys its key destroys them. That two parts share a run can be seen without a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from schemas.avro_binary import avro_bytes, read_varint, varint
from schemas.chunks import MAX_OVERHEAD
from schemas.errors import MalformedInput

MAX_RUNS = 256
"""Runs of one part."""

MAX_BLOBS = 64
"""Different ones among them."""

_KEY_BYTES = 32

REST_RAW, REST_CHUNKS = 0, 2


class Run(NamedTuple):
    """A run of a part: before which byte of the rest it stands, which of the part's addresses has it, its size, and the
    key that opens it."""

    at: int
    blob: int
    size: int
    key: bytes


MAX_SHARED_OVERHEAD = 64 + 64 * MAX_RUNS + MAX_OVERHEAD
"""What codec 4 holds is at most so much longer than its rest."""


class Shared(NamedTuple):
    """What codec 4 holds. ``rest`` is ``size`` bytes, or a manifest of so many (``codec`` 2)."""

    runs: tuple[Run, ...]
    codec: int
    size: int
    rest: bytes


def encode_shared(shared: Shared) -> bytes:
    """Avro binary, without header."""
    runs = b"".join([varint(run.at) + varint(run.blob) + varint(run.size) + run.key for run in shared.runs])
    array = varint(len(shared.runs)) + runs + b"\x00" if shared.runs else b"\x00"
    return array + varint(shared.codec) + varint(shared.size) + avro_bytes(shared.rest)


def decode_shared(data: bytes, size: int, blobs: int) -> Shared:
    """Read what stands for a part of ``size`` bytes with ``blobs`` addresses.

    Raises:
        MalformedInput: the bytes are not what :func:`encode_shared` writes, or do not add up to the part.
    """
    try:
        count, at = read_varint(data, 0)
        if not 0 < count <= MAX_RUNS:
            raise MalformedInput(f"got {count} runs, expected 1 to {MAX_RUNS}")
        runs = []
        for _ in range(count):
            place, at = read_varint(data, at)
            blob, at = read_varint(data, at)
            length, at = read_varint(data, at)
            runs.append(Run(place, blob, length, data[at : at + _KEY_BYTES]))
            at += _KEY_BYTES
        end, at = read_varint(data, at)
        codec, at = read_varint(data, at)
        rest_size, at = read_varint(data, at)
        rest_length, at = read_varint(data, at)
    except IndexError:
        raise MalformedInput(f"got a part with shared runs cut short at byte {len(data)}") from None
    shared = Shared(tuple(runs), codec, rest_size, data[at:])
    if end or rest_length != len(shared.rest):
        raise MalformedInput(f"got {len(shared.rest)} bytes of a rest, expected {rest_length}, and one block of runs")
    _check(shared, size, blobs)
    return shared


def _check(shared: Shared, size: int, blobs: int) -> None:
    first_used = list(dict.fromkeys(run.blob for run in shared.runs))
    before = 0
    total = shared.size
    for run in shared.runs:
        if not before <= run.at <= shared.size or run.size < 1 or len(run.key) != _KEY_BYTES:
            raise MalformedInput(f"got a run of {run.size} bytes before byte {run.at} of {shared.size}")
        before = run.at
        total += run.size
    most = shared.size if shared.codec == REST_RAW else shared.size + MAX_OVERHEAD
    if first_used != list(range(blobs)) or total != size:
        raise MalformedInput(f"got {total} bytes with {len(first_used)} blobs, expected {size} with {blobs}")
    if shared.codec not in (REST_RAW, REST_CHUNKS) or len(shared.rest) > most:
        raise MalformedInput(f"got codec {shared.codec} and {len(shared.rest)} bytes for a rest of {shared.size}")
    if shared.codec == REST_RAW and len(shared.rest) != shared.size:
        raise MalformedInput(f"got a rest of {len(shared.rest)} bytes, expected {shared.size}")


def joined(shared: Shared, rest: bytes, run_bytes: Callable[[Run], Iterable[bytes]]) -> Iterator[bytes]:
    """The bytes of the part: the rest with its runs in their places."""
    start = 0
    for run in shared.runs:
        if run.at > start:
            yield rest[start : run.at]
            start = run.at
        yield from run_bytes(run)
    if start < len(rest):
        yield rest[start:]


def without_runs(data: Iterable[bytes], runs: Sequence[tuple[int, int]]) -> bytes:
    """The rest of a part: its bytes without those of the ranges ``runs``, ascending, none overlapping."""
    kept: list[bytes] = []
    at = 0
    waiting = list(reversed(runs))
    for chunk in data:
        start, end = at, at + len(chunk)
        at = end
        while waiting and waiting[-1][0] < end:
            low, high = waiting[-1]
            if low > start:
                kept.append(chunk[start - end + len(chunk) : low - end + len(chunk)])
            start = max(start, min(high, end))
            if high > end:
                break
            waiting.pop()
        if start < end:
            kept.append(chunk[start - (end - len(chunk)) :])
    return b"".join(kept)
