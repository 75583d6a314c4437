"""Who leads what: brokers, topics and their ids, as any broker tells it, and requests sent to the right one."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from aiokafka.protocol.coordination import FindCoordinatorRequest

from schemas.errors import ConfigurationError, LedgerContradiction
from schemas.ids import TOPICS, Shard
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.connections import Address, Connections
from stores.bus.kafka.errors import Answered, Means, Unreached, check, translate, translated
from stores.bus.kafka.protocol import MetadataResponse12, TopicsById

STAGGER_SECONDS = 0.25
"""A broker that has not answered in this time gets company: the next one is asked too. One that hangs costs no more."""

METADATA_SECONDS = 3.0
"""For one answer. A refresh is shared by all who want one, so that none may keep the others waiting for long."""

FRESH_SECONDS = 3.0
"""Metadata older than this is asked for again before the shards of a topic are told."""

BACKOFF_SECONDS = 0.05
LONGEST_BACKOFF_SECONDS = 0.5

PASSING = (Means.MOVED, Means.ABSENT, Means.RECREATED)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the cluster has it: ``leaders`` by partition, −1 where there is none at the moment."""

    name: str
    topic_id: uuid.UUID
    leaders: tuple[int, ...]
    replicas: int


@dataclass(frozen=True, slots=True)
class View:
    """What one metadata response said, and when it came, by the monotonic clock."""

    brokers: dict[int, Address]
    controller: int
    topics: dict[str, Topic]
    at: float


NOWHERE = View({}, -1, {}, float("-inf"))


class Cluster:
    """Metadata, kept; used on the bus's own loop only.

    The ids of our topics are *pinned* when they are first seen: a bus reads the topics that it began with or none.
    """

    def __init__(self, config: KafkaConfig, connections: Connections) -> None:
        self._config, self._connections = config, connections
        self._view = NOWHERE
        self._refreshing: asyncio.Task[View] | None = None
        self._pinned: dict[str, uuid.UUID] = {}

    @property
    def view(self) -> View:
        """The last answer."""
        return self._view

    async def refresh(self, seconds: float) -> View:
        """Ask anew; whoever asks meanwhile shares the answer.

        Raises:
            Unreached: no broker answered.
            ConfigurationError: none accepted our credentials.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh(), name="kafka metadata")
            self._refreshing.add_done_callback(heard)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._refreshing)
        except TimeoutError as error:
            raise Unreached(f"no broker of {self._config.bootstrap} answered in time") from error

    async def fresh(self, seconds: float, age: float = FRESH_SECONDS) -> View:
        """A view that is at most ``age`` seconds old."""
        if time.monotonic() - self._view.at <= age:
            return self._view
        return await self.refresh(seconds)

    def topic(self, name: str) -> Topic | None:
        """One of our topics, by our name."""
        return self._view.topics.get(self._config.topic(name))

    async def known(self, shard: Shard, seconds: float) -> Topic:
        """The topic of a shard that must exist.

        Raises:
            ConfigurationError: the cluster has no such shard.
            LedgerContradiction: its topic was there, and has been gone for ``seconds``.
        """
        deadline = time.monotonic() + seconds
        doing = f"looking for {shard}"
        while True:
            topic = self.topic(shard.topic) if shard.topic in TOPICS else None
            if topic is not None and 0 <= shard.partition < len(topic.leaders):
                return topic
            gone = topic is None and shard.topic in self._pinned
            if not gone and (shard.topic not in TOPICS or time.monotonic() - self._view.at <= 1.0):
                raise ConfigurationError(f"Kafka at {self._config.bootstrap} has no shard {shard}")
            if gone and time.monotonic() >= deadline:
                raise recreated(self._config.topic(shard.topic), self._pinned[shard.topic])
            await asyncio.sleep(LONGEST_BACKOFF_SECONDS if gone else 0)
            with translated(doing):
                await self.refresh(seconds)

    def pinned(self, name: str) -> uuid.UUID:
        """The id of our topic as it was first seen.

        Raises:
            LedgerContradiction: the topic has another id now.
        """
        topic, pinned = self.topic(name), self._pinned[name]
        if topic is not None and topic.topic_id != pinned:
            raise recreated(self._config.topic(name), pinned, topic.topic_id)
        return pinned

    async def led(
        self, shard: Shard, request: Callable[[Topic], Any], look: Callable[[Any], Any], doing: str, seconds: float
    ) -> Any:
        """Send a request to the shard's leader, wherever it is by now; return what ``look`` makes of the response.

        Raises:
            Unavailable: nobody answered usefully in ``seconds``.
        """
        deadline = time.monotonic() + seconds

        async def ask() -> Any:
            topic = await self.known(shard, _left(deadline))
            address = self._view.brokers.get(topic.leaders[shard.partition])
            if address is None:
                raise Answered(5)
            return look(await self._connections.exchange(address, request(topic), _left(deadline)))

        return await self.insist(ask, doing, deadline)

    async def coordinated(self, group: str, request: Any, seconds: float) -> Any:
        """Send a request to a group's coordinator; one attempt.

        Raises:
            Answered, Unreached: as they came.
        """
        return await self._connections.exchange(await self.coordinator(group, seconds), request, seconds)

    async def coordinator(self, group: str, seconds: float) -> Address:
        """The address of a group's coordinator; one attempt."""
        response = await self.anyone(FindCoordinatorRequest(group, 0), seconds)
        check(response.error_code)
        return str(response.host), int(response.port)

    async def insist(self, ask: Callable[[], Coroutine[Any, Any, Any]], doing: str, deadline: float) -> Any:
        """Ask until there is an answer, with fresh metadata each time, for leaders move and brokers come back.

        Raises:
            AffidavitError: the last refusal, when it will not pass, or the time is up.
        """
        backoff = BACKOFF_SECONDS
        while True:
            try:
                return await ask()
            except (Answered, Unreached) as error:
                passing = isinstance(error, Unreached) or error.means in PASSING
                if not passing or time.monotonic() + backoff >= deadline:
                    raise translate(error, doing) from error
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
            try:
                await self.refresh(_left(deadline))
            except Unreached as error:
                if time.monotonic() >= deadline:
                    raise translate(error, doing) from error

    async def anyone(self, request: Any, seconds: float) -> Any:
        """What the first broker answers: those we know, then the bootstrap servers; one after the other, each
        beside those that have not answered yet.

        Raises:
            Unreached, ConfigurationError: what the last of them failed with.
        """
        addresses = list(dict.fromkeys([*self._view.brokers.values(), *self._config.hosts]))
        pending: set[asyncio.Task[Any]] = set()
        failure: Exception = Unreached("no broker is known")
        try:
            while addresses or pending:
                if addresses:
                    exchange = self._connections.exchange(addresses.pop(0), request, seconds)
                    pending.add(asyncio.create_task(exchange, name="kafka request"))
                stagger = STAGGER_SECONDS if addresses else None
                done, pending = await asyncio.wait(pending, timeout=stagger, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result()
                    if not isinstance(error, Unreached | ConfigurationError):
                        raise error
                    if not isinstance(failure, ConfigurationError):
                        failure = error
            raise failure
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _refresh(self) -> View:
        names = list(self._config.kafka_topics)
        response = await self.anyone(TopicsById(names), min(METADATA_SECONDS, self._config.request_seconds))
        self._view = view_of(response, time.monotonic())
        for kafka_name, name in self._config.kafka_topics.items():
            if kafka_name in self._view.topics:
                self._pinned.setdefault(name, self._view.topics[kafka_name].topic_id)
        return self._view


def view_of(response: MetadataResponse12, at: float) -> View:
    """Read a metadata response."""
    topics = {}
    for code, name, topic_id, _, partitions, *_ in response.topics:
        if code == 0 and partitions:
            leaders = [-1] * (1 + max(partition[1] for partition in partitions))
            for partition in partitions:
                leaders[partition[1]] = partition[2]
            topics[name] = Topic(name, topic_id, tuple(leaders), min(len(partition[4]) for partition in partitions))
        elif code == 29:
            raise translate(Answered(code), f"describing topic {name}")
    brokers = {node: (host, port) for node, host, port, *_ in response.brokers}
    return View(brokers, response.controller_id, topics, at)


def recreated(topic: str, pinned: uuid.UUID, now: uuid.UUID | None = None) -> LedgerContradiction:
    """The error of a topic that is not the one that we began with."""
    found = f"topic id {now}" if now else "no such topic"
    return LedgerContradiction(
        f"topic {topic}: got {found}, expected {pinned}: it was deleted, or deleted and created again, and what it "
        "held is gone; find out who did it; if it was meant, close the logs of the topic and open the next"
    )


def heard(task: asyncio.Task[Any]) -> None:
    """Take note of how a task ended that perhaps nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)
