"""The one place where subject keys are destroyed: never over a hold that somebody was told is in force."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from schemas.errors import InvariantError, LockLost
from schemas.ids import KeyId
from stores.control.database import ControlDatabase
from stores.control.tables import destroyed_keys
from stores.keys import KeyScope, rows
from stores.keys.database import EPOCH_SECONDS, DatabaseKeys
from stores.keys.destruction import MAX_KEYS, destroy_keys
from stores.keys.inventory import count_keys
from stores.keys.kek import FileKek

SCOPES = [KeyScope("acme", f"user{number}@example.com", "standard", 1, "2026-03") for number in range(5)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def keys(control: ControlDatabase, kek: FileKek) -> DatabaseKeys:
    return DatabaseKeys(control, kek, capacity=0)


def made(keys: DatabaseKeys) -> list[KeyId]:
    return [key.key_id for key in keys.for_scopes(SCOPES)]


def epoch(control: ControlDatabase) -> int:
    with control.reading() as connection:
        number: int = connection.execute(rows.EPOCH).scalar_one()
    return number


def test_what_was_named_is_gone_and_nothing_else(control: ControlDatabase, keys: DatabaseKeys) -> None:
    names = made(keys)
    done = destroy_keys(control, names[:3], 0, 17)
    assert done.keys == dict(zip(names[:3], SCOPES[:3], strict=True))
    assert done.absent == frozenset()
    assert keys.by_id(names).keys() == set(names[3:])
    again = destroy_keys(control, [*names[1:4], KeyId(b"never made here!")], 0, 18)
    assert again.keys == {names[3]: SCOPES[3]}
    assert again.absent == {names[1], names[2], b"never made here!"}
    (fresh,) = keys.for_scopes(SCOPES[:1])
    assert fresh.key_id != names[0]


def test_a_second_process_forgets_in_time(url: str, control: ControlDatabase, kek: FileKek) -> None:
    now = 0.0
    with closing(ControlDatabase(url)) as second:
        other = DatabaseKeys(second, kek, monotonic=lambda: now)
        names = made(other)
        destroy_keys(control, names, 0, 17)
        now = EPOCH_SECONDS
        assert other.by_id(names) == {}


def test_a_hold_since_the_plan_stops_all_of_it(control: ControlDatabase, keys: DatabaseKeys) -> None:
    names = made(keys)
    control.append_register(1, b"one")
    control.append_register(2, b"two")
    before = epoch(control)
    for seen in (0, 1, 3):
        with pytest.raises(LockLost, match=rf"ends at entry 2, the plan had seen it to {seen}: nothing was destroyed"):
            destroy_keys(control, names, seen, 17)
    assert keys.by_id(names).keys() == set(names)
    assert epoch(control) == before
    assert destroy_keys(control, names, 2, 17).keys.keys() == set(names)
    assert epoch(control) == before + 1


def test_keys_of_collectors_do_not_come_back(control: ControlDatabase, keys: DatabaseKeys) -> None:
    (ordinary,) = keys.for_scopes(SCOPES[:1])
    one, two = (keys.wrapping.new(SCOPES[0]) for _ in range(2))
    keys.register([one, two], "collector-1")
    done = destroy_keys(control, [ordinary.key_id, one.key_id], 0, 17)
    assert done.keys == {ordinary.key_id: SCOPES[0], one.key_id: SCOPES[0]}
    keys.register([one, two], "collector-1")
    assert keys.by_id([ordinary.key_id, one.key_id, two.key_id]).keys() == {two.key_id}  # no plan had named it
    with control.reading() as connection:
        assert connection.execute(select(destroyed_keys)).all() == [(one.key_id, 17)]


def test_many_in_one_transaction(control: ControlDatabase, keys: DatabaseKeys) -> None:
    scopes = [SCOPES[0]._replace(subject=f"ü{number}") for number in range(rows.STATEMENT_ROWS * 2 + 7)]
    names = [key.key_id for key in keys.for_scopes(scopes)]
    assert destroy_keys(control, names, 0, 17).keys == dict(zip(names, scopes, strict=True))
    assert keys.by_id(names) == {}


def test_no_keys(control: ControlDatabase) -> None:
    assert destroy_keys(control, [], 0, 17).keys == {}


@pytest.mark.parametrize(("count", "distinct"), [(2, 1), (MAX_KEYS + 1, MAX_KEYS + 1)])
def test_too_many_or_twice(control: ControlDatabase, count: int, distinct: int) -> None:
    names = [KeyId((number % distinct).to_bytes(16, "big")) for number in range(count)]
    with pytest.raises(InvariantError, match=f"got {count} keys to destroy"):
        destroy_keys(control, names, 0, 17)


def test_a_hold_placed_at_every_step(url: str, control: ControlDatabase, keys: DatabaseKeys) -> None:
    """Whoever was told that a hold is in force finds every key, unless it was told when the keys were gone."""
    number, outcomes = 0, []
    for step in range(100):
        names, number = made(keys), number + 1
        with closing(ControlDatabase(url, busy_seconds=30)) as second:
            placer = Placer(second, number)
            with at_statement(control, step, placer.begin) as reached:
                try:
                    destroy_keys(control, names, number - 1, 17)
                    outcomes.append("destroyed")
                except LockLost:
                    outcomes.append("refused")
            if not reached:
                outcomes.pop()
                break
            assert placer.told == (outcomes[-1] == "refused"), f"step {step}"
            placer.end()
        assert bool(keys.by_id(names)) == (outcomes[-1] == "refused")
    assert {"destroyed", "refused"} == set(outcomes)
    assert len(outcomes) >= 5  # the beginning, the epoch, the register, the rows, their end


class Placer:
    """Adds to the register in a thread; ``told``: whether that had ended while the purge stood still."""

    def __init__(self, control: ControlDatabase, number: int) -> None:
        self.told = False
        self._thread = threading.Thread(target=control.append_register, args=(number, b"a hold"))

    def begin(self) -> None:
        self._thread.start()
        self._thread.join(0.5)
        self.told = not self._thread.is_alive()

    def end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


class at_statement:
    """Within it, ``act`` is called before statement ``step`` of a transaction of ``control`` that writes."""

    def __init__(self, control: ControlDatabase, step: int, act: Callable[[], None]) -> None:
        self._engine, self._step, self._act = control._writer, step, act
        self._seen = 0
        self._reached: list[int] = []

    def __enter__(self) -> list[int]:
        event.listen(self._engine, "before_cursor_execute", self._before)
        return self._reached

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._before)

    def _before(self, *_: Any) -> None:
        if self._seen == self._step:
            self._reached.append(self._step)
            self._act()
        self._seen += 1


KILLED = """
import os, signal, sys
from sqlalchemy import event
from stores.control.database import ControlDatabase
from stores.keys.destruction import destroy_keys

url, step, *names = sys.argv[1:]
control = ControlDatabase(url)
seen = 0

def die(*_):
    global seen
    if seen == int(step):
        os.kill(os.getpid(), signal.SIGKILL)
    seen += 1

event.listen(control._writer, "before_cursor_execute", die)
event.listen(control._writer, "commit", lambda _: int(step) == -1 and os.kill(os.getpid(), signal.SIGKILL))
destroy_keys(control, [bytes.fromhex(one) for one in names], 0, 17)
"""


def test_killed_at_every_step_all_or_none(url: str, control: ControlDatabase, keys: DatabaseKeys) -> None:
    names = made(keys)
    before = epoch(control)
    for step in range(-1, 100):
        words = [sys.executable, "-c", KILLED, url, str(step), *(name.hex() for name in names)]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert keys.by_id(names).keys() == set(names)
        assert epoch(control) == before
    assert step >= 5
    assert keys.by_id(names) == {}
    assert epoch(control) == before + 1


def test_nothing_of_them_is_left_in_the_files(tmp_path: Path, kek: FileKek) -> None:
    with closing(ControlDatabase(f"sqlite:///{tmp_path}/control.db")) as control:
        control.migrate()
        keys = DatabaseKeys(control, kek)
        for number in range(40):  # pages fill, split and move what they hold
            keys.for_scopes([SCOPES[0]._replace(subject=f"{number % 7}-{number}-{one}") for one in range(50)])
        names = made(keys)
        with control.reading() as connection:
            wrapped = [key.wrapped for key in rows.by_id(connection, names)]
        assert all(found(tmp_path, one) for one in wrapped)
        assert destroy_keys(control, names, 0, 17).overwritten
        assert not any(found(tmp_path, one) for one in [*wrapped, *names])


def test_a_reader_is_waited_for_and_then_told_of(tmp_path: Path, kek: FileKek) -> None:
    with closing(ControlDatabase(f"sqlite:///{tmp_path}/control.db", busy_seconds=0.2)) as control:
        control.migrate()
        names = made(DatabaseKeys(control, kek))
        with control.reading() as connection:
            connection.execute(rows.EPOCH).scalar_one()
            assert not destroy_keys(control, names, 0, 17).overwritten
        assert any(found(tmp_path, one) for one in names)
        assert control.overwrite_deleted()
        assert not any(found(tmp_path, one) for one in names)


def found(folder: Path, what: bytes) -> bool:
    return any(what in path.read_bytes() for path in folder.glob("control.db*"))


def test_nobody_else_destroys_keys() -> None:
    packages = ("affidavit", "collector", "retention", "schemas", "signer", "sinks", "stores")
    destroys = re.compile(
        r"delete\((t\.|tables\.)?subject_keys|(DELETE\s+FROM|TRUNCATE|DROP\s+TABLE)\s+subject_keys", re.I
    )
    guilty = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if destroys.search(path.read_text())
    }
    assert guilty == {"stores/keys/destruction.py"}


def test_keys_are_counted(control: ControlDatabase, keys: DatabaseKeys) -> None:
    made(keys)
    keys.register([keys.wrapping.new(SCOPES[0])], "collector-1")
    keys.for_scopes([SCOPES[0]._replace(tenant="ü", month="2026-04"), SCOPES[0]._replace(part_type=2)])
    assert count_keys(control) == [
        ("acme", "standard", 1, "2026-03", 6),
        ("acme", "standard", 2, "2026-03", 1),
        ("ü", "standard", 1, "2026-04", 1),
    ]
    assert count_keys(control, "ü") == [("ü", "standard", 1, "2026-04", 1)]
