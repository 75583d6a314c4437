"""The collector's spool: what was acknowledged while the bus was away waits here, on the local disk. The words.

:class:`stores.bus.spool.bus.SpoolingBus` is what to use: a bus that answers while the one behind it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

BusState = Literal["up", "down", "misconfigured"]
"""``misconfigured``: it will not take the messages before a person has changed something."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """When the spool stops taking messages. It never drops one.

    Attributes:
        max_bytes: of messages as they lie in the file, which is a few per cent larger, apart from its log (64 MB).
        max_age_seconds: how old the oldest message may become. Older ones are kept, and raise an alarm.
        max_message_bytes: what the bus takes as one message: key, value and headers. A larger one is refused rather
            than acknowledged, for it could never be delivered. ``None``: any.
    """

    max_bytes: int
    max_age_seconds: float
    max_message_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SpoolSnapshot:
    """The spool at one moment.

    Attributes:
        records: messages that the bus has not acknowledged yet.
        bytes: what they take up, in the measure of :attr:`SpoolLimits.max_bytes`; includes messages that the bus has,
            and that could not be removed from the file yet.
        oldest_ms: when the oldest of them was spooled, milliseconds since 1970 UTC; ``None`` when there is none.
        draining: the bus takes messages again, and there are some left.
        bus_state: as of the last attempt.
        last_error: name of the class of what the last failed attempt raised; ``""`` while all is well.
        spooled_total, drained_total, refused_total: messages put into the spool, moved from it to the bus, and turned
            away with ``Unavailable``, since this process began.
    """

    records: int = 0
    bytes: int = 0
    oldest_ms: int | None = None
    draining: bool = False
    bus_state: BusState = "up"
    last_error: str = ""
    spooled_total: int = 0
    drained_total: int = 0
    refused_total: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which messages were spooled, told when the last of them is on the bus.

    Attributes:
        from_ms: when the first was spooled, milliseconds since 1970 UTC.
        to_ms: when the last was moved to the bus.
        records: how many were moved.
        reason: name of the class of the first error, ``""`` if a process that is gone had spooled them.
    """

    from_ms: int
    to_ms: int
    records: int
    reason: str = ""


class PendingKeys(Protocol):
    """Keys that were made while the control database was away: nothing sealed under them may be on the bus before they
    are in the database. Any thread may call."""

    def unregistered(self) -> int:
        """How many there are; from memory, so that an event loop may ask."""
        ...

    def register(self) -> int:
        """Make all of them durable in the control database; return how many there were. Blocks.

        Raises:
            Unavailable: the database is away; none, some or all of them are in it.
        """
        ...
