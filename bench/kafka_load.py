"""Senders over HTTP: threads that post bodies at a rate, or as fast as answers come, and note each acknowledgement.

What is not acknowledged is sent again, to the next collector, as gateways do; the clock of a request runs from the
moment it was due, so that a sender which waits for one answer does not hide the wait of the next.
"""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

PATIENCE = 30.0
"""Seconds for one answer."""

AGAIN = 0.02
"""Seconds until the next try."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One acknowledgement.

    Attributes:
        due, ended: when the request was to begin, and when its 200 was read; of ``time.perf_counter``.
        events: how many it covers.
        placed: highest offset on each shard, if places are noted.
        spooled: whether some of it waits in a spool for its place.
        ids: event ids, if places are noted.
    """

    due: float
    ended: float
    events: int
    placed: dict[str, int] = field(default_factory=dict)
    spooled: bool = False
    ids: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent.

    Attributes:
        token: bearer token.
        bodies: sent in turn, each with ``batch`` events.
        path: route of the collector.
        rate: events a second of all senders together; ``None``: each sends as soon as it has its answer.
        places: whether the answers are parsed for places and ids, which costs the client time.
    """

    token: str
    bodies: Sequence[bytes]
    batch: int
    path: str = "/v1/events"
    rate: float | None = None
    places: bool = False
    senders: int = 4


class Sender(Protocol):
    """One connection: sends a body that was due, and waits for its acknowledgement."""

    def __call__(self, url: str, body: bytes, due: float) -> Answer | None:
        """Send; ``None`` when it was not acknowledged and may be sent again."""

    def close(self) -> None:
        """Close the connection."""


class Load:
    """Senders that run while the context lasts.

    Args:
        traffic: what is sent.
        urls: collectors to send to: to one until it fails, then to the next.
        sender: makes the connection of each; HTTP when left out.
    """

    def __init__(
        self, traffic: Traffic, urls: Sequence[str], sender: Callable[[Traffic], Sender] | None = None
    ) -> None:
        self._sender = sender or Post
        self.urls = list(urls)
        self.answers: list[Answer] = []
        self.failures: list[BaseException] = []
        self.refused = 0
        self._traffic = traffic
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(at,)) for at in range(traffic.senders)]

    def __enter__(self) -> Self:
        self.begun = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.perf_counter() - self.begun
        if self.failures and error is None:
            raise self.failures[0]

    def stop_soon(self) -> None:
        """Begin no further request; what is under way is not sent again."""
        self._stop.set()

    @property
    def events(self) -> int:
        """Acknowledged so far."""
        return sum(answer.events for answer in list(self.answers))

    def since(self, when: float) -> list[Answer]:
        """Answers to requests that were due, or had not been answered, at that time."""
        return [answer for answer in list(self.answers) if answer.ended >= when]

    def _run(self, at: int) -> None:
        try:
            self._send(at)
        except BaseException as error:
            self.failures.append(error)

    def _send(self, at: int) -> None:
        traffic, pause = self._traffic, 0.0
        if traffic.rate is not None:
            pause = traffic.senders * traffic.batch / traffic.rate
        post = self._sender(traffic)
        due, turn = self.begun + pause * at / traffic.senders, at
        while not self._stop.is_set():
            if pause:
                self._stop.wait(max(0.0, due - time.perf_counter()))
            else:
                due = time.perf_counter()
            answer = None
            while answer is None and not self._stop.is_set():
                answer = post(self.urls[at % len(self.urls)], traffic.bodies[turn % len(traffic.bodies)], due)
                if answer is None:
                    self.refused += 1
                    at += 1
                    self._stop.wait(AGAIN)
            if answer is not None:
                self.answers.append(answer)
            due += pause
            turn += traffic.senders
        post.close()


class Post:
    """One sender's connection."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        kind = "application/json" if traffic.path == "/v1/litellm" else "application/x-ndjson"
        self._headers = {"Authorization": f"Bearer {traffic.token}", "Content-Type": kind}
        self._url, self._connection = "", http.client.HTTPConnection("")

    def __call__(self, url: str, body: bytes, due: float) -> Answer | None:
        """Send; ``None`` when it was not acknowledged and may be sent again."""
        try:
            if url != self._url:
                self.close()
                self._url, self._connection = url, http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
            self._connection.request("POST", self._traffic.path, body, self._headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        ended = time.perf_counter()
        if response.status == 503:
            return None
        if response.status != 200:
            raise RuntimeError(f"got {response.status}: {text[:300]!r}")
        if not self._traffic.places:
            return Answer(due, ended, self._traffic.batch)
        return _answer(due, ended, self._traffic.batch, text)

    def close(self) -> None:
        self._connection.close()
        self._url = ""


def _answer(due: float, ended: float, events: int, text: bytes) -> Answer:
    items = json.loads(text)["items"]
    placed: dict[str, int] = {}
    for item in items:
        if (place := item["position"]) is not None:
            placed[place["shard"]] = max(placed.get(place["shard"], -1), place["offset"])
    spooled = any(item["position"] is None for item in items)
    return Answer(due, ended, events, placed, spooled, tuple(item["event_id"] for item in items))


def send_for(
    seconds: float, traffic: Traffic, urls: Sequence[str], sender: Callable[[Traffic], Sender] | None = None
) -> Load:
    """Send for so long; the load, when all answers are there."""
    with Load(traffic, urls, sender) as load:
        time.sleep(seconds)
    return load


def p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
