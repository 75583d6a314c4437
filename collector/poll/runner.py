"""Asking the feeds: one task each, under a lease, page by page. What a feed gives is durable before its cursor moves.

What holds, should the process die: before ``accept_body`` returns, nothing was promised, and the page is asked for
again. After it, before the swap, its records are durable and the page is asked for again: they get equal event ids.
After the swap the page is done. The swap is from the very value that was read at the start, so a process that was
paused and lost its lease cannot move a cursor that another process has moved meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from collector.gateways import Received
from collector.ingest import Ingest
from collector.poll import Counted, Feed, Page
from collector.poll.coverage import Progress, acts, advance, format_progress, is_due, parse_progress
from collector.routes import Stored
from schemas.errors import (
    AccessDenied,
    AffidavitError,
    ConfigurationError,
    LedgerContradiction,
    LockLost,
    Unavailable,
)
from sinks.pace import Backoff, Clock, SystemClock
from stores.control import Control

log = logging.getLogger(__name__)

LEASE_SECONDS = 120
"""Longer than a page takes with all its time limits, so that a feed does not wander while it is read; a feed whose
process died is taken up within this time."""

REFUSED_SECONDS = 300
"""What only a person can mend is looked at again this often: a right may be granted without a restart."""

Report = Callable[..., Awaitable[object]]
"""``SelfAudit.record``: puts acts on the control shard, and returns when they are durable."""

T = TypeVar("T")


@dataclass(slots=True)
class FeedStatus:
    """How a feed is doing, for metrics and people.

    Attributes:
        state: ``reading``, ``waiting`` (nothing new), ``failing`` (tried again by itself), ``refused`` (a person must
            mend something), ``elsewhere`` (another process has it) or ``stopped``.
        error: of the last try, ``""`` after a good one.
        pages, records: since the start of this process, repeats included.
        errors: how often, by class.
        reached: the source was read up to here, microseconds since 1970; ``None`` before the first stretch.
        moved_at: when the cursor moved last, microseconds since 1970; ``None`` if this process did not move it.
        lag_seconds: from ``reached`` to now; ``None`` where that is not known.
    """

    name: str
    tenant: str
    gateway: str
    state: str = "stopped"
    error: str = ""
    pages: int = 0
    records: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    reached: int | None = None
    moved_at: int | None = None
    lag_seconds: float | None = None


class Pollers:
    """Asks feeds until it is told to stop.

    Args:
        feeds: whom to ask; their names are distinct.
        ingest: where pages go.
        control: keeps cursors and leases; its methods block, and run on threads.
        owner: names this process among those that poll; another after each start.
        report: puts acts on the log.
        clock, rng: tests replace them.
        lease_seconds: how long a feed stays with a process that says nothing.

    Raises:
        ConfigurationError: two feeds have one name.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        ingest: Ingest,
        control: Control,
        *,
        owner: str,
        report: Report,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        names = [feed.name for feed in feeds]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"got feeds named {', '.join(sorted(names))}, expected each name once")
        shared = _Shared(ingest, control, owner, report, clock or SystemClock(), lease_seconds)
        rng = rng or random.Random()  # noqa: S311  (spreads tries, guards nothing)
        self._pollers = [_Poller(feed, shared, rng) for feed in feeds]
        self._clock = shared.clock

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until ``stop``; a page that is being stored is finished, one that is being asked for is let go."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for poller in self._pollers:
                    tasks.create_task(poller.run(stop), name=f"poll {poller.feed.name}")
        finally:
            for poller in self._pollers:
                await poller.feed.close()

    def snapshot(self) -> list[FeedStatus]:
        """One status per feed, in the order given."""
        now = self._clock.time()
        return [
            replace(
                poller.status,
                errors=dict(poller.status.errors),
                lag_seconds=None if poller.status.reached is None else now - poller.status.reached / 1e6,
            )
            for poller in self._pollers
        ]


@dataclass(frozen=True, slots=True)
class _Shared:
    ingest: Ingest
    control: Control
    owner: str
    report: Report
    clock: Clock
    lease_seconds: float

    def micros(self) -> int:
        return int(self.clock.time() * 1_000_000)


class _Poller:
    """One feed. ``_progress`` is what the row held when it was last read or swapped; ``None``: it must be read."""

    def __init__(self, feed: Feed, shared: _Shared, rng: random.Random) -> None:
        self.feed = feed
        self.status = FeedStatus(feed.name, feed.tenant, feed.gateway)
        self._shared = shared
        self._rng = rng
        self._backoff = Backoff(rng)
        self._row = f"feed/{feed.name}"
        self._progress: Progress | None = None
        self._lease_until = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            seconds = await self._try(stop)
            if seconds > 0:
                await _first(self._shared.clock.sleep(seconds), stop)
        await self._end()

    async def _try(self, stop: asyncio.Event) -> float:
        """One step, and how long to wait after it."""
        try:
            seconds = await self._step(stop)
        except LockLost as error:
            self._forget("elsewhere", error)
            return self._shared.lease_seconds / 4
        except (AccessDenied, ConfigurationError, LedgerContradiction) as error:
            self._forget("refused", error)
            return REFUSED_SECONDS
        except Unavailable as error:
            self._forget("failing", error)
            return self._backoff.next(error.retry_after)
        except AffidavitError as error:
            self._forget("failing", error)
            return self._backoff.next(1.0)
        except Exception as error:
            log.exception("feed %s failed", self.feed.name)
            self._forget("failing", error)
            return self._backoff.next(1.0)
        self.status.error = ""
        self._backoff = Backoff(self._rng)
        return seconds

    async def _step(self, stop: asyncio.Event) -> float:
        if not await self._hold():
            self.status.state = "elsewhere"
            return self._shared.lease_seconds / 4
        progress = await self._put_on_record(await self._read())
        self.status.state = "reading"
        page = await _first(self.feed.page(progress.cursor), stop)
        if page is None:
            self.status.state = "waiting"
            return self.feed.interval
        counted = await self._store(page)  # dead here: durable, and asked for again
        await self._move(progress, advance(progress, page, counted))  # dead here: this page is done
        self.status.pages += 1
        self.status.records += counted.records
        self.status.moved_at = self._shared.micros()
        if page.more:
            return 0.0
        self.status.state = "waiting"
        return self.feed.interval

    async def _hold(self) -> bool:
        """Have the lease for a while yet."""
        now, length = self._shared.clock.time(), self._shared.lease_seconds
        if self._progress is not None and self._lease_until - now > length / 2:
            return True
        claim = (self._row, self._shared.owner, int(now * 1000), int((now + length) * 1000))
        held = await asyncio.to_thread(self._shared.control.claim_feed, *claim)
        self._lease_until = now + length if held else 0.0
        if not held:
            self._progress = None
        return held

    async def _read(self) -> Progress:
        if self._progress is None:
            text = await asyncio.to_thread(self._shared.control.cursor, self._row)
            self._progress = parse_progress(text, self.feed.name)
            self.status.reached = self._progress.reached
        return self._progress

    async def _store(self, page: Page) -> Counted:
        if not page.body:
            return Counted()
        ingest = self._shared.ingest
        ingest.budget.take(len(page.body))
        try:
            stored = await ingest.accept_body(page.body, self.feed.format, self._received(page))
        finally:
            ingest.budget.give_back(len(page.body))
        return _counted(stored)

    def _received(self, page: Page) -> Received:
        return Received(
            tenant=self.feed.tenant,
            gateway=self.feed.gateway,
            token_id=self._row,
            receiver=self.feed.receiver,
            peer_ip="",
            media_type=page.media_type,
            content_encoding="",
            received_at=self._shared.micros(),
            format=self.feed.format.name,
            name=page.name,
            attachments=page.attachments,
        )

    async def _put_on_record(self, progress: Progress, *, ending: bool = False) -> Progress:
        """Say on the log what was read, if it is time; see :mod:`collector.poll.coverage` for the three steps."""
        if not progress.acting and is_due(progress, self._shared.micros(), ending=ending):
            progress = await self._move(progress, replace(progress, acting=progress.ready, ready=()))
        if progress.acting:
            await self._shared.report(*acts(progress, self.feed.name, self.feed.tenant, self._shared.owner))
            progress = await self._move(progress, replace(progress, acting=(), acted_at=self._shared.micros()))
        return progress

    async def _move(self, old: Progress, new: Progress) -> Progress:
        swap = (self._row, "" if old == Progress() else format_progress(old), format_progress(new), self._shared.owner)
        await asyncio.to_thread(self._shared.control.move_cursor, *swap)
        self._progress = new
        self.status.reached = new.reached
        return new

    async def _end(self) -> None:
        """Put on record what is ready, and give the feed to whoever wants it. What fails here is done at the next
        start."""
        with suppress(AffidavitError):
            if self._progress is not None:
                await self._put_on_record(self._progress, ending=True)
        with suppress(AffidavitError):
            await asyncio.to_thread(self._shared.control.release_feed, self._row, self._shared.owner)
        self.status.state = "stopped"

    def _forget(self, state: str, error: Exception) -> None:
        """What is in memory may differ from the row now; the next step reads it again."""
        name, text = type(error).__name__, str(error)
        if (state, text) != (self.status.state, self.status.error):
            log.warning("feed %s is %s: %s", self.feed.name, state, text)
        self.status.state, self.status.error = state, text
        self.status.errors[name] = self.status.errors.get(name, 0) + 1
        self._progress = None


def _counted(stored: Stored) -> Counted:
    units = stored.reading.units
    return Counted(len(units), units[0].source_id if units else "", units[-1].source_id if units else "")


async def _first(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """The result of ``work``, or ``None`` when the signal comes first; ``work`` is then cancelled."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for future in (task, stopped):
            future.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
