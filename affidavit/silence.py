"""Whether a gateway is silent against its usual rhythm. Pure.

Two rules, both of them plain enough to be argued with:

* **An empty hour.** No record came in an hour in which, on the same weekday, at least :data:`USUAL` records came in
  each of the weeks before, of which there must be :data:`WEEKS`.
* **Silent now.** Nothing has come for longer than one and a half times the longest silence of the weeks before, and for
  at least :data:`SHORTEST_MS`. Longest silences include nights and week-ends, so this is the slow rule; it is there for
  gateways that have no hours.

Hours are UTC. A gateway known for less than :data:`WEEKS` weeks has no rhythm yet, and is said to have none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HOUR = 3600
WEEK = 7 * 24 * HOUR

WEEKS = 3
"""Weeks before that must agree. Four are looked at; one may lie before the gateway was first seen."""

USUAL = 5
"""Fewest records of an hour that counts as busy: with Poisson arrivals at five an hour, an empty one is chance once in
150, and three such weeks before make it the fourth."""

SHORTEST_MS = 15 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Silence:
    """A stretch without records. Milliseconds since 1970; ``usual`` says against what."""

    from_ms: int
    to_ms: int
    usual: str


def silences(hours: Mapping[int, int], last_ms: int, since_ms: int, until_ms: int) -> list[Silence] | None:
    """The silences of one gateway in a window; ``None`` where it has no rhythm yet.

    Args:
        hours: start of an hour, in seconds since 1970 → records in it; empty hours may be left out.
        last_ms: when its last record came.
        since_ms, until_ms: the window.
    """
    known_since = min(hours) if hours else 0
    if not hours or since_ms // 1000 - known_since < WEEKS * WEEK:
        return None
    found = list(_merged(_empty_hours(hours, known_since, since_ms, until_ms)))
    longest = _longest_gap_ms(hours, since_ms)
    silent = until_ms - last_ms
    if silent > max(SHORTEST_MS, longest * 3 // 2) and not (found and found[-1].to_ms >= until_ms - HOUR * 1000):
        found.append(Silence(last_ms, until_ms, f"the longest silence before was {longest // 60_000} min"))
    return found


def _empty_hours(hours: Mapping[int, int], known_since: int, since_ms: int, until_ms: int) -> Iterator[Silence]:
    first = -(-since_ms // (HOUR * 1000)) * HOUR
    for hour in range(first, until_ms // 1000 - HOUR + 1, HOUR):
        if hours.get(hour, 0):
            continue
        before = [hours.get(hour - week * WEEK, 0) for week in range(1, 5) if hour - week * WEEK >= known_since]
        if len(before) >= WEEKS and min(before) >= USUAL:
            usual = f"{min(before)} to {max(before)} in that hour of the weeks before"
            yield Silence(hour * 1000, (hour + HOUR) * 1000, usual)


def _merged(found: Iterator[Silence]) -> Iterator[Silence]:
    held: Silence | None = None
    for one in found:
        if held is not None and one.from_ms == held.to_ms:
            held = Silence(held.from_ms, one.to_ms, held.usual)
            continue
        if held is not None:
            yield held
        held = one
    if held is not None:
        yield held


def _longest_gap_ms(hours: Mapping[int, int], before_ms: int) -> int:
    """The longest stretch of empty hours before the window, with the hours at its edges: what is known to the hour."""
    busy = sorted(hour for hour, records in hours.items() if records and hour * 1000 < before_ms)
    gaps = (later - earlier for earlier, later in itertools.pairwise(busy))
    return (max(gaps, default=HOUR) + HOUR) * 1000
