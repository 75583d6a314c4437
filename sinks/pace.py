"""Waiting: the clock that tests replace, the signal to stop, and the time between two tries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

BACKOFF_BASE = 0.25
"""Seconds: longest random wait before the first repeat; doubles with each further one."""

BACKOFF_CAP = 30.0
"""Seconds: a destination that comes back is noticed within this."""


class Clock(Protocol):
    """Time, as the runner sees it."""

    def time(self) -> float:
        """Seconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since any moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Stop:
    """The signal to stop: wakes every wait, and says how much time is left for what is in flight.

    A stop either finishes what is in hand, or *drains*: it goes on until what had to be done is done, and time bounds
    it alone. ``signal`` is the event, for whoever takes one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadline = 0.0
        self.signal = asyncio.Event()
        self.drains = False

    def set(self, grace: float, *, drains: bool = False) -> None:
        """Stop within ``grace`` seconds. A second call changes nothing."""
        if not self.signal.is_set():
            self._deadline = self._clock.monotonic() + grace
            self.drains = drains
            self.signal.set()

    @property
    def requested(self) -> bool:
        return self.signal.is_set()

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0; 0 too while nobody asked to stop."""
        return max(0.0, self._deadline - self._clock.monotonic())

    @property
    def overdue(self) -> bool:
        """Whether the time is up."""
        return self.requested and self._clock.monotonic() >= self._deadline

    @property
    def over(self) -> bool:
        """Whether nothing may be begun any more."""
        return self.requested and (not self.drains or self.overdue)

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the signal, or once that was given not beyond the deadline."""
        if self.requested:
            await self._clock.sleep(min(seconds, self.left))
        else:
            await self.first(self._clock.sleep(seconds))

    async def first(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of ``work``, or ``None`` when the signal comes first; ``work`` is then cancelled."""
        return await self._race(work, self.signal.wait())

    async def within(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of ``work``, or ``None`` when it is not there once nothing may be begun; ``work`` is cancelled."""
        return await self._race(work, self._ended())

    async def finish(self, call: asyncio.Future[T]) -> bool:
        """Wait for a call that cannot be cancelled. False when the deadline passes first."""
        await self._until(call, self.signal.wait())
        while not call.done() and not self.overdue:
            await self._until(call, self._clock.sleep(self.left))
        return call.done()

    async def _ended(self) -> None:
        await self.signal.wait()
        while not self.over:
            await self._clock.sleep(self.left)

    async def _race(self, work: Coroutine[Any, Any, T], end: Coroutine[Any, Any, object]) -> T | None:
        task, ended = asyncio.ensure_future(work), asyncio.ensure_future(end)
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            await _cancel(task, ended)

    async def _until(self, call: asyncio.Future[Any], work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({call, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(task)


class Backoff:
    """Waits of growing, random length, so that shards that failed together do not try again together."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._tries = 0

    def next(self, after: float = 0.0) -> float:
        """Seconds until the next try: ``after``, and a random share of a bound that doubles up to the cap."""
        bound = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(self._tries, 16))
        self._tries += 1
        return after + self._rng.uniform(0.0, bound)


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
