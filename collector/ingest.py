"""From a reading to the bus, and back with the proof that it is there. Everything that receives goes through here.

What holds at each step, should the process die there: before ``append`` returns, nothing was promised and the sender
sends again; after it, everything is durable, and a repeat has the same event ids.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from collector.assemble import DEFAULT_RETENTION_CLASS, Stamp, assemble, count_events
from collector.gateways import Format, Reading, Received, Unit
from collector.routes import Accepted, Stored, StoredEvent
from collector.sealing import Batch, Sealing, prepare
from schemas.errors import Unavailable
from schemas.event import Event
from stores.bus import Bus, Outgoing, Position
from stores.keys import Keys

log = logging.getLogger(__name__)

THREADS = 2
"""Threads that parse, assemble and seal: one for the large body that takes a second, one for everybody else."""

CHUNK_EVENTS = 2048
"""A large body is sealed and appended in steps, so that its memory is bounded and others get their turn."""

MAX_IN_FLIGHT_BYTES = 128 * 1024 * 1024
"""Bytes of bodies between their first byte and the acknowledgement. Beyond it, senders are told to come back."""

INLINE_BYTES = 64 * 1024
"""A smaller body is parsed and sealed on the event loop, in a few milliseconds. A thread would not be faster: hashing
and compression let go of the interpreter lock at every call, and each time wait behind the loop to get it back."""

ReportGap = Callable[[str, Sequence[range]], Awaitable[None]]
"""``(collector id, sequence numbers)``."""

T = TypeVar("T")


class Ingest:
    """Seals readings and appends them to the bus.

    Args:
        bus, keys: where to and under which keys.
        collector_id: names this process instance in every event; a restart must use another.
        retention_class: of events for which no rule says otherwise.
        max_in_flight: bytes accepted and not yet acknowledged, over all senders.
        report_gap: told of sequence numbers that went to events whose append failed, once the bus takes events again,
            so that a gap in an instance's numbers is never without an explanation.
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
    ) -> None:
        self._bus = bus
        self._sealing = Sealing(keys)
        self._collector_id = collector_id
        self._retention_class = retention_class
        self._sequence = 0
        self._report_gap = report_gap
        self._gaps: list[range] = []
        self._threads = ThreadPoolExecutor(THREADS, "ingest")
        self.budget = Budget(max_in_flight)

    async def accept(self, reading: Reading, received: Received) -> list[Accepted]:
        """Store a reading; return, once it is durable, what became of each of its units.

        Raises:
            Unavailable: the bus or the keys cannot be had. Each event may or may not be stored; send again.
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
            reading, received = _read(body, source, received)
        else:
            reading, received = await self.in_thread(lambda: _read(body, source, received))
        return Stored(reading, await self.accept(reading, received))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run CPU work beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Release the threads. The bus and the keys belong to the caller."""
        self._threads.shutdown()

    async def _accept_chunk(self, reading: Reading, received: Received, start: int, stop: int) -> list[Accepted]:
        size = count_events(reading.units[start:stop], reading.error)
        numbers = range(self._sequence, self._sequence + size)
        self._sequence = numbers.stop
        stamp = Stamp(self._collector_id, numbers.start, self._retention_class)
        try:
            events, messages = await self._seal(reading, received, stamp, start, stop)
            positions = await self._bus.append(messages)
        except BaseException:
            self._gaps.append(numbers)
            raise
        await self._explain_gaps()
        return _accepted(start, events, positions)

    async def _seal(
        self, reading: Reading, received: Received, stamp: Stamp, start: int, stop: int
    ) -> tuple[list[list[Event]], list[Outgoing]]:
        """Assemble and seal: a small batch on the event loop but for its keys, a large one on a thread."""

        def assembled() -> tuple[list[list[Event]], Batch]:
            events = assemble(reading, received, stamp, start, stop)
            return events, prepare([event for own in events for event in own])

        def sealed() -> tuple[list[list[Event]], list[Outgoing]]:
            events, batch = assembled()
            return events, self._sealing.seal_batch(batch, self._sealing.subject_keys(batch))

        if sum(len(unit.source) for unit in reading.units[start:stop]) >= INLINE_BYTES:
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
    """Ranges of units of about :data:`CHUNK_EVENTS` events: what is sealed and appended in one go."""
    start, events = 0, 0
    for index, unit in enumerate(reading.units):
        events += count_events((unit,), reading.error)
        if events >= CHUNK_EVENTS:
            yield start, index + 1
            start, events = index + 1, 0
    if events:
        yield start, len(reading.units)


def with_hash(received: Received, body: bytes) -> Received:
    """``received`` with the SHA-256 of its body."""
    return replace(received, body_sha256=hashlib.sha256(body).hexdigest())


def _read(body: bytes, source: Format, received: Received) -> tuple[Reading, Received]:
    received = with_hash(received, body)
    try:
        return source.read(body, received), received
    except Exception as error:
        log.exception("format %s failed on the body with SHA-256 %s", source.name, received.body_sha256)
        reason = f"internal error of format {source.name}: {type(error).__name__}"
        return Reading([Unit(body, error=reason)], error=reason), received


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
        stored = []
        for event in events:
            place = next(places)
            stored.append(StoredEvent(event.event_id, event.kind, place.shard, place.offset))
        unparsed = events[0].kind == "unparsed"
        accepted.append(Accepted(index, tuple(stored), events[0].metadata["error_message"] if unparsed else ""))
    return accepted
