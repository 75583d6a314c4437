"""The control database over SQLAlchemy Core: SQLite embedded, PostgreSQL in production."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, create_engine, event, insert, inspect, make_url, select, text, update
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from schemas.errors import ConfigurationError, InvariantError, LedgerContradiction, Refused, Unavailable
from schemas.ids import Shard
from stores.control import Lock, Log, Token
from stores.control import tables as t

HEAD = "0001"
"""The newest migration. Known here so that a database that is up to date is opened without importing Alembic."""

BUSY_SECONDS = 5.0


class ControlDatabase:
    """A :class:`stores.control.Control`.

    Args:
        url: as SQLAlchemy writes it: ``sqlite:////data/control.db``, ``postgresql+psycopg://…``.
        busy_seconds: how long to wait for the write lock of a SQLite file before ``Unavailable``.

    Raises:
        ConfigurationError: the URL is none.
    """

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        try:
            parsed = make_url(url)
            self._engine = _sqlite(parsed.database, url, busy_seconds) if _is_sqlite(url) else create_engine(url)
        except (ArgumentError, ImportError) as error:
            raise ConfigurationError(f"cannot use the control database's url: {error}") from error
        self._writer = self._engine.execution_options(affidavit_begin="BEGIN IMMEDIATE")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads: one snapshot, no lock."""
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; durable when the block ends, nothing of it written when the block raises."""
        with _translated(), self._writer.begin() as connection:
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

        with self.writing() as connection:
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
            there = _setting(connection, name)
            if there is None:
                connection.execute(insert(t.settings).values(name=name, value=value))
            elif there != value:
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
        with self.writing() as connection:
            row = connection.execute(select(t.logs).where(t.logs.c.origin == log.origin)).one_or_none()
            if row is not None:
                return _log(row)
            connection.execute(
                insert(t.logs).values(
                    origin=log.origin,
                    topic=log.shard.topic,
                    partition=log.shard.partition,
                    term=log.term,
                    start_offset=log.start_offset,
                    genesis=log.genesis,
                    opened_ms=log.opened_ms,
                    closed=log.closed,
                )
            )
            connection.execute(insert(t.locks).values(_lock_row(lock)))
        return log

    def logs(self) -> list[Log]:
        """See :meth:`stores.control.Control.logs`. In the order of opening."""
        with self.reading() as connection:
            return [
                _log(row) for row in connection.execute(select(t.logs).order_by(t.logs.c.opened_ms, t.logs.c.origin))
            ]

    def lock(self, origin: str) -> Lock | None:
        """See :meth:`stores.control.Control.lock`."""
        with self.reading() as connection:
            row = connection.execute(select(t.locks).where(t.locks.c.origin == origin)).one_or_none()
        return None if row is None else Lock(row.origin, row.size, row.root, row.chain, row.note)

    def replace_lock(self, old: Lock, new: Lock) -> None:
        """See :meth:`stores.control.Control.replace_lock`."""
        if old.origin != new.origin or new.size < old.size:
            raise InvariantError(f"got lock {new.origin} of size {new.size} in place of {old.origin} of {old.size}")
        with self.writing() as connection:
            changed = connection.execute(
                update(t.locks).where(t.locks.c.origin == old.origin, t.locks.c.note == old.note).values(_lock_row(new))
            ).rowcount
            if changed != 1:
                raise LedgerContradiction(
                    f"log {old.origin}: the lock is no longer the checkpoint of size {old.size}: another signer was "
                    "here; stop all signers of this log, then start one"
                )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def _sqlite(database: str | None, url: str, busy_seconds: float) -> Engine:
    if not database or database == ":memory:":
        raise ConfigurationError(f"got control database {url!r}, expected a file: sqlite:////path/to/control.db")
    path = Path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)  # it holds wrapped keys; SQLite gives its other files the same mode
    engine = create_engine(url, connect_args={"timeout": busy_seconds, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL").close()
        connection.execute("PRAGMA synchronous=FULL").close()
        connection.execute("PRAGMA fullfsync=ON").close()
        connection.execute("PRAGMA foreign_keys=ON").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("affidavit_begin", "BEGIN"))

    return engine


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if "no such table" in str(error.orig) or "UndefinedTable" in type(error.orig).__name__:
            raise ConfigurationError("the control database has no tables yet: run `affidavit init`") from error
        raise Unavailable(f"control database: {error.orig}") from error
    except SQLAlchemyError as error:
        raise Unavailable(f"control database: {type(error).__name__}") from error


def _setting(connection: Connection, name: str) -> str | None:
    value: str | None = connection.execute(select(t.settings.c.value).where(t.settings.c.name == name)).scalar()
    return value


def _token(row: Row[Any]) -> Token:
    fields = dict(row._mapping)
    return Token(**fields | {"scopes": tuple(row.scopes.split())})


def _log(row: Row[Any]) -> Log:
    shard = Shard(row.topic, row.partition)
    return Log(row.origin, shard, row.term, row.start_offset, row.genesis, row.opened_ms, row.closed)


def _lock_row(lock: Lock) -> dict[str, Any]:
    return {"origin": lock.origin, "size": lock.size, "root": lock.root, "chain": lock.chain, "note": lock.note}
