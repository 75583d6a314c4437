"""Reading a request's body: streamed, within limits of size, time and memory; what is large lies on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from collector.inflate import inflate_chunks
from collector.ingest import SPOOL_BYTES, Budget
from collector.large.spool import Spool, Spools
from schemas.errors import InvariantError, LimitExceeded, MalformedInput

MAX_BODY_BYTES = 64 * 1024 * 1024
IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """``max_bytes`` bounds a body as received and again after decompression. ``idle_seconds`` is how long a sender may
    go without sending a byte."""

    max_bytes: int = MAX_BODY_BYTES
    idle_seconds: float = IDLE_SECONDS


class BodyReader:
    """Reads one body, holding its bytes against the budget until :meth:`release`.

    Args:
        spools: where :meth:`read_large` puts what is too large for memory.
    """

    def __init__(self, limits: BodyLimits, budget: Budget, spools: Spools | None = None) -> None:
        self._limits = limits
        self._budget = budget
        self._spools = spools
        self._opened: list[Spool] = []
        self._held = 0

    async def read(self, chunks: AsyncIterator[bytes], content_length: str | None) -> bytes:
        """All bytes of the body.

        Raises:
            LimitExceeded: it is, or says it is, too large.
            MalformedInput: its Content-Length is no number, or the sender went silent.
            Unavailable: too much is in flight.
        """
        pieces: list[bytes] = []
        async for chunk in self._chunks(chunks, content_length):
            self.hold(len(chunk))
            pieces.append(chunk)
        return b"".join(pieces)

    async def read_large(self, chunks: AsyncIterator[bytes], content_length: str | None) -> bytes | Spool:
        """All bytes of the body, on disk where they are more than :data:`SPOOL_BYTES`. Writes on a thread.

        Raises:
            LimitExceeded, MalformedInput: as :meth:`read`.
            Unavailable: too much is in flight, in memory or on disk.
        """
        if self._spools is None:
            return await self.read(chunks, content_length)
        pieces: list[bytes] = []
        size = 0
        spool: Spool | None = None
        async for chunk in self._chunks(chunks, content_length):
            self.hold(len(chunk))
            pieces.append(chunk)
            size += len(chunk)
            if size >= SPOOL_BYTES:
                spool = spool or self.open_spool()
                await asyncio.to_thread(spool.write, b"".join(pieces))
                self._let_go(size)
                pieces, size = [], 0
        if spool is None:
            return b"".join(pieces)
        await asyncio.to_thread(spool.write, b"".join(pieces))
        return spool

    async def keep(self, held: list[bytes]) -> bytes | Spool:
        """A body that is whole already: on disk where it is larger than :data:`SPOOL_BYTES`. It is taken out of
        ``held``, so that nobody else keeps it in memory.

        Raises:
            Unavailable: too much is in flight, in memory or on disk.
        """
        self.hold(len(held[0]))
        if self._spools is None or len(held[0]) < SPOOL_BYTES:
            return held.pop()
        spool = self.open_spool()
        await asyncio.to_thread(lambda: spool.write(held[0]))
        self._let_go(len(held.pop()))
        return spool

    def open_spool(self) -> Spool:
        """A spool that lasts until :meth:`release`.

        Raises:
            Unavailable: the disk cannot be written to.
        """
        if self._spools is None:
            raise InvariantError("got no spools to open one of")
        spool = self._spools.open()
        self._opened.append(spool)
        return spool

    def inflate(self, wire: bytes | Spool, applied: list[str]) -> bytes | Spool:
        """Undo codings; what comes out lies on disk where it is more than :data:`SPOOL_BYTES`. CPU work, and blocks.

        Raises:
            LimitExceeded, MalformedInput: as :func:`collector.inflate.inflate`.
            Unavailable: too much is on disk.
        """
        chunks = wire.chunks() if isinstance(wire, Spool) else [wire]
        inflated = inflate_chunks(chunks, applied, self._limits.max_bytes)
        if self._spools is None:
            return b"".join(inflated)
        pieces: list[bytes] = []
        size = 0
        spool: Spool | None = None
        for piece in inflated:
            pieces.append(piece)
            size += len(piece)
            if size >= SPOOL_BYTES:
                spool = spool or self.open_spool()
                spool.write(b"".join(pieces))
                pieces, size = [], 0
        if spool is None:
            return b"".join(pieces)
        spool.write(b"".join(pieces))
        return spool

    async def _chunks(self, chunks: AsyncIterator[bytes], content_length: str | None) -> AsyncIterator[bytes]:
        """The pieces of the body as they come, within the limits."""
        self._check(_stated_length(content_length))
        total = 0
        while True:
            try:
                async with asyncio.timeout(self._limits.idle_seconds):
                    chunk = await anext(chunks, b"")
            except TimeoutError:
                raise MalformedInput(
                    f"got {total} bytes and then nothing for {self._limits.idle_seconds:g} s, expected the rest"
                ) from None
            if not chunk:
                return
            total += len(chunk)
            self._check(total)
            yield chunk

    def hold(self, size: int) -> None:
        """Count ``size`` more bytes as in flight.

        Raises:
            Unavailable: too much is.
        """
        self._budget.take(size, held=self._held)
        self._held += size

    def release(self) -> None:
        """The body is acknowledged or given up: its bytes are no longer in flight."""
        self._let_go(self._held)
        for spool in self._opened:
            spool.close()

    def _let_go(self, size: int) -> None:
        self._budget.give_back(size)
        self._held -= size

    def _check(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise LimitExceeded(
                f"got a body of {size} bytes or more, expected at most {self._limits.max_bytes}; send smaller batches"
            )


def _stated_length(content_length: str | None) -> int:
    if content_length is None:
        return 0
    if not content_length.isascii() or not content_length.isdigit():
        raise MalformedInput(f"got content-length {content_length[:32]!r}, expected a number")
    return int(content_length[:20])
