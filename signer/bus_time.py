"""How far the bus's time may step back along a log (``docs/log-format.md`` §10, step 10). Pure.

The brokers of a bus have a clock each. When a shard moves from one to another, its time may step back by what they
differ, and by more when a clock is set. A step of at most :data:`MAX_STEP_BACK_MS` below the highest time before it is
signed as it is, and counted as an anomaly; a larger one is no clock's drift, and the log ends before it. Signer and
verifier decide by the same rule. A log's genesis takes no part: its time is the signer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_STEP_BACK_MS = 60_000
"""The clock skew that is taken for granted elsewhere too: what is further off was set wrong by somebody."""

_TIME = slice(10, 18)


class Steps(NamedTuple):
    """``taken`` times lay below the highest before them, at most by ``largest_ms``; ``high_ms`` is the highest of all
    so far."""

    taken: int
    largest_ms: int
    high_ms: int


def steps_back(times: Sequence[int], high_ms: int) -> Steps:
    """The steps back in ``times``, which follow on times of which ``high_ms`` was the highest."""
    if not times:
        return Steps(0, 0, high_ms)
    if times[0] >= high_ms and list(times) == sorted(times):
        return Steps(0, 0, times[-1])
    taken = largest = 0
    for time_ms in times:
        if time_ms < high_ms:
            taken += 1
            largest = max(largest, high_ms - time_ms)
        else:
            high_ms = time_ms
    return Steps(taken, largest, high_ms)


def is_too_early(time_ms: int, high_ms: int) -> bool:
    """Whether a record of ``time_ms`` may not follow on records of which ``high_ms`` is the highest time."""
    return time_ms < high_ms - MAX_STEP_BACK_MS


def entry_time(entry: bytes) -> int:
    """The time in an entry's bytes."""
    return int.from_bytes(entry[_TIME])


@dataclass(frozen=True, slots=True)
class KnownTimes:
    """What a signer knows of the times in its log without having read all of it: those of its end.

    Attributes:
        first: index of the oldest entry whose time is known; 1, the first record, or less means all are.
        oldest_ms: the time of that entry.
        high_ms: the highest known time; 0 when there is none.

    Whoever signed entry ``first`` allowed it, so no time before it is higher than ``oldest_ms + MAX_STEP_BACK_MS``.
    Hence a record that is not older than ``oldest_ms`` can be judged by ``high_ms`` alone.
    """

    first: int
    oldest_ms: int
    high_ms: int

    def settles(self, lowest_ms: int) -> bool:
        """Whether ``high_ms`` decides about a record of this time, as the highest time of the whole log would."""
        return self.first <= 1 or lowest_ms >= self.oldest_ms or is_too_early(lowest_ms, self.high_ms)

    def before(self, first: int, times: Sequence[int]) -> KnownTimes:
        """What is known with the times of the entries from index ``first`` up to ours added."""
        return KnownTimes(first, times[0], max(self.high_ms, *times))

    def after(self, high_ms: int) -> KnownTimes:
        """What is known after a batch with this highest time was signed."""
        return KnownTimes(self.first, self.oldest_ms, max(self.high_ms, high_ms))


def known_times(size: int, entries: Sequence[bytes]) -> KnownTimes:
    """What the last entries of a log of ``size`` leaves tell; at least one entry."""
    first = size - len(entries)
    times = [entry_time(entry) for entry in (entries if first else entries[1:])]
    return KnownTimes(max(first, 1), times[0], max(times)) if times else KnownTimes(1, 0, 0)
