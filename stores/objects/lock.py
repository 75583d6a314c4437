"""The lock of a local object: its retention date and hold flag, as one line of JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.errors import RetentionLocked


class ObjectLock(NamedTuple):
    """Until when (UTC) an object may not be deleted, and whether a hold forbids it beyond any date."""

    retain_until: datetime | None = None
    hold: bool = False

    def merged(self, other: ObjectLock) -> ObjectLock:
        """The stricter of both."""
        dates = [date for date in (self.retain_until, other.retain_until) if date is not None]
        return ObjectLock(max(dates, default=None), self.hold or other.hold)

    def refuse(self, key: str, now: datetime) -> None:
        """Refuse that the object be deleted or replaced.

        Raises:
            RetentionLocked: it is held, or its date lies behind ``now``.
        """
        if self.hold:
            raise RetentionLocked(f"object {key}: is held; the hold must be released first")
        if self.retain_until is not None and now < self.retain_until:
            raise RetentionLocked(f"object {key}: is locked until {self.retain_until.isoformat()}")


FREE = ObjectLock()

UNREADABLE = ObjectLock(hold=True)
"""What a lock that does not parse reads as: ambiguity means held."""


def format_lock(lock: ObjectLock) -> bytes:
    """One line of JSON; the date in UTC with microseconds."""
    until = lock.retain_until and lock.retain_until.astimezone(UTC).isoformat(timespec="microseconds")
    return json.dumps({"retain_until": until, "hold": lock.hold}).encode() + b"\n"


def parse_lock(data: bytes) -> ObjectLock:
    """Read what :func:`format_lock` wrote; anything else is :data:`UNREADABLE`."""
    try:
        fields = json.loads(data)
        until = fields["retain_until"]
        lock = ObjectLock(None if until is None else datetime.fromisoformat(until), fields["hold"])
        return lock if format_lock(lock) == data else UNREADABLE
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return UNREADABLE
