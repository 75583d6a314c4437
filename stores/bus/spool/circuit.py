"""When to try a bus again that did not answer, and with how much. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import Unavailable
from stores.bus.spool import BusState

LEAST_RECORDS = 1
MOST_RECORDS = 4096
"""Messages of one attempt: one row (at most 256) after a failure, then four times as many each time. What fails without
an answer may be on the bus already and is sent again, so the first attempts are small."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to try a bus that is away, and for how long. All in seconds.

    Attributes:
        first, longest: the pause after a failure, and what it grows to, doubling each time.
        patience: how long the bus may take for a batch, which is larger than what anybody appends. A bound of the bus
            itself may come earlier.
    """

    first: float = 0.5
    longest: float = 10.0
    patience: float = 30.0


class Circuit:
    """Remembers how the last attempts went. For one thread.

    Attributes:
        state: what is known of the bus.
        error: what the last attempt raised; ``None`` after a success.
        records: how many messages to try with next.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._failures = 0
        self.state: BusState = "up"
        self.error: BaseException | None = None
        self.records = LEAST_RECORDS

    @property
    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        if not self._failures:
            return 0.0
        return min(self._pace.longest, self._pace.first * 2.0 ** min(self._failures - 1, 30))

    def fail(self, error: BaseException) -> bool:
        """An attempt failed; true if that is news, to be reported."""
        state: BusState = "down" if isinstance(error, Unavailable) else "misconfigured"
        news = state != self.state or (state == "misconfigured" and str(error) != str(self.error))
        self._failures += 1
        self.state, self.error, self.records = state, error, LEAST_RECORDS
        return news

    def hear(self, error: BaseException) -> bool:
        """Somebody else's attempt failed, which says nothing about when to try next; true if that is news."""
        if self.error is not None:
            return False
        failures = self._failures
        news = self.fail(error)
        self._failures = max(1, failures)
        return news

    def succeed(self) -> bool:
        """An attempt succeeded; true if that is news."""
        news = self.state != "up"
        self._failures = 0
        self.state, self.error = "up", None
        self.records = min(MOST_RECORDS, self.records * 4)
        return news
