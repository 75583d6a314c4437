"""The bus on Apache Kafka: what callers see, from whatever loop and thread they call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum
from typing import Any, TypeVar

from schemas.errors import Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Bounds, Message, Outgoing, Owner, Position
from stores.bus.headers import Foreign
from stores.bus.kafka.appends import Appender
from stores.bus.kafka.cluster import FRESH_SECONDS, Cluster, heard
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.connections import Connections
from stores.bus.kafka.errors import translated
from stores.bus.kafka.hints import Hints
from stores.bus.kafka.membership import Membership
from stores.bus.kafka.reads import Reader
from stores.bus.kafka.thread import LoopThread
from stores.bus.kafka.topics import Topics

T = TypeVar("T")

CREATE_SECONDS = 30.0
"""For topics to be created, and to get their leaders."""


class KafkaBus:
    """A :class:`stores.bus.Bus` on a Kafka cluster, for any number of event loops, threads and processes.

    Nothing is connected until it is needed. All of Kafka happens on one loop in a thread of the bus's own; a call from
    another loop waits for it there. The first use looks at the topics, and refuses those that could lose or rearrange
    what is written to them.

    Of several methods, besides what :class:`stores.bus.Bus` says:

    Raises:
        Unavailable: no answer in time (``append_seconds``, ``request_seconds``). The bus recovers by itself.
        ConfigurationError: credentials, ACLs, topics or their settings are wrong; with the remedy.
        LedgerContradiction: reading a topic that was deleted, or deleted and created again, since the bus began.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self.config = self._config = config
        self._thread = LoopThread("kafka-bus")
        self._connections = Connections(config)
        self._cluster = Cluster(config, self._connections)
        self._topics = Topics(config, self._cluster, self._connections)
        self._appender = Appender(config, self._cluster, self._connections)
        self._reader = Reader(config, self._cluster)
        self._hints = Hints(config, self._cluster)
        self._beginning: asyncio.Task[None] | None = None
        self._background: asyncio.Task[Any] | None = None

    async def append(self, messages: Sequence[Outgoing | Foreign]) -> list[Position]:
        """See :meth:`stores.bus.Bus.append`.

        Raises:
            LimitExceeded: a message is larger than its topic accepts; none was written.
        """
        if not messages:
            return []
        deadline = time.monotonic() + self._config.append_seconds
        return await self._call(self._append(messages, deadline))

    async def read(
        self, shard: Shard, offset: Offset, *, max_records: int, max_bytes: int, values: bool = True
    ) -> list[Message]:
        """See :meth:`stores.bus.Bus.read`. ``max_bytes`` counts values."""
        return await self._call(self._read(shard, offset, max_records, max_bytes, values))

    async def wait(self, shard: Shard, offset: Offset, timeout: float) -> bool:
        """See :meth:`stores.bus.Bus.wait`. A long poll: the broker answers as soon as there is a message."""
        return await self._call(self._wait(shard, offset, timeout))

    async def bounds(self, shard: Shard) -> Bounds:
        """See :meth:`stores.bus.Bus.bounds`: log start and high watermark, asked of the leader each time."""
        return await self._call(self._bounds(shard))

    async def shards(self, topic: str) -> list[Shard]:
        """See :meth:`stores.bus.Bus.shards`. At most some seconds old: partitions may be added at any time."""
        return await self._call(self._shards(topic))

    async def identity(self, topic: str) -> str:
        """See :meth:`stores.bus.Bus.identity`: the topic id (KIP-516), asked for each time."""
        return await self._call(self._identity(topic))

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        """See :meth:`stores.bus.Bus.own`. Heartbeats come from the bus's thread, so that slow work in ``owner``, or in
        whatever else the caller's loop does, does not cost the membership."""
        await self._call(self._ready(self._deadline()))
        member = Membership(group, topics, self._config, self._cluster, self._connections)
        owned: set[Shard] = set()
        try:
            while not stop.is_set():
                share = await _unless(stop, self._thread.submit(member.join(sorted(owned))))
                if share is STOPPED:
                    break
                if share is None:
                    await _give_up(owner, owned, set(owned))
                else:
                    await self._keep(member, owner, owned, share, stop)
        finally:
            # If we die here: the group notices when our session ends, and gives our shards to others then.
            await _give_up(owner, owned, set(owned))
            with suppress(Unavailable):
                await self._thread.call(member.leave())

    async def _keep(
        self, member: Membership, owner: Owner, owned: set[Shard], share: set[Shard], stop: asyncio.Event
    ) -> None:
        """Work on a share until the group is arranged anew; heartbeats go on all the while."""
        beats = self._thread.submit(member.changed())
        try:
            lost, new = owned - share, share - owned
            await _give_up(owner, owned, lost)
            if new:
                owned |= new
                await owner.take(sorted(new))
            # Having given up something we join again at once: only then do others get it.
            stays: bool | Stopped = True
            if not lost or beats.done():
                stays = await _unless(stop, beats)
            if stays is False:
                # If we die here: the group gave our shards to others already. Whoever writes is safe from its ghost.
                await _give_up(owner, owned, set(owned))
        finally:
            beats.cancel()

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        """See :meth:`stores.bus.Bus.commit`."""
        await self._call(self._commit(group, shard, offset))

    async def committed(self, group: str, shard: Shard) -> Offset | None:
        """See :meth:`stores.bus.Bus.committed`."""
        return await self._call(self._committed(group, shard))

    async def close(self) -> None:
        """See :meth:`stores.bus.Bus.close`. Closing twice is harmless."""
        await asyncio.to_thread(self._thread.close, self._finish())
        self._reader.close()

    async def create_topics(self) -> list[str]:
        """Create those of our topics that are absent, with what the configuration says; return Kafka's names of those
        that were made. Topics that are there stay as they are; the first use judges them.

        Raises:
            ConfigurationError: the cluster refuses, for instance because it has too few brokers.
            Unavailable: no answer in time.
        """
        return await self._call(self._create_topics())

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._thread.call(work)

    async def _ready(self, deadline: float) -> None:
        """Return when the topics have been looked at, and are as they must be. Looks again after a refusal."""
        beginning = self._beginning
        if beginning is None or (beginning.done() and (beginning.cancelled() or beginning.exception() is not None)):
            beginning = self._beginning = asyncio.create_task(self._begin(), name="kafka beginning")
            beginning.add_done_callback(heard)
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                await asyncio.shield(beginning)
        except TimeoutError as error:
            raise Unavailable(f"Kafka at {self._config.bootstrap} did not answer in time") from error

    async def _begin(self) -> None:
        deadline = self._deadline()
        self._appender.limits = await self._cluster.insist(
            lambda: self._topics.checked(deadline), "looking at the topics", deadline
        )

    async def _append(self, messages: Sequence[Outgoing | Foreign], deadline: float) -> list[Position]:
        await self._ready(deadline)
        if time.monotonic() - self._cluster.view.at > FRESH_SECONDS and (
            self._background is None or self._background.done()
        ):
            # New partitions, moved leaders: learnt beside the append, which need not wait for it.
            self._background = asyncio.create_task(self._cluster.refresh(self._config.request_seconds))
            self._background.add_done_callback(heard)
        return await self._appender.append(messages, deadline)

    async def _read(self, shard: Shard, offset: int, max_records: int, max_bytes: int, values: bool) -> list[Message]:
        await self._ready(self._deadline())
        return await self._reader.read(shard, offset, max_records, max_bytes, values)

    async def _wait(self, shard: Shard, offset: int, timeout: float) -> bool:
        await self._ready(self._deadline())
        return await self._reader.wait(shard, offset, timeout)

    async def _bounds(self, shard: Shard) -> Bounds:
        await self._ready(self._deadline())
        await self._cluster.known(shard, self._config.request_seconds)
        return await self._reader.bounds(shard)

    async def _commit(self, group: str, shard: Shard, offset: Offset) -> None:
        await self._ready(self._deadline())
        await self._hints.commit(group, shard, offset)

    async def _committed(self, group: str, shard: Shard) -> Offset | None:
        await self._ready(self._deadline())
        return await self._hints.committed(group, shard)

    async def _shards(self, topic: str) -> list[Shard]:
        await self._ready(self._deadline())
        with translated("asking for shards"):
            await self._cluster.fresh(self._config.request_seconds)
        found = await self._cluster.known(Shard(topic, 0), self._config.request_seconds)
        return [Shard(topic, partition) for partition in range(len(found.leaders))]

    async def _identity(self, topic: str) -> str:
        await self._ready(self._deadline())
        with translated(f"asking for the id of topic {topic}"):
            await self._cluster.refresh(self._config.request_seconds)
        return str((await self._cluster.known(Shard(topic, 0), self._config.request_seconds)).topic_id)

    async def _create_topics(self) -> list[str]:
        deadline = time.monotonic() + CREATE_SECONDS
        made: list[str] = await self._cluster.insist(lambda: self._topics.create(deadline), "creating topics", deadline)
        return made

    async def _finish(self) -> None:
        """What was appended is acknowledged or refused within the time of an append."""
        await self._appender.settled()
        await self._connections.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._config.request_seconds


class Stopped(Enum):
    """Instead of an answer, when there was a stop first."""

    STOPPED = "stopped"


STOPPED = Stopped.STOPPED


async def _unless(stop: asyncio.Event, work: Future[T]) -> T | Stopped:
    """The result of ``work``, unless ``stop`` is set before it: then it is cancelled."""
    answer, stopped = asyncio.wrap_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((answer, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            return STOPPED
        if answer.cancelled():
            raise Unavailable("the bus is closed")
        return answer.result()
    finally:
        answer.cancel()
        stopped.cancel()


async def _give_up(owner: Owner, owned: set[Shard], shards: set[Shard]) -> None:
    if shards:
        await owner.give_up(sorted(shards))
        owned -= shards
