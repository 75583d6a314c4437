"""Services that the tests of more than one store share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka_bus import running_kafka
from postgres_server import ExistingServer, PostgresServer, running_postgres
from s3_server import S3Server

from stores.control.database import ControlDatabase
from stores.keys.kek import FileKek, create_kek_file


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


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A control database of one's own, on either engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/control.db"
    created: str = request.getfixturevalue("postgres").create()
    return created


@pytest.fixture
def control(url: str) -> Iterator[ControlDatabase]:
    with closing(ControlDatabase(url)) as database:
        database.migrate()
        yield database


@pytest.fixture
def kek(tmp_path: Path) -> FileKek:
    """A key-encryption key in a file."""
    create_kek_file(tmp_path / "kek")
    return FileKek(tmp_path / "kek")
