"""A record of a version that nobody here knows yet: signed, kept byte for byte, shown as what it is, never lost."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import fastavro
import pytest
from embedded_engine import Database, database_of_its_own
from fastavro.schema import fingerprint, to_parsing_canonical_form
from ledgered import SHARD, log_start, proofs
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from sealed_records import sealed

from schemas.entry import EVENT, pack_entry
from schemas.evolution import check_compatible
from schemas.fingerprints import FINGERPRINTS
from schemas.ids import Offset
from schemas.metadata import schema
from signer.batch import entries_of
from sinks.archive import ArchiveEvidence, ArchiveSink
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from stores.bus import Message, Outgoing

V1: Any = schema("record.v1")
V2: Any = deepcopy(V1)
V2["fields"].append({"name": "origin", "type": "string", "default": ""})
V2["fields"][3]["type"]["items"]["fields"].append({"name": "schema", "type": "string", "default": ""})
V2_PRINT = bytes.fromhex(fingerprint(to_parsing_canonical_form(V2), "CRC-64-AVRO"))
"""A version to come."""

LATER = (2, 5)
"""Offsets at which a collector of that version was at work."""


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def batch(keys: MemoryKeys) -> list[Message]:
    """Eight records, two of them of the later version."""
    sent = sealed(keys, 8, tenants=["acme"])
    for at in LATER:
        sent[at] = later(sent[at])
    bus = MemoryBus({SHARD.topic: 1}, clock=lambda: 1_764_000_000_000)
    asyncio.run(bus.append(sent))
    return asyncio.run(bus.read(SHARD, Offset(0), max_records=100, max_bytes=1 << 30))


@pytest.fixture
def engine() -> Iterator[Database]:
    database = database_of_its_own()
    yield database
    database.close()


def later(message: Outgoing) -> Outgoing:
    """The same record as a collector of the later version would have written it."""
    record: Any = fastavro.schemaless_reader(io.BytesIO(message.value), fastavro.parse_schema(V1), None)
    record["origin"] = "somewhere"
    for part in record["parts"]:
        part["schema"] = "metadata.v2"
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(V2), record)
    return message._replace(value=stream.getvalue(), fingerprint=V2_PRINT)


def test_the_later_version_is_one_that_the_rules_allow() -> None:
    check_compatible(V1, V2)
    assert V2_PRINT not in FINGERPRINTS.values()


def test_the_signer_signs_it_as_the_event_it_is(batch: list[Message]) -> None:
    assert entries_of(batch, EVENT, 0, 0) == [
        pack_entry(EVENT, message.offset, message.time_ms, message.commitments) for message in batch
    ]


def test_the_archive_keeps_value_and_fingerprint(batch: list[Message], keys: MemoryKeys) -> None:
    objects = MemoryObjects()
    assert ArchiveSink(objects).deliver(SHARD, batch) == Delivered()
    found = list(ArchiveEvidence(objects).scan(SHARD, Offset(0), Offset(100)))
    assert [(one.offset, one.record) for one in found] == [(message.offset, message.value) for message in batch]
    assert [one.offset for one in found if one.headers] == list(LATER)
    for at in LATER:
        assert dict(found[at].headers)["s"] == V2_PRINT
        assert found[at].key == batch[at].key
        stream = io.BytesIO(found[at].record)
        kept: Any = fastavro.schemaless_reader(stream, fastavro.parse_schema(V2), fastavro.parse_schema(V1))
        assert kept["tenant"] == "acme"


def test_clickhouse_has_its_row_and_proof_and_says_what_it_is(
    batch: list[Message], keys: MemoryKeys, engine: Database
) -> None:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    sink.open()
    assert sink.deliver(SHARD, batch) == Delivered()
    sink.close()
    client = engine.client()
    asked = "SELECT offset, leaf, metadata_status, content_status, status_reason FROM events ORDER BY offset"
    rows = client.query(asked, column_formats={"leaf": "bytes"}).result_rows
    client.close()
    assert [(row[0], row[1]) for row in rows] == [
        (message.offset, proof.leaf) for message, proof in zip(batch, proofs(batch, log_start()), strict=True)
    ]
    assert [row[0] for row in rows if row[2] != "ok"] == list(LATER)
    for at in LATER:
        assert (rows[at][2], rows[at][3]) == ("undecodable", "undecodable")
        assert rows[at][4].startswith("not a record: got ")
