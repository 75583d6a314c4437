"""A Kafka broker that tests share, and buses on it, each with topics of its own.

    bus = await open_bus(config(kafka))              # kafka: fixture, the bootstrap servers

``AFFIDAVIT_TEST_KAFKA=host:port`` names a broker that is there already; otherwise one is started for the session.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka_broker import KafkaCluster

from stores.bus.kafka import KafkaBus, KafkaConfig, KafkaTopics


@contextmanager
def running_kafka() -> Iterator[str]:
    """Bootstrap servers of a single broker."""
    there = os.environ.get("AFFIDAVIT_TEST_KAFKA")
    if there:
        yield there
        return
    with KafkaCluster(brokers=1) as cluster:
        yield cluster.bootstrap


def fresh_prefix() -> str:
    """A topic prefix that nobody used before."""
    return f"t{os.urandom(6).hex()}."


def config(
    bootstrap: str, *, partitions: int = 2, replication: int = 1, min_insync: int = 1, **changes: Any
) -> KafkaConfig:
    """A configuration for tests: small topics, short patience, a prefix of its own unless one is given."""
    topics = KafkaTopics(partitions=partitions, replication=replication, min_insync=min_insync)
    defaults: dict[str, Any] = {"prefix": fresh_prefix(), "topics": topics, "session_seconds": 6.0}
    return KafkaConfig(bootstrap, **(defaults | changes))


async def open_bus(settings: KafkaConfig) -> KafkaBus:
    """A bus whose topics are there."""
    bus = KafkaBus(settings)
    await bus.create_topics()
    return bus
