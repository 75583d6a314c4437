"""Reading the bus for a sink: one shard, batch by batch, never a record left out."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from schemas.errors import EvidenceIncomplete, InvariantError, LedgerContradiction, Unavailable
from schemas.ids import Offset, Shard
from sinks.budget import Account
from sinks.contract import Limits
from sinks.identity import Identities
from sinks.pace import Backoff, Clock, Stop
from sinks.snapshot import Tally
from stores.bus import Bounds, Bus, Message

T = TypeVar("T")

log = logging.getLogger(__name__)

READ_BYTES = 8 << 20
"""One read of the bus asks for at most this, so that a batch of 64 MB does not stall everything else."""

IDLE_SECONDS = 5.0
"""How long one wait for a first record lasts, and how often the identity of the topic is looked at."""

SLICES = 8
"""While a batch lingers, the bus is read so many times, rather than once per record that arrives."""

SHORTEST_SLICE = 0.001
LONGEST_SLICE = 1.0
"""Seconds: a batch that fills up fast must not wait for its linger to pass."""


class Batch(NamedTuple):
    """Contiguous messages, at least one, and the bytes of their values."""

    messages: list[Message]
    size: int

    @property
    def end(self) -> Offset:
        """The offset behind the last."""
        return Offset(self.messages[-1].offset + 1)


class Reader:
    """Reads one shard for one sink. Repeats what the bus could not do, until the lane stops.

    What it returns is held in ``account``; who has dealt with a batch gives its ``size`` back.

    Attributes:
        until: where to stop, for a stop that drains.
    """

    def __init__(
        self,
        bus: Bus,
        shard: Shard,
        limits: Limits,
        *,
        clock: Clock,
        stop: Stop,
        rng: random.Random,
        tally: Tally,
        account: Account,
        identities: Identities,
    ) -> None:
        self.until = Offset(0)
        self._bus = bus
        self._shard = shard
        self._limits = limits
        self._clock = clock
        self._stop = stop
        self._rng = rng
        self._tally = tally
        self._account = account
        self._identities = identities
        self._looked = 0.0

    async def gather(self, position: Offset) -> Batch | None:
        """The next batch from ``position`` on: full, or ``linger`` seconds old, or what there is when the lane stops.
        ``None`` only when it stops, and nothing is left for it to do.

        A batch is full when another record as large as its largest would not fit: the bus gives at least one record,
        however little was asked for.

        Raises:
            InvariantError, LedgerContradiction: the bus left a gap, or is another one.
            EvidenceIncomplete: ``position`` is no longer on the bus.
        """
        batch: list[Message] = []
        size, largest, closes = 0, 0, 0.0
        try:
            while not self._done(next_offset := Offset(position + len(batch))):
                room = min(self._limits.max_bytes, self._account.share) - size
                if len(batch) >= self._limits.max_records or (batch and room < max(1, largest)):
                    break
                await self._look()
                found, got = await self._read(next_offset, self._limits.max_records - len(batch), min(READ_BYTES, room))
                if found and not batch:
                    closes = self._clock.monotonic() + self._limits.linger
                batch += found
                size += got
                largest = max([largest, *(len(message.value) for message in found)])
                if len(batch) >= self._limits.max_records or room - got < largest:
                    break  # full, or the next record would probably not fit
                if found and await self._more_behind(next_offset + len(found)):
                    continue
                if self._stop.requested:
                    if not found:
                        await self._stop.within(self._record(next_offset))
                elif not batch:
                    await self._stop.first(self._record(next_offset))
                elif (left := closes - self._clock.monotonic()) > 0:
                    slice_ = max(self._limits.linger / SLICES, SHORTEST_SLICE)
                    await self._stop.sleep(min(left, slice_, LONGEST_SLICE))
                else:
                    break
        except BaseException:
            self._account.hold(-size)
            raise
        return Batch(batch, size) if batch else None

    async def extend(self, batch: Batch, until: Offset) -> Batch:
        """The batch with the records up to ``until`` (exclusive), whatever the limits: a batch that was begun before a
        crash has them all on the bus. Fewer when the lane must stop."""
        messages, size = list(batch.messages), batch.size
        while (start := Offset(batch.end + len(messages) - len(batch.messages))) < until:
            more = await self._ask(start, until - start, READ_BYTES)
            if not more and self._stop.over:
                break
            if not more:
                raise InvariantError(f"{self._shard}: the bus ends at {start}, expected {until}: its tail was lost")
            got = _size(more)
            self._account.hold(got)
            messages += more
            size += got
        return Batch(messages, size)

    async def at(self, offset: Offset) -> Message | None:
        """The message at ``offset``, perhaps without its value; ``None`` when it left the bus, or the lane stops."""
        try:
            found = await self.call(
                lambda: self._bus.read(self._shard, offset, max_records=1, max_bytes=1, values=False)
            )
        except EvidenceIncomplete:
            return None
        return found[0] if found else None

    async def bounds(self) -> Bounds | None:
        """First and next offset of the shard; ``None`` when the lane must stop first."""
        bounds = await self.call(lambda: self._bus.bounds(self._shard))
        if bounds is not None:
            self._tally.saw_end(bounds.end)
        return bounds

    async def same_topic(self) -> None:
        """See :meth:`sinks.identity.Identities.check`."""
        await self.call(lambda: self._identities.check(self._shard.topic))
        self._looked = self._clock.monotonic()

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the bus answers; asked again while it is unavailable, ``None`` when the lane must stop first."""
        backoff = Backoff(self._rng)
        while True:
            try:
                answer = await ask()
            except Unavailable as error:
                self._tally.bus_failed(type(error).__name__, str(error))
                if self._stop.over:
                    return None
                log.warning("sink reader of %s: %s", self._shard, error)
                await self._stop.sleep(backoff.next(error.retry_after))
            else:
                self._tally.bus_answered()
                return answer

    async def refresh(self) -> None:
        """Look where the shard ends, once, for the lag of a lane that stands still."""
        try:
            self._tally.saw_end((await self._bus.bounds(self._shard)).end)
        except Unavailable as error:
            self._tally.bus_failed(type(error).__name__, str(error))

    def _done(self, next_offset: Offset) -> bool:
        return self._stop.over or (self._stop.requested and next_offset >= self.until)

    async def _look(self) -> None:
        if self._clock.monotonic() - self._looked >= IDLE_SECONDS:
            await self.same_topic()

    async def _record(self, offset: Offset) -> None:
        await self.call(lambda: self._bus.wait(self._shard, offset, IDLE_SECONDS))

    async def _more_behind(self, offset: int) -> bool:
        bounds = await self.bounds()
        return bounds is not None and bounds.end > offset

    async def _read(self, start: Offset, max_records: int, max_bytes: int) -> tuple[list[Message], int]:
        """Messages, and the bytes of their values, which are held from before they are read."""
        while not self._account.reserve(max_bytes):
            if self._stop.over:
                return [], 0
            await self._stop.within(self._account.room())
        size = 0
        try:
            found = await self._ask(start, max_records, max_bytes)
            size = _size(found)
        finally:
            self._account.hold(size - max_bytes)
        return found, size

    async def _ask(self, start: Offset, max_records: int, max_bytes: int) -> list[Message]:
        try:
            found = await self.call(
                lambda: self._bus.read(self._shard, start, max_records=max_records, max_bytes=max_bytes)
            )
        except LedgerContradiction as error:
            raise LedgerContradiction(
                f"{error}; what lies before offset {start} is delivered: restore the missing records from a replica of "
                "the topic, or close its log and go on with a new topic and a new destination"
            ) from error
        for at, message in enumerate(found or (), start):
            if message.offset != at or message.shard != self._shard:
                raise InvariantError(
                    f"got {message.shard} offset {message.offset} from the bus, expected {self._shard} offset {at}: "
                    "offsets have no gaps"
                )
        return found or []


def _size(messages: list[Message]) -> int:
    return sum([len(message.value) for message in messages])
