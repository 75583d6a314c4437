"""From a reading to the bus, and back with the proof that it is there. Everything that receives goes through here.

What holds at each step, should the process die there: before ``append`` returns, nothing was promised and the sender
sends again; after it, everything is durable, on the bus or in this collector's spool, and a repeat has the same event
ids.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from collector.assemble import DEFAULT_RETENTION_CLASS, Stamp, assemble, count_events
from collector.gateways import Format, Reading, Received
from collector.history import History
from collector.large.blobs import Blobs
from collector.large.spool import Spool, Spools
from collector.reading import OtlpBody, SpooledBody, look_into, read_body, without_bytes
from collector.recall import Prompts, Recall
from collector.routes import Accepted, Stored, StoredEvent
from collector.sealing import Batch, Sealed, Sealing, prepare
from schemas.errors import AffidavitError, Unavailable
from schemas.event import Event
from schemas.ids import EVENTS
from stores.bus import Bus, Position
from stores.keys import Keys

log = logging.getLogger(__name__)

THREADS = 2
"""Threads that parse, assemble and seal: one for the large body that takes a second, one for everybody else."""

CHUNK_EVENTS = 2048
"""A large body is sealed and appended in steps, so that its memory is bounded and others get their turn."""

CHUNK_BYTES = 4 * 1024 * 1024
"""Likewise for few large units."""

LARGE_THREADS = 2
"""Threads for what takes seconds: large bodies and large parts."""

SPOOL_BYTES = 1024 * 1024
"""A body or a unit that is larger is one of those."""

MAX_IN_FLIGHT_BYTES = 128 * 1024 * 1024
"""Bytes of bodies between their first byte and the acknowledgement. Beyond it, senders are told to come back."""

INLINE_BYTES = 64 * 1024
"""A smaller body is parsed and sealed on the event loop, in a few milliseconds. A thread would not be faster: hashing
and compression let go of the interpreter lock at every call, and each time wait behind the loop to get it back."""

WATCH_SECONDS = 10.0
"""How often to ask whether the topic is still the same, before records refer to others on it."""

ReportGap = Callable[[str, Sequence[range]], Awaitable[None]]
"""``(collector id, sequence numbers)``."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counts:
    """What an ingest has done since it was made.

    Attributes:
        collector_id: of this instance.
        settled: every sequence number below this is acknowledged or lost; those above are in flight.
        acknowledged: events, by gateway.
        lost: how many sequence numbers went to events that were not acknowledged: their senders send them again.
    """

    collector_id: str
    settled: int
    acknowledged: Mapping[str, int]
    lost: int


class Ingest:
    """Seals readings and appends them to the bus.

    Args:
        bus, keys: where to and under which keys.
        collector_id: names this process instance in every event; a restart must use another.
        retention_class: of events for which no rule says otherwise.
        max_in_flight: bytes accepted and not yet acknowledged, over all senders.
        report_gap: told of sequence numbers that went to events whose append failed, once the bus takes events again,
            so that a gap in an instance's numbers is never without an explanation.
        history, recall: what this process remembers of recent sessions, so that what is sent again is not stored again.
        spools: where large bodies lie while they are received.
        blobs: takes the parts that are too large for the bus; without it they go to the bus all the same.
    """

    def __init__(
        self,
        bus: Bus,
        keys: Keys,
        *,
        collector_id: str,
        retention_class: str = DEFAULT_RETENTION_CLASS,
        max_in_flight: int = MAX_IN_FLIGHT_BYTES,
        report_gap: ReportGap | None = None,
        history: History | None = None,
        recall: Recall | None = None,
        spools: Spools | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        self._bus = bus
        self._history = history or History()
        self._recall = recall or Recall()
        self._topic: tuple[str, int] | None = None
        self._watch_again = 0.0
        self._sealing = Sealing(keys, self._history, blobs)
        self._collector_id = collector_id
        self._retention_class = retention_class
        self._sequence = 0
        self._report_gap = report_gap
        self._gaps: list[range] = []
        self._in_flight: set[int] = set()
        self._acknowledged: Counter[str] = Counter()
        self._lost = 0
        self._threads = ThreadPoolExecutor(THREADS, "ingest")
        self._large_threads = ThreadPoolExecutor(LARGE_THREADS, "large")
        self._heavy = asyncio.Semaphore()
        self.spools = spools or Spools()
        self.budget = Budget(max_in_flight)

    async def accept(self, reading: Reading, received: Received) -> list[Accepted]:
        """Store a reading; return, once it is durable, what became of each of its units.

        Raises:
            Unavailable: neither the bus nor a spool takes it, or the keys cannot be had. Each event may or may not be
                stored; send again.
        """
        accepted: list[Accepted] = []
        for start, stop in _chunks(reading):
            accepted += await self._accept_chunk(reading, received, start, stop)
        return accepted

    async def accept_body(self, body: bytes, source: Format, received: Received) -> Stored:
        """Read a decompressed body as its format and :meth:`accept` what comes of it.

        A format never raises; should one do so, that is our bug, and the body is recorded as ``unparsed``.
        """
        if len(body) < INLINE_BYTES:
            reading, received = read_body(body, source, received)
        else:
            reading, received = await self.in_thread(lambda: read_body(body, source, received))
        return Stored(reading, await self.accept(reading, received))

    async def accept_spooled(self, body: Spool, source: Format, received: Received) -> Stored:
        """:meth:`accept_body` of a body that lies on disk, which stays the caller's to close. What is large in it is
        never in memory, unless its format can only read it whole. Such bodies are read one at a time, and so are those
        of many units, whose answers take memory.

        Returns:
            the units without their bytes and drafts.
        """
        received = replace(received, body_sha256=body.sha256)
        found = await self.beside(lambda: look_into(body, source, received))
        if found.is_heavy or found.units:
            async with self._heavy:
                return await self._accept_segments(found, source, received)
        return await self._accept_segments(found, source, received)

    async def _accept_segments(self, body: SpooledBody | OtlpBody, source: Format, received: Received) -> Stored:
        stored = Stored(Reading([]), [])
        for segment in body.segments:
            own = replace(received, first_unit=len(stored.reading.units), unit_count=body.units)
            reading = await self.beside(partial(body.read, segment, source, own))
            accepted = await self.accept(reading, own)
            units = stored.reading.units + [without_bytes(unit) for unit in reading.units]
            error = stored.reading.error or reading.error
            stored = Stored(replace(reading, units=units, error=error), [*stored.accepted, *accepted])
        return stored

    def counts(self) -> Counts:
        """What was done so far; for heartbeats. From the event loop that accepts."""
        settled = min(self._in_flight, default=self._sequence)
        return Counts(self._collector_id, settled, dict(self._acknowledged), self._lost)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run CPU work beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def beside(self, work: Callable[[], T]) -> T:
        """Run work of seconds, on large things, beside the event loop and those who wait for :meth:`in_thread`."""
        return await asyncio.get_running_loop().run_in_executor(self._large_threads, work)

    def close(self) -> None:
        """Release the threads. The bus and the keys belong to the caller."""
        self._threads.shutdown()
        self._large_threads.shutdown()

    async def _accept_chunk(self, reading: Reading, received: Received, start: int, stop: int) -> list[Accepted]:
        size = count_events(reading.units[start:stop], reading.error)
        numbers = range(self._sequence, self._sequence + size)
        self._sequence = numbers.stop
        stamp = Stamp(self._collector_id, numbers.start, self._retention_class)
        self._in_flight.add(numbers.start)
        prompts = Prompts(self._recall)
        try:
            events, sealed = await self._seal(reading, received, stamp, start, stop, prompts)
            positions = await self._bus.append(sealed.messages)
        except BaseException:
            self._gaps.append(numbers)
            self._lost += size
            raise
        finally:
            self._in_flight.discard(numbers.start)
        self._acknowledged[received.gateway] += size
        await self._learn(sealed, positions, prompts)
        await self._explain_gaps()
        return _accepted(start + received.first_unit, events, positions)

    async def _learn(self, sealed: Sealed, positions: Sequence[Position], prompts: Prompts) -> None:
        """Remember what is durable now. Whatever becomes of this, only the number of stored bytes depends on it."""
        self._recall.learn(prompts)
        planned = [pair for pair in zip(sealed.plans, positions, strict=True) if pair[0] and not pair[1].spooled]
        same = not planned or await self._is_same_topic()
        if not same:
            self._history.forget()
        for plan, position in planned:
            if plan is not None and (same or plan.manifest is None):
                self._history.learn(plan, position)

    async def _is_same_topic(self) -> bool:
        """Whether the topic is still the one that earlier records are on, with as many shards; asked now and then."""
        if time.monotonic() < self._watch_again:
            return True
        self._watch_again = time.monotonic() + WATCH_SECONDS
        before = self._topic
        try:
            self._topic = await self._bus.identity(EVENTS), len(await self._bus.shards(EVENTS))
        except AffidavitError:  # the events are durable all the same, whatever the bus says now
            self._topic = None
        return self._topic == before

    async def _seal(
        self, reading: Reading, received: Received, stamp: Stamp, start: int, stop: int, prompts: Prompts
    ) -> tuple[list[list[Event]], Sealed]:
        """Assemble and seal: a small batch on the event loop but for its keys, a large one on a thread."""

        def assembled() -> tuple[list[list[Event]], Batch]:
            events = assemble(reading, received, stamp, start, stop, prompts)
            return events, prepare([event for own in events for event in own])

        def sealed() -> tuple[list[list[Event]], Sealed]:
            events, batch = assembled()
            return events, self._sealing.seal_batch(batch, self._sealing.subject_keys(batch))

        units = reading.units[start:stop]
        if any(unit.whole is not None or len(unit.source) >= SPOOL_BYTES for unit in units):
            return await self.beside(sealed)
        if sum(len(unit.source) for unit in units) >= INLINE_BYTES:
            return await self.in_thread(sealed)
        events, batch = assembled()
        keys = await self.in_thread(lambda: self._sealing.subject_keys(batch))
        return events, self._sealing.seal_batch(batch, keys)

    async def _explain_gaps(self) -> None:
        if not self._gaps or self._report_gap is None:
            return
        gaps, self._gaps = self._gaps, []
        try:
            await self._report_gap(self._collector_id, gaps)
        except Unavailable:
            self._gaps = gaps + self._gaps


def _chunks(reading: Reading) -> Iterator[tuple[int, int]]:
    """Ranges of units of about :data:`CHUNK_EVENTS` events or :data:`CHUNK_BYTES`: what is sealed and appended in one
    go."""
    start, events, size = 0, 0, 0
    for index, unit in enumerate(reading.units):
        events += count_events((unit,), reading.error)
        size += len(unit.source)
        if events >= CHUNK_EVENTS or size >= CHUNK_BYTES:
            yield start, index + 1
            start, events, size = index + 1, 0, 0
    if events:
        yield start, len(reading.units)


class Budget:
    """A count of bytes in flight with an upper bound. Used from one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int, *, held: int = 0) -> None:
        """Add ``size`` bytes for somebody who holds ``held`` already.

        Raises:
            Unavailable: that would exceed the bound. Who is alone is let through, so that no body waits for ever.
        """
        if self.used > held and self.used + size > self._limit:
            raise Unavailable(
                f"got {size} bytes more with {self.used} in flight, expected at most {self._limit}; send again later"
            )
        self.used += size

    def give_back(self, size: int) -> None:
        """Remove what :meth:`take` added."""
        self.used -= size


def _accepted(first: int, assembled: Sequence[Sequence[Event]], positions: Sequence[Position]) -> list[Accepted]:
    places = iter(positions)
    accepted = []
    for index, events in enumerate(assembled, first):
        stored = [StoredEvent(event.event_id, event.kind, next(places)) for event in events]
        unparsed = events[0].kind == "unparsed"
        accepted.append(Accepted(index, tuple(stored), events[0].metadata["error_message"] if unparsed else ""))
    return accepted
