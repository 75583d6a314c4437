"""What only PostgreSQL does to a control database: restarts, hangs, replicas, passwords, TLS, and what it refuses."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_server import PASSWORD, USER, PostgresServer
from sqlalchemy import text
from tls_front import TlsFront

from schemas.errors import ConfigurationError, InvariantError, LedgerContradiction, Unavailable
from schemas.ids import Shard
from stores.control import Lock, Log
from stores.control import tables as t
from stores.control.database import ControlDatabase
from stores.control.postgresql import CONNECT_SECONDS
from stores.control.text import escaped, unescaped
from stores.keys import KeyScope
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file

LOG = Log("example/events/0/2026q1", Shard("events", 0), "2026q1", 0, b"{}", 5)
LOCK = Lock(LOG.origin, 1, b"r" * 32, b"c" * 32, b"1")

QUICK = 0.5
"""Seconds after which the tests of bounds give up."""


@pytest.fixture
def url(own_postgres: PostgresServer) -> str:
    return own_postgres.create()


@pytest.fixture
def control(url: str) -> Iterator[ControlDatabase]:
    with closing(ControlDatabase(url)) as database:
        database.migrate()
        yield database


def name(url: str) -> str:
    return url.rpartition("/")[2]


def said(error: BaseException) -> str:
    """The error and all that led to it, as a log would show them."""
    texts = []
    step: BaseException | None = error
    while step is not None:
        texts.append(f"{type(step).__name__}: {step}")
        step = step.__cause__ or step.__context__
    return "\n".join(texts)


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_restart_between_two_calls_is_not_noticed(
    own_postgres: PostgresServer, control: ControlDatabase, way: str
) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(control.setting, "abcdef"))  # several sessions
    control.fix_setting("a", "b")
    getattr(own_postgres, way)()
    own_postgres.start()
    assert [control.setting("a") for _ in range(3)] == ["b"] * 3
    control.fix_setting("c", "d")
    assert control.setting("c") == "d"


def test_a_server_that_is_gone_is_unavailable_and_comes_back(
    own_postgres: PostgresServer, control: ControlDatabase
) -> None:
    control.fix_setting("a", "b")
    own_postgres.stop()
    with pytest.raises(Unavailable, match="control database: connection failed") as caught:
        control.setting("a")
    assert PASSWORD not in said(caught.value)
    with pytest.raises(Unavailable, match="control database: connection failed"):
        control.fix_setting("a", "b")
    own_postgres.start()
    assert control.setting("a") == "b"


def test_a_server_that_hangs_is_unavailable_in_time(own_postgres: PostgresServer, url: str) -> None:
    with closing(ControlDatabase(url, busy_seconds=QUICK)) as control, ExitStack() as paused:
        control.migrate()
        control.fix_setting("a", "b")
        own_postgres.pause()
        paused.callback(own_postgres.resume)
        begun = time.monotonic()
        with pytest.raises(Unavailable, match=r"the server has not answered for 0\.5 s"):
            control.setting("a")
        assert QUICK <= time.monotonic() - begun < QUICK + 5
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="timeout expired"):
            control.setting("a")
        assert time.monotonic() - begun < CONNECT_SECONDS + 5
        paused.close()
        assert control.setting("a") == "b"


def test_a_server_that_hangs_within_a_transaction(own_postgres: PostgresServer, url: str) -> None:
    with closing(ControlDatabase(url, busy_seconds=QUICK)) as control, ExitStack() as paused:
        control.migrate()

        def half() -> None:
            with control.writing() as connection:
                connection.execute(t.settings.insert().values(name="a", value="b"))
                own_postgres.pause()
                paused.callback(own_postgres.resume)

        with pytest.raises(Unavailable, match="has not answered"):
            half()
        paused.close()
        # The commit reached a process that was stopped: it was done when it went on, or its session was closed first.
        assert control.setting("a") in (None, "b")


def test_a_row_that_stays_locked_is_unavailable(own_postgres: PostgresServer, url: str) -> None:
    with closing(ControlDatabase(url, busy_seconds=QUICK)) as control:
        control.migrate()
        control.open_log(LOG, LOCK)
        with own_postgres.connect(name(url)) as other, other.transaction():
            other.execute("SELECT * FROM locks FOR UPDATE")
            with pytest.raises(Unavailable, match=r"statement timeout|has not answered"):
                control.replace_lock(LOCK, replace(LOCK, size=2, note=b"2"))
            assert control.lock(LOG.origin) == LOCK
        control.replace_lock(LOCK, replace(LOCK, size=2, note=b"2"))


def test_who_stops_within_a_transaction_loses_its_locks(own_postgres: PostgresServer, control: ControlDatabase) -> None:
    with control.reading() as connection:
        found = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert found == "10s"


def test_a_transaction_that_the_server_ends_leaves_nothing(
    own_postgres: PostgresServer, control: ControlDatabase
) -> None:
    control.open_log(LOG, LOCK)

    def half() -> None:
        with control.writing() as connection:
            connection.execute(t.locks.update().values(note=b"2"))
            own_postgres.kill()

    with pytest.raises(Unavailable, match="control database"):
        half()
    own_postgres.start()
    assert control.lock(LOG.origin) == LOCK


def test_commits_wait_for_the_disk(own_postgres: PostgresServer, url: str) -> None:
    def level() -> str:
        with closing(ControlDatabase(url)) as control, control.reading() as connection:
            found: str = connection.execute(text("SHOW synchronous_commit")).scalar_one()
            return found

    assert level() == "on"
    for theirs, ours in (("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")):
        with own_postgres.connect() as connection:
            connection.execute(f"ALTER DATABASE {name(url)} SET synchronous_commit = '{theirs}'".encode())
        assert level() == ours


def test_isolation_is_ours_whatever_the_server_prefers(own_postgres: PostgresServer, url: str) -> None:
    with own_postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name(url)} SET default_transaction_isolation = 'serializable'".encode())
    query = text("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
    with closing(ControlDatabase(url)) as control:
        for _ in range(2):
            with control.reading() as connection:
                assert tuple(connection.execute(query).one()) == ("repeatable read", "on")
            with control.writing() as connection:
                assert tuple(connection.execute(query).one()) == ("read committed", "off")


def test_a_replica_is_refused() -> None:
    with PostgresServer({"wal_level": "replica", "max_wal_senders": "2"}) as server:
        url = server.create()
        with closing(ControlDatabase(url)) as before:
            before.migrate()
            server.stop()
            (server.data / "standby.signal").touch()
            server.start()
            with (
                closing(ControlDatabase(url)) as control,
                pytest.raises(ConfigurationError, match="is a read replica, or still recovering: name the primary"),
            ):
                control.migrate()
            # A process that runs already waits for the end of the failover.
            with pytest.raises(Unavailable, match="is a read replica, or still recovering"):
                before.setting("a")


def test_a_database_for_reading_only_is_refused(own_postgres: PostgresServer, url: str) -> None:
    with own_postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name(url)} SET default_transaction_read_only = on".encode())
    with (
        closing(ControlDatabase(url)) as control,
        pytest.raises(ConfigurationError, match="turn default_transaction_read_only off"),
    ):
        control.migrate()


def test_a_session_in_which_nothing_can_be_written_is_left(control: ControlDatabase) -> None:
    def session() -> int:
        with control.reading() as connection:
            found: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            return found

    def write() -> None:
        with control.writing() as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            connection.execute(t.settings.insert().values(name="a", value="b"))

    before = session()
    assert session() == before
    with pytest.raises(Unavailable, match="cannot execute INSERT in a read-only transaction"):
        write()
    assert session() != before


def test_another_encoding_is_refused(own_postgres: PostgresServer) -> None:
    with own_postgres.connect() as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with (
        closing(ControlDatabase(own_postgres.url("latin"))) as control,
        pytest.raises(ConfigurationError, match="got encoding LATIN1, expected UTF8"),
    ):
        control.migrate()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (":correct", ":incorrect", "password authentication failed"),
        (USER, "nobody-here", "authentication failed|does not exist"),
        ("/t", "/none-such", "does not exist"),
        ("?", "?sslmode=require&", "does not support SSL"),
        ("?", "?sslmode=sometimes&", "sslmode"),
        ("?", "?nonsense=1&", "invalid connection option"),
        ("?", "?sslmode=verify-full&sslrootcert=/nowhere&", "certificate|does not support SSL"),
    ],
)
def test_a_server_that_does_not_let_us_in(
    own_postgres: PostgresServer, url: str, old: str, new: str, expected: str
) -> None:
    wrong = (url + "?application_name=x").replace(old, new, 1)
    with closing(ControlDatabase(wrong)) as control, pytest.raises(ConfigurationError, match=expected) as caught:
        control.migrate()
    assert PASSWORD not in said(caught.value)
    assert "battery" not in said(caught.value)


def test_a_password_that_is_changed_under_us_is_an_outage(
    own_postgres: PostgresServer, control: ControlDatabase
) -> None:
    assert control.setting("a") is None
    with own_postgres.connect() as other:
        other.execute(f"ALTER USER {USER} PASSWORD 'changed'".encode())
        try:
            ours = "FROM pg_stat_activity WHERE application_name = 'affidavit'"
            other.execute(f"SELECT pg_terminate_backend(pid, 10000) {ours}".encode())  # and wait until they are gone
            with pytest.raises(Unavailable, match="password authentication failed"):
                control.setting("a")
        finally:
            other.execute(f"ALTER USER {USER} PASSWORD '{PASSWORD}'".encode())
    assert control.setting("a") is None


@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://me:se@cret@host/name",
        "postgresql://me:se@cret/more@host/name",
        "postgresql://me@host:secret/name",
        "postgresql+psycopg2://me:secret@host/name",
        "mysql://me:secret@host/name",
        "postgresql:/me:secret@host",
    ],
)
def test_urls_that_cannot_work_are_not_quoted(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="control database") as caught:
        ControlDatabase(wrong)
    assert "cret" not in said(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_ways_to_write_the_url(url: str, scheme: str) -> None:
    with closing(ControlDatabase(scheme + url.removeprefix("postgresql"))) as control:
        assert control.version() is None


def test_several_hosts(own_postgres: PostgresServer, url: str) -> None:
    hosts = f"host=127.0.0.1:1&host=127.0.0.1:{own_postgres.port}&target_session_attrs=read-write"
    several = url.replace(f"127.0.0.1:{own_postgres.port}", "") + "?" + hosts
    with closing(ControlDatabase(several)) as control:
        assert control.version() is None


def test_tls_by_the_url(own_postgres: PostgresServer, url: str, tmp_path: Path) -> None:
    with TlsFront(tmp_path, own_postgres.port) as front:
        over = url.replace(f":{own_postgres.port}/", f":{front.port}/") + "?sslmode=verify-full&sslrootcert="
        with closing(ControlDatabase(over + str(front.authority))) as control:
            assert control.migrate()
            control.fix_setting("a", "b")
            assert control.setting("a") == "b"
        assert front.handshakes > 0
        with (
            closing(ControlDatabase(over + str(front.another_authority))) as control,
            pytest.raises(ConfigurationError, match="certificate verify failed"),
        ):
            control.migrate()


def test_a_user_without_rights(own_postgres: PostgresServer, control: ControlDatabase, url: str) -> None:
    with own_postgres.connect() as other:
        other.execute("CREATE USER guest PASSWORD 'guest'")
    guest_url = f"postgresql://guest:guest@127.0.0.1:{own_postgres.port}/{name(url)}"
    refusal = r"permission denied for table .*; grant its user all privileges"
    with closing(ControlDatabase(guest_url)) as guest, pytest.raises(ConfigurationError, match=refusal):
        guest.tokens()


def test_what_the_server_refuses_is_our_bug_and_shows_no_row(control: ControlDatabase) -> None:
    def twice() -> None:
        with control.writing() as connection:
            for _ in range(2):
                connection.execute(t.settings.insert().values(name="private name", value="private value"))

    with pytest.raises(InvariantError, match="duplicate key value violates unique constraint") as caught:
        twice()
    assert "private" not in str(caught.value)


@pytest.mark.parametrize("subject", ["\x00", "a\x00b", "\x1a", "\x1a0", "\x1a1\x00", "\U0001f600\x00", "a"])
def test_every_character_may_be_in_a_subject(control: ControlDatabase, tmp_path: Path, subject: str) -> None:
    create_kek_file(tmp_path / "kek")
    scopes = [
        KeyScope("acme", one, "standard", 1, "2026-03") for one in (subject, subject.replace("\x00", ""), "\x1a0")
    ]
    found = DatabaseKeys(control, FileKek(tmp_path / "kek")).for_scopes(scopes)
    assert DatabaseKeys(control, FileKek(tmp_path / "kek")).for_scopes(scopes) == found
    reader = DatabaseKeys(control, FileKek(tmp_path / "kek"))
    assert reader.by_id([key.key_id for key in found]) == {key.key_id: key.secret for key in found}
    assert len({key.key_id for key in found}) == len(set(scopes))
    control.fix_setting("name", subject)
    assert control.setting("name") == subject
    assert unescaped(escaped(subject)) == subject
    assert "\x00" not in escaped(subject)


def test_escapes_keep_texts_apart() -> None:
    texts = ["".join(some) for length in range(5) for some in itertools.product("\x00\x1a01", repeat=length)]
    assert len({escaped(one) for one in texts}) == len(texts)
    assert [unescaped(escaped(one)) for one in texts] == texts


def test_a_signer_swaps_while_the_server_is_killed(own_postgres: PostgresServer, url: str) -> None:
    swap_and_kill(own_postgres, url, 6)


@pytest.mark.soak
def test_a_signer_swaps_while_the_server_is_killed_for_long(own_postgres: PostgresServer, url: str) -> None:
    swap_and_kill(own_postgres, url, 150)


class Signer:
    """Swaps the lock row on and on; ``won`` are the notes whose swap was acknowledged, ``lost`` those refused."""

    def __init__(self, url: str, name: str, proposals: dict[bytes, bytes]) -> None:
        self.won: list[bytes] = []
        self.lost: list[bytes] = []
        self.unknown: list[bytes] = []
        self.seen: list[int] = []
        self._url, self._name, self._proposals = url, name, proposals

    def sign(self, stop: threading.Event) -> None:
        with closing(ControlDatabase(self._url, busy_seconds=5.0)) as control:
            lock: Lock | None = None
            for number in itertools.count():
                if stop.is_set():
                    return
                try:
                    lock = lock or control.lock(LOG.origin)
                except Unavailable:
                    continue
                assert lock is not None
                self.seen.append(lock.size)
                new = replace(lock, size=lock.size + 1, note=f"{self._name} {number}".encode())
                self._proposals[new.note] = lock.note
                try:
                    control.replace_lock(lock, new)
                except LedgerContradiction:
                    self.lost.append(new.note)
                    lock = None
                except Unavailable:
                    self.unknown.append(new.note)
                    lock = None
                else:
                    self.won.append(new.note)
                    lock = new


def swap_and_kill(server: PostgresServer, url: str, kills: int) -> None:
    """Two signers of one log and a server that is killed at random moments: what the row holds in the end goes back
    to the beginning through proposals, over every swap that was acknowledged and over none that was refused."""
    with closing(ControlDatabase(url)) as control:
        control.migrate()
        control.open_log(LOG, LOCK)
    proposals: dict[bytes, bytes] = {}
    signers = [Signer(url, number, proposals) for number in ("one", "two")]
    stop, wait = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(signer.sign, stop) for signer in signers]
        try:
            for _ in range(kills):
                wait.wait(random.uniform(0.05, 0.3))
                server.kill()
                server.start()
            wait.wait(0.2)
        finally:
            stop.set()
        for one in running:
            one.result()
    with closing(ControlDatabase(url)) as control:
        last = control.lock(LOG.origin)
    assert last is not None
    history, note = [], last.note
    while note != LOCK.note:
        history.append(note)
        note = proposals[note]
    assert len(history) == last.size - 1
    won = {note for signer in signers for note in signer.won}
    lost = {note for signer in signers for note in signer.lost}
    unknown = {note for signer in signers for note in signer.unknown}
    assert won <= set(history)
    assert not lost & set(history)
    assert set(history) <= won | unknown
    assert all(signer.seen == sorted(signer.seen) for signer in signers)
    assert len(won) > kills
    assert unknown
