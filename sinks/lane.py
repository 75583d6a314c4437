"""A lane: one shard's way into one destination. Resume, gather, deliver, act on the outcome.

Nothing of a lane's position is kept here. A crash at any point is followed by the same first step as any other start,
and so is a shard's coming from another process: the destination is asked where to go on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, assert_never

from schemas.errors import EvidenceIncomplete, InvariantError, LedgerContradiction, LimitExceeded, Unavailable
from schemas.ids import Offset, Shard
from sinks.budget import Account, Budget
from sinks.contract import (
    Accepted,
    Delivered,
    Limits,
    More,
    Outcome,
    Pause,
    Remembering,
    Retry,
    Sink,
    Wait,
)
from sinks.deadletter import DeadLetter, outgoing
from sinks.identity import Identities, entry_commitments
from sinks.pace import Backoff, Clock, Stop
from sinks.reader import Batch, Reader
from sinks.settlement import SETTLE_SECONDS, Lost, Settlement
from sinks.snapshot import ShardSnapshot, Tally
from stores.bus import Bounds, Bus, Message

T = TypeVar("T")

log = logging.getLogger(__name__)

RETRIES_BEFORE_RESUME = 3
"""So many times in a row the same batch is sent again before the destination is asked anew where to resume: if a ghost
has taken it from us, nothing else takes it back. Not at once, for a ghost notices within seconds that it is one."""


@dataclass(frozen=True, slots=True)
class Common:
    """What the lanes of one runner have in common."""

    sink: Sink
    bus: Bus
    budget: Budget
    identities: Identities
    clock: Clock
    rng: random.Random


class LeftBehind(Exception):
    """A call of the sink was not back at the deadline: no error, the lane ends in good order."""


class BeginAgain(Exception):
    """The destination must be asked again where to resume."""


class Lane:
    """Feeds one shard to one sink, in one thread of its own, until it is stopped or a person must look.

    ``error`` is what ended it, if anything did.
    """

    def __init__(self, common: Common, shard: Shard, tally: Tally) -> None:
        self.error: Exception | None = None
        self._shard = shard
        self._sink = common.sink
        self._bus = common.bus
        self._limits: Limits = common.sink.limits
        self._clock = common.clock
        self._rng = common.rng
        self._tally = tally
        self._stop = Stop(common.clock)
        self._account = Account(common.budget)
        self._reader = Reader(
            common.bus,
            shard,
            self._limits,
            clock=common.clock,
            stop=self._stop,
            rng=common.rng,
            tally=tally,
            account=self._account,
            identities=common.identities,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{self._sink.name}-{shard}")
        self._where = f"sink {self._sink.name}, {shard}"
        self._backoff = Backoff(common.rng)
        self._call_now: asyncio.Future[Any] | None = None
        self._settlement = Settlement(
            common.sink, shard, clock=common.clock, tally=tally, call=self._call, hint=self._hint
        )

    def snapshot(self) -> ShardSnapshot:
        """The counts now; from any thread."""
        return self._tally.snapshot()

    def stop(self, grace: float, until: Offset | None = None) -> None:
        """Let :meth:`run` return within ``grace`` seconds: deliver what is gathered, finish what is in flight. With
        ``until``, go on without lingering until everything before it is delivered, as far as the time allows."""
        if until is not None and not self._stop.requested:
            self._reader.until = until
        self._stop.set(grace, drains=until is not None)

    @property
    def hanging(self) -> asyncio.Future[Any] | None:
        """The call of the sink that is still busy, once :meth:`run` has returned: its thread runs on, and neither may
        the sink be closed under it nor another lane begin beside it."""
        return self._call_now if self._call_now is not None and not self._call_now.done() else None

    async def run(self, after: asyncio.Future[Any] | None = None) -> None:
        """Feed the shard, once ``after`` is done. Other lanes go on when this one fails, so the error is kept, logged
        and not raised."""
        try:
            if after is not None and not after.done():
                log.warning("%s: waits for a call that an earlier owner of the shard left behind", self._where)
                await self._stop.first(asyncio.wait({after}))
            if after is None or after.done():
                await self._work()
        except LeftBehind:
            log.error("%s: still busy at the deadline, and left behind", self._where)
            self._tally.went_on("stopped")
        except Exception as error:
            self.error = error
            self._tally.went_wrong("failed", type(error).__name__, str(error))
            log.critical("%s: stopped at offset %d: %s", self._where, self._tally.position, error, exc_info=error)
        else:
            self._tally.went_on("stopped")
        finally:
            self._thread.shutdown(wait=False)
            if (call := self.hanging) is None:
                self._account.close()
            else:
                call.add_done_callback(self._came_back)

    async def _work(self) -> None:
        position = await self._resume()
        if position is not None:
            self._tally.went_on()
        while position is not None:
            try:
                await self._feed(position)
                position = None
            except (BeginAgain, Lost):
                self._account.close()
                position = await self._resume()

    async def _resume(self) -> Offset | None:
        """Where the destination says to go on, once that agrees with the bus; ``None`` when the lane stops first."""
        backoff = Backoff(self._rng)
        await self._reader.same_topic()
        while not self._stop.over:
            if (bounds := await self._reader.bounds()) is None:
                return None
            try:
                position = await self._call(self._sink.resume, self._shard, bounds.start)
                self._check_bounds(position, bounds)
                await self._check_last(position, bounds)
            except Unavailable as error:
                self._tally.retried(type(error).__name__, str(error))
                log.warning("%s: resume failed and is repeated: %s", self._where, error)
                await self._stop.sleep(backoff.next(error.retry_after))
                continue
            start = position if self._settlement.kept else await self._before(position, bounds.start)
            if start is not None:
                self._settlement.begin(start)
            return start
        return None

    def _check_bounds(self, position: Offset, bounds: Bounds) -> None:
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

    async def _check_last(self, position: Offset, bounds: Bounds) -> None:
        """The last record of the destination is still what the bus has at its offset. A topic that was created anew,
        and has grown past where the old one ended, is found by this alone."""
        if position <= bounds.start or not isinstance(self._sink, Remembering):
            return
        last = Offset(position - 1)
        stored = await self._call(self._sink.last, self._shard, last)
        there = await self._reader.at(last) if stored is not None else None
        if stored is None or there is None:
            return
        found = entry_commitments(there.commitments, there.key, there.value, there.headers)
        if found != stored:
            raise LedgerContradiction(
                f"{self._where}: the record at offset {last} has commitments {found[:12].hex()}… on the bus and "
                f"{stored[:12].hex()}… in the destination: the topic was deleted and created again, or the "
                "destination belongs to another bus; restore the topic, or deliver to a new destination"
            )

    async def _before(self, position: Offset, oldest: Offset) -> Offset | None:
        """Where the last batch may have begun whose dead letters are perhaps not written: the destination moves before
        the letters do, and the bus's hint moves behind them."""
        hint = await self._reader.call(lambda: self._bus.committed(self._sink.name, self._shard))
        if self._stop.over:
            return None
        return Offset(min(position, max(oldest, hint or 0, position - self._limits.max_records)))

    async def _feed(self, position: Offset) -> None:
        """Deliver from ``position`` on, until the lane stops.

        Raises:
            BeginAgain: the destination did not take a batch, and must be asked where to resume.
        """
        reading = asyncio.ensure_future(self._reader.gather(position))
        try:
            while batch := await self._read(reading):
                # While this batch is delivered the next one is read, and no more than that: two batches are in memory.
                next_offset = batch.end
                reading = asyncio.ensure_future(self._reader.gather(next_offset))
                delivered = await self._deliver(batch)
                if delivered is None:
                    return
                del batch
                self._account.hold(-delivered.size)
                if (end := delivered.end) != next_offset:
                    await self._drop(reading)
                    reading = asyncio.ensure_future(self._reader.gather(end))
                del delivered
            await self._settle_all()
        finally:
            await self._drop(reading)

    async def _read(self, reading: asyncio.Future[Batch | None]) -> Batch | None:
        await self._settlement.beside(reading)
        return await reading

    async def _settle_all(self) -> None:
        """Wait, as far as the stop allows, until everything that was accepted is durable."""
        while self._settlement.under_way and not self._stop.overdue:
            await self._settlement.ask(at_once=True)
            if self._settlement.under_way:
                await self._clock.sleep(min(SETTLE_SECONDS, self._stop.left))

    async def _deliver(self, batch: Batch) -> Batch | None:
        """Deliver until it is delivered. Returns what was; ``None`` when the lane had to stop first, which loses
        nothing: the position is the destination's."""
        retries = 0
        while True:
            outcome = await self._timed(batch.messages)
            match outcome:
                case Delivered(rejected):
                    return batch if await self._advance(batch, rejected) else None
                case Accepted(rejected):
                    return batch if await self._accept(batch, rejected) else None
                case More(until):
                    batch = await self._longer(batch, until)
                case Wait(reason, after):
                    log.debug("%s: offset %d waits: %s", self._where, batch.messages[0].offset, reason)
                    await self._settlement.ask(at_once=True)
                    await self._reader.refresh()
                    await self._stop.sleep(after)
                case Retry(reason, after):
                    self._tally.retried("Retry", reason)
                    log.warning("%s: offset %d must be sent again: %s", self._where, batch.messages[0].offset, reason)
                    await self._reader.refresh()
                    await self._stop.sleep(self._backoff.next(after))
                    if (retries := retries + 1) == RETRIES_BEFORE_RESUME:
                        raise BeginAgain
                case Pause(reason, after):
                    self._tally.paused(self._clock.time(), reason)
                    log.error("%s: paused at offset %d, needs a person: %s", self._where, self._tally.position, reason)
                    await self._reader.refresh()
                    if not self._stop.requested:
                        await self._stop.sleep(after)
                    if self._stop.requested:
                        return None
                case _:
                    assert_never(outcome)
            if self._stop.overdue:
                return None

    async def _timed(self, messages: list[Message]) -> Outcome:
        begun = self._clock.monotonic()
        try:
            return await self._call(self._sink.deliver, self._shard, messages)
        finally:
            self._tally.called(self._clock.monotonic() - begun)

    async def _longer(self, batch: Batch, until: Offset) -> Batch:
        if until <= batch.end:
            raise InvariantError(f"{self._where}: got a request for offset {until}, expected more than {batch.end}")
        return await self._reader.extend(batch, until)

    async def _advance(self, batch: Batch, rejected: Sequence[tuple[Offset, str]]) -> bool:
        if not await self._arrived(batch, rejected):
            return False
        self._tally.moved(batch.end)
        await self._hint(batch.end)
        return True

    async def _accept(self, batch: Batch, rejected: Sequence[tuple[Offset, str]]) -> bool:
        """The letters are written before anything settles: if we die between the two, the batch is sent again."""
        if not await self._arrived(batch, rejected):
            return False
        await self._settlement.accept(batch.end)
        return True

    async def _arrived(self, batch: Batch, rejected: Sequence[tuple[Offset, str]]) -> bool:
        if rejected and not await self._bury([self._letter(batch.messages, *item) for item in rejected]):
            return False
        self._tally.arrived(len(batch.messages), len(rejected), batch.size)
        self._tally.went_on()
        self._backoff = Backoff(self._rng)
        return True

    async def _hint(self, position: Offset) -> None:
        try:
            await self._bus.commit(self._sink.name, self._shard, position)
        except Unavailable as error:
            log.debug("%s: the lag hint was not kept: %s", self._where, error)  # the next one will be

    def _letter(self, batch: Sequence[Message], offset: Offset, reason: str) -> DeadLetter:
        at = offset - batch[0].offset
        if not 0 <= at < len(batch):
            raise InvariantError(f"{self._where}: got a rejection of offset {offset}, which is not in the batch")
        log.error("%s: offset %d goes to the dead letter: %s", self._where, offset, reason)
        return DeadLetter(self._sink.name, reason, int(self._clock.time() * 1000), batch[at])

    async def _bury(self, letters: list[DeadLetter]) -> bool:
        """Write dead letters before the position moves past their records. If we die before that, the records are
        delivered, rejected and written again. False when the lane had to stop first."""
        try:
            return await self._reader.call(lambda: self._bus.append([outgoing(item) for item in letters])) is not None
        except LimitExceeded:
            bare = [outgoing(item._replace(whole=False)) for item in letters]
            return await self._reader.call(lambda: self._bus.append(bare)) is not None

    async def _call(self, work: Callable[..., T], *args: object) -> T:
        """Run one blocking call of the sink in the lane's thread.

        Raises:
            LeftBehind: it is not back at the deadline.
        """
        call = self._call_now = asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        if not await self._stop.finish(call):
            raise LeftBehind
        result: T = call.result()
        return result

    async def _drop(self, reading: asyncio.Future[Batch | None]) -> None:
        """Stop reading, and give back what was read for nothing."""
        reading.cancel()
        (result,) = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(result, Batch):
            self._account.hold(-result.size)

    def _came_back(self, call: asyncio.Future[Any]) -> None:
        self._account.close()
        if not call.cancelled() and (error := call.exception()) is not None:
            log.warning("%s: a call that was left behind failed: %s", self._where, error)
