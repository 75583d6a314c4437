"""Several processes on one memory bus, with a group that hands shards about as a test says.

    group = Group()
    a, b = GroupBus(bus, group), GroupBus(bus, group)        # one for each process
    await group.assign({a: [shard_0], b: [shard_1]})         # gives up, then takes, as a rebalance does
    await group.seize({b: [shard_0, shard_1]}, paused=a)     # a is a zombie: nobody tells it
    await group.wake(a)                                      # it hears of it

Everything but ``own`` goes to the bus itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from memory_bus import MemoryBus

from schemas.errors import Unavailable
from schemas.ids import Shard
from stores.bus import Owner


class GroupBus:
    """The bus as one process sees it. ``disconnect`` makes its ``own`` fail."""

    def __init__(self, inner: MemoryBus, group: Group) -> None:
        self._inner, self._group = inner, group
        self._failed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def disconnect(self) -> None:
        self._failed.set()

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        self._failed.clear()
        self._group.join(self, owner)
        ends = [asyncio.ensure_future(event.wait()) for event in (stop, self._failed)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._group.leave(self, told=not self._failed.is_set())
        finally:
            for end in ends:
                end.cancel()
        if self._failed.is_set():
            raise Unavailable("the group's coordinator is gone", retry_after=0.0)


class Group:
    """Who owns what."""

    def __init__(self) -> None:
        self._owners: dict[GroupBus, Owner] = {}
        self._shards: dict[GroupBus, list[Shard]] = {}
        self._lock = asyncio.Lock()

    def join(self, member: GroupBus, owner: Owner) -> None:
        self._owners[member], self._shards[member] = owner, []

    @property
    def members(self) -> list[GroupBus]:
        return list(self._owners)

    async def leave(self, member: GroupBus, *, told: bool) -> None:
        async with self._lock:
            shards = self._shards.pop(member, [])
            owner = self._owners.pop(member)
            if told:
                await owner.give_up(shards)

    async def assign(self, plan: Mapping[GroupBus, Sequence[Shard]]) -> None:
        """Give each member these shards: all that move are given up first, by everybody."""
        async with self._lock:
            await self._move(plan)

    async def seize(self, plan: Mapping[GroupBus, Sequence[Shard]], paused: GroupBus) -> None:
        """As :meth:`assign`, without a word to ``paused``, which goes on believing that it owns what it had."""
        async with self._lock:
            await self._move(plan, but=paused)

    async def wake(self, member: GroupBus) -> None:
        """Let a paused member hear that it owns nothing any more."""
        async with self._lock:
            shards, self._shards[member] = self._shards[member], []
            await self._owners[member].give_up(shards)

    async def _move(self, plan: Mapping[GroupBus, Sequence[Shard]], but: GroupBus | None = None) -> None:
        told = {member: owner for member, owner in self._owners.items() if member is not but}
        for member, owner in told.items():
            leaving = [shard for shard in self._shards[member] if shard not in plan.get(member, ())]
            if leaving:
                await owner.give_up(leaving)
        for member, owner in told.items():
            coming = [shard for shard in plan.get(member, ()) if shard not in self._shards[member]]
            self._shards[member] = list(plan.get(member, ()))
            if coming:
                await owner.take(coming)
