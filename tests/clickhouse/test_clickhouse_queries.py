"""The queries that are shipped for auditors: they agree with the ledger's own arithmetic, and see what was changed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from embedded_engine import Database, database_of_its_own
from ledgered import SHARD, log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.ids import Offset
from signer.merkle import leaf, root_of, verify_inclusion
from sinks.clickhouse import ddl
from sinks.clickhouse.queries import query_names, query_text
from sinks.clickhouse.sink import ClickHouseSink

COUNT = 300
LOG = log_start()
KEYS = MemoryKeys()
SOUND = messages(KEYS, COUNT, with_strays=True)
ALL = ("leaves", "chain", "root", "inclusion")

MADE_UP = """
INSERT INTO events (origin, topic, partition, offset, leaf_index, entry_kind, bus_time, tenant, commitments, leaf)
SELECT 'made-up', 'events', 9, number, number + 1, 1, toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + number / 1000,
    'acme', concat(unhex('01'), SHA256(toString(number))), ''
FROM numbers({count})
"""

MADE_UP_LOG = """
INSERT INTO logs (origin, topic, partition, start_offset, genesis, chain)
VALUES ('made-up', 'events', 9, 0, 'genesis', '')
"""


@pytest.fixture(scope="module")
def sound() -> Iterator[Client]:
    database = database_of_its_own()
    sink = ClickHouseSink(database, KEYS, lambda shard: [LOG])
    sink.open()
    sink.deliver(SHARD, SOUND)
    sink.close()
    with closing(database.client()) as client:
        yield client
    database.close()


@pytest.fixture
def client(engine: Database, keys: MemoryKeys) -> Iterator[Client]:
    sink = ClickHouseSink(engine, keys, lambda shard: [LOG])
    sink.open()
    sink.deliver(SHARD, messages(keys, 30))
    sink.close()
    with closing(engine.client({"mutations_sync": 2})) as client:
        yield client


def ask(client: Client, name: str, **parameters: object) -> dict[str, Any]:
    """The one row of a query."""
    rows = list(client.query(query_text(name), parameters=parameters).named_results())
    assert len(rows) == 1
    return rows[0]


def entries(client: Client, origin: str) -> list[bytes]:
    """All entries of a log, the genesis first, as an auditor reads them."""
    rows = client.query(
        "SELECT hex(entry) FROM ledger_leaves WHERE origin = {origin:String} ORDER BY leaf_index",
        parameters={"origin": origin},
    ).result_rows
    return [bytes.fromhex(row[0]) for row in rows]


def base64_root(leaves: list[bytes]) -> str:
    return base64.b64encode(root_of(leaves)).decode()


def test_every_query_is_there_and_says_what_it_takes() -> None:
    assert query_names() == ["chain", "commitments", "inclusion", "leaves", "parts", "root"]
    assert all("-- Parameters: " in query_text(name) for name in query_names())


def test_the_stored_rows_are_the_log(sound: Client) -> None:
    leaves = [leaf(entry) for entry in entries(sound, LOG.origin)]
    assert leaves == [leaf(LOG.genesis), *(proof.leaf for proof in proofs(SOUND, LOG))]


def test_a_sound_range_is_verified(sound: Client) -> None:
    last = len(entries(sound, LOG.origin)) - 1
    for first in (0, 1, 7, last):
        for name in ("leaves", "chain"):
            row = ask(sound, name, origin=LOG.origin, first=first, last=last)
            assert str(row["verdict"]).startswith("verified: ")
            assert row["leaves"] == last - first + 1
    told = {"topic": "events", "partition": 0, "first": 0, "last": last}
    assert sound.query(query_text("commitments"), parameters=told).result_rows == []
    counts = {(part, status): count for part, status, count in sound.query(query_text("parts"), told).result_rows}
    assert counts["metadata", "ok"] == COUNT


def test_the_last_chain_value_is_that_of_the_ledger(sound: Client) -> None:
    for last in (1, 250, len(SOUND)):
        row = ask(sound, "chain", origin=LOG.origin, first=last // 2, last=last)
        assert row["last_chain"] == proofs(SOUND, LOG)[last - 1].chain.hex()


@pytest.mark.parametrize("size", [1, 2, 3, 200, 255, 256, 257, 301])
def test_the_root_of_any_size_is_that_of_the_tree(sound: Client, size: int) -> None:
    leaves = [leaf(entry) for entry in entries(sound, LOG.origin)][:size]
    row = ask(sound, "root", origin=LOG.origin, size=size, root=base64_root(leaves))
    assert row["verdict"] == "verified: the stored rows have the root of the checkpoint"
    assert row["computed_root"] == base64_root(leaves)


@pytest.mark.parametrize("count", [511, 65_534, 65_535, 65_536, 70_000])
def test_roots_over_levels_of_tiles(sound: Client, count: int) -> None:
    sound.command("DELETE FROM events WHERE origin = 'made-up'", settings={"lightweight_deletes_sync": 2})
    sound.command("DELETE FROM logs WHERE origin = 'made-up'", settings={"lightweight_deletes_sync": 2})
    sound.command(MADE_UP_LOG)
    sound.command(MADE_UP.format(count=count))
    leaves = [leaf(entry) for entry in entries(sound, "made-up")]
    assert len(leaves) == count + 1
    row = ask(sound, "root", origin="made-up", size=count + 1, root=base64_root(leaves))
    assert row["verdict"] == "verified: the stored rows have the root of the checkpoint"
    for index in (0, 1, 255, 256, count // 2, count - 1, count):
        row = ask(sound, "inclusion", origin="made-up", size=count + 1, root=base64_root(leaves), leaf=index)
        assert row["verdict"] == "verified: the path leads from the record to the root of the checkpoint"
        path = [bytes.fromhex(one) for one in row["path"]]
        verify_inclusion(index, count + 1, leaves[index], path, root_of(leaves))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 255, 256, 257, 300])
def test_paths_are_those_that_other_tools_verify(sound: Client, size: int) -> None:
    leaves = [leaf(entry) for entry in entries(sound, LOG.origin)][:size]
    for index in sorted({0, size // 3, size // 2, size - 1}):
        row = ask(sound, "inclusion", origin=LOG.origin, size=size, root=base64_root(leaves), leaf=index)
        assert str(row["verdict"]).startswith("verified: "), (index, size)
        verify_inclusion(index, size, leaves[index], [bytes.fromhex(one) for one in row["path"]], root_of(leaves))


ANEW = "SELECT * REPLACE (addMilliseconds(bus_time, 1) AS bus_time) FROM events WHERE offset = 7"
FLIPPED = "concat(substring({0}, 1, 9), char(bitXor(ascii(substring({0}, 10, 1)), 1)), substring({0}, 11))"


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        (f"leaf = {FLIPPED.format('leaf')}", {"leaves"}),
        (f"chain = {FLIPPED.format('chain')}", {"chain"}),
        (f"commitments = {FLIPPED.format('commitments')}", {"leaves", "chain", "root", "inclusion"}),
        ("bus_time = addMilliseconds(bus_time, 1)", {"leaves", "chain", "root", "inclusion"}),
        ("entry_kind = 2", {"leaves", "chain", "root", "inclusion"}),
    ],
)
def test_what_was_changed_fails(client: Client, change: str, failing: set[str]) -> None:
    leaves = [leaf(entry) for entry in entries(client, LOG.origin)]
    told = {"origin": LOG.origin, "first": 0, "last": 30, "size": 31, "root": base64_root(leaves), "leaf": 8}
    assert all(str(ask(client, name, **told)["verdict"]).startswith("verified") for name in ALL)
    if change.startswith("bus_time"):  # of a column of the sort key: the row is put in anew
        client.command(f"CREATE TABLE kept ENGINE = Memory AS {ANEW}")
        client.command("DELETE FROM events WHERE offset = 7", settings={"lightweight_deletes_sync": 2})
        client.command("INSERT INTO events SELECT * FROM kept")
    else:
        client.command(f"ALTER TABLE events UPDATE {change} WHERE offset = 7")
    found = {name for name in ALL if str(ask(client, name, **told)["verdict"]).startswith("failed: ")}
    assert found == failing


def test_what_is_gone_is_incomplete_and_what_is_twice_fails(client: Client) -> None:
    leaves = [leaf(entry) for entry in entries(client, LOG.origin)]
    told = {"origin": LOG.origin, "first": 0, "last": 30, "size": 31, "root": base64_root(leaves)}
    client.command("CREATE TABLE kept ENGINE = Memory AS SELECT * FROM events WHERE offset = 7")
    client.command("INSERT INTO events SELECT * FROM kept")
    assert ask(client, "root", **told)["verdict"] == "failed: 1 leaves are here more than once"
    assert ask(client, "leaves", **told)["verdict"] == "failed: a leaf is here more than once"
    client.command("DELETE FROM events WHERE offset = 7", settings={"lightweight_deletes_sync": 2})
    assert ask(client, "root", **told)["verdict"] == "incomplete: 30 of 31 leaves are here"
    assert ask(client, "leaves", **told)["verdict"] == "incomplete: not every leaf of the range is here"
    assert str(ask(client, "chain", **told)["verdict"]).startswith("failed: ")


def test_parts_that_end_in_zero_bytes_match(client: Client) -> None:
    """``toString`` of a FixedString drops zero bytes at its end: no hash may go through it."""
    client.command("ALTER TABLE contents UPDATE content = concat(content, unhex('00')) WHERE offset = 3")
    rows = client.query(
        query_text("commitments"), {"topic": "events", "partition": 0, "first": 0, "last": 30}
    ).result_rows
    assert [(row[2], row[3]) for row in rows] == [(3, "content or source does not match its commitment")]


def test_a_log_that_follows_another_has_leaves_of_its_own(engine: Database, keys: MemoryKeys) -> None:
    second = log_start(start_offset=20, term="2026q1")
    sink = ClickHouseSink(engine, keys, lambda shard: [LOG])
    sink.open()
    batch = messages(keys, 50)
    sink.deliver(SHARD, batch[:30])  # ten of them before the sink hears of the second log
    sink.close()
    sink = ClickHouseSink(engine, keys, lambda shard: [LOG, second])
    sink.open()
    sink.resume(SHARD, Offset(0))
    sink.deliver(SHARD, batch[30:])
    sink.close()
    with closing(engine.client()) as client:
        ddl.migrate(client)
        assert len(entries(client, LOG.origin)) == 21
        expected = [leaf(second.genesis), *(proof.leaf for proof in proofs(batch[20:], second))]
        assert [leaf(entry) for entry in entries(client, second.origin)] == expected
        row = ask(client, "root", origin=second.origin, size=31, root=base64_root(expected))
        assert str(row["verdict"]).startswith("verified: ")
