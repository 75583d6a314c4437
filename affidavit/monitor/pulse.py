"""The pulse of a role: whether its event loop turns, as seen from another thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

BEAT_SECONDS = 0.5
"""A loop that turns says so this often."""

STUCK_SECONDS = 30.0
"""A loop that was silent for longer is stuck. Far above what a loaded machine, a collection of garbage or the opening
of an engine costs, because whoever restarts the process for it stops the other roles too."""

Phase = Literal["starting", "running", "stopping", "ended"]


class Pulse:
    """One role's. Written from the role's thread, read from any.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self.phase: Phase = "starting"
        self.ended_with = ""
        """Why the role ended, when it was not told to."""

    async def beat(self, stop: asyncio.Event) -> None:
        """Beat, on the loop that is watched, until ``stop`` is set."""
        while not stop.is_set():
            self._last = self._clock()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await stop.wait()

    def end(self, why: str) -> None:
        """Note that the role has returned (``""``) or failed."""
        self.phase, self.ended_with = "ended", why

    def silence(self) -> float:
        """Seconds since the last beat; 0 when the role has ended, for then nobody is stuck."""
        return 0.0 if self.phase == "ended" else max(0.0, self._clock() - self._last)
