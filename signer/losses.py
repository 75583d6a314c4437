"""How often a signer may lose the swap of one log before it takes it that somebody else signs there. Pure."""

from __future__ import annotations

from collections import deque

LIMIT = 3
WINDOW_SECONDS = 600.0
"""A process that was paused past its session loses one swap, and is then told that the shard is another's. Whoever
loses time after time while the shard is its own has a rival that its group does not know."""


class Losses:
    """The swaps that were lost while a shard was owned."""

    def __init__(self, limit: int = LIMIT, window_seconds: float = WINDOW_SECONDS) -> None:
        self._limit, self._window = limit, window_seconds
        self._times: deque[float] = deque()

    def add(self, now: float) -> bool:
        """Count one, at a time in seconds of any clock that does not step; true when it is one too many."""
        self._times.append(now)
        while self._times[0] < now - self._window:
            self._times.popleft()
        return len(self._times) >= self._limit
