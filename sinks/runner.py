"""The one runner of every sink: a lane per shard, and what they share.

::

    runner = Runner(sink, bus)
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        …
        runner.stop()

No sink has a retry loop, a queue, a thread or a dead letter of its own; see :mod:`sinks.contract`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace

from schemas.errors import Unavailable
from schemas.ids import Shard
from sinks.contract import Limits, Sink
from sinks.lane import Lane
from sinks.pace import Backoff, Clock, Stop, SystemClock
from sinks.snapshot import Snapshot
from stores.bus import Bus

log = logging.getLogger(__name__)

MEMORY_BYTES = 128 << 20
"""Values in memory over all shards, before the sink makes something of them."""

STOP_SECONDS = 20.0
"""How long a stop may take before calls that hang are left behind; below the 30 s that supervisors commonly allow."""


class Runner:
    """Runs one sink over all shards of its topics.

    Args:
        sink: not yet open.
        bus: the runner reads, appends dead letters, and commits positions as lag hints; it does not close it.
        memory_bytes: bound on the record values held at once. Each lane holds two batches, so a batch is at most
            ``memory_bytes / (2 × shards)``, however large the sink's limits are.
        stop_seconds: see :data:`STOP_SECONDS`.
        clock, rng: replaced by tests.
    """

    def __init__(
        self,
        sink: Sink,
        bus: Bus,
        *,
        memory_bytes: int = MEMORY_BYTES,
        stop_seconds: float = STOP_SECONDS,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._sink = sink
        self._bus = bus
        self._memory_bytes = memory_bytes
        self._stop_seconds = stop_seconds
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311  spreads retries, protects nothing
        self._stop = Stop(self._clock)
        self._lanes: list[Lane] = []

    def stop(self) -> None:
        """Ask :meth:`run` to deliver what is gathered, finish what is in flight, and return. From the loop's thread."""
        self._stop.set(self._stop_seconds)

    def snapshot(self) -> Snapshot:
        """How each shard is doing."""
        return Snapshot(self._sink.name, tuple(lane.snapshot() for lane in self._lanes))

    async def run(self) -> None:
        """Feed the sink until :meth:`stop`.

        A shard that fails stops alone, is logged, and shows in :meth:`snapshot`; its error is raised at the end.

        Raises:
            ConfigurationError: the sink cannot be opened; the message holds the fix.
            InvariantError, LedgerContradiction, EvidenceIncomplete, VerificationError: what stopped a shard.
        """
        if not await self._open():
            return
        shards = [shard for topic in self._sink.topics for shard in await self._bus.shards(topic)]
        limits = self._limits(len(shards))
        self._lanes = [self._lane(shard, limits) for shard in shards]
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())
        if not any(lane.abandoned for lane in self._lanes):
            await asyncio.to_thread(self._sink.close)
        for lane in self._lanes:
            if lane.error is not None:
                raise lane.error

    async def _open(self) -> bool:
        """Open the sink, however long it takes to come up; false when the runner must stop first."""
        backoff = Backoff(self._rng)
        while not self._stop.requested:
            try:
                await asyncio.to_thread(self._sink.open)
            except Unavailable as error:
                log.warning("sink %s cannot be opened yet: %s", self._sink.name, error)
                await self._stop.sleep(backoff.next(error.retry_after))
            else:
                return True
        return False

    def _lane(self, shard: Shard, limits: Limits) -> Lane:
        return Lane(self._sink, self._bus, shard, limits, clock=self._clock, stop=self._stop, rng=self._rng)

    def _limits(self, shards: int) -> Limits:
        limits = self._sink.limits
        return replace(limits, max_bytes=max(1, min(limits.max_bytes, self._memory_bytes // (2 * max(1, shards)))))
