"""A bus in memory whose shards several members share, as consumer groups do, and move when a test says so.

bus = SharedBus({"events": 4, "control": 1, "deadletter": 1})
…                                   # members call own(); the first owns all, the next takes some
await bus.move(rng)                 # spread the shards of every group anew, at random
await bus.grow("events", 6)         # as when somebody adds partitions
bus.recreate("events")              # as when somebody deletes a topic and creates it again
bus.fail()                          # everybody loses what they own, and own() raises Unavailable
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from memory_bus import MemoryBus

from schemas.errors import Unavailable
from schemas.ids import Shard
from stores.bus import Message, Owner

Choose = Callable[[Shard, int], int]
"""Which of so many members gets a shard."""


class _Member:
    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.shards: list[Shard] = []
        self.lost = asyncio.Event()

    async def set(self, shards: Sequence[Shard]) -> None:
        """Take what is new; what is no longer there was given up before."""
        new = [shard for shard in shards if shard not in self.shards]
        self.shards = list(shards)
        if new:
            await self.owner.take(new)

    async def keep(self, shards: Sequence[Shard]) -> None:
        gone = [shard for shard in self.shards if shard not in shards]
        if gone:
            await self.owner.give_up(gone)
        self.shards = [shard for shard in self.shards if shard in shards]


class SharedBus(MemoryBus):
    """A :class:`memory_bus.MemoryBus` with groups. All members must live on one loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._members: dict[str, list[_Member]] = {}
        self._topics: dict[str, tuple[str, ...]] = {}
        self._moving: dict[str, asyncio.Lock] = {}
        self.refusals = 0

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("no coordinator", retry_after=0.0)
        member = _Member(owner)
        self._members.setdefault(group, []).append(member)
        self._topics[group] = tuple(topics)
        await self._spread(group, lambda shard, count: shard.partition % count)
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, member.lost)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        async with self._lock_of(group):
            await member.keep([])
            self._members[group].remove(member)
        if not stop.is_set():
            raise Unavailable("the coordinator is gone", retry_after=0.0)
        if self._members[group]:
            await self._spread(group, lambda shard, count: shard.partition % count)

    async def move(self, rng: random.Random) -> None:
        """Spread the shards of every group anew, at random."""
        for group in list(self._members):
            await self._spread(group, lambda shard, count: rng.randrange(count))

    async def grow(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic."""
        for partition in range(self._partitions[topic], partitions):
            self._messages[Shard(topic, partition)] = []
            self._starts[Shard(topic, partition)] = 0
        self._partitions[topic] = partitions
        for group in list(self._members):
            await self._spread(group, lambda shard, count: shard.partition % count)

    def recreate(self, topic: str) -> None:
        """Delete a topic with all that it holds, and create it again."""
        empty: list[Message]
        for shard in self._messages:
            if shard.topic == topic:
                empty = []
                self._messages[shard], self._starts[shard] = empty, 0
        self._identities[topic] = str(uuid4())

    def fail(self, refusals: int = 0) -> None:
        """Take everything from everybody; the next ``refusals`` calls of ``own`` fail."""
        self.refusals = refusals
        for members in self._members.values():
            for member in members:
                member.lost.set()

    def owned(self, group: str) -> list[list[Shard]]:
        """What each member owns."""
        return [member.shards for member in self._members.get(group, [])]

    async def _spread(self, group: str, choose: Choose) -> None:
        async with self._lock_of(group):
            members = self._members[group]
            if not members:
                return
            shards = [shard for topic in self._topics[group] for shard in await self.shards(topic)]
            of = {shard: members[choose(shard, len(members))] for shard in shards}
            plan = [(member, [shard for shard in shards if of[shard] is member]) for member in members]
            await asyncio.gather(*(member.keep(mine) for member, mine in plan))
            for member, mine in plan:
                await member.set(mine)

    def _lock_of(self, group: str) -> asyncio.Lock:
        return self._moving.setdefault(group, asyncio.Lock())
