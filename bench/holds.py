"""Holds over ten million records, ten thousand people and five hundred holds: preview, placing, and what all of them
hold; in the embedded engine, with a SQLite control database and a local object store."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from bench.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

RECORDS = 10_000_000
HOLDS = 500
PEOPLE = 10_000
OBJECTS = 20_000


def measure(records: int = RECORDS) -> list[Figure]:
    """Figures of placing, previewing and deciding."""
    from asked_engine import asked
    from embedded_engine import database_of_its_own
    from memory_objects import MemoryObjects
    from query_data import fill

    from affidavit.holds.checking import count_records
    from affidavit.holds.custodians import find_members
    from affidavit.holds.flags import find_drift
    from affidavit.holds.preview import preview
    from affidavit.identity.people import Alias, Directory, Person
    from retention.register_store import RegisterStore
    from retention.scope import Custodian, Facts, Scope, encode_scope, matches
    from retention.selection import any_of
    from retention.words import parse_words
    from schemas.ids import EVENTS, Offset, Shard
    from sinks.archive import names
    from sinks.clickhouse import ddl
    from stores.control.database import ControlDatabase
    from stores.objects import NewObject
    from stores.objects.local import LocalObjects

    now_ms = time.time_ns() // 1_000_000
    one = Scope("acme", (Custodian("p-8", ("user-8", "user-8@example.com")),), prospective=True)
    word = Scope("acme", terms=parse_words("word17"), prospective=True)
    figures: list[Figure] = []

    def took(path: str, work: Callable[[], object], budget: float | None = None, note: str = "") -> None:
        times = []
        for _ in range(3):
            began = time.monotonic()
            work()
            times.append(time.monotonic() - began)
        first = f"first time {times[0] * 1000:,.0f} ms"
        said = f"{note}; {first}" if note else first
        figures.append(Figure(f"holds: {path}", min(times) * 1000, "ms", budget, at_most=True, note=said))

    def place(store: RegisterStore, number: int, scope: Scope) -> None:
        details = {"hold": f"h-{number}", "matter": "m", "kind": "hold", "scope": encode_scope(scope), "reason": "r"}
        store.add("hold.place", details | {"plan": ""}, "ada", "t")

    with (
        tempfile.TemporaryDirectory() as folder,
        closing(database_of_its_own()) as engine,
        closing(engine.client()) as client,
        asked(engine) as asking,
        closing(ControlDatabase(f"sqlite:///{folder}/control.db")) as control,
        closing(LocalObjects(Path(folder) / "objects")) as objects,
    ):
        ddl.migrate(client)
        fill(client, records)
        client.command("OPTIMIZE TABLE events")
        control.migrate()
        store = RegisterStore(control, objects, lambda _: None, lambda: time.time_ns() // 1_000_000)
        store.add("matter.create", {"matter": "m", "name": "n", "tenant": "acme"}, "ada", "t")
        times = []
        for number in range(HOLDS):
            scope = Scope("acme", (Custodian(f"p-{number}", (f"user-{number}@example.com",)),), prospective=True)
            began = time.monotonic()
            place(store, number, scope)
            times.append((time.monotonic() - began) * 1000)
        figures.append(
            Figure("holds: placed, and in force", statistics.median(times), "ms", 2000, at_most=True,
                   note=f"median of {HOLDS}; the last {times[-1]:,.0f} ms; without the log and the command's start")
        )  # fmt: skip
        took(f"count of one custodian in {records:,} records", lambda: count_records(asking, one, now_ms), 2000)
        took("count of a word of the content", lambda: count_records(asking, word, now_ms), 2000)
        took("preview of one custodian", lambda: preview(asking, objects, one, now_ms, {}), note="objects left out")
        register = store.read()
        scopes = [(clause.scope, clause.placed_ms) for _, clause in register.in_force(now_ms)]
        condition = any_of(scopes)
        took(
            f"records held by any of {HOLDS} holds",
            lambda: asking.ask(f"SELECT count() FROM events WHERE {condition}"),
        )
        took(f"register of {HOLDS} holds read and replayed", store.read)
        facts = Facts("acme", {"user_email": "nobody@example.com", "user_id": "nobody"}, now_ms, now_ms, "")
        took(
            f"one record against {HOLDS} holds in Python",
            lambda: [matches(scope, facts, placed) for scope, placed in scopes],
        )
        people = tuple(
            Person(f"p-{at:05}", aliases=(Alias("email", f"user-{at}@example.com"),), groups=("all",))
            for at in range(PEOPLE)
        )
        group = Scope("acme", tuple(find_members(Directory(people), ["all"])), ("all",), prospective=True)
        took(f"a group of {PEOPLE:,} people", lambda: find_members(Directory(people), ["all"]))
        took("count of what they said", lambda: count_records(asking, group, now_ms))
        archive = MemoryObjects()
        first = date(2026, 1, 1)
        for at in range(OBJECTS):
            scope_of = names.Scope("acme", "default", first + timedelta(days=at % 365))
            key = names.segment_key(scope_of, Shard(EVENTS, 0), Offset(at), Offset(at + 1))
            archive.create([NewObject(key, b"")])
        took(f"flags of {OBJECTS:,} objects against {HOLDS} holds", lambda: find_drift(archive, register, now_ms))
    return figures
