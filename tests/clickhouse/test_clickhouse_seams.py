"""A shard whose log was closed and succeeded, and a bus whose clock steps back."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from clickhouse_connect.driver.client import Client
from embedded_engine import Database
from ledgered import SHARD, TIME_MS, log_start, messages
from memory_keys import MemoryKeys

from schemas.entry import invalid_commitments
from schemas.errors import VerificationError
from schemas.ids import Offset
from sinks.clickhouse import positions
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered, Pause
from sinks.proof import LogStart, Proof, log_at, prove
from stores.bus import Message

FIRST, SECOND, THIRD = log_start(), log_start(start_offset=20, term="2026q1"), log_start(start_offset=35, term="2026q2")
DAY_MS = 86_400_000


@pytest.fixture
def client(engine: Database) -> Iterator[Client]:
    with closing(engine.client()) as client:
        yield client


def sink_of(engine: Database, keys: MemoryKeys, logs: Sequence[LogStart]) -> ClickHouseSink:
    sink = ClickHouseSink(engine, keys, lambda shard: list(logs))
    sink.open()
    return sink


def in_the_ledger(batch: Sequence[Message]) -> list[Proof]:
    """What the signer makes of it: each log from its start on."""
    found: list[Proof] = []
    for log, end in ((FIRST, 20), (SECOND, 35), (THIRD, 1000)):
        part = batch[log.start_offset : end]
        found += prove(part, [log], log.chain()) if part else []
    return found


def stored(client: Client) -> list[tuple[str, int, bytes]]:
    rows = client.query("SELECT origin, leaf_index, hex(chain) FROM events ORDER BY offset").result_rows
    return [(str(origin), int(index), bytes.fromhex(str(chain))) for origin, index, chain in rows]


def expected(proofs: Sequence[Proof]) -> list[tuple[str, int, bytes]]:
    return [(proof.log.origin, proof.leaf_index, proof.chain) for proof in proofs]


@pytest.mark.parametrize("edges", [(50,), (20, 35, 50), (19, 21, 34, 36, 50), (10, 50), tuple(range(1, 51))])
def test_batches_go_over_the_seams_wherever_their_edges_are(
    engine: Database, keys: MemoryKeys, client: Client, edges: Sequence[int]
) -> None:
    sink, batch = sink_of(engine, keys, [FIRST, SECOND, THIRD]), messages(keys, 50)
    at = 0
    for edge in edges:
        if edge == 36:
            sink.close()
            sink = sink_of(engine, keys, [FIRST, SECOND, THIRD])
        assert sink.deliver(SHARD, batch[at:edge]) == Delivered()
        at = edge
    assert stored(client) == expected(in_the_ledger(batch))
    assert failures(client) == []
    found = client.query(
        "SELECT origin, records, tree_size, last_chain FROM integrity_shards ORDER BY origin"
    ).result_rows
    ends = [in_the_ledger(batch)[at] for at in (19, 34, 49)]
    assert found == [(end.log.origin, end.leaf_index, end.leaf_index + 1, end.chain.hex()) for end in ends]
    sink.close()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("passed", [21, 30])
def test_a_log_that_is_learned_late_goes_on_from_the_leaves(
    engine: Database, keys: MemoryKeys, client: Client, passed: int, restarted: bool
) -> None:
    """The signer opened the second log at 20 when the sink had passed that already."""
    logs, batch = [FIRST], messages(keys, 50)
    sink = ClickHouseSink(engine, keys, lambda shard: list(logs))
    sink.open()
    assert sink.deliver(SHARD, batch[:10]) == Delivered()
    assert sink.deliver(SHARD, batch[10:passed]) == Delivered()
    logs += [SECOND, THIRD]
    if restarted:
        sink.close()
        sink = ClickHouseSink(engine, keys, lambda shard: list(logs))
        assert sink.resume(SHARD, Offset(0)) == passed
    assert sink.deliver(SHARD, batch[passed:33]) == Delivered()
    assert sink.deliver(SHARD, batch[33:]) == Delivered()
    ledger = in_the_ledger(batch)
    assert stored(client)[:20] == expected(ledger[:20])
    assert stored(client)[passed:] == expected(ledger[passed:])
    assert {origin for origin, _, _ in stored(client)[20:passed]} == {FIRST.origin}
    assert failures(client) == []
    spans = client.query("SELECT origin, tree_size, last_chain FROM integrity_shards ORDER BY origin").result_rows
    assert spans == [
        (end.log.origin, end.leaf_index + 1, end.chain.hex()) for end in (ledger[19], ledger[34], ledger[49])
    ]
    found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(50)))
    assert [item.leaf for item in found] == [proof.leaf for proof in ledger]
    assert [item.chain for item in found] == [
        b"" if 20 <= proof.log.start_offset + proof.leaf_index - 1 < passed else proof.chain for proof in ledger
    ]
    sink.close()


def test_without_the_leaves_before_it_a_late_log_cannot_go_on(
    engine: Database, keys: MemoryKeys, client: Client
) -> None:
    logs, batch = [FIRST], messages(keys, 40)
    sink = ClickHouseSink(engine, keys, lambda shard: list(logs))
    sink.open()
    assert sink.deliver(SHARD, batch[:30]) == Delivered()
    client.command("DELETE FROM events WHERE offset = 24")
    logs.append(SECOND)
    outcome = sink.deliver(SHARD, batch[30:])
    assert isinstance(outcome, Pause)
    assert "events/0: got offset 25 in ClickHouse, expected 24" in outcome.reason
    sink.close()


def test_a_row_that_is_absent_at_a_seam_is_found(engine: Database, keys: MemoryKeys, client: Client) -> None:
    sink = sink_of(engine, keys, [FIRST, SECOND])
    assert sink.deliver(SHARD, messages(keys, 40)) == Delivered()
    for table in ("events", "contents"):
        client.command(f"DELETE FROM {table} WHERE offset IN (19, 20)")
    assert [(item.check, item.offset, item.detail) for item in failures(client)] == [
        ("offset", 19, "absent up to offset 20")
    ]
    sink.close()


def test_of_logs_with_one_start_the_last_has_the_records() -> None:
    closed_empty, opened = log_start(), log_start(term="2026q1")
    assert log_at([closed_empty, opened], 0) is opened
    assert log_at([closed_empty, opened, SECOND], 19) is opened
    assert log_at([SECOND], 19) is None


def stepping(batch: Sequence[Message], seed: int, step_ms: int) -> list[Message]:
    """Times that wander, forwards and back."""
    chance = random.Random(seed)
    return [message._replace(time_ms=TIME_MS + chance.randrange(-step_ms, step_ms)) for message in batch]


@pytest.mark.parametrize("step_ms", [2_000, 3 * DAY_MS, 40 * DAY_MS])
def test_a_clock_that_steps_back_loses_and_repeats_nothing(
    engine: Database, keys: MemoryKeys, client: Client, step_ms: int
) -> None:
    batch = stepping(messages(keys, 120, with_strays=True), step_ms, step_ms)
    sink = sink_of(engine, keys, [FIRST])
    at = sink.resume(SHARD, Offset(0))
    for end in (31, 32, 80):
        assert sink.deliver(SHARD, batch[at:end]) == Delivered()
        at = Offset(end)
    sink.close()
    client.command("DELETE FROM events WHERE offset IN (45, 60, 79)")
    sink = sink_of(engine, keys, [FIRST])
    assert sink.resume(SHARD, Offset(0)) == 45
    assert sink.deliver(SHARD, batch[40:90]) == Delivered()
    assert sink.deliver(SHARD, batch[90:]) == Delivered()
    for table in ("events", "contents"):
        assert client.query(f"SELECT count(), uniqExact(offset) FROM {table}").result_rows == [(125, 125)]
    assert stored(client) == expected(prove(batch, [FIRST], FIRST.chain()))
    assert {item.check for item in failures(client)} <= {"status"}
    sink.close()


def test_one_record_with_a_wild_time_does_not_hide_the_end(engine: Database, keys: MemoryKeys, client: Client) -> None:
    """A clock a year ahead: the last days of the table hold one old offset, and the end is elsewhere."""
    batch = messages(keys, 60)
    batch[10] = batch[10]._replace(time_ms=TIME_MS + 365 * DAY_MS)
    sink = sink_of(engine, keys, [FIRST])
    assert sink.deliver(SHARD, batch[:50]) == Delivered()
    assert positions.reach(client, SHARD) == 50
    assert sink.resume(SHARD, Offset(0)) == 50
    assert sink.deliver(SHARD, batch[50:]) == Delivered()
    assert failures(client) == []
    sink.close()


def test_the_tables_say_which_record_an_offset_was(engine: Database, keys: MemoryKeys, client: Client) -> None:
    sink, batch = sink_of(engine, keys, [FIRST]), messages(keys, 3, with_strays=True)
    assert sink.last(SHARD, Offset(0)) is None
    assert sink.deliver(SHARD, batch) == Delivered()
    assert sink.last(SHARD, Offset(2)) == batch[2].commitments
    stray = batch[4]
    assert sink.last(SHARD, Offset(4)) == invalid_commitments(stray.key, stray.value, list(stray.headers))
    assert sink.last(SHARD, Offset(len(batch))) is None
    client.command("INSERT INTO events (topic, partition, offset, commitments) VALUES ('events', 0, 2, 'other')")
    with pytest.raises(VerificationError, match="events/0 offset 2: two rows in ClickHouse with different commitments"):
        sink.last(SHARD, Offset(2))
    sink.close()
