"""Reading: fetches from a shard's leader, by topic id, and what is left of them for the next read.

Nothing is fetched ahead. A fetch may bring more than was asked for, since brokers send whole batches; the rest waits
for the reader that comes on at that offset. Each of several readers of a shard thus has its own place, and what is
kept is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiokafka.protocol.offset import OffsetRequest

from schemas.errors import EvidenceIncomplete, LedgerContradiction, Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Bounds, Message
from stores.bus.kafka.cluster import Cluster, Topic
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.errors import Answered, Means, check
from stores.bus.kafka.protocol import FetchById, FetchResponse13
from stores.bus.kafka.records import Chunk, unpack

FETCH_BYTES = 8 * 1024 * 1024
"""Asked for in one fetch."""

LEAST_FETCH_BYTES = 64 * 1024
GUESSED_RECORD_BYTES = 2048

KEPT_BYTES = 32 * 1024 * 1024
KEPT_SECONDS = 30.0
"""What is left of fetches, for all readers together, and for how long."""

POLL_SECONDS = 5.0
"""One long poll; the broker answers as soon as there is a message."""

ANSWER_SECONDS = 5.0
"""How much longer than the poll its answer may take."""

INLINE_BYTES = 128 * 1024
"""Less than this is decoded where it is; more in a thread, so that appends do not wait for it."""

DECODERS = 2

EARLIEST, LATEST = -2, -1
THROTTLED = 89


class Reader:
    """Reads all shards; used on the bus's own loop only."""

    def __init__(self, config: KafkaConfig, cluster: Cluster) -> None:
        self._config, self._cluster = config, cluster
        self._kept = Kept()
        self._decoders = ThreadPoolExecutor(DECODERS, "kafka-decoder")

    def close(self) -> None:
        """Let the decoding threads go."""
        self._decoders.shutdown(wait=False)

    async def read(self, shard: Shard, offset: int, max_records: int, max_bytes: int, values: bool) -> list[Message]:
        """See :meth:`stores.bus.Bus.read`."""
        await self._known(shard)
        found: list[Message] = []
        size = 0
        while True:
            at = offset + len(found)
            kept = self._kept.take(shard, at)
            try:
                chunk = kept or await self._fetch(shard, at, _bytes_for(max_records - len(found), max_bytes - size))
                if chunk is None:
                    return found
                room = max_bytes - size
                taken = await self._unpack(chunk, shard, at, max_records - len(found), room, values, not found)
            except (LedgerContradiction, EvidenceIncomplete, Unavailable):
                if found:
                    return found  # whoever asks next, at the offset behind, meets the error
                raise
            found += taken.messages
            size += taken.size
            at = offset + len(found)
            if taken.rest is not None:
                self._kept.keep(shard, at, taken.rest)
            full = len(found) >= max_records or size >= max_bytes or taken.rest is not None
            if full or not taken.messages or (kept is None and at >= chunk.high_watermark):
                return found

    async def wait(self, shard: Shard, offset: int, timeout: float) -> bool:
        """See :meth:`stores.bus.Bus.wait`. What a poll brings is kept for the read that follows."""
        deadline = time.monotonic() + timeout
        await self._known(shard)
        if self._kept.has(shard, offset):
            return True
        at = offset
        while True:
            left = deadline - time.monotonic()
            chunk = await self._fetch(shard, at, LEAST_FETCH_BYTES, max(min(left, POLL_SECONDS), 0.0))
            if chunk is not None and chunk.high_watermark > offset:
                if at == offset and chunk.raw:
                    self._kept.keep(shard, offset, chunk)
                return True
            if deadline <= time.monotonic():
                return False
            # Nothing at the end yet, or the end lies before the offset that is waited for: wait at the end.
            at = offset if chunk is not None and at == offset else min(offset, (await self.bounds(shard)).end)

    async def bounds(self, shard: Shard) -> Bounds:
        """See :meth:`stores.bus.Bus.bounds`: asked of the leader, each time."""
        start, end = await asyncio.gather(self._offset(shard, EARLIEST), self._offset(shard, LATEST))
        self._cluster.pinned(shard.topic)
        return Bounds(Offset(start), Offset(max(start, end)))

    async def _known(self, shard: Shard) -> None:
        """Refuse a shard that does not exist, or no longer."""
        await self._cluster.known(shard, self._config.request_seconds)
        self._cluster.pinned(shard.topic)

    async def _offset(self, shard: Shard, which: int) -> int:
        def request(topic: Topic) -> OffsetRequest:
            return OffsetRequest(-1, 0, [(topic.name, [(shard.partition, which)])])

        def look(response: Any) -> int:
            ((_, ((_, code, _, offset),)),) = response.topics
            check(code)
            return int(offset)

        doing = f"asking for the bounds of {shard}"
        return int(await self._cluster.led(shard, request, look, doing, self._config.request_seconds))

    async def _fetch(self, shard: Shard, offset: int, max_bytes: int, wait: float = 0.0) -> Chunk | None:
        """Batches from ``offset`` on; ``None`` when the shard ends before it.

        Raises:
            EvidenceIncomplete: the shard begins behind it.
            LedgerContradiction: the topic is another one.
        """

        def request(topic: Topic) -> FetchById:
            # Right after a start a broker may not know the id yet; that it is another's now, metadata says.
            pinned = self._cluster.pinned(shard.topic)
            return FetchById(pinned, shard.partition, offset, max_bytes=max_bytes, wait_ms=int(wait * 1000))

        def look(response: FetchResponse13) -> Chunk | None:
            code, high_watermark, records = fetched(response)
            if code and Answered(code).means is Means.OUT_OF_RANGE:
                return None
            check(code)
            return Chunk(records or b"", 0, high_watermark)

        doing = f"reading {shard} at offset {offset}"
        seconds = max(wait + ANSWER_SECONDS, self._config.request_seconds)
        chunk = await self._cluster.led(shard, request, look, doing, seconds)
        if chunk is None:
            start = await self._offset(shard, EARLIEST)
            if offset < start:
                raise EvidenceIncomplete(
                    f"{shard} offset {offset}: no longer on the bus, which begins at {start}; "
                    "retention.ms must outlast the slowest consumer"
                )
            return None
        assert isinstance(chunk, Chunk)
        return chunk

    async def _unpack(
        self, chunk: Chunk, shard: Shard, offset: int, max_records: int, room: int, values: bool, alone: bool
    ) -> Any:
        def work() -> Any:
            return unpack(chunk, shard, offset, max_records=max_records, room=room, values=values, alone=alone)

        if len(chunk.raw) - chunk.position <= INLINE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)


class Kept:
    """What is left of fetches, by shard and next offset; the oldest goes first."""

    def __init__(self) -> None:
        self._chunks: OrderedDict[tuple[Shard, int], tuple[Chunk, float]] = OrderedDict()
        self._bytes = 0

    def has(self, shard: Shard, offset: int) -> bool:
        self._expire()
        return (shard, offset) in self._chunks

    def take(self, shard: Shard, offset: int) -> Chunk | None:
        self._expire()
        kept = self._chunks.pop((shard, offset), None)
        if kept is None:
            return None
        self._bytes -= len(kept[0].raw)
        return kept[0]

    def keep(self, shard: Shard, offset: int, chunk: Chunk) -> None:
        self.take(shard, offset)
        self._chunks[shard, offset] = (chunk, time.monotonic())
        self._bytes += len(chunk.raw)
        while self._bytes > KEPT_BYTES:
            self._drop()

    def _expire(self) -> None:
        while self._chunks and time.monotonic() - next(iter(self._chunks.values()))[1] > KEPT_SECONDS:
            self._drop()

    def _drop(self) -> None:
        _, (chunk, _) = self._chunks.popitem(last=False)
        self._bytes -= len(chunk.raw)


def fetched(response: FetchResponse13) -> tuple[int, int, bytes | None]:
    """Error code, high watermark and records of the one partition of a fetch."""
    if response.error_code:
        return response.error_code, -1, None
    if not response.topics:
        return THROTTLED, -1, None  # by a quota: the answer is empty
    ((_, partitions, *_),) = response.topics
    ((_, code, high_watermark, _, _, _, _, records, _),) = partitions
    return code, high_watermark, records


def _bytes_for(records: int, size: int) -> int:
    return max(min(records * GUESSED_RECORD_BYTES, size, FETCH_BYTES), LEAST_FETCH_BYTES)
