"""Services that the tests of more than one store share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka_bus import running_kafka
from postgres_server import ExistingServer, PostgresServer, running_postgres
from s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """An S3 service with Object Lock. Tests that stop or kill a server start one of their own."""
    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer | ExistingServer]:
    """A PostgreSQL that runs from the first test that asks for it to the end; ``create()`` a database for each test."""
    server = running_postgres()
    yield server
    server.close()


@pytest.fixture(scope="module")
def module_postgres() -> Iterator[PostgresServer]:
    """The server of :func:`own_postgres`."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_postgres(module_postgres: PostgresServer) -> PostgresServer:
    """A PostgreSQL that the module's tests may stop, kill and pause; it runs, however the last test left it."""
    module_postgres.resume()
    module_postgres.start()
    return module_postgres


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of a Kafka of one broker. Tests that stop or kill a broker start a cluster of their own."""
    with running_kafka() as bootstrap:
        yield bootstrap
