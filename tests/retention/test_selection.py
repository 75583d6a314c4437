"""A scope in Python and in SQL, on the real engine: the same records of the same table, for many scopes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from asked_engine import asked
from embedded_engine import database_of_its_own

from affidavit.query import QueryClient
from retention.scope import ACTORS, LISTS, SKEW_MS, Custodian, Facts, Scope, comparable, matches
from retention.selection import any_of, merged
from retention.words import Term, parse_words
from sinks.clickhouse import ddl

DAY_MS = 86_400_000
NOW_MS = 1_780_000_000_000
NAMES = [
    "ada@example.com",
    " Ada@Example.COM ",
    "u-1",
    "U-1",
    "arn:aws:sts::1:assumed-role/Dev/ada",
    "sk_%50'q\\x",
    "Zoë",
    "Zoe\u0308",
    "",
]
THINGS = ["read_file", "mcp__github__get_issue", "Claude-Opus-4", "s-1", "S-1", "it's \\ 100%", "a\tb", ""]
TEXTS = [
    "",
    "Project Falcon merges with merger Inc.",
    "the mergers\nof project\tfalcon",
    'say "project" falcon; C:\\new\\project falcon',
    "ÉLAN vital, Straße, 北京 merger",
    "projectfalcon",
]
QUERIES = [
    "merger",
    "merge*",
    '"project falcon"',
    "falcon project",
    "élan",
    "straße 北京",
    '"inc."',
    "merger falcon",
    "new",
    '"falcon; c"',
]


def rows(rng: random.Random) -> list[tuple[Facts, dict[str, Any]]]:
    made = []
    for offset in range(150):
        metadata = {name: rng.choice(NAMES) for name in ACTORS if rng.random() < 0.4}
        metadata |= {key: rng.choice(THINGS) for keys in LISTS.values() for key in keys if rng.random() < 0.4}
        bus_ms = NOW_MS + rng.randint(-20, 20) * DAY_MS // 2
        occurred_ms = bus_ms - rng.choice((0, 1, 3 * DAY_MS, 400 * DAY_MS))
        readable = rng.random() < 0.95
        text = rng.choice(TEXTS)
        content = json.dumps({"text": text}, ensure_ascii=False) if text else ""
        sealed = rng.random() < 0.05
        tenant = rng.choice(("acme", "acme", "globex", ""))
        facts = Facts(tenant, metadata if readable else None, occurred_ms, bus_ms, None if sealed else content)
        row = {
            "topic": "events",
            "offset": offset,
            "tenant": tenant,
            "bus_time": f"{bus_ms // 1000}.{bus_ms % 1000:03d}",
            "occurred_at": f"{occurred_ms // 1000}.{occurred_ms % 1000:03d}",
            "metadata_status": "ok" if readable else "undecodable",
            "content_status": "sealed" if sealed else "ok" if content else "absent",
            **metadata,
        }
        made.append((facts, row | {"content": "" if sealed else content}))
    return made


@pytest.fixture(scope="module")
def table() -> Iterator[tuple[QueryClient, list[Facts]]]:
    database = database_of_its_own()
    client = database.client()
    ddl.migrate(client)
    made = rows(random.Random(7))
    own = {"topic", "offset", "tenant", "bus_time", "occurred_at", "content_status"}
    for name, keep in (("events", lambda one: one != "content"), ("contents", {*own, "content"}.__contains__)):
        lines = [json.dumps({key: value for key, value in row.items() if keep(key)}) for _, row in made]
        client.raw_insert(name, None, "\n".join(lines).encode(), fmt="JSONEachRow")
    with asked(database) as asking:
        yield asking, [facts for facts, _ in made]
    client.close()
    database.close()


def found(client: QueryClient, scope: Scope, placed_ms: int) -> set[int]:
    answer = client.ask(f"SELECT offset FROM events WHERE {any_of([(scope, placed_ms)])}")
    return {row[0] for row in answer.rows}


def scopes(rng: random.Random) -> Iterator[Scope]:
    def some(values: list[str]) -> tuple[str, ...]:
        chosen = [one for one in rng.sample(values, rng.randint(1, 2)) if one.strip()]
        return tuple(one[: len(one) // 2] + "*" if rng.random() < 0.3 else one for one in chosen)

    while True:
        fields: dict[str, Any] = {name: some(THINGS) for name in LISTS if rng.random() < 0.25}
        if rng.random() < 0.4:
            fields["custodians"] = (Custodian("p", tuple(comparable(one) for one in some(NAMES))),)
        if rng.random() < 0.4:
            fields["terms"] = parse_words(rng.choice(QUERIES))
        scope = Scope("acme", **fields, prospective=rng.random() < 0.5)
        if rng.random() < 0.4:
            scope = replace(scope, from_ms=NOW_MS + rng.randint(-10, 5) * DAY_MS)
        if rng.random() < 0.4:
            scope = replace(scope, until_ms=(scope.from_ms or NOW_MS) + DAY_MS * rng.randint(1, 10))
        yield scope


def test_python_and_sql_choose_the_same_records(table: tuple[QueryClient, list[Facts]]) -> None:
    client, there = table
    made = scopes(random.Random(3))
    some = 0
    for _ in range(120):
        scope = next(made)
        placed_ms = NOW_MS + random.Random(some).randint(-5, 5) * DAY_MS
        expected = {offset for offset, facts in enumerate(there) if matches(scope, facts, placed_ms)}
        assert found(client, scope, placed_ms) == expected, scope
        some += 0 < len(expected) < len(there)
    assert some > 40, "most scopes must choose some records and not all"


def test_many_scopes_at_once(table: tuple[QueryClient, list[Facts]]) -> None:
    """Merged or not: what any of them chooses; and more names than the engine's parser takes by default."""
    client, there = table
    rng = random.Random(11)
    made = scopes(rng)
    for count in (2, 10, 40):
        several = [(next(made), NOW_MS + rng.randint(-5, 5) * DAY_MS) for _ in range(count)]
        several += [(Scope("acme", (Custodian(name, (name,)),)), NOW_MS) for name in ("u-1", "zoë", "nobody")]
        expected = {
            offset for offset, facts in enumerate(there) if any(matches(scope, facts, at) for scope, at in several)
        }
        answer = client.ask(f"SELECT offset FROM events WHERE {any_of(several)}")
        assert {row[0] for row in answer.rows} == expected
    names = [(f"somebody-{at:06}@example.com", "u-1") for at in range(10_000)]
    crowd = [(Scope("acme", (Custodian(own[0], own),)), 0) for own in names]
    assert len(merged(crowd)) == 1
    (row,) = client.ask(f"SELECT count() FROM events WHERE {any_of(crowd)}").rows
    assert row[0] == sum(matches(crowd[0][0], facts, 0) for facts in there)


@pytest.mark.parametrize("query", QUERIES)
def test_words_are_found_alike(table: tuple[QueryClient, list[Facts]], query: str) -> None:
    client, there = table
    scope = Scope("acme", terms=parse_words(query), prospective=True)
    expected = {offset for offset, facts in enumerate(there) if matches(scope, facts, 0)}
    assert found(client, scope, 0) == expected


def test_what_arrives_after_the_placement_is_held_only_by_a_prospective_scope() -> None:
    facts = Facts("acme", {"session_id": "s"}, 0, 10 * SKEW_MS, "")
    scope = Scope("acme", sessions=("s",))
    assert not matches(scope, facts, 9 * SKEW_MS - 1)
    assert matches(scope, facts, 9 * SKEW_MS)
    assert matches(replace(scope, prospective=True), facts, 0)


@pytest.mark.parametrize("metadata", [None, {}])
def test_in_doubt_a_record_belongs(metadata: Mapping[str, Any] | None) -> None:
    scope = Scope("acme", sessions=("s",), terms=(Term("word", "falcon"),), prospective=True)
    assert matches(scope, Facts("", metadata, 0, 0, None), 0) is (metadata is None)
    assert matches(scope, Facts("acme", {"session_id": "s"}, 0, 0, None), 0)
    assert not matches(scope, Facts("acme", {"session_id": "s"}, 0, 0, "{}"), 0)
