"""Our topics on the cluster: created when absent, and looked at before anything is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest

from stores.bus.kafka.cluster import BACKOFF_SECONDS, Cluster, Topic
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.connections import Connections
from stores.bus.kafka.errors import Answered, check
from stores.bus.kafka.settings import MAX_MESSAGE, WATCHED, Found, check_topics, wanted

TOPIC_RESOURCE = 2
TOPIC_EXISTS = 36


class Topics:
    """Used on the bus's own loop only."""

    def __init__(self, config: KafkaConfig, cluster: Cluster, connections: Connections) -> None:
        self._config, self._cluster, self._connections = config, cluster, connections

    async def checked(self, deadline: float) -> dict[str, int]:
        """Compare all topics with what they must be; return ``max.message.bytes`` by topic, ours.

        Raises:
            ConfigurationError: something is missing or set otherwise; with the command that mends it.
        """
        view = await self._cluster.refresh(_left(deadline))
        there = {name: view.topics[kafka] for kafka, name in self._config.kafka_topics.items() if kafka in view.topics}
        settings = await self._settings(list(there.values()), deadline)
        found = {name: Found(len(topic.leaders), topic.replicas, settings[topic.name]) for name, topic in there.items()}
        check_topics(self._config, found)
        return {name: int(one.settings[MAX_MESSAGE]) for name, one in found.items() if MAX_MESSAGE in one.settings}

    async def create(self, deadline: float) -> list[str]:
        """Create the topics that are absent; return what was made. What is there stays as it is.

        If we die here, some are made and others not: run again.
        """
        view = await self._cluster.refresh(_left(deadline))
        settings = list(wanted(self._config).items())
        replication = self._config.topics.replication
        absent: list[tuple[Any, ...]] = [
            (kafka, self._config.partitions(name), replication, [], settings)
            for kafka, name in self._config.kafka_topics.items()
            if kafka not in view.topics
        ]
        if not absent:
            return []
        # One attempt must not take all the time: the broker may hang, and the next answer names another.
        seconds = min(_left(deadline), self._config.request_seconds)
        request = CreateTopicsRequest(absent, int(seconds * 1000), False)
        address = view.brokers.get(view.controller) or next(iter(view.brokers.values()))
        response = await self._connections.exchange(address, request, seconds)
        made = []
        for name, code, detail in response.topic_errors:
            if code != TOPIC_EXISTS:
                check(code, f"topic {name}: {detail}")
                made.append(name)
        await self._led(deadline)
        return made

    async def _led(self, deadline: float) -> None:
        """Return when each shard has a leader."""
        while True:
            view = await self._cluster.refresh(_left(deadline))
            if all(name in view.topics and min(view.topics[name].leaders) >= 0 for name in self._config.kafka_topics):
                return
            if time.monotonic() >= deadline:
                raise Answered(5, "the new topics")
            await asyncio.sleep(BACKOFF_SECONDS)

    async def _settings(self, topics: Sequence[Topic], deadline: float) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [(TOPIC_RESOURCE, topic.name, list(WATCHED)) for topic in topics]
        response: Any = await self._cluster.anyone(DescribeConfigsRequest(resources, False), _left(deadline))
        found: dict[str, dict[str, str]] = {}
        for code, detail, _, name, entries in response.resources:
            check(code, f"settings of topic {name}: {detail}")
            found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
        return found


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)
