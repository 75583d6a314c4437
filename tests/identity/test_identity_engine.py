"""Resolving in ClickHouse: as in Python, as of a time, behind the walls between tenants; and keeping it current."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from embedded_engine import Database, database_of_its_own
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_control import MemoryControl
from memory_objects import MemoryObjects

from affidavit.identity.aliases import FIELDS
from affidavit.identity.form import format_directory, parse_directory
from affidavit.identity.loading import object_key
from affidavit.identity.people import Alias, Directory, Person, make_directory
from affidavit.identity.resolving import Resolver
from affidavit.identity.sync import DirectorySync
from sinks.clickhouse import ddl
from sinks.clickhouse.catalogue import Catalogue
from sinks.clickhouse.directory import DirectoryTables
from stores.objects import NewObject

DAY = 86_400_000
NOW = 1_790_000_000_000
ROLE = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Dev_1f/ada@example.com"


class Place:
    """An engine with its tables, and the stores that say which directory is in force."""

    def __init__(self, engine: Database) -> None:
        self.engine = engine
        self.control, self.objects = MemoryControl(), MemoryObjects()
        self.sync = self.another_sync()
        with closing(engine.client()) as client:
            ddl.migrate(client)

    def another_sync(self) -> DirectorySync:
        return DirectorySync(self.control, self.objects, DirectoryTables(self.engine), seconds=0.01)

    def load(self, directory: Directory, tenant: str = "*") -> str:
        import hashlib

        data = format_directory(directory)
        digest = hashlib.sha256(data).hexdigest()
        self.objects.create([NewObject(object_key(digest), data)])
        self.control.add_directory(tenant, digest, NOW, "ops")
        return digest

    def add(self, *events: Mapping[str, Any]) -> None:
        rows = []
        for at, event in enumerate(events):
            times = {"bus_time": NOW, "occurred_at": NOW} | {
                name: event[name] for name in ("bus_time", "occurred_at") if name in event
            }
            rows.append(
                {"topic": "events", "offset": at, "tenant": "acme", "kind": "prompt", "event_id": str(at)}
                | event
                | {name: moment(value) for name, value in times.items()}
            )
        self.command("TRUNCATE TABLE events")
        with closing(self.engine.client()) as client:
            client.raw_insert("events", insert_block="\n".join(map(json.dumps, rows)).encode(), fmt="JSONEachRow")

    def command(self, sql: str) -> None:
        with closing(self.engine.client()) as client:
            client.command(sql)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(self.engine.client()) as client:
            return [tuple(row) for row in client.query(sql).result_rows]

    def who(self) -> list[tuple[str, str, str]]:
        return [
            (str(a), str(b), str(c))
            for a, b, c in self.ask(
                "SELECT identity, identity_by, identity_state FROM events_by_identity ORDER BY offset"
            )
        ]


def moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def directory(*people: Person) -> Directory:
    return make_directory((one.identity, one) for one in people)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    engine = database_of_its_own()
    yield Place(engine)
    engine.close()


@pytest.fixture
def fresh() -> Iterator[Place]:
    engine = database_of_its_own()
    yield Place(engine)
    engine.close()


ADA = Person(
    "p-1",
    "Ada Lovelace",
    "engines",
    "R&D",
    ("eng",),
    aliases=(
        Alias("email", "Ada@Example.com"),
        Alias("api_key_alias", "laptop", until_ms=NOW - DAY),
        Alias("cloud_principal", "arn:aws:sts::*:assumed-role/AWSReservedSSO_*/ada@example.com"),
    ),
)
BOB = Person("p-2", "Bob", aliases=(Alias("api_key_alias", "laptop", from_ms=NOW - DAY), Alias("user_id", "bob")))


def test_one_person_behind_what_several_gateways_say(place: Place) -> None:
    place.load(directory(ADA, BOB))
    place.sync.look()
    place.add(
        {"gateway": "litellm", "user_email": "ada@example.com "},
        {
            "gateway": "bedrock",
            "cloud_principal": ROLE,
            "user_email": "bob",
            "user_id_kind": "iam_role_session",
            "end_user_id": "bob",
        },
        {"gateway": "kong", "api_key_alias": "laptop", "bus_time": NOW - 2 * DAY},
        {"gateway": "kong", "api_key_alias": "laptop"},
        {"gateway": "native", "user_id": "bob", "user_email": "ADA@EXAMPLE.COM"},
        {"gateway": "native", "user_id": "eve"},
        {"gateway": "native"},
    )
    assert place.who() == [
        ("p-1", "user_email", "resolved"),
        ("p-1", "cloud_principal", "resolved"),
        ("p-1", "api_key_alias", "resolved"),
        ("p-2", "api_key_alias", "resolved"),
        ("p-2", "user_id", "resolved"),
        ("", "", "unresolved"),
        ("", "", "absent"),
    ]
    names = place.ask(
        "SELECT identity_name, identity_team, identity_unit, identity_groups, identity_active, identity_also "
        "FROM events_by_identity WHERE offset IN (0, 4) ORDER BY offset"
    )
    assert names == [
        ("Ada Lovelace", "engines", "R&D", ["eng"], True, []),
        ("Bob", "", "", [], True, ["p-1"]),
    ]
    actors = place.ask(
        "SELECT identity, sum(records), groupUniqArrayArray(gateways) FROM actors GROUP BY identity ORDER BY 1"
    )
    assert [(one, records, sorted(gateways)) for one, records, gateways in actors] == [
        ("", 1, ["native"]),
        ("p-1", 3, ["bedrock", "kong", "litellm"]),
        ("p-2", 2, ["kong", "native"]),
    ]


def test_a_client_does_not_choose_the_time_of_its_alias(place: Place) -> None:
    place.load(directory(ADA, BOB))
    place.sync.look()
    late = {"api_key_alias": "laptop", "occurred_at": NOW - 2 * DAY}
    ahead = {"api_key_alias": "laptop", "occurred_at": NOW + 9 * DAY, "bus_time": NOW - 2 * DAY}
    place.add(
        late | {"assurance": "client_asserted"},
        late | {"assurance": "provider_authenticated"},
        ahead | {"assurance": "gateway_authenticated"},
    )
    assert [identity for identity, _, _ in place.who()] == ["p-2", "p-1", "p-1"]


TEXTS = st.sampled_from(
    [
        "ada",
        "Ada",
        " ada\t",
        "a@x",
        "A@X ",
        "J\u0308@x",
        "ǰ@x",
        "ΑΣ@x",
        "İ@x",
        "ẞ@x",
        "arn:aws:iam::1:user/ada",
        "",
        "k1",
    ]
) | st.text(st.characters(codec="utf-8", exclude_characters="\0*"), max_size=5)
ARNS = st.builds(
    "arn:aws:{}::{}:{}/{}".format,
    st.sampled_from(["sts", "iam"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["assumed-role/Dev", "assumed-role/Dev_1", "user", "user/x"]),
    st.sampled_from(["ada", "ada@x", "bob"]),
)
PATTERNS = st.builds(
    "arn:aws:{}::{}:{}/{}".format,
    st.sampled_from(["sts", "iam"]),
    st.sampled_from(["1", "*"]),
    st.sampled_from(["assumed-role/Dev", "assumed-role/Dev*", "user/*"]),
    st.sampled_from(["ada", "a*", "bob"]),
)
TIMES = st.sampled_from([None, NOW - 2 * DAY, NOW - DAY, NOW])
ALIASES = st.builds(
    lambda kind, value, times: Alias(kind, value, *times),
    st.sampled_from(
        ["user_id", "account", "sso_id", "end_user_id", "service_account", "api_key_hash", "api_key_alias"]
    ),
    TEXTS.filter(str.strip),
    st.tuples(TIMES, TIMES).filter(lambda both: None in both or both[0] < both[1]),  # type: ignore[operator]
) | st.builds(Alias, st.just("cloud_principal"), ARNS | PATTERNS, TIMES)
EVENTS = st.fixed_dictionaries(
    {"bus_time": st.sampled_from([NOW - 3 * DAY, NOW - DAY - 1, NOW - DAY, NOW])},
    optional={field: ARNS | TEXTS if field == "cloud_principal" else TEXTS for field in FIELDS}
    | {"user_id_kind": st.sampled_from(["account", "jwt_subject", "iam_user", "litellm_user"])},
)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(st.lists(ALIASES, max_size=5), max_size=4), st.lists(EVENTS, min_size=1, max_size=20))
def test_sql_says_what_python_says(place: Place, people: list[list[Alias]], events: list[dict[str, Any]]) -> None:
    printable = [[one for one in aliases if all(value for _, value in one.names())] for aliases in people]
    made = directory(*(Person(f"p{at}", aliases=tuple(aliases)) for at, aliases in enumerate(printable)))
    place.objects.create([])
    place.sync._tables.replace(
        {
            "tenant": "*",
            "number": place.control.add_directory("*", "", NOW, "").number,
            "sha256": "",
            "loaded_at": moment(NOW),
        },
        *rows_of(made),
    )
    place.add(*events)
    resolver = Resolver(made)
    expected = [resolver.resolve(event, event["bus_time"]) for event in events]
    asked = place.ask(
        "SELECT identity, identity_by, identity_state, arraySort(identity_also) FROM events_by_identity ORDER BY offset"
    )
    assert asked == [(one.identity, one.by, one.state, sorted(one.also)) for one in expected]


def rows_of(made: Directory) -> tuple[Any, Any]:
    from affidavit.identity.rows import alias_rows, people_rows

    return people_rows(made), alias_rows(made)


def test_a_tenant_with_a_directory_of_its_own_has_that_alone(fresh: Place) -> None:
    fresh.load(directory(ADA))
    fresh.load(directory(Person("x-1", "Theirs", aliases=(Alias("user_id", "bob"),))), "rival")
    fresh.sync.look()
    fresh.add(
        {"user_email": "ada@example.com"},
        {"user_email": "ada@example.com", "tenant": "rival"},
        {"user_id": "bob", "tenant": "rival"},
        {"user_id": "bob"},
    )
    assert [identity for identity, _, _ in fresh.who()] == ["p-1", "", "x-1", ""]


def test_a_tenants_reader_sees_no_others_people(fresh: Place) -> None:
    fresh.load(directory(ADA))
    fresh.load(directory(Person("x-1", "Theirs", aliases=(Alias("user_id", "bob"),))), "rival")
    fresh.sync.look()
    fresh.add({"user_email": "ada@example.com"}, {"user_id": "bob", "tenant": "rival"})
    catalogue = Catalogue(fresh.engine)
    try:
        for tenant, people, resolved in (
            ("acme", ["p-1"], ["p-1"]),
            ("rival", ["p-1", "x-1"], ["x-1"]),
            ("third", ["p-1"], []),
            ("*", ["p-1", "x-1"], ["p-1", "x-1"]),
        ):
            reader = catalogue.reader(tenant, content=False)
            assert asked(fresh, reader.tables["people"], "identity") == people
            assert asked(fresh, reader.tables["events_by_identity"], "identity") == resolved
            assert asked(fresh, reader.tables["actors"], "identity") == resolved
            aliases = fresh.ask(
                f"SELECT arrayDistinct(arrayFlatten(groupArray(held_by))) FROM {reader.tables['aliases']}"
            )
            assert {one for one in aliases[0][0] if one} == set(people)
    finally:
        catalogue.close()


def asked(place: Place, table: str, column: str) -> list[str]:
    return sorted(str(one) for (one,) in place.ask(f"SELECT {column} FROM {table}"))


def test_a_load_replaces_the_one_before_and_leaves_nothing_of_it(fresh: Place) -> None:
    assert fresh.sync.look() == []
    fresh.load(directory(ADA, BOB))
    assert [load.number for load in fresh.sync.look()] == [1]
    assert fresh.sync.look() == []
    fresh.load(directory(BOB))
    assert [load.number for load in fresh.another_sync().look()] == [2]
    assert asked(fresh, "people", "identity") == ["p-2"]
    assert fresh.ask("SELECT uniqExact(batch) FROM directory_people") == [(1,)]
    assert [load.number for load in fresh.sync.look()] == [2]  # another process was first: the same again, once
    assert asked(fresh, "people", "identity") == ["p-2"]
    assert fresh.ask("SELECT uniqExact(batch) FROM directory_aliases") == [(1,)]


def test_an_attempt_that_ended_half_way_counts_for_nothing(fresh: Place) -> None:
    fresh.load(directory(BOB))
    fresh.sync.look()
    fresh.command("INSERT INTO directory_people (tenant, batch, identity) VALUES ('*', 'dead', 'ghost')")
    assert asked(fresh, "people", "identity") == ["p-2"]
    fresh.load(directory(ADA))
    fresh.sync.look()
    assert asked(fresh, "people", "identity") == ["p-1"]


def test_a_failure_ends_nothing_and_is_tried_again(fresh: Place, caplog: pytest.LogCaptureFixture) -> None:
    digest = fresh.load(directory(ADA))
    held = fresh.objects.get(object_key(digest))
    fresh.objects.delete([object_key(digest)])

    async def scenario() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(fresh.sync.run(stop))
            while "tried again: there is no directory/" not in caplog.text:
                await asyncio.sleep(0)
            assert not running.done()
            fresh.objects.create([NewObject(object_key(digest), held)])
            while not await asyncio.to_thread(asked, fresh, "people", "identity"):
                await asyncio.sleep(0)
            stop.set()

    with caplog.at_level("INFO"):
        asyncio.run(scenario())
    assert asked(fresh, "people", "identity") == ["p-1"]
    assert parse_directory(held) == directory(ADA)
