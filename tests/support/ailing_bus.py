"""A bus that is ill in a way that a test chooses, and well again when the test says so.

    bus = AilingBus(MemoryBus())
    bus.ill = Illness.DOWN

Unlike :class:`faults.FaultyBus`, which counts writes, this stays as it is until it is told otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import Any

from faults import Crash

from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import Shard
from stores.bus import Bounds, Outgoing, Position


class Illness(Enum):
    """What becomes of an append."""

    NONE = "written and answered"
    DOWN = "not written, and refused at once"
    REPORTED = "written, and reported as failed"
    HANGS = "not written, and never answered"
    SILENT = "written, and never answered"
    HALF = "the first half is written, and all of it reported as failed"
    MISCONFIGURED = "not written, and no repeat will help"
    CRASH_BEFORE = "the process dies before it is written"
    CRASH_AFTER = "the process dies after it is written"


class AilingBus:
    """Whatever is no append goes through, but for :meth:`bounds`, which asks whether the bus is there.

    Attributes:
        ill: what is the matter with it now.
        taken: every message that was written, as it was given.
        attempts: how many appends there were.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.ill = Illness.NONE
        self.taken: list[Outgoing] = []
        self.attempts = 0

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        self.attempts += 1
        ill = self.ill
        if ill is Illness.CRASH_BEFORE:
            raise Crash("before an append")
        written = []
        if ill in (Illness.NONE, Illness.REPORTED, Illness.SILENT, Illness.CRASH_AFTER):
            written = list(messages)
        elif ill is Illness.HALF:
            written = list(messages[: len(messages) // 2])
        self.taken += written
        positions = await self._inner.append(written)
        if ill is Illness.CRASH_AFTER:
            raise Crash("after an append")
        await self._answer(ill)
        return positions

    async def bounds(self, shard: Shard) -> Bounds:
        if self.ill is not Illness.NONE:
            await self._answer(Illness.DOWN)
        return await self._inner.bounds(shard)

    async def _answer(self, ill: Illness) -> None:
        if ill in (Illness.HANGS, Illness.SILENT):
            await asyncio.Event().wait()
        if ill is Illness.MISCONFIGURED:
            raise ConfigurationError("the topic may not be written to: grant it")
        if ill in (Illness.DOWN, Illness.REPORTED, Illness.HALF):
            raise Unavailable(f"injected: {ill.value}", retry_after=0.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
