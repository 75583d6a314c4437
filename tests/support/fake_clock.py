"""A clock that stands still until it is told to go on, for whatever takes a :class:`sinks.pace.Clock`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class FakeClock:
    """Time starts at ``1_764_000_000.0`` seconds. ``slept`` lists every sleep that was asked for, in order."""

    def __init__(self) -> None:
        self._now = 1_764_000_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        sleeper = (self._now + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    @property
    def asleep(self) -> int:
        """How many sleep now."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake who has slept enough."""
        self._now += seconds
        for until, sleeper in self._sleepers:
            if until <= self._now and not sleeper.done():
                sleeper.set_result(None)

    def skip(self) -> None:
        """Let just so much time pass that the next sleeper wakes; none if nobody sleeps."""
        pending = [until for until, sleeper in self._sleepers if not sleeper.done()]
        if pending:
            self.advance(max(0.0, min(pending) - self._now))


async def eventually(condition: Callable[[], bool], clock: FakeClock | None = None, *, seconds: float = 20.0) -> None:
    """Wait until ``condition`` holds. With a ``clock``, time passes as fast as everybody sleeps.

    Raises:
        TimeoutError: it does not hold within ``seconds`` of real time.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.0005)  # whoever can go on without time passing does so first
            if clock is not None:
                clock.skip()
