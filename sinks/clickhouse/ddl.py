"""The tables: numbered SQL files in ``sql/``, each applied once, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import ConfigurationError
from sinks.clickhouse.quoting import quote, quote_name

FOLDER = Path(__file__).parent / "sql"

_REGISTER = """
CREATE TABLE IF NOT EXISTS migrations
(
    name String,
    sha256 String COMMENT 'of the file, in hex',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""


def files() -> list[Path]:
    """The files, in the order in which they are applied."""
    return sorted(FOLDER.glob("[0-9]*.sql"))


def statements(text: str) -> Iterator[str]:
    """The statements of a file: each ends with a semicolon at the end of a line."""
    for statement in text.split(";\n"):
        body = "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip()
        if body:
            yield body


def migrate(client: Client) -> list[str]:
    """Apply what has not been applied; return the names of the files applied now.

    A crash in the middle of a file leaves some of its tables, so every statement is repeated as ``IF NOT EXISTS``.

    Raises:
        ConfigurationError: a file was changed after it had been applied, or ClickHouse refuses a statement.
    """
    client.command(_REGISTER)
    done: list[str] = []
    for file in pending(client):
        text = file.read_text("utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        _apply(client, file.name, text)
        client.command(f"INSERT INTO migrations (name, sha256) VALUES ({quote(file.name)}, {quote(digest)})")
        done.append(file.name)
    return done


def pending(client: Client, database: str | None = None) -> list[Path]:
    """The files that have not been applied to ``database`` (the client's own), in order. Changes nothing.

    Raises:
        ConfigurationError: a file was changed after it had been applied.
    """
    applied: dict[str, str] = {}
    where = quote(database) if database is not None else "currentDatabase()"
    if client.query(f"SELECT 1 FROM system.tables WHERE database = {where} AND name = 'migrations'").result_rows:
        table = f"{quote_name(database)}.migrations" if database is not None else "migrations"
        rows = client.query(f"SELECT name, any(sha256) FROM {table} GROUP BY name").result_rows
        applied = {str(name): str(digest) for name, digest in rows}
    missing = []
    for file in files():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if applied.get(file.name, digest) != digest:
            raise ConfigurationError(
                f"{file.name} was applied with other contents (sha256 {applied[file.name][:12]}, now {digest[:12]}): "
                "run the release that created these tables, or one after it"
            )
        if file.name not in applied:
            missing.append(file)
    return missing


def _apply(client: Client, name: str, text: str) -> None:
    for statement in statements(text):
        try:
            client.command(repeatable(statement))
        except ClickHouseError as error:
            raise ConfigurationError(
                f"{name}: ClickHouse refuses {statement.split('(')[0].strip()!r}: {error}"
            ) from None


def repeatable(statement: str) -> str:
    """The statement, harmless where what it creates is there already."""
    for what in ("TABLE", "MATERIALIZED VIEW", "VIEW"):
        if statement.startswith(f"CREATE {what} "):
            return statement.replace(f"CREATE {what} ", f"CREATE {what} IF NOT EXISTS ", 1)
    return statement
