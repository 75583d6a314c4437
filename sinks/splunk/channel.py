"""One connection to HEC with the channel that is its own, and the acknowledgements that are due on it.

Splunk counts acknowledgement ids per channel, keeps them in the memory of one indexer, and says ``true`` once. So a
channel is used by one request at a time, its balancer's cookie is kept with it, and when either changes under it
(another cookie, ids that begin again) what was pending on it is lost at once and not after minutes.
"""

from __future__ import annotations

import logging
import threading
import uuid
import zlib
from collections.abc import Callable

import httpx

from sinks.splunk.config import HecConfig
from sinks.splunk.flight import Ticket
from sinks.splunk.verdict import Busy, Stuck, Taken, Verdict, judge, judge_acks

log = logging.getLogger(__name__)

EVENT_PATH = "/services/collector/event"
ACK_PATH = "/services/collector/ack"
HEALTH_PATH = "/services/collector/health"
CHANNEL_HEADER = "X-Splunk-Request-Channel"

MOST_ASKED = 10_000
"""Acknowledgement ids in one question; Splunk's bound on open ones per channel is 1,000,000."""

_FASTEST = 1
_GZIP = 31


class Channel:
    """Used by one thread at a time for sending; acknowledgements may be polled from any.

    Args:
        config: the collector.
        client: keeps the connection and its cookies; of this channel alone.
        monotonic: seconds.
    """

    def __init__(self, config: HecConfig, client: httpx.Client, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._client = client
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._pending: dict[int, Ticket] = {}
        self._polled = monotonic()
        self._name = str(uuid.uuid4())

    def send(self, body: bytes) -> Verdict:
        """Send one request; whatever may go wrong on the way is :class:`~sinks.splunk.verdict.Busy`."""
        headers = self._headers() | {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        compressor = zlib.compressobj(_FASTEST, wbits=_GZIP)
        try:
            answer = self._client.post(
                self._config.url + EVENT_PATH,
                content=compressor.compress(body) + compressor.flush(),
                headers=headers,
            )
        except httpx.HTTPError as error:
            return Busy(f"{type(error).__name__}: {error}"[:300])
        self._look_at_cookies(answer)
        return judge(answer.status_code, answer.content, answer.headers.get("retry-after", ""))

    def expect(self, verdict: Taken, ticket: Ticket) -> Stuck | None:
        """Note what an acknowledgement is due for. Not a word of Splunk's about one is no delivery."""
        if self._config.ack != "required":
            ticket.confirmed = self._config.ack == "none"
            return None
        if verdict.ack_id is None:
            return Stuck(
                "HEC took events and promised no acknowledgement: turn indexer acknowledgement on for the token, or "
                "set splunk.ack to none or reconcile"
            )
        with self._lock:
            if self._pending and verdict.ack_id <= max(self._pending):
                self._lose("its acknowledgement ids begin again")
            self._pending[verdict.ack_id] = ticket
        return None

    def poll(self) -> Stuck | None:
        """Ask for the acknowledgements that are due, if it is time to and nobody else is asking."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self._monotonic() - self._polled < self._config.poll_seconds:
                return None
            self._polled = self._monotonic()
            self._pending = {number: one for number, one in self._pending.items() if not one.lost}
            return self._ask(list(self._pending)[:MOST_ASKED]) if self._pending else None
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, ids: list[int]) -> Stuck | None:
        try:
            answer = self._client.post(self._config.url + ACK_PATH, json={"acks": ids}, headers=self._headers())
        except httpx.HTTPError as error:
            log.warning("splunk: acknowledgements cannot be asked for: %s", type(error).__name__)
            return None
        found = judge_acks(answer.status_code, answer.content)
        if isinstance(found, Stuck):
            return found
        if isinstance(found, Busy):
            log.warning("splunk: acknowledgements: %s", found.reason)
            return None
        for number, said in found.items():
            if said and number in self._pending:
                self._pending.pop(number).confirmed = True
        return None

    def _look_at_cookies(self, answer: httpx.Response) -> None:
        """A balancer that sets another cookie sends us to another indexer, which knows nothing of what is pending."""
        sent = answer.request.headers.get("cookie", "")
        held = dict(part.strip().partition("=")[::2] for part in sent.split(";") if "=" in part)
        if any(held.get(name, value) != value for name, value in answer.cookies.items()):
            with self._lock:
                self._lose("the balancer sent us to another indexer")

    def _lose(self, why: str) -> None:
        """Within the lock. The name stays: what was sent just now is counted under it, from the beginning."""
        if self._pending:
            log.warning("splunk: %d requests on channel %s are lost: %s", len(self._pending), self._name, why)
        for ticket in self._pending.values():
            ticket.lost = True
        self._pending.clear()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Splunk {self._config.token.get()}", CHANNEL_HEADER: self._name}
