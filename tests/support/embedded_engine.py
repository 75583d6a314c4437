"""The embedded ClickHouse engine for tests: one per process, because chDB admits no second; a database per test.

engine = database_of_its_own()          # an Engine; what it creates is in a database of its own
"""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from clickhouse_connect.driver.client import Client

from sinks.clickhouse.engine import EmbeddedEngine

_numbers = itertools.count(1)


class Database:
    """An :class:`sinks.clickhouse.engine.Engine` on one database of the process's engine; ``close`` drops it."""

    def __init__(self, engine: EmbeddedEngine, name: str) -> None:
        self.database = name
        self._engine = engine
        self._root = engine.client(database="default")
        self._root.command(f"CREATE DATABASE {name}")

    def client(self, settings: Mapping[str, str | int] | None = None, database: str | None = None) -> Client:
        return self._engine.client(settings, database or self.database)

    def prepare(self) -> None:
        """The database is there."""

    def insert(
        self, client: Client, table: str, body: bytes, settings: Mapping[str, str | int], condition: str = "1"
    ) -> None:
        self._engine.insert(client, table, body, settings, condition)

    def close(self) -> None:
        self._root.command(f"DROP DATABASE IF EXISTS {self.database} SYNC")
        self._root.close()


def database_of_its_own() -> Database:
    """A fresh, empty database."""
    return Database(process_engine(), f"test_{next(_numbers)}")


@cache
def process_engine() -> EmbeddedEngine:
    """The engine, opened when first asked for, gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="affidavit-clickhouse-"))
    engine = EmbeddedEngine(folder / "engine")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(engine.close)
    return engine


def release_engine() -> None:
    """Close the engine of this process, if one is open: a command that is run in the process opens one of its own, and
    there can be one at a time."""
    if process_engine.cache_info().currsize:
        process_engine().close()
        process_engine.cache_clear()
