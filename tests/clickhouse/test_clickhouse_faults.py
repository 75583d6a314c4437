"""Every write of the ClickHouse sink goes wrong in every way; afterwards each offset is once in both tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from embedded_engine import Database
from faults import Crash, Fault
from ledgered import SHARD, log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.entry import unpack_commitments
from schemas.ids import Offset
from schemas.parts import METADATA, Opener, part_key
from schemas.record import decode_record
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered, Outcome, Retry
from stores.bus import Message

BATCHES = (Offset(0), Offset(7), Offset(19), Offset(30))


class FaultyEngine:
    """An engine whose n-th insert goes wrong; ``poison`` are bytes that it refuses as a row's fault."""

    def __init__(self, database: Database, plan: Mapping[int, Fault], poison: bytes = b"\x00never\x00") -> None:
        self.database = database.database
        self.client: Callable[..., Client] = database.client
        self.inserts = 0
        self._inner = database
        self._plan = plan
        self._poison = poison

    def insert(self, client: Client, table: str, body: bytes, settings: Mapping[str, str | int]) -> None:
        self.inserts += 1
        fault = self._plan.get(self.inserts)
        if self._poison in body:
            raise DatabaseError("Code: 117. DB::Exception: a row that it does not take", code=117)
        if fault is None or fault.writes:
            self._inner.insert(client, table, body, settings)
        if fault in (Fault.CRASHED_BEFORE, Fault.CRASHED_AFTER):
            raise Crash
        if fault is not None:
            raise OperationalError("the connection was lost")

    def close(self) -> None: ...


def sink_over(engine: FaultyEngine, keys: MemoryKeys) -> ClickHouseSink:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    sink.open()
    return sink


def drive(sink: ClickHouseSink, batch: list[Message]) -> bool:
    """Deliver the rest of the shard as the runner would; false when the process died."""
    try:
        position = sink.resume(SHARD, Offset(0))
        edges = [edge for edge in BATCHES if edge > position]
        for edge in edges:
            outcome: Outcome = Retry("")
            for _ in range(3):
                outcome = sink.deliver(SHARD, batch[position:edge])
                if isinstance(outcome, Delivered):
                    break
            assert outcome == Delivered()
            position = edge
    except Crash:
        return False
    finally:
        sink.close()
    return True


def check(engine: Database, batch: list[Message]) -> None:
    client = engine.client()
    expected = [
        (message.offset, proof.chain.hex()) for message, proof in zip(batch, proofs(batch, log_start()), strict=True)
    ]
    rows = client.query("SELECT offset, lower(hex(chain)) FROM events ORDER BY offset").result_rows
    assert list(rows) == expected
    contents = client.query("SELECT offset FROM contents ORDER BY offset").result_rows
    assert [offset for (offset,) in contents] == [message.offset for message in batch]
    client.close()


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_insert_fails_once(engine: Database, keys: MemoryKeys, number: int, fault: Fault) -> None:
    batch = messages(keys, 30)
    faulty = FaultyEngine(engine, {number: fault})
    if not drive(sink_over(faulty, keys), batch):
        assert drive(sink_over(FaultyEngine(engine, {}), keys), batch)
    assert faulty.inserts >= number
    check(engine, batch)


@pytest.mark.parametrize("table", ["events", "contents"])
def test_a_crash_between_the_two_tables_is_repaired(engine: Database, keys: MemoryKeys, table: str) -> None:
    batch = messages(keys, 30)
    assert drive(sink_over(FaultyEngine(engine, {}), keys), batch)
    client = engine.client()
    client.command(f"DELETE FROM {table} WHERE offset >= 19 SETTINGS lightweight_deletes_sync = 2")
    client.close()
    sink = sink_over(FaultyEngine(engine, {}), keys)
    assert sink.resume(SHARD, Offset(0)) == 19
    sink.close()
    assert drive(sink_over(FaultyEngine(engine, {}), keys), batch)
    check(engine, batch)


def test_one_poisoned_row_is_rejected_and_its_neighbours_arrive(engine: Database, keys: MemoryKeys) -> None:
    batch = messages(keys, 30)
    # The row that stands for a rejected one keeps the commitments and loses the salt: so the salt is the poison.
    probe = sink_over(FaultyEngine(engine, {}), keys)
    assert probe.deliver(SHARD, batch[:11]) == Delivered()
    probe.close()
    salt = opened_salt(keys, batch[11])
    faulty = FaultyEngine(engine, {}, poison=salt)
    sink = sink_over(faulty, keys)
    outcome = sink.deliver(SHARD, batch[11:])
    assert isinstance(outcome, Delivered)
    assert [offset for offset, _ in outcome.rejected] == [11]
    assert "code 117" in outcome.rejected[0][1]
    check(engine, batch)
    sink.close()
    # The process may have died before it wrote the dead letter: a restart is told again.
    again = sink_over(FaultyEngine(engine, {}), keys)
    assert again.resume(SHARD, Offset(0)) == 30
    outcome = again.deliver(SHARD, batch[5:20])
    assert isinstance(outcome, Delivered)
    assert [offset for offset, _ in outcome.rejected] == [11]
    check(engine, batch)
    again.close()


def opened_salt(keys: MemoryKeys, message: Message) -> bytes:
    """The salt of the metadata part, which is in the clear in a row."""
    record = decode_record(message.value)
    part = record.parts[0]
    assert part.type == METADATA
    key = part_key(keys.by_id([part.key_id])[part.key_id], record.event_id, part.type)
    return Opener().open(part, unpack_commitments(message.commitments)[METADATA], record.event_id, key).salt
