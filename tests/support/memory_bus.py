"""A bus in memory: the contract of :class:`stores.bus.Bus` without a disk, for tests of whatever reads or writes a bus.

    bus = MemoryBus({"events": 2, "control": 1, "deadletter": 1})
    bus.trim(Shard("events", 0), Offset(10))     # as if retention had removed what lies before

Wrap it in :class:`faults.FaultyBus` to make a chosen write fail.
"""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from schemas.entry import valid_commitments
from schemas.errors import ConfigurationError, EvidenceIncomplete
from schemas.ids import Offset, Shard
from stores.bus import Bounds, Message, Outgoing, Owner, Position
from stores.bus.headers import Foreign, read_headers, write_headers


class MemoryBus:
    """Implements :class:`stores.bus.Bus`; usable from several loops and threads."""

    def __init__(
        self,
        partitions: Mapping[str, int] | None = None,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._partitions = dict(partitions or {"events": 2, "control": 1, "deadletter": 1})
        self._clock = clock
        self._lock = threading.Lock()
        self._messages: dict[Shard, list[Message]] = {
            Shard(topic, partition): [] for topic, count in self._partitions.items() for partition in range(count)
        }
        self._starts = dict.fromkeys(self._messages, 0)
        self._identities = {topic: str(uuid4()) for topic in self._partitions}
        self._groups: dict[tuple[str, Shard], Offset] = {}
        self._waiters: list[tuple[Shard, int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    async def append(self, messages: Sequence[Outgoing | Foreign]) -> list[Position]:
        for message in messages:
            if message.topic not in self._partitions:
                raise ConfigurationError(f"the bus has no topic {message.topic!r}")
        with self._lock:
            positions = [self._append(message) for message in messages]
            ready = [waiter for waiter in self._waiters if self._end(waiter[0]) > waiter[1]]
            self._waiters = [waiter for waiter in self._waiters if waiter not in ready]
        for _, _, loop, future in ready:
            loop.call_soon_threadsafe(lambda future=future: future.done() or future.set_result(None))
        return positions

    def _append(self, message: Outgoing | Foreign) -> Position:
        shard = Shard(message.topic, zlib.crc32(message.key) % self._partitions[message.topic])
        there = self._messages[shard]
        headers = message.headers if isinstance(message, Foreign) else write_headers(message)
        ours = read_headers(headers)
        time_ms = max(self._clock(), there[-1].time_ms if there else 0)
        there.append(
            Message(
                shard,
                Offset(len(there)),
                time_ms,
                message.key,
                message.value,
                ours.kind,
                ours.event_id,
                ours.commitments,
                () if ours.exact else tuple(headers),
            )
        )
        return Position(shard, there[-1].offset, time_ms)

    async def read(
        self, shard: Shard, offset: Offset, *, max_records: int, max_bytes: int, values: bool = True
    ) -> list[Message]:
        with self._lock:
            if offset < self._starts[self._known(shard)]:
                raise EvidenceIncomplete(f"{shard} offset {offset}: no longer on the bus, which begins later")
            found: list[Message] = []
            room = max_bytes
            for message in self._messages[shard][offset : offset + max_records]:
                room -= len(message.value)
                if found and room < 0:
                    break
                bare = not values and valid_commitments(message.commitments)
                found.append(message._replace(key=b"", value=b"", headers=()) if bare else message)
            return found

    async def wait(self, shard: Shard, offset: Offset, timeout: float) -> bool:
        loop = asyncio.get_running_loop()
        waiter = (self._known(shard), offset, loop, loop.create_future())
        with self._lock:
            if self._end(shard) > offset:
                return True
            self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter[3]
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiters = [other for other in self._waiters if other is not waiter]
        return True

    async def bounds(self, shard: Shard) -> Bounds:
        with self._lock:
            return Bounds(Offset(self._starts[self._known(shard)]), Offset(self._end(shard)))

    async def shards(self, topic: str) -> list[Shard]:
        self._known(Shard(topic, 0))
        return sorted(shard for shard in self._messages if shard.topic == topic)

    async def identity(self, topic: str) -> str:
        self._known(Shard(topic, 0))
        return self._identities[topic]

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        shards = [shard for topic in topics for shard in await self.shards(topic)]
        await owner.take(shards)
        await stop.wait()
        await owner.give_up(shards)

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        self._groups[group, self._known(shard)] = offset

    async def committed(self, group: str, shard: Shard) -> Offset | None:
        return self._groups.get((group, shard))

    async def close(self) -> None:
        """Nothing to release: what was appended can still be read."""

    def trim(self, shard: Shard, start: Offset) -> None:
        """Move the start of a shard, as retention on a real bus does."""
        with self._lock:
            self._starts[self._known(shard)] = start

    def _end(self, shard: Shard) -> int:
        return len(self._messages[shard])

    def _known(self, shard: Shard) -> Shard:
        if shard not in self._messages:
            raise ConfigurationError(f"the bus has no shard {shard}")
        return shard
