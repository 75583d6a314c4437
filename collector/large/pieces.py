"""A source that lies in pieces: some bytes at hand, some ranges of a body on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from collector.large.lighten import Readable

STEP = 1 << 20


class LongRun(NamedTuple):
    """A long run of bytes in a source: from where to where, and its SHA-256 in hex."""

    start: int
    stop: int
    sha256: str


class Pieces:
    """Exact bytes, put together as they are read. Implements :class:`schemas.part_streams.Sized`.

    Args:
        body: what the ranges are of; it must stay open as long as this is read.
        parts: bytes, or ``(start, stop)`` of the body.
        runs: what in them may be sealed by itself, in ascending order, none overlapping.
    """

    def __init__(self, body: Readable, parts: Sequence[bytes | tuple[int, int]], runs: Sequence[LongRun] = ()) -> None:
        self._body, self._parts, self.runs = body, parts, tuple(runs)
        self.size = sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in parts)

    def range(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` to ``stop``."""
        at = 0
        for part in self._parts:
            size = len(part) if isinstance(part, bytes) else part[1] - part[0]
            low, high = max(start - at, 0), min(stop - at, size)
            at += size
            if low >= high:
                continue
            if isinstance(part, bytes):
                yield part[low:high]
                continue
            for begin in range(part[0] + low, part[0] + high, STEP):
                yield self._body.read(begin, min(begin + STEP, part[0] + high))

    def chunks(self) -> Iterator[bytes]:
        """All bytes, in order."""
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            for at in range(part[0], part[1], STEP):
                yield self._body.read(at, min(at + STEP, part[1]))

    def whole(self) -> bytes:
        """All bytes at once."""
        return b"".join(self.chunks())

    def sha256(self) -> str:
        """Of all bytes, in hex."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()


class WholeBytes:
    """Bytes at hand as a :class:`schemas.part_streams.Sized`."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def chunks(self) -> Iterator[bytes]:
        """All bytes, in order."""
        view = memoryview(self._data)
        for at in range(0, self.size, STEP):
            yield bytes(view[at : at + STEP])
