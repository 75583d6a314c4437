"""Appending: a lane per shard, one batch under way in each, everything that waits meanwhile in the next.

**Idempotence.** Each lane has a producer id of its own and numbers its records, and the broker takes a number once. So
a batch whose answer was lost is sent again, byte for byte, and the broker either writes it or says where it lies
already. Only when the time for that is up does the lane give up: the appends get ``Unavailable``, and the lane draws
a new producer id, for it does not know whether the numbers are used. What comes after is not touched by it.

**Order.** A lane has one batch under way. The rest of an append whose batch was given up is not sent any more, so what
is there of it is its beginning, in order. (A request that lies in the socket of a broker that hangs may still be
carried out when the broker goes on. Its messages then come behind later ones, of other appends.)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from schemas.errors import AffidavitError, ConfigurationError, InvariantError, LimitExceeded, Unavailable
from schemas.ids import TOPICS, Offset, Shard
from stores.bus import Outgoing, Position
from stores.bus.headers import Foreign
from stores.bus.kafka.cluster import BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, Cluster
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.connections import Connections
from stores.bus.kafka.errors import Answered, Means, Unreached, check, translate
from stores.bus.kafka.partitioner import murmur2
from stores.bus.kafka.records import BatchUnderWay, Packed, pack

logger = logging.getLogger(__name__)

BATCH_BYTES = 1_000_000
"""Largest batch: below the broker's default ``message.max.bytes``, which is a limit on batches."""

ATTEMPTS = 2
"""How often a broker that does not answer is tried within the time of an append. The leader may have moved."""

NO_TIMEOUT_MS = 2**31 - 1
SEQUENCES = 2**31
REMEMBERED_KEYS = 65_536


class Piece:
    """What one append has for one shard."""

    __slots__ = ("deadline", "future", "positions", "records", "sent")

    def __init__(self, records: list[Packed], deadline: float) -> None:
        self.records, self.deadline = records, deadline
        self.positions: list[Position] = []
        self.sent = 0
        self.future: asyncio.Future[list[Position]] = asyncio.get_running_loop().create_future()

    def fail(self, error: AffidavitError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever appended may have gone away


class Lane:
    """Writes one shard."""

    def __init__(self, shard: Shard, config: KafkaConfig, cluster: Cluster, connections: Connections) -> None:
        self._shard, self._config = shard, config
        self._cluster, self._connections = cluster, connections
        self._topic = config.topic(shard.topic)
        self._queue: deque[Piece] = deque()
        self._task: asyncio.Task[None] | None = None
        self._producer: tuple[int, int] | None = None
        self._sequence = 0
        self.max_bytes = BATCH_BYTES

    def submit(self, piece: Piece) -> None:
        """Put a piece behind those that wait."""
        self._queue.append(piece)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"kafka lane {self._shard}")

    async def settled(self) -> None:
        """Return when nothing waits or is under way."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._queue:
            batch, parts = self._fill()
            if not parts:
                continue
            try:
                await self._write(batch, parts)
            except AffidavitError as error:
                for piece, _ in parts:
                    piece.fail(error)
            except Exception as error:
                logger.exception("kafka lane of %s", self._shard)
                for piece, _ in parts:
                    piece.fail(InvariantError(f"appending to {self._shard} failed: {error!r}"))

    def _fill(self) -> tuple[BatchUnderWay, list[tuple[Piece, int]]]:
        """The next batch, and how many records of which pieces are in it. Nobody waits any more for a piece that was
        cancelled or whose time is up; it is left out if nothing of it was sent."""
        batch = BatchUnderWay(self._config.compression, min(BATCH_BYTES, self.max_bytes), time.time_ns() // 1_000_000)
        parts: list[tuple[Piece, int]] = []
        while self._queue:
            piece = self._queue[0]
            if piece.future.done():
                self._queue.popleft()
                continue
            before = batch.count
            full = False
            for record in piece.records[piece.sent :]:
                if not batch.add(record):
                    full = True
                    break
            count = batch.count - before
            if count:
                parts.append((piece, count))
                piece.sent += count
            if full:
                break
            self._queue.popleft()
        return batch, parts

    async def _write(self, batch: BatchUnderWay, parts: list[tuple[Piece, int]]) -> None:
        deadline = min(piece.deadline for piece, _ in parts)
        try:
            base, time_ms = await self._deliver(batch, deadline)
        except AffidavitError:
            self._producer = None
            raise
        except (Answered, Unreached) as error:
            self._producer = None
            # If we die here, or gave up: each of these messages is on the bus or not, and nobody was told that it is.
            raise translate(error, f"appending to {self._shard}") from error
        # If we die here: the messages are on the bus, with as many copies as min.insync.replicas demands, and nobody
        # was told. The client sends them again, and they are there twice, with the same event ids.
        for piece, count in parts:
            piece.positions += [Position(self._shard, Offset(base + at), time_ms) for at in range(count)]
            base += count
            if len(piece.positions) == len(piece.records) and not piece.future.done():
                piece.future.set_result(piece.positions)

    async def _deliver(self, batch: BatchUnderWay, deadline: float) -> tuple[int, int]:
        """Offset of the first record, and the broker's time. Any number of attempts, all of the same bytes."""
        raw = b""
        unsure = False
        backoff = BACKOFF_SECONDS
        patience = self._config.append_seconds / ATTEMPTS
        while True:
            try:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Unreached(f"{self._topic} was not written in time")
                if not raw:
                    raw = await self._numbered(batch, left)
                sent = self._request(raw, left)
                try:
                    return look(await self._send(sent, min(left, patience)), self._topic, self._shard.partition)
                except Unreached:
                    unsure = True
                    raise
            except Answered as error:
                # Sure that it was not written: it was refused, and no earlier attempt can have been carried out.
                if error.means is Means.SEQUENCE and not unsure:
                    self._producer, raw = None, b""
                    unsure = True  # once; a second refusal is somebody else's fault
                elif error.means not in (Means.MOVED, Means.ABSENT) or time.monotonic() + backoff >= deadline:
                    raise
                elif error.code in (7, 20):
                    unsure = True
            except Unreached:
                if time.monotonic() + backoff >= deadline:
                    raise
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            try:
                await self._cluster.refresh(max(deadline - time.monotonic(), 0.001))
            except Unreached:
                continue

    async def _numbered(self, batch: BatchUnderWay, seconds: float) -> bytes:
        """The bytes of the batch, numbered; with a new producer id if there is none."""
        if self._producer is None:
            response = await self._cluster.anyone(InitProducerIdRequest(None, NO_TIMEOUT_MS), seconds)
            check(response.error_code)
            self._producer, self._sequence = (response.producer_id, response.producer_epoch), 0
        raw = batch.build(*self._producer, self._sequence)
        self._sequence = (self._sequence + batch.count) % SEQUENCES
        return raw

    def _request(self, raw: bytes, seconds: float) -> ProduceRequest:
        return ProduceRequest(None, -1, max(int(seconds * 1000), 1), [(self._topic, [(self._shard.partition, raw)])])

    async def _send(self, request: ProduceRequest, seconds: float) -> Any:
        topic = self._cluster.topic(self._shard.topic)
        if topic is None or self._shard.partition >= len(topic.leaders):
            raise Answered(3)
        address = self._cluster.view.brokers.get(topic.leaders[self._shard.partition])
        if address is None:
            raise Answered(5)
        return await self._connections.exchange(address, request, seconds)


def look(response: Any, topic: str, partition: int) -> tuple[int, int]:
    """Read the answer for one partition: offset of the first record, and log append time."""
    for name, partitions in response.topics:
        for answer in partitions:
            if name == topic and answer[0] == partition:
                check(answer[1])
                return answer[2], answer[3]
    raise Answered(-1, "the answer speaks of another partition")


class Appender:
    """Spreads appends over lanes; used on the bus's own loop only."""

    def __init__(self, config: KafkaConfig, cluster: Cluster, connections: Connections) -> None:
        self._config, self._cluster, self._connections = config, cluster, connections
        self._lanes: dict[Shard, Lane] = {}
        self._waiting = 0
        self._hash = lru_cache(REMEMBERED_KEYS)(murmur2)
        self.limits: dict[str, int] = {}
        """``max.message.bytes`` by topic, ours."""

    async def append(self, messages: Sequence[Outgoing | Foreign], deadline: float) -> list[Position]:
        """See :meth:`stores.bus.Bus.append`."""
        shards, pieces = self._spread(messages, deadline)
        size = sum(record.size for piece in pieces.values() for record in piece.records)
        if self._waiting + size > self._config.queue_bytes and self._waiting:
            raise Unavailable(f"got {size} bytes to append while {self._waiting} wait for Kafka already")
        self._waiting += size
        try:
            for shard, piece in pieces.items():
                self._lane(shard).submit(piece)
            # If we die here: nobody was told of these messages; some may be on the bus.
            await _all(list(pieces.values()), deadline)
        finally:
            self._waiting -= size
        taken = {shard: iter(piece.positions) for shard, piece in pieces.items()}
        return [next(taken[shard]) for shard in shards]

    async def settled(self) -> None:
        """Return when nothing waits or is under way."""
        for lane in list(self._lanes.values()):
            await lane.settled()

    def _spread(
        self, messages: Sequence[Outgoing | Foreign], deadline: float
    ) -> tuple[list[Shard], dict[Shard, Piece]]:
        """The shard of each message, and what each shard gets; nothing is sent before all of it is known to be good."""
        counts: dict[str, int] = {}
        shards: list[Shard] = []
        records: dict[Shard, list[Packed]] = {}
        known: dict[tuple[str, int], Shard] = {}
        for message in messages:
            topic = message.topic
            if topic not in counts:
                counts[topic] = self._partitions(topic)
            packed = pack(message)
            if packed.size > self.limits.get(topic, BATCH_BYTES):
                raise LimitExceeded(
                    f"got a message of {packed.size} bytes, expected at most {self.limits[topic]}, the "
                    f"max.message.bytes of topic {self._config.topic(topic)}; raise it, or inline less"
                )
            partition = (self._hash(message.key) & 0x7FFFFFFF) % counts[topic]
            shard = known.get((topic, partition))
            if shard is None:
                shard = known[topic, partition] = Shard(topic, partition)
                records[shard] = []
            shards.append(shard)
            records[shard].append(packed)
        return shards, {shard: Piece(of_shard, deadline) for shard, of_shard in records.items()}

    def _partitions(self, name: str) -> int:
        topic = self._cluster.topic(name) if name in TOPICS else None
        if topic is None:
            raise ConfigurationError(
                f"Kafka at {self._config.bootstrap} has no topic {name!r} ({self._config.topic(name)}); "
                "run affidavit init, or create it with kafka-topics.sh"
            )
        return len(topic.leaders)

    def _lane(self, shard: Shard) -> Lane:
        lane = self._lanes.get(shard)
        if lane is None:
            lane = self._lanes[shard] = Lane(shard, self._config, self._cluster, self._connections)
        lane.max_bytes = self.limits.get(shard.topic, BATCH_BYTES)
        return lane


async def _all(pieces: list[Piece], deadline: float) -> None:
    """Wait for all pieces; at the deadline those that were not sent are given up."""
    futures = [piece.future for piece in pieces]
    try:
        await asyncio.wait(futures, timeout=max(deadline - time.monotonic(), 0) + GRACE_SECONDS)
    finally:
        for piece in pieces:
            piece.fail(Unavailable("Kafka did not take the messages in time"))
    failures = [error for future in futures if (error := future.exception()) is not None]
    if failures:
        raise failures[0]


GRACE_SECONDS = 0.25
"""A lane that gives up says why; wait for that."""
