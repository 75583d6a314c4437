"""What two byte strings have in common, as long stretches in the same order. Pure.

Made for a body that repeats most of the one before it: a few searches find the stretches, and comparing them costs
what comparing memory costs. It knows no format: JSON, JSON inside of JSON strings, and protobuf are all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

WINDOW = 48
"""Bytes that are searched for: long enough that keys of JSON objects alone are seldom found in the wrong place."""

SHORTEST = 128
"""A shorter stretch is not worth a reference, which every later manifest repeats."""

FARTHEST = 4
"""A stretch that lies so many times its length ahead is passed over: it is a coincidence (a quotation), and what lies
before it would be lost."""

MAX_MISSES = 96
"""Windows in vain, after which the rest counts as new: each costs a scan of what is left. Steps grow with each, so that
some twenty in a row reach the end of any body."""

_FIRST_STEP = 96


class Stretch(NamedTuple):
    """``data[at : at + length] == base[start : start + length]``."""

    at: int
    start: int
    length: int


def stretches(base: bytes, data: bytes, low: int, high: int) -> Iterator[Stretch]:
    """Common stretches of ``base`` and ``data[low:high]``, in the order of both, none overlapping.

    What was moved to before its old neighbours is missed (an answer that stands among the messages now, before what
    stood before it). To look for it again costs more than it saves: it is stored in small pieces, which every later
    manifest must name one by one.
    """
    start, at = 0, low
    floor, step, misses = 0, _FIRST_STEP, 0
    while start + WINDOW <= len(base) and at + WINDOW <= high and misses < MAX_MISSES:
        found = data.find(base[start : start + WINDOW], at, high)
        if found < 0:
            start, misses, step = start + step, misses + 1, step + step // 2
            continue
        before = _common_end(base, floor, start, data, at, found)
        after = WINDOW + _common_start(base, start + WINDOW, data, found + WINDOW, high)
        if before + after >= max(SHORTEST, (found - before - at) // FARTHEST):
            yield Stretch(found - before, start - before, before + after)
            at, step = found + after, _FIRST_STEP
        else:
            misses += 1
        start += after
        floor = start


def _common_start(base: bytes, start: int, data: bytes, at: int, high: int) -> int:
    """How many bytes from ``start`` and ``at`` on are equal."""
    most = min(len(base) - start, high - at)
    same, step = 0, 64
    while same < most:
        size = min(step, most - same)
        if base[start + same : start + same + size] == data[at + same : at + same + size]:
            same += size
            step = min(2 * step, 1 << 16)
        elif size == 1:
            break
        else:
            most, step = same + size, size // 2
    return same


def _common_end(base: bytes, floor: int, start: int, data: bytes, low: int, at: int) -> int:
    """How many bytes before ``start`` and ``at`` are equal."""
    most = min(start - floor, at - low)
    same, step = 0, 64
    while same < most:
        size = min(step, most - same)
        if base[start - same - size : start - same] == data[at - same - size : at - same]:
            same += size
            step = min(2 * step, 1 << 16)
        elif size == 1:
            break
        else:
            most, step = same + size, size // 2
    return same
