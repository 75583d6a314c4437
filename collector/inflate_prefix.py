"""Undoing Content-Encoding of a body that may have broken off: as much of it as there is. Pure, total, bounded.

A recording ends where the connection ended, and a compressed stream that was cut in its midst still says what it said
until then. Brotli needs the package of that name (the extra ``proxy``); without it such a body is kept unread.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from collector.inflate import codings, inflate_chunks
from schemas.errors import LimitExceeded, MalformedInput

_STEP = 512
"""Compressed bytes given to Brotli at a time; it may make a great deal of them."""


class Inflated(NamedTuple):
    """``error``: why the data ends here, if not because the body ended; ``""`` says that it is whole."""

    data: bytes
    error: str = ""


def inflate_prefix(body: bytes, content_encoding: str, limit: int) -> Inflated:
    """Undo the codings of a ``Content-Encoding`` header, the last one first, until the data or ``limit`` bytes end."""
    out: list[bytes] = []  # grows piece by piece, because what came before an error counts
    try:
        for piece in _inflating(body, content_encoding, limit):
            out.append(piece)  # noqa: PERF402
    except (MalformedInput, LimitExceeded) as error:
        return Inflated(b"".join(out), str(error))
    return Inflated(b"".join(out))


def _inflating(body: bytes, content_encoding: str, limit: int) -> Iterator[bytes]:
    *inner, last = content_encoding.split(",")
    if last.strip().lower() != "br":
        return inflate_chunks([body], codings(content_encoding), limit)
    return inflate_chunks(_inflate_brotli([body], limit), codings(",".join(inner)), limit)


def _inflate_brotli(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    brotli = _brotli()
    if brotli is None:
        raise MalformedInput("got content-encoding br, which is read only with affidavit[proxy] installed")
    decoder, total = brotli.Decompressor(), 0
    for chunk in chunks:
        for at in range(0, len(chunk), _STEP):
            try:
                piece = decoder.process(chunk[at : at + _STEP])
            except brotli.error as error:
                raise MalformedInput(f"got a br body that does not inflate: {error}") from None
            total += len(piece)
            if total > limit:
                raise LimitExceeded(f"got more than {limit} bytes after decompression, expected at most that")
            if piece:
                yield piece
    if total and not decoder.is_finished():
        raise MalformedInput(f"got a br body that is cut short after {total} inflated bytes")


def _brotli() -> Any:
    try:
        return importlib.import_module("brotli")
    except ImportError:
        return None
