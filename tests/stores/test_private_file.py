"""Databases that are opened twice in one process, as a role and what it asks itself do: SQLite's locks must stay."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bus_messages import message

from schemas.errors import ConfigurationError
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.kek import FileKek, create_kek_file
from stores.keys.local import LocalKeys
from stores.keys.wrapping import Wrapping
from stores.private_file import create_private_file

VISIT = "import sqlite3, sys\nsqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM sqlite_schema').fetchall()"
WRITE = "import sqlite3, sys\nsqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"


def elsewhere(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Another process that opens the file, does one thing and closes it."""
    return subprocess.run([sys.executable, "-c", program, str(path)], check=False, capture_output=True, text=True)


def log_of(path: Path) -> int:
    """Which file the write-ahead log is."""
    return path.with_name(path.name + "-wal").stat().st_ino


async def test_a_bus_that_is_opened_again_and_closed_keeps_its_log(tmp_path: Path) -> None:
    path = tmp_path / "bus.db"
    bus = SqliteBus(path, {"events": 1})
    await bus.append([message(0, b"k")])
    before = log_of(path)
    await SqliteBus(path, {"events": 1}).close()
    assert elsewhere(VISIT, path).returncode == 0
    assert log_of(path) == before
    (position,) = await bus.append([message(1, b"k")])
    other = SqliteBus(path, {"events": 1})
    assert (await other.bounds(position.shard)).end == 2
    await other.close()
    await bus.close()


def test_a_control_database_that_is_opened_again_and_closed_keeps_its_log(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    control = ControlDatabase(f"sqlite:///{path}")
    control.migrate()
    with control.reading():
        before = log_of(path)
        second = ControlDatabase(f"sqlite:///{path}")
        assert second.setting("deployment") is None
        second.close()
        assert elsewhere(VISIT, path).returncode == 0
        assert log_of(path) == before
    control.close()


def test_keys_that_are_opened_again_stay_those_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    create_kek_file(tmp_path / "kek")
    kek = FileKek(tmp_path / "kek")
    keys = LocalKeys(path, Wrapping(kek))
    with pytest.raises(ConfigurationError, match="locked"):
        LocalKeys(path, Wrapping(kek))
    assert "locked" in elsewhere(WRITE, path).stderr
    keys.close()


def test_a_file_that_is_there_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.db"
    create_private_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"there")
    path.chmod(0o400)
    create_private_file(path)
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (0o400, b"there")


def test_threads_that_make_it_together(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(50)]
    failed: list[BaseException] = []

    def make() -> None:
        try:
            for path in paths:
                create_private_file(path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert all(path.exists() for path in paths)
