"""What the spool holds and whether there is room for more: counted and decided here, without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.errors import LimitExceeded, Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Outgoing, Position
from stores.bus.spool import SpoolLimits
from stores.bus.spool.file import Census, Rows

RETRY_AFTER = 5.0
"""Seconds that a sender is told to stay away from a full spool."""

_HEADERS = 16 + 8 + 1 + len("cidks")
"""Bytes of our headers, apart from the commitments."""


@dataclass(slots=True)
class _Part:
    """A shard of the spool. ``start`` is the first offset that the bus does not have, ``removed`` the first that is
    still in the file."""

    start: int
    removed: int
    end: int
    oldest_ms: int | None


class Backlog:
    """The messages between the spool's front and its end. For one thread.

    Attributes:
        bytes: what lies in the file, in the measure of ``SpoolLimits.max_bytes``.
        putting: appends to the spool that are under way; their bytes are ``putting_bytes``.
    """

    def __init__(self, census: Mapping[Shard, Census]) -> None:
        self._parts = {shard: _Part(one.start, one.start, one.end, one.oldest_ms) for shard, one in census.items()}
        self.bytes = sum(one.size for one in census.values())
        self._moved_bytes = dict.fromkeys(self._parts, 0)
        self.putting = self.putting_bytes = 0

    @property
    def records(self) -> int:
        """Messages that the bus has not acknowledged."""
        return sum(part.end - part.start for part in self._parts.values())

    @property
    def empty(self) -> bool:
        """Whether the bus has everything, and nothing is about to come in."""
        return not self.putting and not self.records

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest message was spooled."""
        return min((part.oldest_ms for part in self._parts.values() if part.oldest_ms is not None), default=None)

    def front(self) -> tuple[Shard, Offset] | None:
        """What to move next."""
        for shard, part in self._parts.items():
            if part.start < part.end:
                return shard, Offset(part.start)
        return None

    def to_remove(self) -> list[tuple[Shard, int]]:
        """What lies in the file and is on the bus: ``(shard, before which offset)``."""
        return [(shard, part.start) for shard, part in self._parts.items() if part.removed < part.start]

    def begin(self, size: int) -> None:
        """An append begins."""
        self.putting += 1
        self.putting_bytes += size

    def end(self, size: int, positions: Sequence[Position]) -> None:
        """It has ended; with no positions, in failure."""
        self.putting -= 1
        self.putting_bytes -= size
        if positions:
            self.bytes += size
        for shard, offset, time_ms in positions:
            part = self._parts[shard]
            part.end = max(part.end, offset + 1)
            if part.oldest_ms is None:
                part.oldest_ms = time_ms

    def move(self, shard: Shard, rows: Rows) -> None:
        """The bus has acknowledged these rows."""
        part = self._parts[shard]
        part.start = rows.end
        self._moved_bytes[shard] += rows.size
        # Rows that came in after these were read are younger; the next reading tells how much.
        part.oldest_ms = rows.next_ms or (part.oldest_ms if part.start < part.end else None)

    def remove(self, shard: Shard, end: int) -> None:
        """The file no longer holds what lies before ``end``, which was the front when this was asked for."""
        self._parts[shard].removed = end
        self.bytes -= self._moved_bytes[shard]
        self._moved_bytes[shard] = 0


def too_old(backlog: Backlog, limits: SpoolLimits, now_ms: int) -> bool:
    """Whether the oldest message has waited for longer than it may."""
    oldest = backlog.oldest_ms
    return oldest is not None and now_ms - oldest > limits.max_age_seconds * 1000


def require_room(backlog: Backlog, limits: SpoolLimits, now_ms: int, size: int = 1) -> None:
    """Refuse ``size`` more bytes.

    Raises:
        Unavailable: they do not fit, or the oldest message is too old.
    """
    held = backlog.bytes + backlog.putting_bytes
    if held + size > limits.max_bytes:
        raise Unavailable(
            f"the bus is away and the spool is full: got {size} bytes more than the {held} it holds, "
            f"expected at most {limits.max_bytes}",
            retry_after=RETRY_AFTER,
        )
    if too_old(backlog, limits, now_ms):
        raise Unavailable(
            f"the bus is away and the oldest message of the spool has waited since {backlog.oldest_ms} ms, "
            f"expected at most {limits.max_age_seconds:g} s",
            retry_after=RETRY_AFTER,
        )


def require_deliverable(messages: Sequence[Outgoing], limits: SpoolLimits) -> None:
    """Refuse what the bus would never take: behind it, everything would wait for ever.

    Raises:
        LimitExceeded: a message is larger than the bus takes.
    """
    if limits.max_message_bytes is None:
        return
    for message in messages:
        size = len(message.key) + len(message.value) + len(message.commitments) + _HEADERS
        if size > limits.max_message_bytes:
            raise LimitExceeded(
                f"got a message of {size} bytes, expected at most {limits.max_message_bytes}, as the bus takes"
            )
