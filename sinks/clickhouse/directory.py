"""Writing a directory of people into the engine: see ``sql/009_directory.sql``.

Rows are written under the name of the attempt, and count from the moment when ``directory_loads`` names it. A crash
before leaves rows that nobody reads; any number of processes may write the same load.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

from clickhouse_connect.driver.client import Client

from sinks.clickhouse.engine import Engine
from sinks.clickhouse.quoting import quote

ROWS = 50_000
"""In one insert."""

KEPT_HOURS = 1
"""How long rows stay that no load names: another process may be about to name them."""

Row = Mapping[str, Any]


class DirectoryTables:
    """The tables of one engine; used from one thread at a time. They must have been made."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def loaded(self) -> dict[str, int]:
        """The number of the load that is in force, by tenant. Raises errors of ``clickhouse_connect``, as all here."""
        with closing(self._engine.client()) as client:
            rows = client.query("SELECT tenant, max(number) FROM directory_loads GROUP BY tenant").result_rows
        return {str(tenant): int(number) for tenant, number in rows}

    def replace(self, load: Row, people: Iterable[Row], aliases: Iterable[Row]) -> None:
        """Bring a load into force, and drop what it replaces.

        Args:
            load: ``tenant``, ``number``, ``sha256``, ``loaded_at``.
            people, aliases: rows of ``directory_people`` and ``directory_aliases``, but for ``tenant`` and ``batch``.
        """
        batch = secrets.token_hex(8)
        own = {"tenant": load["tenant"], "batch": batch}
        with closing(self._engine.client()) as client:
            for table, rows in (("directory_people", people), ("directory_aliases", aliases)):
                _insert(client, table, ({**row, **own} for row in rows))
            # Dying here leaves rows that nobody reads, until they are an hour old and the next load drops them.
            _insert(client, "directory_loads", [{**load, "batch": batch}])
            # Dying here leaves the rows of the load before, which nobody reads any more.
            _drop_replaced(client)


def _insert(client: Client, table: str, rows: Iterable[Row]) -> None:
    waiting: Iterator[Row] = iter(rows)
    while some := list(islice(waiting, ROWS)):
        body = "\n".join(json.dumps(row, ensure_ascii=False) for row in some).encode()
        client.raw_insert(table, insert_block=body, fmt="JSONEachRow", settings={"async_insert": 0})


def _drop_replaced(client: Client) -> None:
    """Drop the rows of loads that were replaced, and of attempts that came to nothing."""
    stale = (
        "SELECT DISTINCT table, partition FROM system.parts WHERE active AND database = currentDatabase() "
        "AND table IN ('directory_people', 'directory_aliases') "
        "AND partition NOT IN (SELECT argMax(batch, (number, batch)) FROM directory_loads GROUP BY tenant) "
        "AND (partition IN (SELECT batch FROM directory_loads) "
        f"OR modification_time < now() - INTERVAL {KEPT_HOURS} HOUR)"
    )
    for table, batch in client.query(stale).result_rows:
        client.command(f"ALTER TABLE {table} DROP PARTITION {quote(str(batch))}")
