"""What only the control database does: migrations, pragmas, files, other processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import stores.control.migrations
from schemas.errors import ConfigurationError, Unavailable
from stores.control import tables
from stores.control.database import HEAD, ControlDatabase


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/control.db"


@pytest.fixture
def database(url: str) -> Iterator[ControlDatabase]:
    control = ControlDatabase(url, busy_seconds=0.05)
    control.migrate()
    yield control
    control.close()


def test_migrations_make_the_tables_that_the_code_knows(database: ControlDatabase) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_the_newest_migration_is_the_one_that_the_code_knows() -> None:
    scripts = ScriptDirectory(str(Path(stores.control.migrations.__file__).parent))
    assert scripts.get_heads() == [HEAD]


def test_migrate_names_what_it_applied(url: str) -> None:
    control = ControlDatabase(url)
    try:
        assert control.migrate() == ["0001 settings, tokens, logs, locks, subject keys."]
    finally:
        control.close()


def test_two_processes_migrate_at_once(url: str) -> None:
    script = (
        "import sys; from stores.control.database import ControlDatabase\n"
        "control = ControlDatabase(sys.argv[1]); sys.stdin.readline(); print(len(control.migrate())); control.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", script, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert sorted(child.communicate()[0].strip() for child in children) == ["0", "1"]


def test_a_database_of_a_newer_version_is_refused(database: ControlDatabase) -> None:
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="install the version that migrated it"):
        database.migrate()


def test_a_database_without_tables_says_what_to_do(url: str) -> None:
    control = ControlDatabase(url)
    try:
        with pytest.raises(ConfigurationError, match="run `affidavit init`"):
            control.tokens()
    finally:
        control.close()


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "nodialect://host/db"])
def test_urls_that_cannot_work(url: str) -> None:
    with pytest.raises(ConfigurationError, match="control database"):
        ControlDatabase(url)


def test_commits_are_durable_and_keys_enforced(database: ControlDatabase) -> None:
    with database.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_only_its_owner_reads_the_file(database: ControlDatabase, tmp_path: Path) -> None:
    database.fix_setting("a", "b")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("control.db*")} == {0o600}


def test_a_database_that_stays_locked_is_unavailable(database: ControlDatabase, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "control.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="database is locked"):
            database.fix_setting("a", "b")
        assert database.setting("a") is None
        other.execute("ROLLBACK")
    database.fix_setting("a", "b")


def test_a_transaction_that_raises_leaves_nothing(database: ControlDatabase) -> None:
    def half() -> None:
        with database.writing() as connection:
            connection.execute(tables.settings.insert().values(name="a", value="b"))
            raise ZeroDivisionError("half way")

    with pytest.raises(ZeroDivisionError, match="half way"):
        half()
    assert database.setting("a") is None


def test_alembic_is_imported_only_to_migrate(database: ControlDatabase, url: str) -> None:
    script = (
        "import sys; from stores.control.database import ControlDatabase\n"
        "control = ControlDatabase(sys.argv[1]); control.migrate(); control.close(); print('alembic' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", script, url], text=True) == "False\n"
