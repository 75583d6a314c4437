"""Parts that are too large for a row: they stay in the object store, and are verified there."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import replace

import pytest
from embedded_engine import Database
from ledgered import SHARD, log_start
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import events
from sealed_records import messages as bus_messages

from collector.large.blobs import Blobs
from collector.large.spool import Spools
from collector.sealing import Sealing
from schemas.evidence import Evidence, Status
from schemas.ids import Offset
from schemas.parts import CONTENT, METADATA, SOURCE
from schemas.record import decode_record
from signer.verify_parts import NoErasures, PartVerifier
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from sinks.opening import ROW_BYTES
from stores.bus import Message
from stores.objects import NewObject, Objects


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


def sink_of(engine: Database, keys: MemoryKeys, objects: Objects) -> ClickHouseSink:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)], fetch=objects.open)
    sink.open()
    return sink


def rows(engine: Database, sql: str) -> list[tuple[object, ...]]:
    with closing(engine.client()) as client:
        return [tuple(row) for row in client.query(sql).result_rows]


def large(keys: MemoryKeys, objects: Objects, *sizes: int) -> list[Message]:
    """A record for each size of its source, in bytes that do not compress."""
    made = [
        replace(event, source=random.Random(size).randbytes(size))
        for event, size in zip(events(len(sizes)), sizes, strict=True)
    ]
    return bus_messages(Sealing(keys, blobs=Blobs(objects, Spools())).seal(made), SHARD)


def address_of(message: Message) -> str:
    (found,) = [part.address for part in decode_record(message.value).parts if part.address]
    return found


def test_a_part_too_large_for_a_row_stays_where_it_is(
    engine: Database, keys: MemoryKeys, objects: MemoryObjects, caplog: pytest.LogCaptureFixture
) -> None:
    batch = large(keys, objects, ROW_BYTES + 1, ROW_BYTES)
    sink = sink_of(engine, keys, objects)
    assert sink.deliver(SHARD, batch) == Delivered()
    statuses = "SELECT metadata_status, content_status, source_status FROM events ORDER BY offset"
    assert rows(engine, statuses) == [("ok", "ok", "elsewhere"), ("ok", "ok", "ok")]
    address = address_of(batch[0])
    stored = rows(engine, "SELECT length(source), content_object, source_object FROM contents ORDER BY offset")
    assert stored == [(0, "", address), (ROW_BYTES, "", "")]
    assert rows(engine, "SELECT part, object, offset FROM large_parts") == [("source", address, 0)]
    assert rows(engine, "SELECT sealed_bytes > 8000000 FROM events ORDER BY offset") == [(0,), (1,)]
    assert rows(engine, "SELECT failed_check, detail FROM integrity_failures") == []
    assert "not as the ledger says" not in caplog.text
    sink.close()


def test_a_part_elsewhere_is_verified_there(engine: Database, keys: MemoryKeys, objects: MemoryObjects) -> None:
    (message,) = large(keys, objects, ROW_BYTES + 1)
    sink = sink_of(engine, keys, objects)
    sink.deliver(SHARD, [message])
    with closing(engine.client()) as client:
        (evidence,) = ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(2))

    def status(verifier: PartVerifier, found: Evidence = evidence) -> list[Status]:
        findings = {item.part_type: item.status for item in verifier.record("o", 1, 1, message.commitments, found)}
        return [findings[part_type] for part_type in (METADATA, CONTENT, SOURCE)]

    assert status(PartVerifier(keys, objects.open, NoErasures())) == [Status.OK] * 3
    assert status(PartVerifier(keys, objects.get, NoErasures())) == [Status.OK] * 3
    assert status(PartVerifier(keys, MemoryObjects().open, NoErasures()))[2] is Status.MISSING
    assert status(PartVerifier(None, None, NoErasures()))[2] is Status.SEALED
    other, address = MemoryObjects(), address_of(message)
    other.create([NewObject(address, objects.get(address)[:-1] + b"x")])
    assert status(PartVerifier(keys, other.open, NoErasures()))[2] is Status.MISMATCH
    unknown = evidence._replace(outside=())
    assert status(PartVerifier(keys, objects.open, NoErasures()), unknown)[2] is Status.MISSING
    sink.close()


def test_what_says_where_a_part_is_may_be_altered_and_it_is_missing_then(
    engine: Database, keys: MemoryKeys, objects: MemoryObjects
) -> None:
    sink = sink_of(engine, keys, objects)
    sink.deliver(SHARD, large(keys, objects, ROW_BYTES + 1))
    with closing(engine.client()) as client:
        client.command("ALTER TABLE contents UPDATE elsewhere = 'x' WHERE 1 SETTINGS mutations_sync = 1")
        (evidence,) = ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(2))
    assert evidence.outside == ()
    sink.close()


def test_a_part_elsewhere_that_is_gone_is_missing(engine: Database, keys: MemoryKeys, objects: MemoryObjects) -> None:
    batch = large(keys, MemoryObjects(), ROW_BYTES + 1)
    sink = sink_of(engine, keys, objects)
    assert sink.deliver(SHARD, batch) == Delivered()
    assert rows(engine, "SELECT source_status FROM events") == [("missing",)]
    sink.close()
