"""The content of an object as pages: inflated if it is gzip, cut between lines, in bounded memory.

Whether it is gzip its first bytes say, not its name. Lines are cut only where the first is a JSON value of its own;
anything else is one page.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from collector.json_units import parse_json
from schemas.errors import LimitExceeded, MalformedInput

PAGE_BYTES = 2 * 1024 * 1024
"""A page is about this large, and takes some thirty times as much to be read; a longer line is a page of its own."""

RECORD_BYTES = 64 * 1024 * 1024
"""The longest line, and the largest object that has no lines. As the collector's limit of a request."""

_STEP = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS = 31


class Pages:
    """Takes pages from the bytes of one object.

    Args:
        chunks: the object as stored.
        skip: how much of its content was read already.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        skip: int = 0,
        *,
        page_bytes: int = PAGE_BYTES,
        record_bytes: int = RECORD_BYTES,
    ) -> None:
        self._content = _inflated(chunks)
        self._page_bytes, self._record_bytes = page_bytes, record_bytes
        self._buffer = bytearray()
        self._ended = False
        self._has_lines: bool | None = True if skip else None  # only what has lines is read in parts
        self.offset = skip
        self._skip(skip)

    def take(self) -> bytes:
        """The next page; ``b""`` at the end.

        Raises:
            MalformedInput: the object says it is gzip, and does not inflate.
            LimitExceeded: a line, or an object without lines, is too large. Nothing more can be taken.
        """
        self._fill(self._page_bytes)
        if len(self._buffer) < self._page_bytes:
            return self._cut(len(self._buffer))
        if not self._are_lines():
            self._fill(self._record_bytes + 1)
            return self._cut(self._bounded(len(self._buffer)))
        end = self._buffer.rfind(b"\n", 0, self._page_bytes) + 1
        looked = self._page_bytes
        while end == 0:
            end = self._buffer.find(b"\n", looked) + 1
            if end or self._ended or len(self._buffer) > self._record_bytes:
                break
            looked = len(self._buffer)
            self._fill(looked + _STEP)
        return self._cut(self._bounded(end or len(self._buffer)))

    def give_back(self, rest: bytes) -> None:
        """Undo the end of the last :meth:`take`."""
        self._buffer[:0] = rest
        self.offset -= len(rest)

    @property
    def exhausted(self) -> bool:
        """Whether nothing more will come."""
        self._fill(1)
        return not self._buffer

    def _are_lines(self) -> bool:
        while self._has_lines is None:
            end = self._buffer.find(b"\n")
            if end >= 0 or self._ended or len(self._buffer) > self._record_bytes:
                self._has_lines = end >= 0 and not parse_json(bytes(self._buffer[:end])).error
            else:
                self._fill(len(self._buffer) + _STEP)
        return self._has_lines

    def _bounded(self, size: int) -> int:
        if size > self._record_bytes:
            raise LimitExceeded(f"got a record of more than {self._record_bytes} bytes at byte {self.offset}")
        return size

    def _cut(self, size: int) -> bytes:
        page = bytes(self._buffer[:size])
        del self._buffer[:size]
        self.offset += size
        return page

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and not self._ended:
            piece = next(self._content, None)
            if piece is None:
                self._ended = True
            else:
                self._buffer += piece

    def _skip(self, size: int) -> None:
        while size > 0:
            self._fill(1)
            if not self._buffer:
                return
            cut = min(size, len(self._buffer))
            del self._buffer[:cut]
            size -= cut


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Content in pieces of at most a megabyte or a chunk."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= len(_GZIP_MAGIC):
            break
    if not first.startswith(_GZIP_MAGIC):
        yield from _with(first, chunks)
        return
    inflater = _Inflater()
    for chunk in _with(first, chunks):
        yield from inflater.feed(chunk)
    inflater.finish()


class _Inflater:
    """gzip, which may have several members, one behind the other."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_BITS)
        self._total = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        rest, full = chunk, False
        while rest or full:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_BITS)
            try:
                piece = self._member.decompress(rest, _STEP)
            except zlib.error as error:
                raise MalformedInput(f"got gzip that does not inflate after {self._total} bytes: {error}") from None
            self._total += len(piece)
            full = len(piece) == _STEP and not self._member.eof  # there may be more in it without more input
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        if not self._member.eof:
            raise MalformedInput(f"got gzip that is cut short after {self._total} bytes")


def _with(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from chunks
