"""The lanes of the shards that this process owns now: they start when shards are taken, and end when they are given
up. Implements :class:`stores.bus.Owner`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from schemas.errors import Unavailable
from schemas.ids import Offset, Shard
from sinks.lane import Common, Lane
from sinks.pace import Stop
from sinks.snapshot import Snapshot, Tally

log = logging.getLogger(__name__)

LATE_SECONDS = 1.0
"""How long after its deadline a lane that waits for the bus, and not for the sink, is cancelled."""

LOOK_SECONDS = 2.0
"""How long a drain may look for the ends of its shards, before it makes do with those seen last."""


class Lanes:
    """A lane per owned shard.

    Args:
        common: what they share.
        group: runs them; whatever no lane may raise cancels all of it.
        stop: the runner's; what is given up once it is requested, is given up for good.
        give_up_seconds: how long giving up may take while the runner goes on.
    """

    def __init__(self, common: Common, group: asyncio.TaskGroup, stop: Stop, *, give_up_seconds: float) -> None:
        self._common = common
        self._group = group
        self._stop = stop
        self._give_up_seconds = give_up_seconds
        self._lanes: dict[Shard, Lane] = {}
        self._tasks: dict[Shard, asyncio.Task[None]] = {}
        self._tallies: dict[Shard, Tally] = {}
        self._hanging: dict[Shard, asyncio.Future[Any]] = {}

    async def take(self, shards: Sequence[Shard]) -> None:
        """See :meth:`stores.bus.Owner.take`. A shard for which a call still hangs begins when that has ended."""
        new = [shard for shard in shards if shard not in self._tasks]
        self._common.budget.lanes += len(new)
        for shard in new:
            tally = self._tallies.setdefault(shard, Tally(shard))
            tally.taken()
            lane = Lane(self._common, shard, tally)
            self._lanes = {**self._lanes, shard: lane}
            self._tasks[shard] = self._group.create_task(
                lane.run(self._hanging.get(shard)), name=f"{self._common.sink.name} {shard}"
            )

    async def give_up(self, shards: Sequence[Shard]) -> None:
        """See :meth:`stores.bus.Owner.give_up`. What is in flight is finished; a call that hangs is left behind at the
        deadline, and a drain delivers what was on the bus when it began."""
        given = [shard for shard in shards if shard in self._tasks]
        ends = await self._ends(given) if self._stop.drains else {}
        grace = self._stop.left if self._stop.requested else self._give_up_seconds
        for shard in given:
            self._lanes[shard].stop(grace, ends.get(shard))
        await self._ended([self._tasks[shard] for shard in given], grace + LATE_SECONDS)
        self._common.budget.lanes -= len(given)
        for shard in given:
            del self._tasks[shard]
            self._tallies[shard].given_up()
            if (call := self._lanes[shard].hanging) is not None:
                self._hanging[shard] = call
        if not self._stop.requested:
            self._lanes = {shard: lane for shard, lane in self._lanes.items() if shard not in given}

    async def give_up_all(self) -> None:
        """Give up whatever is still owned."""
        await self.give_up(list(self._tasks))

    @property
    def busy(self) -> bool:
        """Whether a call of the sink is still under way in some thread."""
        return any(not call.done() for call in self._hanging.values())

    @property
    def error(self) -> Exception | None:
        """What the first lane that failed failed with."""
        return next((lane.error for lane in self._lanes.values() if lane.error is not None), None)

    def snapshot(self) -> Snapshot:
        """How each shard is doing; from any thread."""
        lanes, tallies = self._lanes, list(self._tallies.items())
        return Snapshot(
            self._common.sink.name,
            tuple(lane.snapshot() for lane in lanes.values()),
            tuple(tally.snapshot() for shard, tally in tallies if shard not in lanes),
        )

    async def _ended(self, tasks: list[asyncio.Task[None]], seconds: float) -> None:
        """Return when the tasks are done; cancel those that are not within ``seconds``."""
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            log.error("sink %s: %s is cancelled while it waits for the bus", self._common.sink.name, task.get_name())
            task.cancel()
        await asyncio.wait(tasks)

    async def _ends(self, shards: Sequence[Shard]) -> dict[Shard, Offset]:
        """Where the shards end now, or where they were last seen to."""
        ends = {shard: self._tallies[shard].end for shard in shards}
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await asyncio.gather(*(self._look(shard, ends) for shard in shards))
        return ends

    async def _look(self, shard: Shard, ends: dict[Shard, Offset]) -> None:
        with suppress(Unavailable):
            ends[shard] = (await self._common.bus.bounds(shard)).end
