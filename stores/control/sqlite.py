"""The SQLAlchemy engine over one SQLite file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event

from schemas.errors import ConfigurationError
from stores.private_file import create_private_file


def sqlite_engine(url: URL, busy_seconds: float) -> Engine:
    """An engine whose commits are durable (WAL, ``synchronous=FULL``) and which enforces foreign keys.

    A transaction with the option ``affidavit_begin="BEGIN IMMEDIATE"`` holds the write lock from its first statement,
    so writers take turns and what they read stays true until they commit.

    Raises:
        ConfigurationError: the URL names no file.
    """
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(f"got control database {str(url)!r}, expected a file: sqlite:////path/to/control.db")
    create_private_file(Path(url.database))  # it holds wrapped keys; SQLite gives its other files the same mode
    options = {"timeout": busy_seconds, "isolation_level": None}
    engine = create_engine(url, connect_args=options, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL").close()
        connection.execute("PRAGMA synchronous=FULL").close()
        connection.execute("PRAGMA fullfsync=ON").close()
        connection.execute("PRAGMA foreign_keys=ON").close()
        connection.execute("PRAGMA secure_delete=ON").close()  # a key's row is zeros when it has been deleted

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("affidavit_begin", "BEGIN"))

    return engine


def empty_log(engine: Engine) -> bool:
    """Bring the write-ahead log into the file and cut it to nothing. ``False`` when another process was reading what is
    in it for as long as we wait for locks: then it starts over later, by itself."""
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy
