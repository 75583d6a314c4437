"""Moves what is in the spool to the bus, in order, and decides when nothing needs to go through the spool any more."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from schemas.errors import Unavailable
from schemas.ids import CONTROL, Offset, Shard
from stores.bus import Bus
from stores.bus.spool import Outage, PendingKeys, SpoolLimits, SpoolSnapshot
from stores.bus.spool.backlog import Backlog, too_old
from stores.bus.spool.circuit import Circuit, Pace
from stores.bus.spool.patience import answering
from stores.bus.spool.store import Spool

log = logging.getLogger(__name__)

MOVE_BYTES = 4 * 1024 * 1024
"""A batch takes no further rows beyond this."""

IDLE_SECONDS = 5.0
"""How often to look, with nothing to move, whether something was left over."""

MAX_OUTAGES = 100
"""Outages that are remembered until somebody takes note of them."""


class Drainer:
    """Everything that is known of the spool, and the task that empties it. For one event loop, but for ``direct``,
    ``snapshot`` and :meth:`take_outages`, which any thread may use.

    Attributes:
        direct: whether messages may go to the bus without passing through the spool. True only while the bus has
            everything that was ever in it.
    """

    def __init__(
        self,
        bus: Bus,
        spool: Spool,
        limits: SpoolLimits,
        keys: PendingKeys | None,
        pace: Pace,
        clock: Callable[[], int],
    ) -> None:
        self._bus, self._spool, self._limits, self._keys, self._clock = bus, spool, limits, keys, clock
        self.backlog = Backlog(spool.census())
        self.circuit, self._patience = Circuit(pace), pace.patience
        self.direct = self.backlog.empty
        self.spooled = self.drained = self.refused = 0
        self._outage_from = self.backlog.oldest_ms
        self._outage_records, self._outage_reason = 0, ""
        self._outages: deque[Outage] = deque(maxlen=MAX_OUTAGES)
        self._alarmed = self._stuck = False
        self._wake = asyncio.Event()
        self.snapshot = SpoolSnapshot()
        self.publish()
        if not spool.reserve.whole:
            log.error("the disk of the spool is full: while the bus is away, nothing can be taken")

    def divert(self, error: BaseException | None) -> None:
        """Send everything through the spool from now on: because of ``error`` of the bus, or because keys are not
        registered yet."""
        if self.direct:
            self.direct = False
            self._outage_reason = type(error).__name__ if error is not None else "UnregisteredKeys"
        if error is not None and self.circuit.hear(error):
            self._report(error)
        self._wake.set()

    def note_put(self, records: int, now_ms: int) -> None:
        """Messages are durable in the spool."""
        self.spooled += records
        if self._outage_from is None:
            self._outage_from = now_ms

    def note_change(self) -> None:
        """The backlog is another than it was."""
        self.publish()
        self._wake.set()

    def publish(self) -> None:
        """Renew :attr:`snapshot`."""
        records, error = self.backlog.records, self.circuit.error
        self.snapshot = SpoolSnapshot(
            records,
            self.backlog.bytes,
            self.backlog.oldest_ms,
            bool(records) and self.circuit.state == "up",
            self.circuit.state,
            type(error).__name__ if error is not None else "",
            self.spooled,
            self.drained,
            self.refused,
        )

    def take_outages(self) -> list[Outage]:
        """Outages that are over; each is returned once."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._outages.popleft())
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Move messages whenever there are some, until ``stop``, which is heeded between two batches."""
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    await self._advance()
                except Exception as error:
                    if self.circuit.fail(error):
                        self._report(error)
                await self._tidy()
                self._check_age()
                self.publish()
                await self._rest(stop)
        finally:
            stopping.cancel()

    async def _advance(self) -> None:
        front = self.backlog.front()
        if front is not None:
            await self._move(*front)
        elif not self.direct and self.backlog.empty:
            await self._register_keys()
            if self.circuit.error is not None:
                async with answering(self._patience):
                    await self._bus.bounds(Shard(CONTROL, 0))
                self._note_success()
        if self.backlog.empty and self.circuit.error is None and not self.direct:
            # Looked at and acted upon without an await: nobody puts anything into the spool in between.
            self._return_to_direct()

    async def _move(self, shard: Shard, offset: Offset) -> None:
        rows = await self._spool.rows(shard, offset, self.circuit.records, MOVE_BYTES)
        await self._register_keys()
        # If we die here, the keys are in the database and the messages in the spool.
        async with answering(self._patience):
            await self._bus.append(rows.messages)  # type: ignore[arg-type]  # Foreign: what others' tests put in
        # If we die here, the bus has them and the spool too: they are sent again, with the same event ids.
        self.backlog.move(shard, rows)
        self.drained += len(rows.messages)
        self._outage_records += len(rows.messages)
        self._note_success()

    async def _register_keys(self) -> None:
        if self._keys is not None and self._keys.unregistered():
            await asyncio.to_thread(self._keys.register)

    def _return_to_direct(self) -> None:
        self.direct = True
        if self._outage_from is not None:
            outage = Outage(self._outage_from, self._clock(), self._outage_records, self._outage_reason)
            self._outages.append(outage)
            log.warning("all %d spooled messages are on the bus", outage.records)
        self._outage_from, self._outage_records, self._outage_reason = None, 0, ""

    async def _tidy(self) -> None:
        """Remove from the file what the bus has. Should that fail, messages go on moving: it is tried again, and only
        a restart before it succeeds would send them once more."""
        missing = not self._spool.reserve.whole
        try:
            for shard, end in self.backlog.to_remove():
                await self._spool.remove_moved(shard, end)
                self.backlog.remove(shard, end)
                missing = True
            if missing and not self.backlog.bytes:
                await self._spool.give_back()
            elif not self._spool.reserve.whole:
                await asyncio.to_thread(self._spool.reserve.restore)
        except Unavailable as error:
            if not self._stuck:
                log.error("messages that are on the bus cannot be removed from the spool: %s", error)
            self._stuck = True
        else:
            self._stuck = False

    def _check_age(self) -> None:
        late = too_old(self.backlog, self._limits, self._clock())
        if late and not self._alarmed:
            log.critical(
                "messages have waited for the bus for more than %g s; no more are taken until these are delivered",
                self._limits.max_age_seconds,
            )
        self._alarmed = late

    async def _rest(self, stop: asyncio.Event) -> None:
        pause = self.circuit.pause
        if not pause and (self.backlog.front() is not None or (self.backlog.empty and not self.direct)):
            return
        waiting = stop.wait() if pause else self._wake.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause or IDLE_SECONDS):
                await waiting

    def _note_success(self) -> None:
        if self.circuit.succeed():
            log.warning("messages go to the bus again; %d are in the spool", self.backlog.records)

    def _report(self, error: BaseException) -> None:
        if self.circuit.state == "down":
            log.error("messages cannot go to the bus now, and are spooled until they can: %s", error)
        else:
            log.critical(
                "messages are spooled and cannot be delivered until somebody acts: %s: %s",
                type(error).__name__,
                error,
                exc_info=error,
            )
