"""Time as the signer and the verifier take it: an argument, so that tests own it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def wall_clock() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, and the waiting for it. ``now`` gives milliseconds since 1970 UTC, ``wait`` takes seconds."""

    now: Callable[[], int] = wall_clock
    wait: Callable[[float], None] = time.sleep


SYSTEM_CLOCK = Clock()
