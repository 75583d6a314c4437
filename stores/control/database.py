"""The control database over SQLAlchemy Core: SQLite embedded, PostgreSQL in production."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Row, Table, insert, inspect, make_url, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, IntegrityError

from schemas.errors import ConfigurationError, InvariantError, Refused
from schemas.ids import Shard
from stores.control import DirectoryLoad, Lock, Log, Token, cursors, directories, register
from stores.control import tables as t
from stores.control.failures import translated
from stores.control.sqlite import empty_log, sqlite_engine
from stores.control.succession import check_lock, check_open, check_successor, recorded_first, recorded_successor

HEAD = "0005"
"""The newest migration. Known here so that a database that is up to date is opened without importing Alembic."""

BUSY_SECONDS = 5.0

MIGRATE_SECONDS = 600.0
"""How long PostgreSQL may take for a step of a migration, or another process for all of its own."""

MIGRATION_LOCK = int.from_bytes(b"affidavt", "big")
"""The advisory lock of whoever migrates."""


class ControlDatabase:
    """A :class:`stores.control.Control`.

    Args:
        url: ``sqlite:////data/control.db``, or ``postgresql://user:password@host/name?sslmode=verify-full``.
        busy_seconds: how long to wait for the write lock of a SQLite file, or for PostgreSQL to answer a statement,
            before ``Unavailable``.

    Raises:
        ConfigurationError: the URL is none. Later, from any method: the server does not let us in, is a replica, or
            must not be used for another reason that the message gives.
    """

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._engine = _engine(_parsed(url), busy_seconds)
        self._reader: Engine = self._engine
        self._writer: Engine = self._engine
        if self._engine.dialect.name == "postgresql":
            snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            self._reader = self._engine.execution_options(**snapshot)
        else:
            self._writer = self._engine.execution_options(affidavit_begin="BEGIN IMMEDIATE")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads: one snapshot, no lock."""
        with translated(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; durable when the block ends, nothing of it written when the block raises."""
        with translated(), self._writer.begin() as connection:
            yield connection

    def migrate(self) -> list[str]:
        """See :meth:`stores.control.Control.migrate`. All of it is one transaction; two processes take turns.

        Raises:
            ConfigurationError: a newer version of the product has migrated the database.
        """
        if self.version() == HEAD:
            return []
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        applied: list[str] = []
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))

        def note(step: Any, **_: object) -> None:
            applied.append(f"{step.up_revision_id} {step.up_revision.doc}")

        with self.writing() as connection, _turn(connection):
            config.attributes.update(connection=connection, on_version_apply=note)
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigurationError(
                    f"the control database is not one that this version knows ({error}): "
                    "install the version that migrated it, or restore the backup from before"
                ) from error
        return applied

    def version(self) -> str | None:
        """The newest migration applied; ``None`` before the first."""
        with self.reading() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return version

    def setting(self, name: str) -> str | None:
        """See :meth:`stores.control.Control.setting`."""
        with self.reading() as connection:
            return _setting(connection, name)

    def fix_setting(self, name: str, value: str) -> None:
        """See :meth:`stores.control.Control.fix_setting`."""
        with self.writing() as connection:
            connection.execute(_new(connection, t.settings), {"name": name, "value": value})
            there = _setting(
                connection, name
            )  # on PostgreSQL another process may just have been first: it was waited for
        if there != value:
            raise ConfigurationError(
                f"got {value!r} for {name}, but it was fixed as {there!r} when this deployment was initialised"
            )

    def add_token(self, token: Token) -> None:
        """See :meth:`stores.control.Control.add_token`.

        Raises:
            Refused: there is a token with this id or digest.
        """
        row = {name: getattr(token, name) for name in t.tokens.columns.keys()}  # noqa: SIM118
        with self.writing() as connection:
            try:
                connection.execute(insert(t.tokens).values(row | {"scopes": " ".join(token.scopes)}))
            except IntegrityError as error:
                raise Refused(f"token {token.token_id}: there is one with this id or digest") from error

    def token_by_digest(self, digest: bytes) -> Token | None:
        """See :meth:`stores.control.Control.token_by_digest`."""
        with self.reading() as connection:
            row = connection.execute(select(t.tokens).where(t.tokens.c.digest == digest)).one_or_none()
        return None if row is None else _token(row)

    def tokens(self) -> list[Token]:
        """See :meth:`stores.control.Control.tokens`. In the order of creation."""
        query = select(t.tokens).order_by(t.tokens.c.created_ms, t.tokens.c.token_id)
        with self.reading() as connection:
            return [_token(row) for row in connection.execute(query)]

    def revoke_token(self, token_id: str, at_ms: int) -> bool:
        """See :meth:`stores.control.Control.revoke_token`. The first revocation keeps its time."""
        this = t.tokens.c.token_id == token_id
        with self.writing() as connection:
            known = connection.execute(select(t.tokens.c.token_id).where(this)).one_or_none() is not None
            connection.execute(update(t.tokens).where(this, t.tokens.c.revoked_ms.is_(None)).values(revoked_ms=at_ms))
        return known

    def open_log(self, log: Log, lock: Lock) -> Log:
        """See :meth:`stores.control.Control.open_log`."""
        if log.origin != lock.origin:
            raise InvariantError(f"got log {log.origin} with the lock of {lock.origin}")
        with self._changing_logs() as connection:
            there = recorded_first(log, _logs(connection))
            return _open(connection, log, lock) if there is None else there

    def close_log(self, origin: str, lock: Lock) -> None:
        """See :meth:`stores.control.Control.close_log`."""
        if origin != lock.origin:
            raise InvariantError(f"got log {origin} with the lock of {lock.origin}")
        with self._changing_logs() as connection:
            _close(connection, lock)

    def succeed_log(self, old: Lock, log: Log, lock: Lock) -> Log:
        """See :meth:`stores.control.Control.succeed_log`."""
        check_successor(old, log, lock)
        with self._changing_logs() as connection:
            recorded = recorded_successor(old, log, _logs(connection))
            if recorded is not None:
                return recorded
            _close(connection, old)
            return _open(connection, log, lock)

    @contextmanager
    def _changing_logs(self) -> Iterator[Connection]:
        """A transaction that opens or closes logs: one at a time, in all processes. Whoever swaps a lock row looks
        after it at whether the log is closed, and whoever closes a log holds its row, so one of the two sees the
        other."""
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("LOCK TABLE logs IN SHARE ROW EXCLUSIVE MODE"))
            yield connection

    def logs(self) -> list[Log]:
        """See :meth:`stores.control.Control.logs`. In the order of opening."""
        with self.reading() as connection:
            return _logs(connection)

    def lock(self, origin: str) -> Lock | None:
        """See :meth:`stores.control.Control.lock`."""
        with self.reading() as connection:
            return _lock(connection, origin)

    def replace_lock(self, old: Lock, new: Lock) -> None:
        """See :meth:`stores.control.Control.replace_lock`."""
        if old.origin != new.origin or new.size < old.size:
            raise InvariantError(f"got lock {new.origin} of size {new.size} in place of {old.origin} of {old.size}")
        with self.writing() as connection:
            changed = connection.execute(
                update(t.locks).where(t.locks.c.origin == old.origin, t.locks.c.note == old.note).values(_lock_row(new))
            ).rowcount
            if changed != 1:
                check_lock(_lock(connection, old.origin), old)
                raise InvariantError(f"log {old.origin}: its lock row is as expected, and did not change")
            check_open(old.origin, _is_closed(connection, old.origin))

    def cursor(self, name: str) -> str:
        """See :meth:`stores.control.Control.cursor`."""
        with self.reading() as connection:
            return cursors.read(connection, name)

    def move_cursor(self, name: str, old: str, new: str, owner: str) -> None:
        """See :meth:`stores.control.Control.move_cursor`."""
        with self.writing() as connection:
            cursors.move(connection, name, old, new, owner, time.time_ns() // 1_000_000)

    def claim_feed(self, name: str, owner: str, now_ms: int, until_ms: int) -> bool:
        """See :meth:`stores.control.Control.claim_feed`."""
        with self.writing() as connection:
            return cursors.claim(connection, name, owner, now_ms, until_ms)

    def release_feed(self, name: str, owner: str) -> None:
        """See :meth:`stores.control.Control.release_feed`."""
        with self.writing() as connection:
            cursors.release(connection, name, owner)

    def add_directory(self, tenant: str, sha256: str, loaded_ms: int, operator: str) -> DirectoryLoad:
        """See :meth:`stores.control.Control.add_directory`."""
        with self.writing() as connection:
            return directories.add(connection, tenant, sha256, loaded_ms, operator)

    def directories(self) -> list[DirectoryLoad]:
        """See :meth:`stores.control.Control.directories`."""
        with self.reading() as connection:
            return directories.read(connection)

    def register_end(self) -> int:
        """See :meth:`stores.control.Control.register_end`."""
        with self.reading() as connection:
            return register.end(connection)

    def register_entries(self, after: int = 0) -> list[bytes]:
        """See :meth:`stores.control.Control.register_entries`."""
        with self.reading() as connection:
            return register.read(connection, after)

    def append_register(self, number: int, entry: bytes) -> None:
        """See :meth:`stores.control.Control.append_register`."""
        with self.writing() as connection:
            register.append(connection, number, entry)

    def overwrite_deleted(self) -> bool:
        """Leave nothing of deleted rows in the files; return whether that is so. SQLite writes zeros over them, and has
        them in its write-ahead log until that is emptied, which needs a moment without readers. PostgreSQL has no such
        thing: ``False``."""
        return self._engine.dialect.name == "sqlite" and empty_log(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


@contextmanager
def _turn(connection: Connection) -> Iterator[None]:
    """The turn to migrate, until the transaction ends. On SQLite whoever writes has it."""
    if connection.dialect.name == "postgresql":
        from stores.control.postgresql import let_wait

        with let_wait(connection, MIGRATE_SECONDS):
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            yield
    else:
        yield


def _parsed(url: str) -> URL:
    """A URL, checked without ever being quoted: it may hold a password."""
    authority = url.partition("://")[2].partition("?")[0]
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or (parsed.get_backend_name() != "sqlite" and authority.count("@") > 1):
        raise ConfigurationError(
            "cannot parse the control database's url, expected postgresql://user:password@host/name or "
            "sqlite:////path/to/control.db, with %40 for @, %2F for / and %3A for : in user and password"
        )
    return parsed


def _engine(url: URL, busy_seconds: float) -> Engine:
    name = url.drivername
    try:
        if url.get_backend_name() == "sqlite":
            return sqlite_engine(url, busy_seconds)
        if name in ("postgresql", "postgres", "postgresql+psycopg"):
            from stores.control.postgresql import postgresql_engine  # psycopg is there only where it is needed

            return postgresql_engine(url, busy_seconds)
    except (ArgumentError, ImportError) as error:
        raise ConfigurationError(f"cannot use a control database of {name}: {error}") from error
    raise ConfigurationError(f"got a control database of {name}, expected postgresql or sqlite")


def _setting(connection: Connection, name: str) -> str | None:
    value: str | None = connection.execute(select(t.settings.c.value).where(t.settings.c.name == name)).scalar()
    return value


def _token(row: Row[Any]) -> Token:
    fields = dict(row._mapping)
    return Token(**fields | {"scopes": tuple(row.scopes.split())})


def _log(row: Row[Any]) -> Log:
    shard = Shard(row.topic, row.partition)
    return Log(row.origin, shard, row.term, row.start_offset, row.genesis, row.opened_ms, row.closed)


def _logs(connection: Connection) -> list[Log]:
    return [_log(row) for row in connection.execute(select(t.logs).order_by(t.logs.c.opened_ms, t.logs.c.origin))]


def _lock(connection: Connection, origin: str, *, held: bool = False) -> Lock | None:
    query = select(t.locks).where(t.locks.c.origin == origin)
    row = connection.execute(query.with_for_update() if held else query).one_or_none()
    return None if row is None else Lock(row.origin, row.size, row.root, row.chain, row.note)


def _is_closed(connection: Connection, origin: str) -> bool:
    closed: bool = connection.execute(select(t.logs.c.closed).where(t.logs.c.origin == origin)).scalar_one()
    return closed


def _open(connection: Connection, log: Log, lock: Lock) -> Log:
    row = connection.execute(select(t.logs).where(t.logs.c.origin == log.origin)).one_or_none()
    if row is not None:
        return _log(row)
    connection.execute(insert(t.logs).values(_log_row(log)))
    connection.execute(insert(t.locks).values(_lock_row(lock)))
    return log


def _new(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insertion that leaves alone what is there."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def _close(connection: Connection, lock: Lock) -> None:
    check_lock(_lock(connection, lock.origin, held=True), lock)
    connection.execute(update(t.logs).where(t.logs.c.origin == lock.origin).values(closed=True))


def _log_row(log: Log) -> dict[str, Any]:
    fields = {name: getattr(log, name) for name in ("origin", "term", "start_offset", "genesis", "opened_ms", "closed")}
    return fields | {"topic": log.shard.topic, "partition": log.shard.partition}


def _lock_row(lock: Lock) -> dict[str, Any]:
    return {"origin": lock.origin, "size": lock.size, "root": lock.root, "chain": lock.chain, "note": lock.note}
