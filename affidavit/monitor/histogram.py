"""A histogram that any thread may add to, and the frozen distribution that is read from it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """How values were spread.

    Attributes:
        bounds: upper bounds of the buckets, inclusive, rising; one more bucket takes what is above the last.
        counts: how many fell into each bucket, the last one included; not cumulative.
        total: the sum of the values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    def cumulative(self) -> list[tuple[str, float]]:
        """Pairs of bound and count up to it, as the exposition formats want them, ending with ``+Inf``."""
        pairs: list[tuple[str, float]] = []
        count = 0
        for bound, own in zip((*map(_spelling, self.bounds), "+Inf"), self.counts, strict=True):
            count += own
            pairs.append((bound, count))
        return pairs


class Histogram:
    """Counts values in buckets. Adding takes a lock for less than a microsecond.

    Args:
        bounds: see :class:`Distribution`.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def add(self, value: float) -> None:
        """Count one value."""
        at = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[at] += 1
            self._total += value

    def distribution(self) -> Distribution:
        """What was counted so far; count and total belong together."""
        with self._lock:
            return Distribution(self._bounds, tuple(self._counts), self._total)


def decades(first: int, last: int) -> tuple[float, ...]:
    """Two bounds per decade, 1 and 3 times the power of ten, from ``10**first`` to ``10**last``."""
    powers = [float(f"1e{exponent}") for exponent in range(first, last)]
    return (*(bound for power in powers for bound in (power, round(3 * power, -first + 1))), float(f"1e{last}"))


def _spelling(bound: float) -> str:
    """As ``le`` is written in OpenMetrics: a float, ``1.0`` and not ``1``."""
    return repr(float(bound))
