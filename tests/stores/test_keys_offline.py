"""Keys while the control database is away: on a real PostgreSQL that is killed, stopped and paused, and on SQLite."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from memory_keys import destroy_rows
from postgres_server import PostgresServer
from sqlalchemy import select

from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.control.database import ControlDatabase
from stores.control.tables import subject_keys
from stores.keys import KeyScope
from stores.keys.database import EPOCH_SECONDS, DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file
from stores.keys.offline import GRACE_SECONDS, PROBE_SECONDS, OfflineKeys
from stores.keys.rows import STATEMENT_ROWS

SCOPE = KeyScope("acme", "user@example.com", "standard", 1, "2026-03")
OTHER = SCOPE._replace(subject="other@example.com")


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Away(ControlDatabase):
    """A control database that a test can take away: before a transaction (``away``), or once at the end of one that
    writes, whose outcome nobody hears (``lose_answer``)."""

    away = False
    lose_answer = False

    @contextmanager
    def reading(self) -> Iterator[Any]:
        if self.away:
            raise Unavailable("away")
        with super().reading() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Any]:
        if self.away:
            raise Unavailable("away")
        with super().writing() as connection:
            yield connection
        if self.lose_answer:
            self.lose_answer, self.away = False, True
            raise Unavailable("the answer was lost")


class Site:
    """One deployment: its KEK and its control database, and as many collectors as a test wants."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url, self.clock = folder, url, Clock()
        create_kek_file(folder / "kek")
        self.kek = FileKek(folder / "kek")
        self.control = Away(url)
        self.control.migrate()
        self._open: list[OfflineKeys] = []

    def collector(self, name: str = "one") -> OfflineKeys:
        keys = DatabaseKeys(self.control, self.kek, monotonic=self.clock)
        collector = OfflineKeys(keys, self.folder / f"{name}.db", monotonic=self.clock)
        self._open.append(collector)
        return collector

    def reader(self) -> DatabaseKeys:
        """The keys as a third process sees them."""
        return DatabaseKeys(self.control, self.kek, monotonic=self.clock)

    def come_back(self) -> None:
        self.control.away = False
        self.clock.now += PROBE_SECONDS

    def rows(self) -> dict[KeyId, str]:
        with self.control.reading() as connection:
            found = connection.execute(select(subject_keys.c.key_id, subject_keys.c.maker)).all()
        return {KeyId(row.key_id): row.maker for row in found}

    def close(self) -> None:
        for collector in self._open:
            collector.close()
        self.control.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    on_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/control.db" if on_sqlite else request.getfixturevalue("postgres").create()
    made = Site(tmp_path, url)
    yield made
    made.close()


def only(keys: list[SubjectKey]) -> SubjectKey:
    (key,) = keys
    return key


def test_while_the_database_answers_nothing_is_made_here(site: Site) -> None:
    collector = site.collector()
    key = only(collector.for_scopes([SCOPE]))
    assert (collector.unregistered(), collector.register()) == (0, 0)
    assert site.rows() == {key.key_id: ""}
    assert collector.for_scopes([]) == []


def test_a_new_subject_gets_a_key_while_the_database_is_away(site: Site) -> None:
    collector = site.collector()
    known = only(collector.for_scopes([SCOPE]))
    site.control.away = True
    site.clock.now += EPOCH_SECONDS
    kept, made, again = collector.for_scopes([SCOPE, OTHER, OTHER])
    assert (kept, made) == (known, again)
    assert collector.unregistered() == 1
    assert collector.by_id([kept.key_id, made.key_id]) == {kept.key_id: kept.secret, made.key_id: made.secret}
    with pytest.raises(Unavailable, match="away"):
        collector.register()
    assert only(collector.for_scopes([OTHER])) == made

    site.come_back()
    assert collector.by_id([made.key_id]) == {made.key_id: made.secret}
    assert site.reader().by_id([made.key_id]) == {}
    assert (collector.register(), collector.unregistered()) == (1, 0)
    assert site.reader().by_id([made.key_id]) == {made.key_id: made.secret}
    ordinary = only(collector.for_scopes([OTHER]))
    assert ordinary.key_id != made.key_id
    assert only(site.reader().for_scopes([OTHER])) == ordinary
    makers = site.rows()
    assert makers[ordinary.key_id] == ""
    assert makers[made.key_id].endswith(made.key_id.hex())


def test_keys_made_here_outlive_the_process_and_are_not_in_the_clear(site: Site) -> None:
    first = site.collector()
    site.control.away = True
    made = only(first.for_scopes([SCOPE]))
    files = list(site.folder.glob("one.db*"))
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert all(made.secret not in path.read_bytes() for path in files)
    first.close()
    second = site.collector()
    assert second.unregistered() == 1
    assert only(second.for_scopes([SCOPE])) == made
    site.come_back()
    assert second.register() == 1
    assert site.reader().by_id([made.key_id]) == {made.key_id: made.secret}
    assert all(made.key_id not in path.read_bytes() for path in site.folder.glob("one.db*"))


def test_cached_keys_are_used_for_a_while_and_then_keys_of_our_own(site: Site) -> None:
    collector = site.collector()
    cached = only(collector.for_scopes([SCOPE]))
    site.control.away = True
    site.clock.now = GRACE_SECONDS
    assert only(collector.for_scopes([SCOPE])) == cached
    assert collector.by_id([cached.key_id]) == {cached.key_id: cached.secret}
    site.clock.now += 1
    made = only(collector.for_scopes([SCOPE]))
    assert made != cached
    with pytest.raises(Unavailable, match="control database"):
        collector.by_id([made.key_id, cached.key_id])
    assert collector.by_id([made.key_id]) == {made.key_id: made.secret}


def test_an_unknown_key_is_not_said_to_be_gone_while_nobody_can_say(site: Site) -> None:
    collector = site.collector()
    site.control.away = True
    with pytest.raises(Unavailable, match="away"):
        collector.by_id([KeyId(b"x" * 16)])
    site.come_back()
    assert collector.by_id([KeyId(b"x" * 16)]) == {}


def test_two_collectors_offline_on_one_scope(site: Site) -> None:
    one, two = site.collector("one"), site.collector("two")
    site.control.away = True
    first, second = only(one.for_scopes([SCOPE])), only(two.for_scopes([SCOPE]))
    assert first.key_id != second.key_id
    site.come_back()
    ordinary = only(site.reader().for_scopes([SCOPE]))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(OfflineKeys.register, (one, two))) == [1, 1]
    expected = {key.key_id: key.secret for key in (first, second, ordinary)}
    assert site.reader().by_id(expected) == expected
    assert only(one.for_scopes([SCOPE])) == only(two.for_scopes([SCOPE])) == ordinary


def test_a_second_outage_makes_a_second_key(site: Site) -> None:
    collector = site.collector()
    made = []
    for _ in range(3):
        site.control.away = True
        site.clock.now += GRACE_SECONDS + 1
        made.append(only(collector.for_scopes([SCOPE])))
        site.come_back()
        assert collector.register() == 1
    assert len({key.key_id for key in made}) == 3
    assert site.reader().by_id([key.key_id for key in made]) == {key.key_id: key.secret for key in made}


def test_many_keys_are_registered_in_pieces(site: Site) -> None:
    collector = site.collector()
    site.control.away = True
    scopes = [SCOPE._replace(subject=str(number)) for number in range(2 * STATEMENT_ROWS + 1)]
    made = collector.for_scopes(scopes)
    assert collector.unregistered() == len(scopes)
    site.come_back()
    assert collector.register() == len(scopes)
    assert site.reader().by_id([key.key_id for key in made]) == {key.key_id: key.secret for key in made}


def test_an_outage_takes_one_key_for_a_scope_however_often_registering_is_tried(site: Site) -> None:
    collector = site.collector()
    site.control.away = True
    made = only(collector.for_scopes([SCOPE]))
    for _ in range(5):
        with pytest.raises(Unavailable, match="away"):
            collector.register()
        assert only(collector.for_scopes([SCOPE])) == made
    assert collector.unregistered() == 1


def test_a_lost_answer_does_not_bring_back_what_was_destroyed_since(site: Site) -> None:
    collector = site.collector()
    site.control.away = True
    made = only(collector.for_scopes([SCOPE]))
    site.come_back()
    site.control.lose_answer = True
    with pytest.raises(Unavailable, match="the answer was lost"):
        collector.register()
    assert collector.unregistered() == 1
    with pytest.raises(Unavailable, match="away"):
        collector.by_id([made.key_id])  # it is in the database now, and may have been destroyed there

    fresh = only(collector.for_scopes([SCOPE]))
    assert fresh.key_id != made.key_id
    site.come_back()
    assert list(site.rows()) == [made.key_id]
    destroy_rows(site.control, [made.key_id])
    assert collector.by_id([made.key_id, fresh.key_id]) == {fresh.key_id: fresh.secret}
    assert (collector.register(), collector.unregistered()) == (2, 0)
    assert collector.by_id([made.key_id, fresh.key_id]) == {fresh.key_id: fresh.secret}
    assert list(site.rows()) == [fresh.key_id]


def test_a_key_that_was_registered_and_destroyed_stays_destroyed(site: Site) -> None:
    collector = site.collector()
    site.control.away = True
    made = only(collector.for_scopes([SCOPE]))
    site.come_back()
    collector.register()
    assert collector.by_id([made.key_id]) == {made.key_id: made.secret}
    destroy_rows(site.control, [made.key_id])
    site.clock.now += EPOCH_SECONDS
    assert collector.by_id([made.key_id]) == {}
    assert (collector.register(), collector.by_id([made.key_id])) == (0, {})


def test_a_key_of_a_scope_that_was_destroyed_meanwhile_is_taken(site: Site) -> None:
    collector = site.collector()
    ordinary = only(site.reader().for_scopes([SCOPE]))
    site.control.away = True
    made = only(collector.for_scopes([SCOPE]))
    site.come_back()
    destroy_rows(site.control, [ordinary.key_id])
    assert collector.register() == 1
    assert site.reader().by_id([made.key_id, ordinary.key_id]) == {made.key_id: made.secret}


def test_a_purge_and_a_repeated_registration_take_turns(site: Site) -> None:
    for turn in range(20):
        scope = SCOPE._replace(subject=str(turn))
        collector = site.collector(f"turn-{turn}")
        site.control.away = True
        made = only(collector.for_scopes([scope]))
        site.come_back()
        site.control.lose_answer = True
        with pytest.raises(Unavailable, match="the answer was lost"):
            collector.register()
        site.come_back()
        barrier = threading.Barrier(2)

        def meet(work: Callable[[], object], barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            work()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(meet, (collector.register, lambda key=made: destroy_rows(site.control, [key.key_id]))))
        assert site.rows() == {}


def test_what_a_file_must_be(site: Site) -> None:
    collector = site.collector()
    with pytest.raises(ConfigurationError, match="give each collector a file of its own"):
        site.collector()
    collector.close()
    (site.folder / "one.db").chmod(0o644)
    with pytest.raises(ConfigurationError, match="has mode 0644, expected 0600 at most"):
        site.collector()
    (site.folder / "two.db").write_bytes(b"no database, but long enough to be looked at" * 100)
    (site.folder / "two.db").chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"cannot use .*two\.db: file is not a database"):
        site.collector("two")
    (site.folder / "three.db").touch(0o600)
    newer = sqlite3.connect(site.folder / "three.db")
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    with pytest.raises(ConfigurationError, match="got a key file of format 9, expected 1"):
        site.collector("three")


@pytest.mark.parametrize("way", ["kill", "stop", pytest.param("pause", marks=pytest.mark.slow)])
def test_postgresql_goes_between_any_two_steps(own_postgres: PostgresServer, tmp_path: Path, way: str) -> None:
    leave: Callable[[], None] = getattr(own_postgres, way)
    come_back = own_postgres.resume if way == "pause" else own_postgres.start
    site = Site(tmp_path, own_postgres.create())
    expected: dict[KeyId, bytes] = {}

    def note(keys: list[SubjectKey]) -> None:
        expected.update((key.key_id, key.secret) for key in keys)

    try:
        one, two = site.collector("one"), site.collector("two")
        note(one.for_scopes([SCOPE]))
        leave()
        site.clock.now += EPOCH_SECONDS
        begun = time.monotonic()
        note(one.for_scopes([SCOPE, OTHER]))
        note(two.for_scopes([SCOPE, OTHER]))
        assert time.monotonic() - begun < 15
        begun = time.monotonic()
        for number in range(50):
            note(one.for_scopes([SCOPE._replace(subject=str(number))]))
        assert time.monotonic() - begun < 5
        assert (one.unregistered(), two.unregistered()) == (51, 2)
        with pytest.raises(Unavailable, match="control database"):
            one.register()
        come_back()
        site.clock.now += 60
        assert one.register() == 51
        leave()
        with pytest.raises(Unavailable, match="control database"):
            two.register()
        two.close()
        two = site.collector("two")
        come_back()
        assert two.register() == 2
        assert site.reader().by_id(expected) == expected
        assert one.for_scopes([SCOPE, OTHER]) == two.for_scopes([SCOPE, OTHER])
    finally:
        site.close()


CRASHER = """
import sys
from stores.control.database import ControlDatabase
from stores.keys import KeyScope
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek
from stores.keys.offline import OfflineKeys
from schemas.errors import Unavailable

class Away(ControlDatabase):
    away = False
    def reading(self):
        if self.away:
            raise Unavailable("away")
        return super().reading()
    def writing(self):
        if self.away:
            raise Unavailable("away")
        return super().writing()

folder, url, turn = sys.argv[1:]
control = Away(url)
clock = [0.0]
keys = OfflineKeys(DatabaseKeys(control, FileKek(folder + "/kek"), monotonic=lambda: clock[0]), folder + "/crash.db",
                   monotonic=lambda: clock[0])
number = 0
while True:
    control.away = True
    scopes = [KeyScope("acme", f"{turn}/{number}/{i}", "", 1, "2026-03") for i in range(7)]
    for key in keys.for_scopes(scopes):
        print(key.key_id.hex(), key.secret.hex(), flush=True)
    control.away = False
    clock[0] += 10
    keys.register()
    print("registered", flush=True)
    number += 1
"""


@pytest.mark.slow
def test_a_collector_that_is_killed_around_registering_loses_no_key(site: Site) -> None:
    crash_loop(site, 8)


@pytest.mark.soak
def test_a_collector_that_is_killed_for_long(site: Site) -> None:
    crash_loop(site, 100)


def crash_loop(site: Site, turns: int) -> None:
    """Kill collectors while they make and register keys; every key that one has given out is found in the end."""
    promised: dict[KeyId, bytes] = {}
    random = os.urandom(turns)
    for turn in range(turns):
        command = [sys.executable, "-c", CRASHER, str(site.folder), site.url, str(turn)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(8 + random[turn] % 64)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.stdout.close()
        child.wait()
        for line in lines:
            if line.endswith("\n") and (words := line.split()) != ["registered"]:
                promised[KeyId(bytes.fromhex(words[0]))] = bytes.fromhex(words[1])
    assert len(promised) > turns
    collector = site.collector("crash")
    collector.register()
    assert collector.unregistered() == 0
    assert site.reader().by_id(promised) == promised


def test_one_caller_tries_again_and_the_others_do_not_wait(site: Site) -> None:
    collector = site.collector()
    site.control.away = True
    collector.for_scopes([SCOPE])
    asked, go_on, calls = threading.Event(), threading.Event(), []
    reading = site.control.reading

    def slow() -> Any:
        calls.append(1)
        asked.set()
        assert go_on.wait(30)
        return reading()

    site.control.reading = slow  # type: ignore[method-assign]
    site.clock.now += PROBE_SECONDS
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(collector.for_scopes, [SCOPE])
        assert asked.wait(30)
        made = only(collector.for_scopes([SCOPE]))
        assert len(calls) == 1
        go_on.set()
        assert only(waiting.result()) == made
