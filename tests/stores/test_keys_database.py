"""What only the key database does: wrapping, destruction seen from another process, the KEK's file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from postgres_server import ExistingServer, PostgresServer
from sqlalchemy import delete, select, text, update

from schemas.errors import ConfigurationError, Unavailable, VerificationError
from schemas.ids import KeyId
from stores.control.database import ControlDatabase
from stores.control.tables import epochs, subject_keys
from stores.keys import KeyScope, rows
from stores.keys.database import EPOCH_SECONDS, DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file
from stores.keys.wrapping import Wrapping, key_context

SCOPE = KeyScope("acme", "user@example.com", "standard", 1, "2026-03")


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_keys_outlive_the_process_and_are_not_in_the_clear(
    control: ControlDatabase, kek: FileKek, tmp_path: Path
) -> None:
    (key,) = DatabaseKeys(control, kek).for_scopes([SCOPE])
    assert DatabaseKeys(control, kek).for_scopes([SCOPE]) == [key]
    assert DatabaseKeys(control, kek).by_id([key.key_id]) == {key.key_id: key.secret}
    with control.reading() as connection:
        assert key.secret not in connection.execute(select(subject_keys.c.wrapped)).scalar_one()
    assert all(key.secret not in path.read_bytes() for path in tmp_path.glob("control.db*"))


@pytest.mark.parametrize(
    "change", [{"tenant": "b"}, {"subject": "b"}, {"part_type": 2}, {"month": "2026-04"}, {"wrapped": bytes(60)}]
)
def test_a_key_is_bound_to_its_row(control: ControlDatabase, kek: FileKek, change: dict[str, object]) -> None:
    (key,) = DatabaseKeys(control, kek).for_scopes([SCOPE])
    with control.writing() as connection:
        connection.execute(update(subject_keys).values(**change))
    with pytest.raises(VerificationError, match="does not open under its KEK, name and scope"):
        DatabaseKeys(control, kek).by_id([key.key_id])


def test_contexts_are_never_equal_for_different_scopes() -> None:
    moved = SCOPE._replace(tenant="acmeu", subject="ser@example.com")
    assert key_context(bytes(16), SCOPE) != key_context(bytes(16), moved)


def test_a_destroyed_key_is_forgotten_within_a_second(control: ControlDatabase, kek: FileKek) -> None:
    clock = Clock()
    keys = DatabaseKeys(control, kek, monotonic=clock)
    (key,) = keys.for_scopes([SCOPE])
    with control.writing() as connection:
        connection.execute(delete(subject_keys).where(subject_keys.c.key_id == key.key_id))
        connection.execute(update(epochs).values(value=epochs.c.value + 1))
    clock.now += EPOCH_SECONDS
    assert keys.by_id([key.key_id]) == {}
    (fresh,) = keys.for_scopes([SCOPE])
    assert fresh.key_id != key.key_id


def test_a_kek_in_place_of_another(control: ControlDatabase, kek: FileKek, tmp_path: Path) -> None:
    (old,) = DatabaseKeys(control, kek).for_scopes([SCOPE])
    create_kek_file(tmp_path / "kek2")
    newer = FileKek(tmp_path / "kek2")
    assert newer.kek_id != kek.kek_id
    with pytest.raises(ConfigurationError, match=f"wrapped by {kek.kek_id}, which is not among the configured"):
        DatabaseKeys(control, newer).by_id([old.key_id])
    keys = DatabaseKeys(control, newer, retired=[kek])
    (new,) = keys.for_scopes([SCOPE._replace(month="2026-04")])
    assert keys.by_id([old.key_id, new.key_id]) == {old.key_id: old.secret, new.key_id: new.secret}
    with control.reading() as connection:
        found = connection.execute(text("SELECT kek_id FROM subject_keys ORDER BY month")).scalars().all()
    assert found == [kek.kek_id, newer.kek_id]


def test_the_cache_is_bounded(control: ControlDatabase, kek: FileKek) -> None:
    keys = DatabaseKeys(control, kek, capacity=10)
    found = keys.for_scopes([SCOPE._replace(subject=str(number)) for number in range(50)])
    assert len(keys._cache) == 10
    keys.by_id([key.key_id for key in found])
    assert len(keys._cache) == 10


def test_two_processes_that_ask_at_once_get_the_same_keys(
    control: ControlDatabase, kek: FileKek, tmp_path: Path, url: str
) -> None:
    script = """
import sys
from stores.control.database import ControlDatabase
from stores.keys import KeyScope, rows
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek
kek, url, step = sys.argv[1:]
control = ControlDatabase(url)
keys = DatabaseKeys(control, FileKek(kek))
sys.stdin.readline()
for turn in range(5):
    scopes = [KeyScope("acme", f"{turn}/{number}", "", 1, "2026-03") for number in range(1000)][::int(step)]
    print(*(key.key_id.hex() + key.secret.hex() for key in keys.for_scopes(scopes)[::int(step)]))
control.close()
"""
    command = [sys.executable, "-c", script, str(tmp_path / "kek"), url]
    children = [
        subprocess.Popen([*command, step], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for step in ("1", "-1")
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    first, second = (child.communicate()[0] for child in children)
    assert first == second
    assert len(set(first.split())) == 5000


def test_keys_are_inserted_in_one_order(
    postgres: PostgresServer | ExistingServer, kek: FileKek, waiting: Callable[[str], None]
) -> None:
    """Whoever waits for the key of "m" holds that of "a" already and not yet that of "z", however it was asked: so no
    two wait for each other."""
    url = postgres.create()
    wrapping = Wrapping(kek)
    first, middle, last = (SCOPE._replace(subject=subject) for subject in "amz")
    with (
        closing(ControlDatabase(url)) as control,
        closing(ControlDatabase(url, busy_seconds=0.5)) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        control.migrate()
        with control.writing() as holding:
            rows.add(holding, [wrapping.new(middle)])
            asked = pool.submit(DatabaseKeys(control, kek).for_scopes, [last, middle, first])
            waiting(url)
            with other.writing() as connection:
                rows.add(connection, [wrapping.new(last)])
            with pytest.raises(Unavailable, match=r"statement timeout|has not answered"), other.writing() as connection:
                rows.add(connection, [wrapping.new(first)])
        found = asked.result()
        assert DatabaseKeys(control, kek).for_scopes([last, middle, first]) == found


@pytest.fixture
def waiting() -> Callable[[str], None]:
    """Returns when some session of a database waits for another."""

    def wait(url: str) -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with psycopg.connect(url, autocommit=True) as connection:
            while connection.execute(query).fetchone() == (0,):
                connection.execute("SELECT pg_sleep(0.01)")

    return wait


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o610])
def test_a_kek_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    create_kek_file(tmp_path / "kek")
    (tmp_path / "kek").chmod(mode)
    with pytest.raises(ConfigurationError, match=f"has mode {mode:04o}, expected 0600 at most: run `chmod 600"):
        FileKek(tmp_path / "kek")


def test_the_file_of_a_kek(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kek"
    with pytest.raises(ConfigurationError, match="does not exist: run `affidavit init`"):
        FileKek(path)
    create_kek_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    assert FileKek(path).kek_id == FileKek(path).kek_id
    with pytest.raises(ConfigurationError, match="is never overwritten"):
        create_kek_file(path)
    path.write_bytes(os.urandom(31))
    with pytest.raises(ConfigurationError, match="does not hold 32 bytes"):
        FileKek(path)


def test_wrapping_hides_and_binds(kek: FileKek) -> None:
    wrapped = kek.wrap(b"s" * 32, b"context")
    assert wrapped != kek.wrap(b"s" * 32, b"context")
    assert kek.unwrap(wrapped, b"context") == b"s" * 32
    for broken, context in (
        (wrapped, b"other"),
        (wrapped[:-1], b"context"),
        (wrapped[:20], b"context"),
        (b"", b"context"),
        (bytes([wrapped[0] ^ 1]) + wrapped[1:], b"context"),
    ):
        with pytest.raises(VerificationError, match="wrapped key"):
            kek.unwrap(broken, context)


def test_unknown_ids_are_left_out(control: ControlDatabase, kek: FileKek) -> None:
    assert DatabaseKeys(control, kek).by_id([KeyId(b"x" * 16)]) == {}
