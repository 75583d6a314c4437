"""A bus with a spool before it, for tests: small, impatient, and in memory where it can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stores.bus.spool import SpoolLimits
from stores.bus.spool.bus import SpoolingBus
from stores.bus.spool.circuit import Pace
from stores.bus.spool.store import Spool
from stores.bus.sqlite_file import now_ms

PACE = Pace(first=0.002, longest=0.02, patience=0.2)


def spooling(
    bus: Any,
    path: Path,
    *,
    max_bytes: int = 1 << 30,
    max_age_seconds: float = 3600.0,
    max_message_bytes: int | None = None,
    clock: Callable[[], int] = now_ms,
    reserve_bytes: int = 1 << 16,
    **changes: Any,
) -> SpoolingBus:
    """``bus`` with a spool in ``path``."""
    spool = Spool(path, reserve_bytes=reserve_bytes, clock=clock)
    limits = SpoolLimits(max_bytes, max_age_seconds, max_message_bytes)
    return SpoolingBus(bus, spool, limits, **{"pace": PACE, "clock": clock, **changes})
