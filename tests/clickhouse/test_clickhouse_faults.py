"""Inserts that go wrong in every way: afterwards each offset is there once, in both tables, and everything verifies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import closing

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from embedded_engine import Database
from faulty_engine import Fault, FaultyEngine
from ledgered import SHARD, log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.ids import Offset
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered, Outcome, Pause, Retry
from sinks.opening import Opening
from stores.bus import Message

SIZE = 7


def sink_of(engine: Database | FaultyEngine, keys: MemoryKeys) -> ClickHouseSink:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    sink.open()
    return sink


def run(sink: ClickHouseSink, batch: list[Message]) -> None:
    """What the runner does: resume, deliver in batches, send again what is to be sent again."""
    at = sink.resume(SHARD, Offset(0))
    tries = 0
    while at < len(batch):
        outcome = sink.deliver(SHARD, batch[at : at + SIZE])
        if isinstance(outcome, Delivered):
            at = Offset(min(at + SIZE, len(batch)))
        else:
            assert isinstance(outcome, Retry), outcome
            tries += 1
            assert tries < 20


def check(engine: Database, batch: list[Message]) -> None:
    """Everything, from the tables alone."""
    client = engine.client()
    try:
        for table in ("events", "contents"):
            rows = client.query(f"SELECT count(), uniqExact(offset) FROM {table}").result_rows
            assert rows == [(len(batch), len(batch))], table
        assert failures(client) == []
        found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(1 << 40)))
        expected = proofs(batch, log_start())
        assert [(item.offset, item.leaf, item.chain) for item in found] == [
            (message.offset, proof.leaf, proof.chain) for message, proof in zip(batch, expected, strict=True)
        ]
        assert all(len(item.opened) == 3 for item in found)
    finally:
        client.close()


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_insert_goes_wrong(engine: Database, keys: MemoryKeys, fault: Fault, at: int) -> None:
    faulty = FaultyEngine(engine, [None] * at + [fault])
    sink, batch = sink_of(faulty, keys), messages(keys, 3 * SIZE)
    run(sink, batch)
    assert faulty.inserts >= 3
    check(engine, batch)
    sink.close()


@pytest.mark.slow
@pytest.mark.parametrize("plan", list(itertools.product(Fault, repeat=2)))
def test_two_inserts_go_wrong_and_the_process_dies_after_the_first(
    engine: Database, keys: MemoryKeys, plan: tuple[Fault, Fault]
) -> None:
    batch = messages(keys, 3 * SIZE)
    first = sink_of(FaultyEngine(engine, plan[:1]), keys)
    first.deliver(SHARD, batch[:SIZE])
    first.close()
    second = sink_of(FaultyEngine(engine, plan[1:]), keys)
    run(second, batch)
    second.close()
    check(engine, batch)


@pytest.mark.parametrize("fault", [Fault.EVENTS_ONLY, Fault.CONTENTS_ONLY])
def test_resume_sees_what_one_table_lacks(engine: Database, keys: MemoryKeys, fault: Fault) -> None:
    faulty = FaultyEngine(engine, [None, fault])
    sink, batch = sink_of(faulty, keys), messages(keys, 3 * SIZE)
    assert sink.deliver(SHARD, batch[:SIZE]) == Delivered()
    assert isinstance(sink.deliver(SHARD, batch[SIZE : 2 * SIZE]), Retry)
    assert sink.resume(SHARD, Offset(0)) == SIZE
    assert sink.resume(SHARD, Offset(SIZE + 2)) == SIZE + 2
    assert sink.deliver(SHARD, batch[SIZE:]) == Delivered()
    check(engine, batch)
    sink.close()


def test_a_batch_that_is_there_already_is_harmless(engine: Database, keys: MemoryKeys) -> None:
    sink, batch = sink_of(engine, keys), messages(keys, 30)
    for low, high in ((0, 10), (0, 10), (5, 12), (0, 20), (19, 30), (3, 4), (0, 30)):
        assert sink.deliver(SHARD, batch[low:high]) == Delivered()
    check(engine, batch)
    sink.close()


def test_holes_near_the_end_are_filled_whichever_table_has_them(engine: Database, keys: MemoryKeys) -> None:
    sink, batch = sink_of(engine, keys), messages(keys, 30)
    assert sink.deliver(SHARD, batch) == Delivered()
    client = engine.client()
    client.command("DELETE FROM events WHERE offset IN (9, 25)")
    client.command("DELETE FROM contents WHERE offset IN (12, 13, 29)")
    client.close()
    assert sink.resume(SHARD, Offset(0)) == 9
    run(sink, batch)
    check(engine, batch)
    sink.close()


def test_rows_that_were_deleted_come_back_though_their_token_is_remembered(engine: Database, keys: MemoryKeys) -> None:
    sink, batch = sink_of(engine, keys), messages(keys, SIZE)
    assert sink.deliver(SHARD, batch) == Delivered()
    client = engine.client()
    for table in ("events", "contents"):
        client.command(f"DELETE FROM {table} WHERE 1")
    client.close()
    assert sink.resume(SHARD, Offset(0)) == 0
    assert sink.deliver(SHARD, batch) == Delivered()
    check(engine, batch)
    sink.close()


class Late(FaultyEngine):
    """Keeps what it is to insert, so that it can arrive again later."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.sent: list[tuple[str, bytes, dict[str, str | int], str]] = []

    def insert(
        self, client: Client, table: str, body: bytes, settings: Mapping[str, str | int], condition: str = "1"
    ) -> None:
        self.sent.append((table, body, dict(settings), condition))
        super().insert(client, table, body, settings, condition)


def test_an_insert_that_comes_after_it_was_sent_again_is_refused(engine: Database, keys: MemoryKeys) -> None:
    """The connection broke, and the server read the request much later: by then the fence has another turn."""
    late, batch = Late(engine, [Fault.LOST]), messages(keys, SIZE)
    sink = sink_of(late, keys)
    assert isinstance(sink.deliver(SHARD, batch), Retry)
    assert sink.deliver(SHARD, batch) == Delivered()
    with closing(engine.client()) as client, pytest.raises(DatabaseError, match="the fence of the shard was raised"):
        engine.insert(client, *late.sent[0])
    check(engine, batch)
    sink.close()


def test_even_without_a_fence_its_token_makes_it_count_once(engine: Database, keys: MemoryKeys) -> None:
    late, batch = Late(engine, [Fault.LOST]), messages(keys, SIZE)
    sink = sink_of(late, keys)
    assert isinstance(sink.deliver(SHARD, batch), Retry)
    assert sink.deliver(SHARD, batch) == Delivered()
    with closing(engine.client()) as client:
        engine.insert(client, *late.sent[0][:3])
    check(engine, batch)
    sink.close()


def marked(message: Message, keys: MemoryKeys) -> bytes:
    """Bytes that only this message's rows hold."""
    opening = Opening(keys)
    (record,), part_keys = opening.records([message])
    return opening.open(message, record, part_keys).source


def test_a_poison_row_is_set_aside_and_blocks_nobody(engine: Database, keys: MemoryKeys) -> None:
    batch = messages(keys, 30)
    poisons = {3: 117, 4: 1001, 29: 33}
    marks = [(marked(batch[at], keys), code) for at, code in poisons.items()]

    def poison(body: bytes) -> int | None:
        return next((code for mark, code in marks if mark in body), None)

    sink = sink_of(FaultyEngine(engine, poison=poison), keys)
    outcome = sink.deliver(SHARD, batch)
    assert outcome == Delivered(
        tuple((Offset(at), f"ClickHouse does not take the row: code {code}") for at, code in poisons.items())
    )
    client = engine.client()
    rows = client.query(
        "SELECT offset, metadata_status, content_status, source_status, event_id FROM events "
        "WHERE metadata_status != 'ok' ORDER BY offset"
    ).result_rows
    assert [row[:4] for row in rows] == [(at, "rejected", "rejected", "rejected") for at in poisons]
    assert {failure.check for failure in failures(client)} == {"status"}
    counts = client.query("SELECT count(), uniqExact(offset) FROM contents").result_rows
    assert counts == [(30, 30)]
    client.close()
    assert sink.resume(SHARD, Offset(0)) == 30
    sink.close()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((code, Retry) for code in (159, 210, 241, 243, 252, 999)),
        *((code, Pause) for code in (16, 60, 497, 516)),
    ],
)
def test_errors_are_classified(engine: Database, keys: MemoryKeys, code: int, expected: type[Outcome]) -> None:
    sink, batch = sink_of(FaultyEngine(engine, [Fault.LOST], code=code), keys), messages(keys, 3)
    outcome = sink.deliver(SHARD, batch)
    assert isinstance(outcome, expected)
    assert f"Code: {code}" in outcome.reason  # type: ignore[union-attr]
    assert sink.deliver(SHARD, batch) == Delivered()
    check(engine, batch)
    sink.close()


def test_missing_tables_are_for_a_person(engine: Database, keys: MemoryKeys) -> None:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    outcome = sink.deliver(SHARD, messages(keys, 1))
    assert isinstance(outcome, Pause)
    assert "Code: 60" in outcome.reason
    sink.close()
