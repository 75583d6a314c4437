"""What a lane has sent and its destination has not confirmed: see :class:`sinks.contract.Settling`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from schemas.errors import Unavailable
from schemas.ids import Offset, Shard
from sinks.contract import Settling
from sinks.pace import Clock
from sinks.snapshot import Tally

log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0
"""How often a sink is asked what has become durable, while something is under way."""

Call = Callable[[Callable[[Shard], Offset | None], Shard], Awaitable[Offset | None]]
"""Runs one blocking call of the sink in the lane's thread."""


class Lost(Exception):
    """Something that the destination took is not there: ask where to resume."""


class Settlement:
    """How far one shard is accepted, and how far that is durable. Of a sink that is not
    :class:`~sinks.contract.Settling` nothing is ever under way.

    Args:
        call: see :data:`Call`.
        hint: keeps a position that has become durable as the bus's lag hint.
    """

    def __init__(
        self,
        sink: object,
        shard: Shard,
        *,
        clock: Clock,
        tally: Tally,
        call: Call,
        hint: Callable[[Offset], Awaitable[None]],
    ) -> None:
        self._sink: Settling | None = sink if isinstance(sink, Settling) else None
        self._shard = shard
        self._clock = clock
        self._tally = tally
        self._call = call
        self._hint = hint
        self._accepted = self._settled = Offset(0)
        self._asked = 0.0

    @property
    def kept(self) -> bool:
        """Whether the position is kept beside the destination, behind the dead letters."""
        return self._sink is not None

    @property
    def under_way(self) -> bool:
        """Whether something is accepted and not durable."""
        return self._accepted > self._settled

    def begin(self, position: Offset) -> None:
        """Note where the lane begins: everything before is durable."""
        self._accepted = self._settled = position
        self._tally.settled(position, position)

    async def accept(self, end: Offset) -> None:
        """Note that everything before ``end`` is accepted, and its dead letters are written.

        Raises:
            Lost: see :meth:`ask`.
        """
        self._accepted = end
        self._tally.settled(self._settled, end)
        await self.ask()

    async def ask(self, *, at_once: bool = False) -> None:
        """Ask what has become durable, if it is time to, or ``at_once``.

        Raises:
            Lost: something that was accepted did not last.
        """
        now = self._clock.monotonic()
        if self._sink is None or (now - self._asked < SETTLE_SECONDS and not at_once):
            return
        self._asked = now
        try:
            settled = await self._call(self._sink.settle, self._shard)
        except Unavailable as error:
            self._tally.retried(type(error).__name__, str(error))
            log.warning("%s: what was sent cannot be settled yet: %s", self._shard, error)
            return
        if settled is None:
            log.warning("%s: something that was sent behind offset %d did not last", self._shard, self._settled)
            raise Lost
        if settled != self._settled:
            self._settled = settled
            await self._hint(settled)
        self._tally.settled(settled, self._accepted)

    async def beside(self, work: asyncio.Future[Any]) -> None:
        """Return when ``work`` is done; meanwhile what is under way settles.

        Raises:
            Lost: see :meth:`ask`; ``work`` goes on.
        """
        while self.under_way and not work.done():
            pause: asyncio.Future[Any] = asyncio.ensure_future(self._clock.sleep(SETTLE_SECONDS))
            await asyncio.wait({work, pause}, return_when=asyncio.FIRST_COMPLETED)
            pause.cancel()
            await self.ask()
        await asyncio.wait({work})
