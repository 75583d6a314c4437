"""Reading a request's body: streamed, with or without a length, within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from collector.ingest import Budget
from schemas.errors import LimitExceeded, MalformedInput

MAX_BODY_BYTES = 64 * 1024 * 1024
IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """``max_bytes`` bounds a body as received and again after decompression. ``idle_seconds`` is how long a sender may
    go without sending a byte."""

    max_bytes: int = MAX_BODY_BYTES
    idle_seconds: float = IDLE_SECONDS


class BodyReader:
    """Reads one body, holding its bytes against the budget until :meth:`release`."""

    def __init__(self, limits: BodyLimits, budget: Budget) -> None:
        self._limits = limits
        self._budget = budget
        self._held = 0

    async def read(self, chunks: AsyncIterator[bytes], content_length: str | None) -> bytes:
        """All bytes of the body.

        Raises:
            LimitExceeded: it is, or says it is, too large.
            MalformedInput: its Content-Length is no number, or the sender went silent.
            Unavailable: too much is in flight.
        """
        self._check(_stated_length(content_length))
        pieces: list[bytes] = []
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
                return b"".join(pieces)
            total += len(chunk)
            self._check(total)
            self.hold(len(chunk))
            pieces.append(chunk)

    def hold(self, size: int) -> None:
        """Count ``size`` more bytes as in flight.

        Raises:
            Unavailable: too much is.
        """
        self._budget.take(size, held=self._held)
        self._held += size

    def release(self) -> None:
        """The body is acknowledged or given up: its bytes are no longer in flight."""
        self._budget.give_back(self._held)
        self._held = 0

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
