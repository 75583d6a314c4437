"""One shard, signed for as long as this process owns it: open, follow, compare, and what to do when something fails.

The bus is compared with what was signed (H7) when the log is opened, whenever nothing comes for some seconds, and from
time to time under load: a broker can lose what it had acknowledged while the signer runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from schemas.errors import (
    EvidenceIncomplete,
    LedgerContradiction,
    LockLost,
    Unavailable,
)
from schemas.ids import Offset, Shard
from signer.bus_reading import MAX_BYTES, SETTLE_SECONDS, compare_with_bus, first_time
from signer.losses import LIMIT, Losses
from signer.origin import is_over, parse_origin, quarter_reason
from signer.partitions import grown_reason, recorded_partitions, with_partitions
from signer.signing import append, check_lock
from signer.startup import FIRST_LOG, OpenLog, Stores, first_genesis, open_shard_log
from signer.state import ShardState
from signer.succession import LogChange, change_of, succeed
from signer.waiting import pause, unless
from stores.bus import Bus, Message
from stores.control import Lock

logger = logging.getLogger(__name__)

T = TypeVar("T")

LINGER_SECONDS = 0.25
"""A shard is signed at most once in this time: a checkpoint costs fsyncs, and a second is what we promise."""

MAX_RECORDS = 32_768
"""Largest batch, when the signer is behind: 5 MB of tiles, a tenth of a second of hashing."""

POLL_SECONDS = 5.0
"""A wait for messages is renewed after this time, and the bus compared."""

COMPARE_SECONDS = 30.0
"""How long the bus may go uncompared while messages keep coming."""

LOST_SECONDS = 5.0
"""How long to wait, after a lost swap, before looking again: a process that was paused hears within this time that its
shards were given to others."""

OnLogs = Callable[[LogChange], Awaitable[None]]
"""Told after a log was opened, by the process that opened it; told again later when it raised ``Unavailable``. Whoever
dies in between does not tell: the ledger itself and the next checkpoint set are the record."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how much; see the constants of this module. All times in seconds."""

    linger: float = LINGER_SECONDS
    max_records: int = MAX_RECORDS
    poll: float = POLL_SECONDS
    compare: float = COMPARE_SECONDS
    settle: float = SETTLE_SECONDS
    lost: float = LOST_SECONDS


@dataclass(frozen=True, slots=True)
class Signed:
    """Told after each batch: ``records`` more are signed and published, up to time ``last_ms``; the log has ``size``
    leaves. ``seconds`` is how long hashing, signing and publishing took."""

    shard: Shard
    origin: str
    size: int
    records: int
    last_ms: int
    seconds: float


class ShardSigner:
    """Signs one shard. :meth:`run` is called once for each time that the shard is owned.

    Attributes:
        shard: which.
        halted: the contradiction that a person must decide; ``None`` while there is none.
    """

    def __init__(
        self,
        bus: Bus,
        stores: Stores,
        deployment: str,
        shard: Shard,
        *,
        schemas: tuple[tuple[str, str], ...],
        clock: Callable[[], int],
        pace: Pace,
        on_signed: Callable[[Signed], None],
        on_logs: OnLogs,
    ) -> None:
        self._bus, self._stores, self._deployment, self.shard = bus, stores, deployment, shard
        self._schemas, self._clock, self._pace = schemas, clock, pace
        self._on_signed, self._on_logs = on_signed, on_logs
        self._losses = Losses()
        self._state = ShardState(shard)
        self._unsigned_ms: int | None = None
        self._untold: deque[LogChange] = deque()
        self.halted: LedgerContradiction | None = None

    def snapshot(self) -> ShardState:
        """How it goes. Safe from any thread."""
        state, since = self._state, self._unsigned_ms
        age = max(0, self._clock() - since) / 1000 if since is not None else 0.0
        return replace(state, unsigned_age_seconds=age)

    async def run(self, stop: asyncio.Event) -> None:
        """Sign until ``stop`` is set or the shard halts. When this returns nothing is in flight."""
        self.halted, self._losses = None, Losses()
        while not stop.is_set() and self.halted is None:
            self._note(state="opening")
            try:
                await self._follow(await self._open(stop), stop)
            except Unavailable as error:
                if stop.is_set():
                    return
                logger.warning("signer of %s: %s; opening the log again", self.shard, error)
                self._note(last_error=type(error).__name__, last_message=str(error))
                await pause(stop, error.retry_after)
            except LockLost as error:
                await self._lost(error, stop)
            except (LedgerContradiction, EvidenceIncomplete) as error:
                self._halt(error)

    async def watch(self, stop: asyncio.Event) -> None:
        """After a halt, keep an eye on what is waiting, until ``stop`` is set."""
        while not stop.is_set():
            try:
                await self._look(Offset(self._state.next_offset))
            except (Unavailable, LedgerContradiction, EvidenceIncomplete) as error:
                logger.debug("signer of %s, halted: %s", self.shard, error)
            await pause(stop, self._pace.poll)

    async def _look(self, offset: Offset) -> None:
        bounds = await self._bus.bounds(self.shard)
        self._note(bus_end=bounds.end)
        first = max(offset, bounds.start)
        if self._unsigned_ms is None and first < bounds.end:
            messages = await self._bus.read(self.shard, Offset(first), max_records=1, max_bytes=1, values=False)
            self._unsigned_ms = messages[0].time_ms if messages else None

    def _halt(self, error: Exception) -> None:
        logger.critical("signer of %s halted: %s", self.shard, error)
        self.halted = error if type(error) is LedgerContradiction else LedgerContradiction(str(error))
        self._note(state="halted", last_error=type(error).__name__, last_message=str(error))

    async def _lost(self, error: LockLost, stop: asyncio.Event) -> None:
        """Let go. If the shard is another's by now, ``stop`` is set before the pause is over."""
        self._note(
            state="lost",
            swap_losses=self._state.swap_losses + 1,
            last_error=type(error).__name__,
            last_message=str(error),
        )
        if self._losses.add(asyncio.get_running_loop().time()):
            self._halt(
                LockLost(
                    f"{self.shard}: lost the swap {LIMIT} times within ten minutes while this process owned the shard: "
                    "another signer works on it that is not of this group; nothing is damaged; find it and stop it, "
                    f"then start this one again ({error})"
                )
            )
            return
        logger.warning("signer of %s: %s; letting go of it", self.shard, error)
        await pause(stop, self._pace.lost)

    async def _open(self, stop: asyncio.Event) -> OpenLog:
        """Open the shard's log, and compare it with the bus."""
        shard, bus, now = self.shard, self._bus, self._clock()
        topic_id = await unless(stop, bus.identity(shard.topic))
        bounds = await unless(stop, bus.bounds(shard))
        count = len(await unless(stop, bus.shards(shard.topic)))
        first = first_genesis(
            self._stores.key,
            self._deployment,
            shard,
            await unless(stop, first_time(bus, shard, bounds, now)),
            topic_id=topic_id,
            start_offset=bounds.start,
            schemas=self._schemas,
            reason=with_partitions(FIRST_LOG, shard.topic, count),
        )
        opened = await asyncio.to_thread(open_shard_log, self._stores, self._deployment, shard, first, now)
        if opened.is_new:
            self._untold.append(change_of(opened))
        bounds = await unless(stop, compare_with_bus(bus, opened, stop, self._pace.settle))
        reason = await self._outgrown(opened, stop)
        if reason is not None:
            opened = await self._succeed(opened, reason)
        await self._tell()
        self._opened(opened, bounds.end)
        logger.info("signer of %s goes on at offset %d of %s", shard, opened.next_offset, opened.log.origin)
        return opened

    async def _outgrown(self, opened: OpenLog, stop: asyncio.Event) -> str | None:
        """Why the log must end: its topic has more partitions than when it was opened, or its quarter is over. ``None``
        when it need not."""
        topic, recorded = self.shard.topic, recorded_partitions(opened.genesis.reason)
        count = len(await unless(stop, self._bus.shards(topic)))
        if recorded is not None and recorded < count:
            return grown_reason(topic, recorded, count)
        term, now = parse_origin(opened.log.origin).term, self._clock()
        return with_partitions(quarter_reason(term, now), topic, count) if is_over(term, now) else None

    async def _succeed(self, opened: OpenLog, reason: str) -> OpenLog:
        """Close the log where it ends, and open the next."""
        logger.warning("signer of %s: %s; closing %s and opening the next", self.shard, reason, opened.log.origin)
        successor = await asyncio.to_thread(
            succeed,
            self._stores,
            self._deployment,
            self.shard,
            reason,
            self._clock(),
            topic_id=opened.genesis.topic_id,
            schemas=self._schemas,
        )
        self._untold.append(change_of(successor))
        return successor

    async def _tell(self) -> None:
        """Tell of logs that were opened. What cannot be told now is told later; signing does not wait for it."""
        try:
            while self._untold:
                await self._on_logs(self._untold[0])
                self._untold.popleft()
        except Unavailable as error:
            logger.warning("signer of %s: cannot tell of %s yet: %s", self.shard, self._untold[0].opened, error)

    def _opened(self, opened: OpenLog, bus_end: int) -> None:
        size = opened.writer.lock.size
        self._note(
            state="signing", origin=opened.log.origin, size=size, next_offset=opened.next_offset, bus_end=bus_end
        )

    async def _follow(self, opened: OpenLog, stop: asyncio.Event) -> None:
        """Read, sign, publish; at most once per linger, unless there is more than a batch to do."""
        loop = asyncio.get_running_loop()
        not_before, compare_at = 0.0, loop.time() + self._pace.compare
        while not stop.is_set():
            offset = Offset(opened.next_offset)
            readable = await self._ask(opened, self._bus.wait(self.shard, offset, self._pace.poll), stop)
            if not readable or loop.time() >= compare_at:
                if await self._compare(opened, stop):
                    return  # the log has to be opened again
                compare_at = loop.time() + self._pace.compare
                continue
            await pause(stop, not_before - loop.time())
            messages = await self._read(opened, offset, stop)
            if not messages:
                continue
            # A  If we die here: nothing happened yet.
            started = loop.time()
            opened, lock, count, steps = await asyncio.to_thread(append, self._stores, opened, messages)
            # If we die here (H): it is signed and published; only the telling is lost.
            self._told(lock, messages[:count], steps, loop.time() - started)
            not_before = 0.0 if len(messages) >= self._pace.max_records else started + self._pace.linger

    async def _read(self, opened: OpenLog, offset: Offset, stop: asyncio.Event) -> Sequence[Message]:
        read = self._bus.read(self.shard, offset, max_records=self._pace.max_records, max_bytes=MAX_BYTES, values=False)
        messages = await self._ask(opened, read, stop)
        if messages:
            self._unsigned_ms = messages[0].time_ms
            self._note(bus_end=max(self._state.bus_end, messages[-1].offset + 1))
        return messages

    def _told(self, lock: Lock, messages: Sequence[Message], steps: int, seconds: float) -> None:
        before = self._state
        next_offset = messages[-1].offset + 1
        # What is behind the batch came after it: until it is read, its last record stands for it.
        self._unsigned_ms = messages[-1].time_ms if before.bus_end > next_offset else None
        self._note(
            size=lock.size,
            next_offset=next_offset,
            last_batch=len(messages),
            batches=before.batches + 1,
            records=before.records + len(messages),
            steps_back=before.steps_back + steps,
        )
        if steps:
            logger.warning("signer of %s: the bus's time stepped back in %d records", self.shard, steps)
        self._on_signed(Signed(self.shard, lock.origin, lock.size, len(messages), messages[-1].time_ms, seconds))

    async def _compare(self, opened: OpenLog, stop: asyncio.Event) -> bool:
        """H7 while running; and whether the log is still ours, and published as it was signed. True when it must
        end."""
        bounds = await unless(stop, compare_with_bus(self._bus, opened, stop, self._pace.settle))
        self._note(bus_end=bounds.end)
        await asyncio.to_thread(check_lock, self._stores, opened)
        await self._tell()
        return await self._outgrown(opened, stop) is not None

    async def _ask(self, opened: OpenLog, question: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
        """What the bus answers. What it cannot go on with, and what is about what was signed, is said in our words."""
        try:
            return await unless(stop, question)
        except (LedgerContradiction, EvidenceIncomplete):
            await unless(stop, compare_with_bus(self._bus, opened, stop, self._pace.settle))
            raise

    def _note(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]
