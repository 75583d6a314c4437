"""A parcel, sent until Splunk took each of its events, or convicted it alone.

HEC refuses a whole request for one bad event. The accused one is sent by itself: only an event that is refused alone,
and twice, is rejected, whatever number Splunk gave. A dead letter weighs more than a request. All others go again
without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from sinks.splunk.channel import Channel
from sinks.splunk.config import HecConfig
from sinks.splunk.envelope import Piece, encode, without_fields
from sinks.splunk.flight import Ticket
from sinks.splunk.pace import Pace
from sinks.splunk.parcels import Parcel
from sinks.splunk.verdict import BadEvent, Busy, Stuck, Taken, TooLarge

LEAST_BYTES = 4096
"""An event that is still too large at this size is rejected."""


@dataclass(slots=True)
class Posted:
    """What became of a parcel. With a ``failure`` some of it may be in neither of the other two."""

    tickets: list[Ticket] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    failure: Busy | Stuck | None = None


class Post:
    """Sends one parcel over one channel. From one thread."""

    def __init__(self, config: HecConfig, channel: Channel, pace: Pace, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._channel = channel
        self._pace = pace
        self._monotonic = monotonic
        self._posted = Posted()

    def send(self, parcel: Parcel) -> Posted:
        """Send all of it, as far as Splunk takes it."""
        waiting = [parcel]
        while waiting and self._posted.failure is None:
            waiting += reversed(self._send(waiting.pop()))
        return self._posted

    def _send(self, parcel: Parcel) -> list[Parcel]:
        """Send one request; returns the parcels that are to go in its place, the first one first."""
        verdict = self._channel.send(parcel.body)
        match verdict:
            case Taken():
                self._took(parcel, verdict)
                return []
            case BadEvent():
                return self._without_the_bad(parcel, verdict)
            case TooLarge(reason):
                return list(parcel.halves()) if len(parcel.pieces) > 1 else self._smaller(parcel, reason)
            case Busy() | Stuck():
                self._pace.slower()
                self._posted.failure = verdict
                return []
        assert_never(verdict)

    def _took(self, parcel: Parcel, verdict: Taken) -> None:
        if verdict.slow:
            self._pace.slower()
        else:
            self._pace.faster()
        now = self._monotonic()
        deadline = now + self._config.ack_seconds if self._config.ack == "required" else float("inf")
        ticket = Ticket(tuple(piece.offset for piece in parcel.pieces), now, deadline)
        self._posted.failure = self._channel.expect(verdict, ticket)
        if self._posted.failure is None:
            self._posted.tickets.append(ticket)

    def _without_the_bad(self, parcel: Parcel, verdict: BadEvent) -> list[Parcel]:
        if len(parcel.pieces) > 1:
            at = verdict.at
            if at is None or not 0 <= at < len(parcel.pieces):
                return list(parcel.halves())
            # Halves and not the whole rest: a number that is wrong again and again would make of this a square.
            rest = parcel.without(at)
            accused = Parcel(parcel.pieces[at : at + 1])
            return [accused, *(rest.halves() if len(rest.pieces) > 1 else (rest,))]
        piece = parcel.pieces[0]
        if not piece.suspect:
            return [_again(piece)]
        if verdict.fields and not piece.bare:
            return [Parcel((without_fields(piece, self._config),))]
        self._posted.rejected[piece.offset] = verdict.reason
        return []

    def _smaller(self, parcel: Parcel, reason: str) -> list[Parcel]:
        """The event with less of its content."""
        piece = parcel.pieces[0]
        if not piece.suspect:
            return [_again(piece)]
        limit = len(piece.data) // 2
        shorter = (
            encode(piece.description, self._config, resend=piece.resend, limit=limit) if limit >= LEAST_BYTES else None
        )
        if shorter is None:
            self._posted.rejected[piece.offset] = f"{reason}: {len(piece.data)} bytes are too many, even shortened"
            return []
        return [Parcel((shorter,))]


def _again(piece: Piece) -> Parcel:
    return Parcel((piece._replace(suspect=True),))
