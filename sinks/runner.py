"""The one runner of every sink: a lane per shard that this process owns, and what the lanes share.

::

    runner = Runner(sink, bus)
    async with asyncio.TaskGroup() as group:
        group.create_task(runner.run())
        …
        runner.stop(drain=True)

Any number of processes run the same sink; the bus says which shards are whose (:meth:`stores.bus.Bus.own`, in the name
of the sink). No sink has a retry loop, a queue, a thread or a dead letter of its own; see :mod:`sinks.contract`.
"""

from __future__ import annotations

import asyncio
import logging
import random

from schemas.errors import Unavailable
from sinks.budget import Budget
from sinks.contract import Sink
from sinks.identity import Identities
from sinks.lane import Common
from sinks.lanes import Lanes
from sinks.pace import Backoff, Clock, Stop, SystemClock
from sinks.snapshot import Snapshot
from stores.bus import Bus

log = logging.getLogger(__name__)

MEMORY_BYTES = 128 << 20
"""Values in memory over all shards, before the sink makes something of them."""

STOP_SECONDS = 20.0
"""How long a stop may take before calls that hang are left behind; below the 30 s that supervisors commonly allow."""

GIVE_UP_SECONDS = 20.0
"""How long giving up shards may take while the runner goes on; must be below the bus's rebalance timeout, beyond which
others take the shards anyhow."""


class Runner:
    """Runs one sink over those shards of its topics that this process owns.

    Args:
        sink: not yet open.
        bus: the runner reads, owns, appends dead letters, and commits positions as lag hints; it does not close it.
        memory_bytes: bound on the record values held at once. Each lane holds two batches, so a batch is at most
            ``memory_bytes / (2 × shards owned)``, however large the sink's limits are.
        stop_seconds: see :data:`STOP_SECONDS`.
        give_up_seconds: see :data:`GIVE_UP_SECONDS`.
        clock, rng: replaced by tests.
    """

    def __init__(
        self,
        sink: Sink,
        bus: Bus,
        *,
        memory_bytes: int = MEMORY_BYTES,
        stop_seconds: float = STOP_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._sink = sink
        self._bus = bus
        self._stop_seconds = stop_seconds
        self._give_up_seconds = give_up_seconds
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311  spreads retries, protects nothing
        self._stop = Stop(self._clock)
        self._common = Common(sink, bus, Budget(memory_bytes), Identities(bus), self._clock, self._rng)
        self._lanes: Lanes | None = None

    def stop(self, *, drain: bool = False) -> None:
        """Ask :meth:`run` to deliver what is gathered, finish what is in flight, give up all shards and return. From
        the loop's thread; a second call changes nothing.

        Args:
            drain: deliver first, without lingering, all that is on the owned shards at this moment, as far as
                ``stop_seconds`` allow and the destination takes it.
        """
        self._stop.set(self._stop_seconds, drains=drain)

    @property
    def opened(self) -> bool:
        """Whether the sink is open and this process takes part. It may own no shard, where others own them all."""
        return self._lanes is not None

    @property
    def busy(self) -> bool:
        """Whether a call of the sink that hung was left behind. Nothing that it uses may be closed then, and whoever
        ends the process must not wait for the call's thread."""
        return self._lanes is not None and self._lanes.busy

    def snapshot(self) -> Snapshot:
        """How each shard is doing; from any thread."""
        return self._lanes.snapshot() if self._lanes is not None else Snapshot(self._sink.name, ())

    async def run(self) -> None:
        """Feed the sink until :meth:`stop`.

        A shard that fails stops alone, is logged, and shows in :meth:`snapshot` for as long as it is owned; its error
        is raised at the end.

        Raises:
            ConfigurationError: the sink cannot be opened; the message holds the fix.
            InvariantError, LedgerContradiction, EvidenceIncomplete, VerificationError: what stopped a shard.
        """
        if not await self._open():
            return
        async with asyncio.TaskGroup() as group:
            lanes = self._lanes = Lanes(self._common, group, self._stop, give_up_seconds=self._give_up_seconds)
            await self._own(lanes)
        if not lanes.busy:
            await asyncio.to_thread(self._sink.close)
        if lanes.error is not None:
            raise lanes.error

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

    async def _own(self, lanes: Lanes) -> None:
        """Own shards until the stop, however often the bus is away."""
        backoff = Backoff(self._rng)
        while not self._stop.requested:
            try:
                await self._bus.own(self._sink.name, self._sink.topics, lanes, self._stop.signal)
            except Unavailable as error:
                log.warning("sink %s owns no shard: %s", self._sink.name, error)
                await lanes.give_up_all()
                await self._stop.sleep(backoff.next(error.retry_after))
            else:
                backoff = Backoff(self._rng)
        await lanes.give_up_all()
