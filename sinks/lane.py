"""A lane: one shard's way into one destination. Resume, gather, deliver, act on the outcome.

Nothing of a lane's position is kept here. A crash at any point is followed by the same first step as any other start:
the destination is asked where to go on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, assert_never

from schemas.errors import EvidenceIncomplete, InvariantError, LedgerContradiction, LimitExceeded, Unavailable
from schemas.ids import Offset, Shard
from sinks.contract import Delivered, Limits, More, Pause, Retry, Sink
from sinks.deadletter import DeadLetter, outgoing
from sinks.pace import Backoff, Clock, Stop
from sinks.reader import Reader
from sinks.snapshot import ShardSnapshot, Tally
from stores.bus import Bus, Message

T = TypeVar("T")

log = logging.getLogger(__name__)


class Lane:
    """Feeds one shard to one sink, in one thread of its own, until the runner stops or a person must look.

    ``error`` is what ended it, if anything did. ``abandoned`` is true when the sink was still busy at the deadline; its
    thread then runs on, and the sink must not be closed under it.
    """

    def __init__(
        self, sink: Sink, bus: Bus, shard: Shard, limits: Limits, *, clock: Clock, stop: Stop, rng: random.Random
    ) -> None:
        self.error: Exception | None = None
        self.abandoned = False
        self._sink = sink
        self._bus = bus
        self._shard = shard
        self._limits = limits
        self._clock = clock
        self._stop = stop
        self._rng = rng
        self._tally = Tally(shard)
        self._reader = Reader(bus, shard, limits, clock=clock, stop=stop, rng=rng, tally=self._tally)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{sink.name}-{shard}")
        self._where = f"sink {sink.name}, {shard}"

    def snapshot(self) -> ShardSnapshot:
        """The counts now."""
        return self._tally.snapshot()

    async def run(self) -> None:
        """Feed the shard. Other lanes go on when this one fails, so the error is kept, logged and not raised."""
        try:
            position = await self._resume()
            if position is not None:
                await self._feed(position)
        except Exception as error:
            self.error = error
            self._tally.went_wrong("failed", type(error).__name__, str(error))
            log.critical("%s: stopped at offset %d: %s", self._where, self._tally.position, error, exc_info=error)
        else:
            self._tally.went_on("stopped")
        finally:
            self._thread.shutdown(wait=False)

    async def _resume(self) -> Offset | None:
        """Where the destination says to go on, once that agrees with the bus; ``None`` when the runner stops first."""
        backoff = Backoff(self._rng)
        while not self._stop.requested:
            bounds = await self._reader.bounds()
            if bounds is None:
                return None
            try:
                position = await self._call(self._sink.resume, self._shard, bounds.start)
            except Unavailable as error:
                self._failed_once("resume", error)
                await self._stop.sleep(backoff.next(error.retry_after))
                continue
            if position is None:
                return None
            if position < bounds.start:
                raise EvidenceIncomplete(
                    f"{self._where}: the destination ends at offset {position} and the bus begins at {bounds.start}: "
                    "what lay between can no longer be delivered"
                )
            if position > bounds.end:
                raise LedgerContradiction(
                    f"{self._where}: the destination ends at offset {position} and the bus at {bounds.end}: the bus "
                    "lost records or was created anew; deliver to a new destination, or restore the bus"
                )
            start = await self._before(position, bounds.start)
            if start is not None:
                self._tally.position = start
                self._tally.went_on()
            return start
        return None

    async def _before(self, position: Offset, oldest: Offset) -> Offset | None:
        """Where the last batch may have begun whose dead letters are perhaps not written: the destination moves before
        the letters do, and the bus's hint moves behind them."""
        hint = await self._reader.call(lambda: self._bus.committed(self._sink.name, self._shard))
        if self._stop.requested:
            return None
        return Offset(min(position, max(oldest, hint or 0, position - self._limits.max_records)))

    async def _feed(self, position: Offset) -> None:
        reading = asyncio.ensure_future(self._reader.gather(position))
        try:
            while batch := await reading:
                # While this batch is delivered the next one is read, and no more than that: two batches are in memory.
                next_offset = Offset(batch[-1].offset + 1)
                reading = asyncio.ensure_future(self._reader.gather(next_offset))
                end = await self._deliver(batch)
                batch = []
                if end is None:
                    return
                if end != next_offset:
                    await _cancel(reading)
                    reading = asyncio.ensure_future(self._reader.gather(end))
        finally:
            await _cancel(reading)

    async def _deliver(self, batch: list[Message]) -> Offset | None:
        """Deliver until it is delivered. Returns where to go on; ``None`` when the runner had to stop first, which
        loses nothing: the position is the destination's."""
        backoff = Backoff(self._rng)
        while True:
            outcome = await self._call(self._sink.deliver, self._shard, batch)
            match outcome:
                case Delivered(rejected):
                    return await self._advance(batch, rejected)
                case More(until):
                    batch = await self._longer(batch, until)
                case Retry(reason, after):
                    self._tally.retries += 1
                    self._tally.went_wrong("retrying", "Retry", reason)
                    log.warning("%s: offset %d must be sent again: %s", self._where, batch[0].offset, reason)
                    await self._reader.refresh()
                    await self._stop.sleep(backoff.next(after))
                case Pause(reason, after):
                    self._pause(reason)
                    await self._reader.refresh()
                    if not self._stop.requested:
                        await self._stop.sleep(after)
                    if self._stop.requested:
                        return None
                case None:
                    return None
                case _:
                    assert_never(outcome)
            if self._stop.overdue:
                return None

    async def _longer(self, batch: list[Message], until: Offset) -> list[Message]:
        end = Offset(batch[-1].offset + 1)
        if until <= end:
            raise InvariantError(f"{self._where}: got a request for offset {until}, expected more than {end}")
        return batch + await self._reader.extend(end, until)

    async def _advance(self, batch: Sequence[Message], rejected: Sequence[tuple[Offset, str]]) -> Offset | None:
        if rejected and not await self._bury([self._letter(batch, *item) for item in rejected]):
            return None
        end = Offset(batch[-1].offset + 1)
        self._tally.delivered += len(batch) - len(rejected)
        self._tally.rejected += len(rejected)
        self._tally.position = end
        self._tally.end = max(self._tally.end, end)
        self._tally.went_on()
        try:
            await self._bus.commit(self._sink.name, self._shard, end)
        except Unavailable as error:
            log.debug("%s: the lag hint was not kept: %s", self._where, error)  # the next one will be
        return end

    def _letter(self, batch: Sequence[Message], offset: Offset, reason: str) -> DeadLetter:
        at = offset - batch[0].offset
        if not 0 <= at < len(batch):
            raise InvariantError(f"{self._where}: got a rejection of offset {offset}, which is not in the batch")
        log.error("%s: offset %d goes to the dead letter: %s", self._where, offset, reason)
        return DeadLetter(self._sink.name, reason, int(self._clock.time() * 1000), batch[at])

    async def _bury(self, letters: list[DeadLetter]) -> bool:
        """Write dead letters before the position moves past their records. If we die before that, the records are
        delivered, rejected and written again. False when the runner had to stop first."""
        try:
            return await self._reader.call(lambda: self._bus.append([outgoing(item) for item in letters])) is not None
        except LimitExceeded:
            bare = [outgoing(item._replace(whole=False)) for item in letters]
            return await self._reader.call(lambda: self._bus.append(bare)) is not None

    async def _call(self, work: Callable[..., T], *args: object) -> T | None:
        """Run one blocking call of the sink in the lane's thread; ``None`` when it is not back at the deadline."""
        call = asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        self.abandoned = True
        if not await self._stop.finish(call):
            log.error("%s: still busy at the deadline, and left behind", self._where)
            return None
        self.abandoned = False
        return call.result()

    def _pause(self, reason: str) -> None:
        self._tally.retries += 1
        self._tally.paused_since = self._tally.paused_since or self._clock.time()
        self._tally.went_wrong("paused", "Pause", reason)
        log.error("%s: paused at offset %d, needs a person: %s", self._where, self._tally.position, reason)

    def _failed_once(self, what: str, error: Unavailable) -> None:
        self._tally.retries += 1
        self._tally.went_wrong("retrying", type(error).__name__, str(error))
        log.warning("%s: %s failed and is repeated: %s", self._where, what, error)


async def _cancel(task: asyncio.Future[list[Message]]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
