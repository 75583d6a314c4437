"""The record: both ways, strict, and readable by any Avro reader."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedInput
from schemas.ids import EventId, KeyId
from schemas.metadata import schema
from schemas.parts import SealedPart
from schemas.record import Record, decode_record, encode_record

SCHEMA: Any = fastavro.parse_schema(schema("record.v1"))  # type: ignore[arg-type]
TEXTS = st.text(max_size=12)
PARTS = st.builds(
    SealedPart,
    st.integers(1, 255),
    st.binary(min_size=16, max_size=16).map(KeyId),
    st.integers(0, 2**31 - 1),
    st.binary(min_size=12, max_size=12),
    st.binary(max_size=150),
    st.integers(0, 2**63 - 1),
    TEXTS,
)
RECORDS = st.builds(
    Record,
    st.binary(min_size=16, max_size=16).map(EventId),
    TEXTS,
    TEXTS,
    st.lists(PARTS, min_size=1, max_size=4, unique_by=lambda part: part.type).map(
        lambda parts: tuple(sorted(parts, key=lambda part: part.type))
    ),
)
PART = SealedPart(1, KeyId(b"k" * 16), 0, b"n" * 12, b"c" * 50, 2)
RECORD = Record(EventId(b"e" * 16), "acme", "standard", (PART, PART._replace(type=3, address="blobs/a")))


def as_avro(record: Record) -> dict[str, Any]:
    return {
        "event_id": record.event_id,
        "tenant": record.tenant,
        "retention_class": record.retention_class,
        "parts": [part._asdict() for part in record.parts],
    }


@given(record=RECORDS)
def test_records_both_ways(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


@given(record=RECORDS)
def test_any_avro_reader_reads_a_record(record: Record) -> None:
    data = encode_record(record)
    stream = io.BytesIO(data)
    assert fastavro.schemaless_reader(stream, SCHEMA, None) == as_avro(record)
    assert stream.tell() == len(data)


@given(record=RECORDS)
def test_what_an_avro_writer_writes_is_a_record(record: Record) -> None:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, as_avro(record))
    assert stream.getvalue() == encode_record(record)


@settings(max_examples=400)
@given(record=RECORDS, at=st.integers(min_value=0), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_means_something_else(record: Record, at: int, flip: int) -> None:
    data = bytearray(encode_record(record))
    data[at % len(data)] ^= flip
    try:
        changed = decode_record(bytes(data))
    except MalformedInput:
        return
    assert changed != record
    assert encode_record(changed) == data


@settings(max_examples=300)
@given(data=st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: b"e" * 16 + b"\x02a\x00\x02" + tail))
def test_any_bytes_are_a_record_or_malformed(data: bytes) -> None:
    try:
        record = decode_record(data)
    except MalformedInput:
        return
    assert encode_record(record) == data


def test_a_record_that_is_cut_short_anywhere() -> None:
    data = encode_record(RECORD)
    for end in range(len(data)):
        with pytest.raises(MalformedInput, match="got"):
            decode_record(data[:end])
    with pytest.raises(MalformedInput, match="got 1 bytes after the parts"):
        decode_record(data + b"\x00")


@pytest.mark.parametrize(
    "parts",
    [(), (PART, PART), (PART._replace(type=3), PART), tuple(PART._replace(type=kind) for kind in range(1, 34))],
    ids=["none", "twice", "unsorted", "33 of them"],
)
def test_parts_that_make_no_record(parts: tuple[SealedPart, ...]) -> None:
    with pytest.raises(MalformedInput, match=r"got .*part"):
        encode_record(Record(RECORD.event_id, "acme", "standard", parts))


@pytest.mark.parametrize(
    "change",
    [
        {"type": 0},
        {"type": 256},
        {"type": -1},
        {"codec": 2**31},
        {"codec": -1},
        {"size": -1},
        {"key_id": b"short"},
        {"nonce": b"short"},
    ],
)
def test_fields_that_would_not_be_read_back_are_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedInput, match="got part"):
        encode_record(Record(RECORD.event_id, "acme", "standard", (PART._replace(**change),)))


def test_event_ids_that_would_not_be_read_back_are_not_written() -> None:
    with pytest.raises(MalformedInput, match="got an event id of 15 bytes, expected 16"):
        encode_record(Record(EventId(bytes(15)), "acme", "standard", (PART,)))
