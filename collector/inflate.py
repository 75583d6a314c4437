"""Undoing Content-Encoding within a limit: gzip, zlib, raw deflate, zstd. Pure.

A compressed body says nothing true about its size, so the limit is checked while it inflates, a piece at a time: a
bomb costs what the limit allows, never what it claims.
"""

from __future__ import annotations

import zlib

import zstandard

from schemas.errors import LimitExceeded, MalformedInput

CODINGS = ("gzip", "x-gzip", "deflate", "zstd", "identity")
"""What we undo (RFC 9110 §8.4.1, RFC 8878); also the ``Accept-Encoding`` of a 415 answer."""

MAX_CODINGS = 2

_STEP = 1 << 20
_GZIP_BITS = 31
_ZLIB_BITS = 15
_RAW_BITS = -15


def codings(content_encoding: str) -> list[str]:
    """The codings of a ``Content-Encoding`` header, in the order they were applied, without ``identity``.

    Raises:
        MalformedInput: one that we do not undo, or more than two.
    """
    named = [name.strip().lower() for name in content_encoding.split(",") if name.strip()]
    for name in named:
        if name not in CODINGS:
            raise MalformedInput(f"got content-encoding {name[:32]!r}, expected one of {', '.join(CODINGS)}")
    applied = [name for name in named if name != "identity"]
    if len(applied) > MAX_CODINGS:
        raise MalformedInput(f"got {len(applied)} content-encodings, expected at most {MAX_CODINGS}")
    return applied


def inflate(body: bytes, applied: list[str], limit: int) -> bytes:
    """Undo codings, the last one first.

    Raises:
        LimitExceeded: more than ``limit`` bytes come out.
        MalformedInput: the data is damaged, cut short, or followed by something else.
    """
    for coding in reversed(applied):
        body = _inflate_zstd(body, limit) if coding == "zstd" else _inflate_zlib(body, coding, limit)
    return body


def _inflate_zlib(body: bytes, coding: str, limit: int) -> bytes:
    """gzip (several members count as one, RFC 1952 §2.2), or deflate with and, as some clients send it, without the
    zlib wrapper."""
    out: list[bytes] = []
    total = 0
    rest = body
    while rest or not out:
        inflater = zlib.decompressobj(_window_bits(coding, rest))
        while not inflater.eof:
            try:
                piece = inflater.decompress(rest, _STEP)
            except zlib.error as error:
                raise MalformedInput(f"got a {coding} body that does not inflate: {error}") from None
            total += len(piece)
            _check(total, limit)
            out.append(piece)
            rest = inflater.unconsumed_tail
            if not piece and not rest and not inflater.eof:
                raise MalformedInput(f"got a {coding} body that is cut short after {total} inflated bytes")
        rest = inflater.unused_data
        if rest and coding == "deflate":
            raise MalformedInput(f"got {len(rest)} bytes after the end of a deflate body")
    return b"".join(out)


def _window_bits(coding: str, body: bytes) -> int:
    if coding != "deflate":
        return _GZIP_BITS
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _ZLIB_BITS if wrapped else _RAW_BITS


def _inflate_zstd(body: bytes, limit: int) -> bytes:
    out: list[bytes] = []
    total = 0
    rest = body
    while rest or not out:
        inflater = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        try:
            for at in range(0, len(rest) or 1, _ZSTD_STEP):
                piece = inflater.decompress(rest[at : at + _ZSTD_STEP])
                total += len(piece)
                _check(total, limit)
                out.append(piece)
                if inflater.eof:
                    rest = inflater.unused_data + rest[at + _ZSTD_STEP :]
                    break
        except zstandard.ZstdError as error:
            raise MalformedInput(f"got a zstd body that does not inflate: {error}") from None
        if not inflater.eof:
            raise MalformedInput(f"got a zstd body that is cut short after {total} inflated bytes")
    return b"".join(out)


_ZSTD_STEP = 512
"""Compressed bytes per step. The decompressor has no output limit, and 4 bytes can give a block of 128 KiB, so a step
gives at most 16 MiB."""


def _check(total: int, limit: int) -> None:
    if total > limit:
        raise LimitExceeded(f"got a body of more than {limit} bytes after decompression, expected at most that")
