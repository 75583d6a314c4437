"""Identity: events resolved per second by the view, one session, and bringing in a directory of 100,000 people.

A quarter of the events each has a user id, an address, the id of a key, and an ARN that a pattern fits. Every alias
went from one person to another in the middle.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from clickhouse_connect.driver.client import Client

from affidavit.identity.form import format_directory, parse_directory
from affidavit.identity.people import Alias, Directory, Person, make_directory
from affidavit.identity.rows import alias_rows, people_rows
from bench.figures import Figure
from sinks.clickhouse import ddl
from sinks.clickhouse.directory import DirectoryTables
from sinks.clickhouse.engine import EmbeddedEngine

Result = TypeVar("Result")

EVENTS = 10_000_000
AT_ONCE = 500_000
PEOPLE = 1_000
MANY_PEOPLE = 100_000
HANDED_MS = 1_793_496_200_000
"""In the middle: 2026-11-01 01:23:20 UTC."""

_FILL = f"""
INSERT INTO events (topic, partition, offset, bus_time, occurred_at, tenant, event_id, session_id, kind, user_id,
    user_email, api_key_id, cloud_principal, assurance)
SELECT 'events', 0, number, toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + number / 1000 AS at, at, 'acme',
    toString(number), concat('s', toString(intDiv(number, 50))), 'prompt',
    if(number % 4 = 0, concat('u-', toString(cityHash64(number) % {PEOPLE})), ''),
    if(number % 4 = 1, concat('User', toString(cityHash64(number) % {PEOPLE}), '@Example.com'), ''),
    if(number % 4 = 2, concat('k-', toString(cityHash64(number) % {PEOPLE})), ''),
    if(number % 4 = 3, concat('arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Dev_1f/user',
        toString(cityHash64(number) % {PEOPLE}), '@example.com'), ''),
    'gateway_authenticated'
FROM numbers({{start}}, {{count}})
"""


def measure() -> Sequence[Figure]:
    """Fill the tables, resolve all and one session, then load many people."""
    with tempfile.TemporaryDirectory() as folder:
        engine = EmbeddedEngine(Path(folder) / "engine")
        client = engine.client()
        ddl.migrate(client)
        for start in range(0, EVENTS, AT_ONCE):
            client.command(_FILL.format(start=start, count=AT_ONCE))
        tables = DirectoryTables(engine)
        _load(tables, 1, people(PEOPLE))
        plain, _ = timed(lambda: ask(client, "SELECT count(), uniq(user_email) FROM events"))
        whole, found = timed(lambda: ask(client, "SELECT count(), uniq(identity) FROM events_by_identity"))
        assert found == [(EVENTS, 2 * PEOPLE)], found
        session, _ = timed(lambda: ask(client, "SELECT identity FROM events_by_identity WHERE session_id = 's7'"))
        many = people(MANY_PEOPLE)
        stored = format_directory(many)
        reading, read = timed(lambda: parse_directory(stored))
        loading, _ = timed(lambda: _load(tables, 2, read))
        client.close()
        engine.close()
    aliases = f"{many.aliases:,} aliases"
    return [
        Figure("identity: events resolved", EVENTS / whole, "rows/s", note=f"{EVENTS:,} events; {plain:.2f} s without"),
        Figure("identity: one session of those", session * 1000, "ms", at_most=True, note="50 events"),
        Figure("identity: reading 100,000 people", reading, "s", at_most=True, note=aliases),
        Figure("identity: bringing them into the engine", loading, "s", at_most=True, note=aliases),
    ]


def people(count: int) -> Directory:
    """Twice as many people, of whom each second takes over from the first."""

    def listed(at: int, who: str, begin: int | None, end: int | None) -> tuple[str, Person]:
        pattern = f"arn:aws:sts::*:assumed-role/AWSReservedSSO_*/user{at}@example.com"
        values = {
            "user_id": f"u-{at}",
            "email": f"user{at}@example.com",
            "api_key_id": f"k-{at}",
            "cloud_principal": pattern,
        }
        aliases = tuple(Alias(kind, value, begin, end) for kind, value in values.items())
        return who, Person(who, f"Person {who}", "engines", "R&D", ("eng",), aliases=aliases)

    halves = count if count <= PEOPLE else count // 2
    firsts = (listed(at, f"a{at}", None, HANDED_MS) for at in range(halves))
    seconds = (listed(at, f"b{at}", HANDED_MS, None) for at in range(halves))
    return make_directory(one for half in (firsts, seconds) for one in half)


def _load(tables: DirectoryTables, number: int, directory: Directory) -> None:
    load = {"tenant": "*", "number": number, "sha256": "", "loaded_at": "2026-11-01 00:00:00.000"}
    tables.replace(load, people_rows(directory), alias_rows(directory))


def ask(client: Client, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    return [tuple(row) for row in client.query(sql).result_rows]


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result
