"""Reading the bus for a sink: one shard, batch by batch, never a record left out."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from schemas.errors import InvariantError, Unavailable
from schemas.ids import Offset, Shard
from sinks.contract import Limits
from sinks.pace import Backoff, Clock, Stop
from sinks.snapshot import Tally
from stores.bus import Bounds, Bus, Message

T = TypeVar("T")

log = logging.getLogger(__name__)

READ_BYTES = 8 << 20
"""One read of the bus asks for at most this, so that a batch of 64 MB does not stall everything else."""

IDLE_SECONDS = 5.0
"""How long one wait for a first record lasts; then the shard is looked at again."""

SLICES = 8
"""While a batch lingers, the bus is read so many times, rather than once per record that arrives."""

SHORTEST_SLICE = 0.001
LONGEST_SLICE = 1.0
"""Seconds: a batch that fills up fast must not wait for its linger to pass."""


class Reader:
    """Reads one shard for one sink. Repeats what the bus could not do, until the runner stops."""

    def __init__(
        self, bus: Bus, shard: Shard, limits: Limits, *, clock: Clock, stop: Stop, rng: random.Random, tally: Tally
    ) -> None:
        self._bus = bus
        self._shard = shard
        self._limits = limits
        self._clock = clock
        self._stop = stop
        self._rng = rng
        self._tally = tally

    async def gather(self, position: Offset) -> list[Message]:
        """The next batch from ``position`` on: full, or ``linger`` seconds old, or what there is when the runner
        stops. Empty only when it stops.

        Raises:
            InvariantError: the bus left a gap.
            EvidenceIncomplete: ``position`` is no longer on the bus.
        """
        batch: list[Message] = []
        size, closes = 0, 0.0
        while not self._stop.requested:
            next_offset = Offset(position + len(batch))
            found = await self._read(
                next_offset, self._limits.max_records - len(batch), min(READ_BYTES, self._limits.max_bytes - size)
            )
            if found and not batch:
                closes = self._clock.monotonic() + self._limits.linger
            batch += found
            size += sum(len(message.value) for message in found)
            if len(batch) >= self._limits.max_records or size >= self._limits.max_bytes:
                break
            if found and await self._more_behind(found[-1].offset + 1):
                continue
            if not batch:
                await self._stop.first(self._first_record(next_offset))
                continue
            left = closes - self._clock.monotonic()
            if left <= 0:
                break
            await self._stop.sleep(min(left, max(self._limits.linger / SLICES, SHORTEST_SLICE), LONGEST_SLICE))
        return batch

    async def extend(self, position: Offset, until: Offset) -> list[Message]:
        """The records from ``position`` to ``until`` (exclusive), whatever the limits: a batch that was begun before a
        crash has them all on the bus. Fewer when the runner must stop."""
        found: list[Message] = []
        while (start := Offset(position + len(found))) < until:
            more = await self._read(start, until - start, READ_BYTES)
            if not more and self._stop.requested:
                break
            if not more:
                raise InvariantError(f"{self._shard}: the bus ends at {start}, expected {until}: its tail was lost")
            found += more
        return found

    async def bounds(self) -> Bounds | None:
        """First and next offset of the shard; ``None`` when the runner must stop first."""
        bounds = await self.call(lambda: self._bus.bounds(self._shard))
        if bounds is not None:
            self._tally.end = bounds.end
        return bounds

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the bus answers; asked again while it is unavailable, ``None`` when the runner must stop first."""
        backoff = Backoff(self._rng)
        while True:
            try:
                answer = await ask()
            except Unavailable as error:
                self._tally.bus_failed(type(error).__name__, str(error))
                if self._stop.requested:
                    return None
                log.warning("sink reader of %s: %s", self._shard, error)
                await self._stop.sleep(backoff.next(error.retry_after))
            else:
                self._tally.bus_answered()
                return answer

    async def refresh(self) -> None:
        """Look where the shard ends, once, for the lag of a lane that stands still."""
        try:
            self._tally.end = (await self._bus.bounds(self._shard)).end
        except Unavailable as error:
            self._tally.bus_failed(type(error).__name__, str(error))

    async def _first_record(self, offset: Offset) -> None:
        await self.call(lambda: self._bus.wait(self._shard, offset, IDLE_SECONDS))

    async def _more_behind(self, offset: int) -> bool:
        bounds = await self.bounds()
        return bounds is not None and bounds.end > offset

    async def _read(self, start: Offset, max_records: int, max_bytes: int) -> list[Message]:
        found = await self.call(
            lambda: self._bus.read(self._shard, start, max_records=max_records, max_bytes=max_bytes)
        )
        for at, message in enumerate(found or (), start):
            if message.offset != at or message.shard != self._shard:
                raise InvariantError(
                    f"got {message.shard} offset {message.offset} from the bus, expected {self._shard} offset {at}: "
                    "offsets have no gaps"
                )
        return found or []
