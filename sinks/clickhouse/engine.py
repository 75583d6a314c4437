"""The engine in this process (chDB), behind the client API of a ClickHouse server.

Everything else in this package speaks to a :class:`Engine`, so a server is one more implementation of it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from clickhouse_connect.driver import create_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, ProgrammingError

from schemas.errors import ConfigurationError
from sinks.clickhouse.quoting import quote, quote_name

DATABASE = "affidavit"

MEMORY_BYTES = 4 << 30
"""All queries, inserts and merges of the engine together; beyond it they fail with code 241 and are tried again."""

_SERVER_OPTIONS = {
    # Caches of the defaults (5 GiB of marks and more) are for servers that own their machine.
    "mark_cache_size": 128 << 20,
    "index_mark_cache_size": 32 << 20,
    "uncompressed_cache_size": 0,
    "max_thread_pool_size": 200,
    "background_pool_size": 2,
    "background_schedule_pool_size": 2,
}


class Engine(Protocol):
    """A ClickHouse that holds our tables.

    **Durability.** :meth:`insert` returns when the rows survive a power cut (the tables fsync); when it raises, none,
    some or all of them may be there. **Concurrency.** Any number of threads; each client belongs to one thread at a
    time. **Errors.** Those of ``clickhouse_connect``: :mod:`sinks.clickhouse.classify` reads them.
    """

    database: str

    def client(self, settings: Mapping[str, str | int] | None = None, database: str | None = None) -> Client:
        """A client with a session of its own, in :attr:`database` unless another is named. The caller closes it."""
        ...

    def prepare(self) -> None:
        """Create the database where it is absent, before the first :meth:`client`."""
        ...

    def insert(
        self, client: Client, table: str, body: bytes, settings: Mapping[str, str | int], condition: str = "1"
    ) -> None:
        """Insert an Avro container file into ``table``, if ``condition`` holds: SQL without columns, which the engine
        evaluates once, when the statement has begun and before its first row."""
        ...

    def close(self) -> None: ...


class Structures:
    """The columns of tables, as table functions want to be told them: ``name Type, …``; asked for once.

    Without it ClickHouse would take the columns and their types from the Avro schema.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, client: Client, table: str) -> str:
        """The columns of a table in the client's database; what is not there gives ``""``."""
        known = self._known.get(table)
        if known is None:
            rows = client.query(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
                f"AND table = {quote(table)} AND default_kind NOT IN ('ALIAS', 'MATERIALIZED') ORDER BY position"
            ).result_rows
            known = ", ".join(f"{quote_name(str(name))} {kind}" for name, kind in rows)
            if known:
                self._known[table] = known
        return known


class EmbeddedEngine:
    """chDB at one directory. One process, one directory: the engine itself refuses a second of either.

    Args:
        path: created with mode 0700 when absent.
        database: created when absent.
        memory_bytes: of the whole engine.
    """

    def __init__(self, path: Path, *, database: str = DATABASE, memory_bytes: int = MEMORY_BYTES) -> None:
        self.path = path
        self.database = database
        self._lock = threading.Lock()
        self._structures = Structures()
        self._incoming = path / "incoming"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigurationError(f"{path} is open to other users: chmod 700 it, for it holds content in the clear")
        # What a crash left of an insert is content in the clear that no purge would find.
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._options = {**_SERVER_OPTIONS, "max_server_memory_usage": memory_bytes, "tmp_path": f"{path / 'tmp'}/"}
        self._root = self._connect(None, {})
        self._root.command(f"CREATE DATABASE IF NOT EXISTS {quote_name(database)}")

    def client(self, settings: Mapping[str, str | int] | None = None, database: str | None = None) -> Client:
        """See :meth:`Engine.client`. Opening one takes about 10 ms."""
        with self._lock:
            return self._connect(database or self.database, settings or {})

    def prepare(self) -> None:
        """See :meth:`Engine.prepare`. It is there since the engine was opened."""

    def insert(
        self, client: Client, table: str, body: bytes, settings: Mapping[str, str | int], condition: str = "1"
    ) -> None:
        """See :meth:`Engine.insert`. The engine reads the rows from memory, never from a file in a shared folder."""
        structure = self._structures.of(client, table)
        clause = ", ".join(f"{name} = {quote(str(value))}" for name, value in settings.items())
        with self._handed_over(body) as where:
            client.command(
                f"INSERT INTO {quote_name(table)} SELECT * FROM file({quote(where)}, 'Avro', {quote(structure)}) "
                f"WHERE {condition} SETTINGS {clause}"
            )

    def close(self) -> None:
        """Stop the engine: merges end, files are closed. Clients must be closed before."""
        self._root.close()

    def _connect(self, database: str | None, settings: Mapping[str, str | int]) -> Client:
        try:
            return create_client(
                interface="chdb",
                path=str(self.path),
                database=database,
                settings=dict(settings),
                chdb_options={name: str(value) for name, value in self._options.items()},
            )
        except (ProgrammingError, ImportError) as error:
            raise ConfigurationError(
                f"the embedded engine does not open {self.path}: {error}; is another process using it, or is chdb "
                "not installed (pip install 'affidavit[embedded]')"
            ) from None
        except ClickHouseError as error:
            raise ConfigurationError(f"the embedded engine does not open {self.path}: {error}") from None

    @contextmanager
    def _handed_over(self, body: bytes) -> Iterator[str]:
        """A path from which the engine, in this process, reads ``body``."""
        if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
            with open(os.memfd_create("insert", os.MFD_CLOEXEC), "wb", buffering=0) as file:
                _write_all(file, body)
                yield f"/proc/self/fd/{file.fileno()}"
            return
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._incoming, buffering=0) as file:
            _write_all(file, body)
            yield file.name


def _write_all(file: Any, body: bytes) -> None:
    view = memoryview(body)
    while view:
        view = view[file.write(view) :]
