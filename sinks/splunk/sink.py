"""The Splunk sink: messages in, one event per record in an index. At least once, nothing missing.

A batch goes through four steps; after each, what is true if we die there:

1. *Open and encode* what is neither under way nor confirmed. Nothing has changed.
2. *Send* it, several requests at a time, each over a channel of its own. Splunk has some of it; the position stands
   before the batch, so the next process sends it again. What was sent is tallied here by shard and offset.
3. *Accept*: every record was taken or rejected. The runner writes the dead letters of the rejected, then settles.
4. *Settle*: move the position behind what is confirmed, by compare-and-swap. Only here does anything count as
   delivered; a process that dies before it repeats what is behind the position, and ``dc(affidavit_offset)`` tells.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import Empty, LifoQueue

import httpx

from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from schemas.parts import CONTENT, METADATA
from sinks.contract import Accepted, Limits, Outcome, Pause, Retry, Wait
from sinks.description import describe
from sinks.identity import entry_commitments
from sinks.kept import Cursors, KeptPosition, Mark
from sinks.opening import Fetch, Opening
from sinks.splunk import health
from sinks.splunk.channel import Channel
from sinks.splunk.config import HecConfig
from sinks.splunk.envelope import Piece, encode
from sinks.splunk.flight import Flight
from sinks.splunk.pace import Pace
from sinks.splunk.parcels import Parcel, pack
from sinks.splunk.post import Post, Posted
from sinks.splunk.search import SplunkSearch, blocks_of
from sinks.splunk.verdict import Busy, Stuck
from stores.bus import Message
from stores.keys import Keys

log = logging.getLogger(__name__)

STUCK_SECONDS = 15.0
"""How often it is looked whether a person has acted."""

AT_A_TIME = 500
"""Records that are made before they are sent: about a request of them."""

NOT_SENT = Busy("not sent, for another request failed")


class _Way:
    """What is known of one shard."""

    def __init__(self, shard: Shard, cursors: Cursors, name: str, opening: Opening) -> None:
        self.position = KeptPosition(cursors, name, shard)
        self.flight = Flight()
        self.opening = opening
        self.settled: Offset | None = None
        self.due: Mark | None = None
        self.searched = float("-inf")
        self.failed = False


class SplunkSink:
    """Implements :class:`sinks.contract.Sink`, :class:`~sinks.contract.Settling`, :class:`~sinks.contract.Remembering`.

    Args:
        config: the collector.
        keys: subject keys, to open the parts.
        cursors: where the positions are.
        fetch: from the address of a part that is too large for the bus to its ciphertext.
        search: asked for what arrived, where ``config.ack`` is ``reconcile``.
        linger: seconds that the runner waits for a larger batch.
        connect: makes the HTTP client of a channel.
        monotonic: seconds.
    """

    name = "splunk"
    topics: tuple[str, ...] = (EVENTS, CONTROL)

    def __init__(
        self,
        config: HecConfig,
        keys: Keys,
        cursors: Cursors,
        *,
        fetch: Fetch | None = None,
        search: SplunkSearch | None = None,
        linger: float = 1.0,
        connect: Callable[[HecConfig], httpx.Client] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.ack == "reconcile" and search is None:
            raise ConfigurationError("splunk.ack is reconcile: set splunk.search_url and splunk.search_token")
        self.limits = Limits(max_records=5_000, max_bytes=16 << 20, linger=linger)
        self._config = config
        self._keys = keys
        self._cursors = cursors
        self._fetch = fetch
        self._search = search
        self._connect = connect or health.connect
        self._monotonic = monotonic
        self._pace = Pace(config.concurrency, monotonic)
        self._pool = ThreadPoolExecutor(config.concurrency, thread_name_prefix="splunk-post")
        self._channels: list[Channel] = []
        self._free: LifoQueue[Channel] = LifoQueue()
        self._lock = threading.Lock()
        self._ways: dict[Shard, _Way] = {}
        self._stuck: Stuck | None = None

    def open(self) -> None:
        """Nothing is asked of Splunk: whether it can be reached changes, and then a shard waits, and nothing fails.

        Raises:
            ConfigurationError: files for TLS that are not there, or not what they should be.
        """
        self._config.tls.context()

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=True)
        for channel in self._channels:
            channel.close()
        if self._search is not None:
            self._search.close()

    def resume(self, shard: Shard, start: Offset) -> Offset:
        """See :meth:`sinks.contract.Sink.resume`."""
        way = self._way(shard)
        mark = way.position.read()
        way.settled, way.due = mark.offset if mark is not None else start, None
        way.flight.begin(way.settled)
        return way.settled

    def last(self, shard: Shard, offset: Offset) -> bytes | None:
        """See :meth:`sinks.contract.Remembering.last`."""
        mark = KeptPosition(self._cursors, self.name, shard).read()
        return mark.last if mark is not None and mark.offset == offset + 1 else None

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        """See :meth:`sinks.contract.Sink.deliver`."""
        way = self._way(shard)
        if way.flight.position is None:
            self.resume(shard, batch[0].offset)
        lacking = [message for message in batch if way.flight.lacks(message.offset)]
        if lacking and way.flight.under_way + len(lacking) > max(self._config.max_unconfirmed, len(lacking)):
            return Wait(f"{way.flight.under_way} records are under way and not confirmed")
        if (stuck := self._stuck) is not None:
            self._stuck = None
            return Pause(stuck.reason, STUCK_SECONDS)
        posted = self._post(way, lacking)
        for one in posted:
            way.flight.rejected |= one.rejected
            for ticket in one.tickets:
                way.flight.took(ticket)
        failures = [one.failure for one in posted if one.failure is not None]
        busy = [one for one in failures if isinstance(one, Busy)]
        if len(busy) < len(failures):
            return Pause(next(one.reason for one in failures if isinstance(one, Stuck)), STUCK_SECONDS)
        if busy:
            first = next((one for one in busy if one is not NOT_SENT), NOT_SENT)
            return Retry(first.reason, max(one.after for one in busy))
        return Accepted(way.flight.accept(batch[0].offset, _mark(batch[-1])))

    def settle(self, shard: Shard) -> Offset | None:
        """See :meth:`sinks.contract.Settling.settle`."""
        way = self._way(shard)
        self._ask(way, shard)
        mark, lost = way.flight.settle(self._monotonic())
        way.due = mark or way.due
        if way.due is not None:
            if not way.position.move(way.due):
                return None
            way.settled, way.due = way.due.offset, None
        return None if lost else way.settled

    def _ask(self, way: _Way, shard: Shard) -> None:
        """Ask Splunk for what it confirms."""
        if self._config.ack == "required":
            for channel in tuple(self._channels):
                self._stuck = channel.poll() or self._stuck
        elif self._search is not None and (tickets := way.flight.tickets):
            asked = self._monotonic()
            if asked - way.searched < self._config.poll_seconds:
                return
            way.searched = asked
            try:
                found = self._search.offsets(shard, blocks_of(one for ticket in tickets for one in ticket.offsets))
            except ConfigurationError as error:
                self._stuck = Stuck(str(error))
                return
            way.flight.compare(found.__contains__, asked - self._config.ack_seconds)

    def _post(self, way: _Way, lacking: Sequence[Message]) -> list[Posted]:
        """Open, encode and send the records that lack, some at a time: while Splunk takes the ones, the next are made.
        After a failure nothing more is made before Splunk has answered well, so that one that is away costs the others
        in this process little."""
        failed = threading.Event()
        posted: list[Posted] = []
        sent: list[Future[Posted]] = []
        for start in range(0, len(lacking), AT_A_TIME):
            try:
                pieces, refused = self._pieces(way, lacking[start : start + AT_A_TIME])
            except Unavailable as error:
                posted.append(Posted(failure=Busy(str(error), error.retry_after)))
                break
            posted.append(refused)
            now = [self._pool.submit(self._send, one, failed) for one in pack(pieces, self._config.max_body_bytes)]
            sent += now
            if way.failed:
                wait(now)
            if failed.is_set():
                break
        posted += [one.result() for one in sent]
        way.failed = failed.is_set()
        return posted

    def _pieces(self, way: _Way, messages: Sequence[Message]) -> tuple[list[Piece], Posted]:
        """The events of records; what is too large even when shortened is rejected here."""
        records, keys = way.opening.records(messages)
        pieces, refused = [], Posted()
        for message, record in zip(messages, records, strict=True):
            description = describe(message, way.opening.open(message, record, keys))
            piece = encode(description, self._config, resend=message.offset < way.flight.reached)
            if piece is None:
                refused.rejected[message.offset] = (
                    f"the event has more than splunk.max_event_bytes ({self._config.max_event_bytes}) even with its "
                    "content shortened"
                )
            else:
                pieces.append(piece)
        return pieces, refused

    def _send(self, parcel: Parcel, failed: threading.Event) -> Posted:
        """Send one parcel, unless another of the batch has failed: a Splunk that is away is not asked sixteen times."""
        with self._pace.one():
            if failed.is_set():
                return Posted(failure=NOT_SENT)
            try:
                channel = self._channel()
            except ConfigurationError as error:
                failed.set()
                return Posted(failure=Stuck(str(error)))
            try:
                posted = Post(self._config, channel, self._pace, self._monotonic).send(parcel)
            finally:
                self._free.put(channel)
            if posted.failure is not None:
                failed.set()
            return posted

    def _channel(self) -> Channel:
        """The channel that was used last, so that few are open while few are needed."""
        try:
            return self._free.get_nowait()
        except Empty:
            channel = Channel(self._config, self._connect(self._config), self._monotonic)
            with self._lock:
                self._channels.append(channel)
            return channel

    def _way(self, shard: Shard) -> _Way:
        with self._lock:
            way = self._ways.get(shard)
            if way is None:
                opening = Opening(self._keys, self._fetch, parts=(METADATA, CONTENT))
                way = self._ways[shard] = _Way(shard, self._cursors, self.name, opening)
            return way


def _mark(message: Message) -> Mark:
    commitments = entry_commitments(message.commitments, message.key, message.value, message.headers)
    return Mark(Offset(message.offset + 1), commitments)
