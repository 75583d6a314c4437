"""Servers for fault tests. Each deployment has a ClickHouse, topics and a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clickhouse_server import PASSWORD, USER, ClickHouseServer
from cluster import Cluster, Deploy
from kafka_broker import KafkaCluster
from kafka_bus import fresh_prefix, running_kafka
from postgres_server import PostgresServer


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a single broker that nobody harms."""
    with running_kafka() as bootstrap:
        yield bootstrap


@pytest.fixture
def brokers() -> Iterator[KafkaCluster]:
    """Three brokers to harm."""
    with KafkaCluster(brokers=3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may harm, if it leaves it running."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[ClickHouseServer]:
    """A ClickHouse to harm."""
    server = ClickHouseServer(tmp_path / "clickhouse")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def deploy(tmp_path: Path, postgres: PostgresServer, clickhouse: ClickHouseServer) -> Iterator[Deploy]:
    """Deployments, whose processes are killed at the end."""
    with ExitStack() as stack:

        def make(kafka: str, **options: object) -> Cluster:
            names = {
                "AFFIDAVIT_CLICKHOUSE_USERNAME": USER,
                "AFFIDAVIT_CLICKHOUSE_PASSWORD": PASSWORD,
                "AFFIDAVIT_BUS_TOPIC_PREFIX": fresh_prefix(),
            }
            cluster = Cluster(
                tmp_path,
                kafka,
                postgres.create(),
                clickhouse.url,
                **names,
                **options,  # type: ignore[arg-type]
            )
            return stack.enter_context(cluster)

        yield make
