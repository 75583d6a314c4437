"""The SQLAlchemy engine over PostgreSQL: bounded in time, durable, and never a replica.

**Isolation.** Transactions that write run at READ COMMITTED and take the locks that they need; those that read run at
REPEATABLE READ, READ ONLY, which is one snapshot. No transaction fails for the sake of serialisation, so none needs to
be repeated.

**Bounds.** libpq waits for a connection for :data:`CONNECT_SECONDS` per host, the client for the answer to a statement
for ``seconds``, and the server gives up on a statement after as long. A server that hangs (its processes
stopped, its disk stuck, its packets dropped) is therefore ``Unavailable`` within those. A client that hangs inside a
transaction loses its locks after :data:`IDLE_SECONDS`. Name resolution is the system's, and has bounds of its own.

**Durability.** Every session runs with ``synchronous_commit`` at ``on``, or at ``remote_apply`` where that is set: a
commit is on the server's disk, and on that of its synchronous standbys, before it returns.

Use session pooling between here and the server (PgBouncer's transaction pooling drops what is set on the session).
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError

from schemas.errors import ConfigurationError
from stores.control.failures import READ_ONLY, message

CONNECT_SECONDS = 3
IDLE_SECONDS = 10
POOL_CONNECTIONS = 16
"""One for each thread that may ask at once; they are made when needed, and four are kept."""

_PREPARE = """
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_setting('server_encoding'),
  set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply'
    ELSE 'on' END, false),
  set_config('statement_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false)
"""

_WRONG = re.compile(
    r"authentication failed|pg_hba\.conf|role \".*\" (does not exist|is not permitted to log in)|"
    r"database \".*\" does not exist|no password supplied|permission denied|does not support SSL|certificate|"
    r"invalid (sslmode|.* value)|private key",
    re.IGNORECASE,
)
"""What libpq says when trying again will not help. There is no SQLSTATE before a session is."""

T = TypeVar("T")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that breaks when the server does not answer within ``seconds``."""

    seconds = 5.0

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Run a step of the protocol to its end, or close the connection."""
        try:
            return super().wait(_answered(gen, self.seconds), *args, **kwargs)
        except TimeoutError as error:
            self.close()  # in the middle of an answer: of no further use
            raise psycopg.OperationalError(str(error)) from None

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Wait longer, on both sides, for the statements of the transaction that is open."""
        before, self.seconds = self.seconds, seconds
        try:
            self.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}".encode())
            yield
        finally:
            self.seconds = before


def postgresql_engine(url: URL, seconds: float) -> Engine:
    """An engine for the database of a URL, whose query goes to libpq as it is: ``sslmode=verify-full``,
    ``sslrootcert=…``, ``target_session_attrs=read-write`` with several ``host``, and so on. Does not connect."""
    sessions = _Sessions(seconds)
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        pool_size=4,
        max_overflow=POOL_CONNECTIONS - 4,
        pool_timeout=seconds,
        pool_use_lifo=True,
        use_native_hstore=False,
    )
    event.listen(engine, "do_connect", sessions.begin)
    event.listen(engine, "checkout", _refuse_stale)
    event.listen(engine, "handle_error", _note_disconnection)
    return engine


def let_wait(connection: Connection, seconds: float) -> Any:
    """A block in which the statements of the open transaction may take ``seconds``."""
    session = connection.connection.driver_connection
    assert isinstance(session, BoundedConnection)
    return session.patience(seconds)


class _Sessions:
    """Begins sessions, and refuses servers that must not be used.

    Once one session was good, what is wrong with a later one is taken for a fault of the moment: during a failover the
    address may lead to a standby for a while, and that must not end a process that runs.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._were_good = False

    def begin(self, _dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> BoundedConnection:
        defaults: dict[str, Any] = {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "affidavit",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": self._milliseconds,
        }
        try:
            session = BoundedConnection.connect(*arguments, **(defaults | options))
        except psycopg.ProgrammingError as error:
            raise ConfigurationError(f"cannot use the control database's url: {message(error)}") from None
        except psycopg.OperationalError as error:
            if _WRONG.search(str(error)):
                raise self._refusal(f"control database: {message(error)}") from None
            raise
        try:
            self._check(session)
        except BaseException:
            session.close()
            raise
        self._were_good = True
        return session

    def _check(self, session: BoundedConnection) -> None:
        session.seconds = self._seconds
        session.autocommit = True  # what is set in a transaction goes with it
        row = session.execute(_PREPARE, (str(self._milliseconds), str(IDLE_SECONDS * 1000))).fetchone()
        session.autocommit = False
        assert row is not None
        in_recovery, read_only, encoding = row[:3]
        where = f"{session.info.host}:{session.info.port}"
        if in_recovery:
            raise self._refusal(
                f"control database: {where} is a read replica, or still recovering: name the primary in the url, or "
                "all hosts with target_session_attrs=read-write"
            )
        if read_only:
            raise self._refusal(
                f"control database: {where} begins transactions read-only: turn default_transaction_read_only off"
            )
        if encoding != "UTF8":
            raise self._refusal(f"control database: got encoding {encoding}, expected UTF8: create the database anew")

    @property
    def _milliseconds(self) -> int:
        return int(self._seconds * 1000)

    def _refusal(self, text: str) -> Exception:
        return psycopg.OperationalError(text) if self._were_good else ConfigurationError(text)


def _refuse_stale(session: BoundedConnection, _record: object, _proxy: object) -> None:
    """Have the pool connect anew when the server has ended the session, or said anything, since it was last used: in
    place of a round trip with each transaction, which would also wait twice for a server that hangs."""
    if session.closed:
        raise DisconnectionError("the session is closed")
    poll = select.poll()
    poll.register(session.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError("the server has ended the session")


def _note_disconnection(context: ExceptionContext) -> None:
    """A server that has become read-only under us is not the primary any more: its sessions are of no use."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _answered(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """``gen``, with :class:`TimeoutError` raised once the socket has been silent past the deadline. psycopg wakes the
    generator every tenth of a second with a false value when nothing came."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                gen.close()
                raise TimeoutError(f"the server has not answered for {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as stop:
        result: T = stop.value
        return result
