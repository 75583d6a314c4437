"""The integrity views: nothing to say of sound tables, and a word on every kind of tampering."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client
from embedded_engine import Database
from ledgered import SHARD, log_start, messages
from memory_keys import MemoryKeys

from sinks.clickhouse.integrity import failures
from sinks.clickhouse.sink import ClickHouseSink


@pytest.fixture
def client(engine: Database, keys: MemoryKeys) -> Iterator[Client]:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    sink.open()
    sink.deliver(SHARD, messages(keys, 30, with_strays=True))
    sink.close()
    client = engine.client({"mutations_sync": 2})
    yield client
    client.close()


def found(client: Client) -> set[tuple[str, int]]:
    return {(failure.check, failure.offset) for failure in failures(client)} - {("status", 34)}


def test_sound_tables_fail_nothing(client: Client) -> None:
    assert found(client) == set()
    ((records, absent, invalid, size),) = client.query(
        "SELECT records, absent, invalid, tree_size FROM integrity_shards"
    ).result_rows
    assert (records, absent, invalid, size) == (35, 0, 4, 36)


FLIP = "concat(substring({0}, 1, 9), char(bitXor(ascii(substring({0}, 10, 1)), 1)), substring({0}, 11))"


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("events", f"metadata_raw = {FLIP.format('metadata_raw')}", {("part", 7)}),
        ("events", f"metadata_salt = {FLIP.format('metadata_salt')}", {("part", 7)}),
        ("events", f"leaf = {FLIP.format('leaf')}", {("leaf", 7), ("chain", 7)}),
        ("events", f"chain = {FLIP.format('chain')}", {("chain", 7), ("chain", 8)}),
        ("events", f"commitments = {FLIP.format('commitments')}", {("leaf", 7), ("part", 7)}),
        ("events", "entry_kind = 2", {("leaf", 7)}),
        ("events", "leaf_index = 1000", {("leaf", 7)}),
        ("events", "origin = 'elsewhere'", {("leaf", 7)}),
        ("events", "metadata_status = 'mismatch'", {("status", 7)}),
        ("contents", f"content = {FLIP.format('content')}", {("part", 7)}),
        ("contents", f"source = {FLIP.format('source')}", {("part", 7)}),
        ("contents", "content_salt = ''", {("part", 7)}),
    ],
)
def test_a_changed_row_is_found(client: Client, table: str, change: str, expected: set[tuple[str, int]]) -> None:
    client.command(f"ALTER TABLE {table} UPDATE {change} WHERE offset = 7")
    assert found(client) == expected


def test_a_raw_message_that_changed_is_found(client: Client) -> None:
    client.command("ALTER TABLE contents UPDATE source = concat(source, 'x') WHERE offset = 30")
    assert found(client) == {("part", 30)}


@pytest.mark.parametrize("table", ["events", "contents"])
def test_a_deleted_row_is_found(client: Client, table: str) -> None:
    client.command(f"DELETE FROM {table} WHERE offset = 7")
    assert found(client) == {("offset", 7)}


def test_the_first_row_deleted_is_found(client: Client) -> None:
    client.command("DELETE FROM events WHERE offset = 0")
    client.command("DELETE FROM contents WHERE offset = 0")
    assert found(client) == {("offset", 0)}


def test_a_row_put_in_twice_is_found(client: Client) -> None:
    client.command("INSERT INTO events SELECT * FROM events WHERE offset = 7")
    assert found(client) == {("offset", 7)}


def test_rows_that_changed_places_are_found(client: Client) -> None:
    client.command("CREATE TABLE kept AS events ENGINE = Memory")
    client.command("INSERT INTO kept SELECT * FROM events WHERE offset IN (7, 8)")
    client.command("DELETE FROM events WHERE offset IN (7, 8)")
    client.command(
        "INSERT INTO events SELECT * REPLACE (15 - offset AS offset, 17 - leaf_index AS leaf_index) FROM kept"
    )
    assert {("leaf", 7), ("leaf", 8), ("chain", 7)} <= found(client)
