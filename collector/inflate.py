"""Undoing Content-Encoding within a limit: gzip, zlib, raw deflate, zstd. Pure.

A compressed body says nothing true about its size, so the limit is checked while it inflates, a piece at a time: a
bomb costs what the limit allows, never what it claims.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import zstandard

from schemas.errors import LimitExceeded, MalformedInput

CODINGS = ("gzip", "x-gzip", "deflate", "zstd", "identity")
"""What we undo (RFC 9110 §8.4.1, RFC 8878); also the ``Accept-Encoding`` of a 415 answer."""

MAX_CODINGS = 2

_STEP = 1 << 20
_GZIP_BITS = 31
_ZLIB_BITS = 15
_RAW_BITS = -15


class UnknownCoding(MalformedInput):
    """A Content-Encoding that we do not undo."""


def codings(content_encoding: str) -> list[str]:
    """The codings of a ``Content-Encoding`` header, in the order they were applied, without ``identity``.

    Raises:
        UnknownCoding: one that we do not undo, or more than two.
    """
    named = [name.strip().lower() for name in content_encoding.split(",") if name.strip()]
    for name in named:
        if name not in CODINGS:
            raise UnknownCoding(f"got content-encoding {name[:32]!r}, expected one of {', '.join(CODINGS)}")
    applied = [name for name in named if name != "identity"]
    if len(applied) > MAX_CODINGS:
        raise UnknownCoding(f"got {len(applied)} content-encodings, expected at most {MAX_CODINGS}")
    return applied


def inflate(body: bytes, applied: list[str], limit: int) -> bytes:
    """Undo codings, the last one first.

    Raises:
        LimitExceeded: more than ``limit`` bytes come out.
        MalformedInput: the data is damaged, cut short, or followed by something else.
    """
    return b"".join(inflate_chunks([body], applied, limit))


def inflate_chunks(chunks: Iterable[bytes], applied: list[str], limit: int) -> Iterator[bytes]:
    """:func:`inflate` of a body that comes in pieces, into pieces of at most some MB. Raises on the way."""
    for coding in reversed(applied):
        source = _Source(chunks)
        chunks = _inflate_zstd(source, limit) if coding == "zstd" else _inflate_zlib(source, coding, limit)
    return iter(chunks)


class _Source:
    """Pieces of any size, given out again in pieces as small as wanted; what was not used can be put back."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held: list[memoryview] = []

    def take(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end."""
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self.put_back(chunk)
        piece = self._held.pop()
        if len(piece) > size:
            self._held.append(piece[size:])
        return bytes(piece[:size])

    def put_back(self, data: bytes) -> None:
        """What was taken last, or its end."""
        if data:
            self._held.append(memoryview(data))

    def head(self) -> bytes:
        """The next two bytes, which stay; fewer at the end."""
        head = self.take(2)
        if len(head) == 1:
            head += self.take(1)
        self.put_back(head)
        return head


def _inflate_zlib(source: _Source, coding: str, limit: int) -> Iterator[bytes]:
    """gzip (several members count as one, RFC 1952 §2.2), or deflate with and, as some clients send it, without the
    zlib wrapper."""
    total = 0
    while True:
        inflater = zlib.decompressobj(_window_bits(coding, source.head()))
        while not inflater.eof:
            rest = inflater.unconsumed_tail or source.take(_FEED)
            try:
                piece = inflater.decompress(rest, _STEP)
            except zlib.error as error:
                raise MalformedInput(f"got a {coding} body that does not inflate: {error}") from None
            total += len(piece)
            _check(total, limit)
            if piece:
                yield piece
            elif not rest and not inflater.eof:
                raise MalformedInput(f"got a {coding} body that is cut short after {total} inflated bytes")
        source.put_back(inflater.unused_data)
        if not source.head():
            return
        if coding == "deflate":
            raise MalformedInput("got more bytes after the end of a deflate body")


def _window_bits(coding: str, body: bytes) -> int:
    if coding != "deflate":
        return _GZIP_BITS
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB_BITS if wrapped else _RAW_BITS


def _inflate_zstd(source: _Source, limit: int) -> Iterator[bytes]:
    total = 0
    while True:
        inflater = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        while not inflater.eof:
            rest = source.take(_ZSTD_STEP)
            if not rest:
                raise MalformedInput(f"got a zstd body that is cut short after {total} inflated bytes")
            try:
                piece = inflater.decompress(rest)
            except zstandard.ZstdError as error:
                raise MalformedInput(f"got a zstd body that does not inflate: {error}") from None
            total += len(piece)
            _check(total, limit)
            if piece:
                yield piece
        source.put_back(inflater.unused_data)
        if not source.head():
            return


_FEED = 1 << 16
"""Compressed bytes given to zlib at a time: it hands back what it did not use, as a copy."""

_ZSTD_STEP = 512
"""Compressed bytes per step. The decompressor has no output limit, and 4 bytes can give a block of 128 KiB, so a step
gives at most 16 MiB."""


def _check(total: int, limit: int) -> None:
    if total > limit:
        raise LimitExceeded(f"got a body of more than {limit} bytes after decompression, expected at most that")
