"""Times as sources write them, as microseconds since 1970 UTC, with the precision they came in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

EARLIEST = 0
LATEST = 7_258_118_400_000_000
"""2200-01-01. A time beyond is a mistake of the source, and not every store downstream can hold it."""

_LATEST_SECONDS = LATEST / 1e6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"[.,]([0-9]+)")


class Time(NamedTuple):
    """Microseconds since 1970 UTC, and ``s``, ``ms``, ``us`` or ``ns``: how finely the source stated it."""

    micros: int
    precision: str


def from_text(text: str) -> Time | None:
    """An ISO 8601 or RFC 3339 time. One without an offset is UTC. ``None`` when it is none, or out of range."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    fraction = _FRACTION.search(text)
    try:
        delta = moment - _EPOCH
    except OverflowError:
        return None
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return _checked(micros, _precision(len(fraction[1]) if fraction else 0))


def from_seconds(seconds: float) -> Time | None:
    """Seconds since 1970, whole or with a fraction."""
    if not -_LATEST_SECONDS <= seconds <= _LATEST_SECONDS:  # nor NaN
        return None
    return _checked(round(seconds * 1_000_000), "us" if isinstance(seconds, float) else "s")


def from_millis(value: object) -> Time | None:
    """Milliseconds since 1970; ``None`` for anything but a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if abs(value) > LATEST / 1e3 or value != value:
        return None
    return _checked(round(value * 1000), "us" if isinstance(value, float) and not value.is_integer() else "ms")


def from_nanos(nanos: int) -> Time | None:
    """Nanoseconds since 1970; what is finer than a microsecond stays in the source part."""
    return _checked(nanos // 1000, "ns")


def from_any(value: object) -> Time | None:
    """Seconds as a number, or text as :func:`from_text` reads it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return from_seconds(value)
    return from_text(value) if isinstance(value, str) else None


def from_instant(value: object) -> Time | None:
    """Text, or a number whose size says whether it counts seconds, milliseconds, microseconds or nanoseconds."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**11:
        return from_nanos(value) if abs(value) >= 10**17 else (
            _checked(value, "us") if abs(value) >= 10**14 else from_millis(value)
        )  # fmt: skip
    return from_any(value)


def in_range(micros: int) -> bool:
    """Whether a time can be kept as it is."""
    return EARLIEST < micros < LATEST


def _checked(micros: int, precision: str) -> Time | None:
    return Time(micros, precision) if in_range(micros) else None


def _precision(digits: int) -> str:
    if digits == 0:
        return "s"
    return "ms" if digits <= 3 else "us" if digits <= 6 else "ns"
