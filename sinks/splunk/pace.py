"""How many requests may be under way: one more while Splunk keeps up, half as many when it does not (AIMD)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SETTLE_SECONDS = 1.0
"""After a halving, answers to what was sent before it say nothing new."""


class Pace:
    """A gate of variable width; from any thread.

    Args:
        most: requests at a time.
        monotonic: seconds.
    """

    def __init__(self, most: int, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._monotonic = monotonic
        self._width = min(2.0, float(most))
        self._inside = 0
        self._halved = float("-inf")
        self._room = threading.Condition()

    @property
    def width(self) -> int:
        """Requests that may be under way now."""
        return int(self._width)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for room, and take it."""
        with self._room:
            self._room.wait_for(lambda: self._inside < int(self._width))
            self._inside += 1
        try:
            yield
        finally:
            with self._room:
                self._inside -= 1
                self._room.notify_all()

    def faster(self) -> None:
        """An answer came as it should."""
        with self._room:
            self._width = min(float(self._most), self._width + 1 / self._width)
            self._room.notify_all()

    def slower(self) -> None:
        """Splunk is at its limit, or away."""
        with self._room:
            now = self._monotonic()
            if now - self._halved >= SETTLE_SECONDS:
                self._halved = now
                self._width = max(1.0, self._width / 2)
