"""What the collector's HTTP side did, counted around its application and its answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from affidavit.monitor.histogram import Distribution, Histogram
from affidavit.monitor.tally import Tally
from collector.http import ROUTE
from collector.routes import Answer, Failed, Outcome, Route
from schemas.errors import AccessDenied, LimitExceeded, MalformedInput, Unavailable

OTHER = "other"
"""Stands for every path that takes no events: paths are what a stranger may choose freely."""

NO_ANSWER = "none"
"""In place of a status class: the request ended before it was answered, because the process stopped."""

REASONS = ("access", "scope", "too_large", "malformed", "encoding", "unavailable", "bug")

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for acknowledgements. The budget is 25 ms, so that is one."""


@dataclass(frozen=True, slots=True)
class ReceptionSnapshot:
    """Everything since the start of the process.

    Attributes:
        requests: by (route, class of the status).
        received_bytes: of bodies, as they came.
        accepted: events, by (kind, gateway format).
        refused: requests, by one of :data:`REASONS`.
        acknowledgement: seconds, by route.
    """

    requests: dict[tuple[str, str], int]
    received_bytes: int
    accepted: dict[tuple[str, str], int]
    refused: dict[str, int]
    acknowledgement: dict[str, Distribution]


class Reception:
    """Counts what a collector receives. Used from its event loop, read from any thread.

    ::

        app = reception.counting(create_app(receiver, reception.counted(http_routes())))

    Args:
        clock: seconds, for how long an answer took.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._requests: Tally[tuple[str, str]] = Tally()
        self._bytes: Tally[str] = Tally([""])
        self._accepted: Tally[tuple[str, str]] = Tally()
        self._refused: Tally[str] = Tally(REASONS)
        self._acknowledgement: dict[str, Histogram] = {}

    def counted(self, routes: Sequence[Route]) -> list[Route]:
        """The routes, with answers that count what they speak of."""
        for route in routes:
            self._acknowledgement |= {path: Histogram(SECONDS) for path in route.paths}
        return [replace(route, answer=self._counted(route)) for route in routes]

    def counting(self, app: ASGIApp) -> ASGIApp:
        """``app``, with its requests counted; the routes must have gone through :meth:`counted`."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            exchange = _Exchange(receive, send, self._clock)
            try:
                await app(scope, exchange.receive, exchange.send)
            finally:
                path = scope.get(ROUTE, scope["path"])
                self.finished(path, exchange.status, exchange.received, exchange.answered - exchange.began)

        return counted

    def snapshot(self) -> ReceptionSnapshot:
        """The counts now."""
        return ReceptionSnapshot(
            self._requests.counts(),
            self._bytes.counts()[""],
            self._accepted.counts(),
            self._refused.counts(),
            {route: histogram.distribution() for route, histogram in self._acknowledgement.items()},
        )

    def _counted(self, route: Route) -> Callable[[Outcome, str], Answer]:
        def answer(outcome: Outcome, media_type: str) -> Answer:
            if isinstance(outcome, Failed):
                self._refused.add(reason_of(outcome))
            else:
                kinds = Counter(event.kind for unit in outcome.accepted for event in unit.events)
                for kind, count in kinds.items():
                    self._accepted.add((kind, route.format.name), count)
            return route.answer(outcome, media_type)

        return answer

    def finished(self, path: str, status: int, received: int, seconds: float) -> None:
        """Count a request, or a call over gRPC.

        Args:
            path: by which it came; any that is not of the table counts as :data:`OTHER`.
            status: of HTTP, or what the answer stands for; 0 when there was none.
            received: bytes of its body.
            seconds: from its beginning to its answer.
        """
        histogram = self._acknowledgement.get(path)
        kind = f"{status // 100}xx" if status else NO_ANSWER
        self._requests.add((OTHER if histogram is None else path, kind))
        if received:
            self._bytes.add("", received)
        if histogram is not None and kind == "2xx":
            histogram.add(seconds)


class _Exchange:
    """One request and its answer, between the server and the application."""

    __slots__ = ("_clock", "_receive", "_send", "answered", "began", "received", "status")

    def __init__(self, receive: Receive, send: Send, clock: Callable[[], float]) -> None:
        self._receive, self._send, self._clock = receive, send, clock
        self.began = self.answered = clock()
        self.received = self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.answered = message["status"], self._clock()
        await self._send(message)


def reason_of(failure: Failed) -> str:
    """Which of :data:`REASONS` it is."""
    match failure.error:
        case AccessDenied():
            return "scope" if failure.status == 403 else "access"
        case LimitExceeded():
            return "too_large"
        case MalformedInput():
            return "encoding" if failure.status == 415 else "malformed"
        case Unavailable():
            return "unavailable"
        case _:
            return "bug"
