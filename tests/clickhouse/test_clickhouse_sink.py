"""The sink over the embedded engine: every offset once in both tables, whatever lies there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import pytest
from embedded_engine import Database
from ledgered import SHARD, log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.avro_binary import varint
from schemas.entry import CONTROL as CONTROL_ENTRY
from schemas.entry import pack_commitments
from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import CONTROL, EventId, Offset, Shard
from schemas.parts import CONTENT, METADATA, Sealer
from schemas.record import Record, decode_record, encode_record
from sinks.clickhouse import ddl, shard_writer
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.rows import Row, container, encode_row, pack_log
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered, Pause, Retry
from sinks.opening import raw_message, read_raw_message
from sinks.proof import LogStart, prove
from stores.bus import Message
from stores.keys import KeyScope


def sink_of(engine: Database, keys: MemoryKeys, **options: object) -> ClickHouseSink:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)], **options)  # type: ignore[arg-type]
    sink.open()
    return sink


def rows(engine: Database, sql: str) -> list[tuple[object, ...]]:
    client = engine.client()
    try:
        return [tuple(row) for row in client.query(sql).result_rows]
    finally:
        client.close()


def failed(engine: Database) -> set[tuple[str, int]]:
    client = engine.client()
    try:
        return {(failure.check, failure.offset) for failure in failures(client)}
    finally:
        client.close()


def test_a_batch_arrives_with_its_proof(engine: Database, keys: MemoryKeys) -> None:
    sink = sink_of(engine, keys)
    batch = messages(keys, 20, with_strays=True)
    assert sink.resume(SHARD, Offset(0)) == 0
    assert sink.deliver(SHARD, batch) == Delivered()
    assert sink.resume(SHARD, Offset(0)) == len(batch)
    assert rows(engine, "SELECT offset, leaf_index, hex(leaf), hex(chain), entry_kind FROM events ORDER BY offset") == [
        (message.offset, proof.leaf_index, proof.leaf.hex().upper(), proof.chain.hex().upper(), proof.entry_kind)
        for message, proof in zip(batch, proofs(batch, log_start()), strict=True)
    ]
    assert failed(engine) == {("status", 24)}
    sink.close()


def test_columns_hold_what_the_metadata_says(engine: Database, keys: MemoryKeys) -> None:
    sink = sink_of(engine, keys)
    sink.deliver(SHARD, messages(keys, 3))
    ((tenant, kind, session, model, state, content, source),) = rows(
        engine,
        "SELECT e.tenant, e.kind, e.session_id, model_requested, content_state, content, source FROM events AS e "
        "INNER JOIN contents AS c ON e.offset = c.offset WHERE e.offset = 2",
    )
    assert (tenant, kind, session, model, state) == ("acme", "tool_call", "session-2", "a-model", "full")
    assert json.loads(str(content))["messages"][0]["content"].startswith("text of event 2")
    assert source == '{"number": 2}'
    sink.close()


def test_words_are_found_behind_json_escapes(engine: Database, keys: MemoryKeys) -> None:
    sink = sink_of(engine, keys)
    sink.open()
    client = engine.client()
    client.command(
        "INSERT INTO contents (offset, tenant, content) VALUES "
        r"""(1, 'acme', '["first\\nSecond\\tTHIRD C:\\\\new"]')"""
    )
    for word in ("first", "second", "third", "new"):
        found = client.query(f"SELECT count() FROM contents WHERE hasAllTokens(content_text, '{word}')").result_rows
        assert found == [(1,)], word
    plan = "\n".join(
        str(line)
        for (line,) in client.query(
            "EXPLAIN indexes = 1 SELECT offset FROM contents WHERE hasAllTokens(content_text, 'third')"
        ).result_rows
    )
    assert "Name: words" in plan
    client.close()
    sink.close()


def sealed_with(keys: MemoryKeys, parts: dict[int, bytes], **changes: object) -> Message:
    """A message with these parts, whatever they are."""
    name = EventId(os.urandom(16))
    scopes = [KeyScope("acme", "", "standard", part_type, "2025-11") for part_type in parts]
    sealer, sealed, commitments = Sealer(), [], []
    for (part_type, data), key in zip(parts.items(), keys.for_scopes(scopes), strict=True):
        part, commitment = sealer.seal(part_type, data, name, key)
        sealed.append(part)
        commitments.append((part_type, commitment))
    record = encode_record(Record(name, "acme", "standard", tuple(sealed)))
    found = Message(SHARD, Offset(0), 1_764_000_000_000, b"", record, 1, name, pack_commitments(commitments))
    return found._replace(**changes)  # type: ignore[arg-type]


def statuses(engine: Database) -> list[tuple[object, ...]]:
    return rows(engine, "SELECT metadata_status, content_status, source_status FROM events ORDER BY offset")


def test_metadata_that_is_not_metadata_keeps_its_bytes_and_spoils_no_neighbour(
    engine: Database, keys: MemoryKeys
) -> None:
    sink = sink_of(engine, keys)
    batch = messages(keys, 30)
    for at, junk in ((3, b""), (11, b"\xff" * 40), (12, varint(1 << 40)), (29, b"\x00" * 500)):
        batch[at] = sealed_with(keys, {METADATA: junk, CONTENT: b"{}"}, offset=Offset(at), time_ms=batch[at].time_ms)
    assert sink.deliver(SHARD, batch) == Delivered()
    found = statuses(engine)
    assert [at for at, row in enumerate(found) if row[0] == "malformed"] == [3, 11, 12, 29]
    assert {row for at, row in enumerate(found) if at not in (3, 11, 12, 29)} == {("ok", "ok", "ok")}
    assert found[3] == ("malformed", "ok", "absent")
    assert failed(engine) == {("status", at) for at in (3, 11, 12, 29)}
    assert rows(engine, "SELECT tenant, length(metadata_raw) FROM events WHERE offset = 29") == [("acme", 500)]
    sink.close()


def test_a_forged_metadata_part_cannot_write_the_rows_of_others(engine: Database, keys: MemoryKeys) -> None:
    """A metadata part that brings rows of its own, as a block would have them, is cut off at its own block."""
    batch = messages(keys, 6)
    honest = proofs(batch, log_start())
    sink = sink_of(engine, keys)
    opening = shard_writer.Opening(keys)
    records, part_keys = opening.records(batch)
    smuggled = encode_row(
        Row(3, pack_log("o", "events", 0), honest[4], opening.open(batch[4], records[4], part_keys), batch[4])
    )
    prefixes = (b"", container([])[:60], opening.open(batch[0], records[0], part_keys).metadata)
    for at, prefix in enumerate(prefixes, 1):
        batch[at] = sealed_with(keys, {METADATA: prefix + smuggled}, offset=Offset(at), time_ms=batch[at].time_ms)
    assert sink.deliver(SHARD, batch) == Delivered()
    assert [row[0] for row in statuses(engine)] == ["ok", "malformed", "malformed", "malformed", "ok", "ok"]
    assert rows(engine, "SELECT count(), uniqExact(offset) FROM events") == [(6, 6)]
    sink.close()


def test_parts_that_are_not_as_the_ledger_says_are_told(
    engine: Database, keys: MemoryKeys, caplog: pytest.LogCaptureFixture
) -> None:
    batch = messages(keys, 6)
    other = messages(keys, 6, start=50)

    def with_parts(at: int, parts: Sequence[object]) -> Message:
        record = decode_record(batch[at].value)
        return batch[at]._replace(value=encode_record(Record(record.event_id, record.tenant, "", tuple(parts))))  # type: ignore[arg-type]

    parts = [decode_record(message.value).parts for message in batch]
    batch[0] = with_parts(0, parts[0][:2])
    batch[1] = batch[1]._replace(commitments=batch[1].commitments[:33])
    batch[2] = batch[2]._replace(value=other[2].value)
    batch[3] = with_parts(3, [parts[3][0], parts[3][1]._replace(size=7), parts[3][2]])
    batch[4] = with_parts(4, [*parts[4][:2], parts[4][2]._replace(address="blobs/none", ciphertext=b"")])
    sink = sink_of(engine, keys)
    assert sink.deliver(SHARD, batch) == Delivered()
    assert statuses(engine) == [
        ("ok", "ok", "missing"),
        ("ok", "mismatch", "mismatch"),
        ("mismatch", "mismatch", "mismatch"),
        ("ok", "mismatch", "ok"),
        ("ok", "ok", "missing"),
        ("ok", "ok", "ok"),
    ]
    assert rows(engine, "SELECT content, source FROM contents WHERE offset = 2") == [("", "")]
    assert "events/0: 5 records with a part that is not as the ledger says; the first is offset 0" in caplog.text
    sink.close()


def test_a_part_too_large_for_the_bus_is_fetched(engine: Database, keys: MemoryKeys) -> None:
    batch = messages(keys, 2)
    record = decode_record(batch[1].value)
    blob = record.parts[1].ciphertext
    away = record.parts[1]._replace(ciphertext=b"", address="blobs/x")
    value = encode_record(Record(record.event_id, record.tenant, "", (record.parts[0], away, record.parts[2])))
    batch[1] = batch[1]._replace(value=value)
    sink = sink_of(engine, keys, fetch={"blobs/x": blob}.__getitem__)
    assert sink.deliver(SHARD, batch) == Delivered()
    assert statuses(engine) == [("ok", "ok", "ok")] * 2
    sink.close()


def test_the_store_of_large_parts_being_away_is_a_reason_to_wait(engine: Database, keys: MemoryKeys) -> None:
    def unreachable(address: str) -> bytes:
        raise Unavailable(f"{address}: no answer", retry_after=7)

    batch = messages(keys, 1)
    record = decode_record(batch[0].value)
    away = record.parts[1]._replace(ciphertext=b"", address="blobs/x")
    value = encode_record(Record(record.event_id, record.tenant, "", (record.parts[0], away, record.parts[2])))
    sink = sink_of(engine, keys, fetch=unreachable)
    assert sink.deliver(SHARD, [batch[0]._replace(value=value)]) == Retry("blobs/x: no answer", 7)
    assert sink.deliver(SHARD, batch) == Delivered()
    sink.close()


def test_without_a_log_there_is_nothing_to_prove_yet(engine: Database, keys: MemoryKeys) -> None:
    opened: list[LogStart] = []
    sink = ClickHouseSink(engine, keys, lambda shard: opened)
    sink.open()
    batch = messages(keys, 4)
    outcome = sink.deliver(SHARD, batch)
    assert isinstance(outcome, Retry)
    assert "opened no log that covers events/0 offset 0 yet" in outcome.reason
    opened.append(log_start())
    assert sink.deliver(SHARD, batch) == Delivered()
    sink.close()


def test_the_chain_does_not_start_in_the_middle(engine: Database, keys: MemoryKeys) -> None:
    sink = sink_of(engine, keys)
    outcome = sink.deliver(SHARD, messages(keys, 4, start=10))
    assert isinstance(outcome, Pause)
    assert "events/0 offset 9 is not in ClickHouse" in outcome.reason
    sink.close()


def test_a_log_that_starts_later_counts_from_there(engine: Database, keys: MemoryKeys) -> None:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard, 10)])
    sink.open()
    batch = messages(keys, 4, start=10)
    assert sink.deliver(SHARD, batch) == Delivered()
    assert rows(engine, "SELECT leaf_index, offset FROM events ORDER BY offset LIMIT 1") == [(1, 10)]
    assert failed(engine) == set()
    sink.close()


def test_a_new_term_begins_a_new_chain(engine: Database, keys: MemoryKeys) -> None:
    logs = [log_start(), log_start(start_offset=5, term="2026q1")]
    sink = ClickHouseSink(engine, keys, lambda shard: logs)
    sink.open()
    batch = messages(keys, 9)
    assert sink.deliver(SHARD, batch) == Delivered()
    expected = prove(batch[:5], logs[:1], logs[0].chain()) + prove(batch[5:], logs[1:], logs[1].chain())
    assert rows(engine, "SELECT origin, leaf_index, hex(chain) FROM events ORDER BY offset") == [
        (proof.log.origin, proof.leaf_index, proof.chain.hex().upper()) for proof in expected
    ]
    assert failed(engine) == set()
    sink.close()


def test_the_control_shard_has_entries_of_its_own_kind(engine: Database, keys: MemoryKeys) -> None:
    shard = Shard(CONTROL, 0)
    sink = sink_of(engine, keys)
    assert sink.deliver(shard, messages(keys, 3, shard=shard)) == Delivered()
    assert rows(engine, "SELECT DISTINCT entry_kind, topic FROM events") == [(CONTROL_ENTRY, "control")]
    assert failed(engine) == set()
    sink.close()


def test_a_batch_may_span_more_days_than_an_insert_may_have_partitions(engine: Database, keys: MemoryKeys) -> None:
    sink = sink_of(engine, keys)
    batch = messages(keys, 120, step_ms=86_400_000)
    assert sink.deliver(SHARD, batch) == Delivered()
    assert rows(engine, "SELECT uniqExact(toDate(bus_time)), count() FROM events") == [(120, 120)]
    assert sink.resume(SHARD, Offset(0)) == 120
    sink.close()


def test_a_batch_that_opens_to_more_than_memory_allows_goes_in_several(
    engine: Database, keys: MemoryKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writer, "BODY_BYTES", 5_000)
    sink = sink_of(engine, keys)
    assert sink.deliver(SHARD, messages(keys, 40)) == Delivered()
    assert rows(engine, "SELECT count(), uniqExact(offset) FROM events") == [(40, 40)]
    assert failed(engine) == set()
    sink.close()


def test_raw_messages_come_apart_again() -> None:
    headers = (("a", b"1"), ("a", b"0"), ("n\udcff", b"\x00"))
    assert read_raw_message(raw_message(b"key", b"", headers)) == (b"key", b"", tuple(sorted(headers)))


def test_tables_of_another_release_are_refused(engine: Database, keys: MemoryKeys) -> None:
    sink = sink_of(engine, keys)
    client = engine.client()
    assert ddl.migrate(client) == []
    client.command(
        "ALTER TABLE migrations UPDATE sha256 = 'x' WHERE name = '001_tables.sql' SETTINGS mutations_sync = 2"
    )
    client.close()
    with pytest.raises(ConfigurationError, match=r"001_tables.sql was applied with other contents"):
        sink.open()
    sink.close()


def test_a_crash_in_the_middle_of_the_tables_is_made_good(engine: Database, keys: MemoryKeys) -> None:
    client = engine.client()
    first = next(ddl.statements(ddl.files()[0].read_text("utf-8")))
    client.command(first)
    assert ddl.migrate(client) == [file.name for file in ddl.files()]
    client.close()


def test_source_part_is_optional(engine: Database, keys: MemoryKeys) -> None:
    batch = messages(keys, 1)
    opening = shard_writer.Opening(keys)
    records, part_keys = opening.records(batch)
    metadata = opening.open(batch[0], records[0], part_keys).metadata
    sink = sink_of(engine, keys)
    assert sink.deliver(SHARD, [sealed_with(keys, {METADATA: metadata})]) == Delivered()
    assert statuses(engine) == [("ok", "absent", "absent")]
    sink.close()
