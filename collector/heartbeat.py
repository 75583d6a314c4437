"""Heartbeats: what a running collector has acknowledged, on the record, so that the end of its numbers is known too.

A gap between two numbers shows by itself. That the last numbers of a collector are missing does not, unless it said how
far it had come; nor does a collector that died show, unless it was to say something and did not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from collector.ingest import Counts
from collector.internal import Act, SelfAudit
from schemas.errors import Unavailable

log = logging.getLogger(__name__)

OPERATION = "collector.heartbeat"

INTERVAL_SECONDS = 60.0
"""Between two heartbeats: a day of an idle collector is 1,440 small records."""


class Heartbeat:
    """Puts heartbeats of one collector on the control shard.

    Args:
        counts: what it has done so far.
        audit: where they go.
        role: what the process does: ``collector``, ``poller``, ``proxy``.
        interval: seconds between two.
        spooled: how many records lie in its spool and are not on the bus yet.
        now_micros: microseconds since 1970 UTC.
    """

    def __init__(
        self,
        counts: Callable[[], Counts],
        audit: SelfAudit,
        *,
        role: str,
        interval: float = INTERVAL_SECONDS,
        spooled: Callable[[], int] = lambda: 0,
        now_micros: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._counts, self._audit, self._role, self._interval = counts, audit, role, interval
        self._spooled = spooled
        self._now_micros = now_micros
        self._started = now_micros()

    async def run(self, stop: asyncio.Event) -> None:
        """Say at once that it begins, then every interval how far it is, until ``stop`` is set. The last word is the
        caller's, with :meth:`end`, when nothing is received any more."""
        while not stop.is_set():
            await self._beat(final=False)
            try:
                async with asyncio.timeout(self._interval):
                    await stop.wait()
            except TimeoutError:
                continue

    async def end(self) -> None:
        """Say that it stops, and how far it came."""
        await self._beat(final=True)

    async def _beat(self, *, final: bool) -> None:
        """One that cannot be recorded is left out: the next says more."""
        try:
            await self._audit.record(self._act(final))
        except Unavailable as error:
            log.warning("a heartbeat could not be recorded: %s", error)

    def _act(self, final: bool) -> Act:
        counts = self._counts()
        extras = {
            "collector_id": counts.collector_id,
            "role": self._role,
            "started_at": self._started,
            "interval_seconds": self._interval,
            "settled": counts.settled,
            "lost": counts.lost,
            "spooled": self._spooled(),
            "acknowledged": dict(counts.acknowledged),
            "final": final,
        }
        return Act(OPERATION, "session", counts.collector_id, "system", extras=extras)
