"""Metadata: one list of fields in code and schema, both ways, strict, and readable by any Avro reader."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import fastavro
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas.metadata as words
from schemas.errors import MalformedInput
from schemas.fingerprints import FINGERPRINTS
from schemas.metadata import KIND_CODES, KIND_NAMES, Metadata, schema
from schemas.metadata_binary import decode_metadata, encode_metadata

FIELDS: list[dict[str, Any]] = schema("metadata.v1")["fields"]
SCHEMA: Any = fastavro.parse_schema(schema("metadata.v1"))  # type: ignore[arg-type]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROS = timedelta(microseconds=1)
LONGS = st.integers(-(2**63), 2**63 - 1)
DOUBLES = st.floats(allow_nan=False)
TEXTS = st.text(max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    '"string"': TEXTS,
    '"long"': LONGS,
    '["null", "long"]': st.none() | LONGS,
    '["null", "double"]': st.none() | DOUBLES,
    '["null", "boolean"]': st.none() | st.booleans(),
    '{"items": "string", "type": "array"}': st.lists(TEXTS, max_size=3),
    '{"type": "map", "values": "string"}': st.dictionaries(TEXTS, TEXTS, max_size=3),
}
# Python's datetime, which fastavro makes of them, has years 1 to 9999.
TIMES = st.integers(
    (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROS, (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROS
)


def spelled(avro_type: Any) -> str:
    return json.dumps(avro_type, sort_keys=True)


def is_time(avro_type: Any) -> bool:
    return "timestamp-micros" in spelled(avro_type)


def values(avro_type: Any) -> st.SearchStrategy[Any]:
    if is_time(avro_type):
        return TIMES | st.none() if isinstance(avro_type, list) else TIMES
    return VALUES[spelled(avro_type)]


METADATA: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {}, optional={field["name"]: values(field["type"]) for field in FIELDS}
)


def complete(metadata: Any) -> dict[str, Any]:
    """With the defaults of the schema; the three fields without one are empty text."""
    return {field["name"]: metadata.get(field["name"], field.get("default", "")) for field in FIELDS}


def as_datetimes(metadata: dict[str, Any]) -> dict[str, Any]:
    """As fastavro reads times."""
    times = {field["name"] for field in FIELDS if is_time(field["type"])}
    return {
        name: EPOCH + value * MICROS if name in times and value is not None else value
        for name, value in metadata.items()
    }


def test_code_and_schema_list_the_same_fields_in_the_same_order() -> None:
    spellings = {
        '"string"': {"str"},
        '"long"': {"int"},
        '["null", "long"]': {"int | None"},
        '["null", "double"]': {"float | None"},
        '["null", "boolean"]': {"bool | None"},
        '{"items": "string", "type": "array"}': {"list[str]"},
        '{"type": "map", "values": "string"}': {"dict[str, str]"},
        '{"logicalType": "timestamp-micros", "type": "long"}': {"int"},
        '["null", {"logicalType": "timestamp-micros", "type": "long"}]': {"int | None"},
    }
    annotated = dict(Metadata.__annotations__)
    assert list(annotated) == [field["name"] for field in FIELDS]
    for name, hint in get_type_hints(Metadata).items():
        written = (
            "str" if hint == words.Kind else getattr(hint, "__name__", "") if isinstance(hint, type) else str(hint)
        )
        (avro_type,) = [field["type"] for field in FIELDS if field["name"] == name]
        assert written in spellings[spelled(avro_type)], name


def test_the_default_of_every_field_is_a_zero_byte() -> None:
    assert encode_metadata({}) == bytes(len(FIELDS))


def test_every_field_but_three_has_a_default() -> None:
    assert [field["name"] for field in FIELDS if "default" not in field] == ["event_id", "kind", "tenant"]


def test_kinds_have_codes_of_one_byte_that_never_change() -> None:
    assert KIND_CODES == {
        "prompt": 1,
        "response": 2,
        "tool_call": 3,
        "tool_result": 4,
        "context": 5,
        "guardrail": 6,
        "session": 7,
        "admin": 8,
        "access": 9,
        "unparsed": 10,
    }
    assert set(KIND_CODES) == set(words.Kind.__args__)  # type: ignore[attr-defined]
    assert {KIND_NAMES[code]: code for code in KIND_NAMES} == KIND_CODES


@pytest.mark.parametrize("name", sorted(FINGERPRINTS))
def test_fingerprints_are_those_of_the_files(name: str) -> None:
    assert fingerprint(to_parsing_canonical_form(schema(name)), "CRC-64-AVRO") == FINGERPRINTS[name].hex()


@settings(max_examples=150)
@given(metadata=METADATA)
def test_metadata_both_ways(metadata: Metadata) -> None:
    assert decode_metadata(encode_metadata(metadata)) == complete(metadata)


@settings(max_examples=150)
@given(metadata=METADATA)
def test_any_avro_reader_reads_metadata(metadata: Metadata) -> None:
    data = encode_metadata(metadata)
    stream = io.BytesIO(data)
    assert fastavro.schemaless_reader(stream, SCHEMA, None) == as_datetimes(complete(metadata))
    assert stream.tell() == len(data)


@settings(max_examples=150)
@given(metadata=METADATA)
def test_what_an_avro_writer_writes_is_metadata(metadata: Metadata) -> None:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, SCHEMA, complete(metadata))
    assert stream.getvalue() == encode_metadata(metadata)


FULL: Any = {
    "event_id": "0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11",
    "kind": "tool_call",
    "tenant": "acme",
    "occurred_at": 1764014400123456,
    "started_at": 1764014400123456,
    "roles": ["admin", "ü"],
    "stream": True,
    "tool_duration_ms": 12.5,
    "input_tokens": 12345,
    "extras": {"a": "1", "b": '{"c": []}'},
}


@settings(max_examples=400)
@given(at=st.integers(min_value=0), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_means_something_else(at: int, flip: int) -> None:
    data = bytearray(encode_metadata(FULL))
    data[at % len(data)] ^= flip
    try:
        changed = decode_metadata(bytes(data))
    except MalformedInput:
        return
    assert changed != complete(FULL)
    assert encode_metadata(changed) == data


@settings(max_examples=300)
@given(data=st.binary(max_size=400) | st.binary(max_size=10).map(lambda some: some + bytes(len(FIELDS) - len(some))))
def test_any_bytes_are_metadata_or_malformed(data: bytes) -> None:
    try:
        metadata = decode_metadata(data)
    except MalformedInput:
        return
    assert encode_metadata(metadata) == data


def test_metadata_that_is_cut_short_anywhere() -> None:
    data = encode_metadata(FULL)
    for end in range(len(data)):
        with pytest.raises(MalformedInput, match="got metadata cut short in field"):
            decode_metadata(data[:end])


def test_what_follows_the_metadata_is_refused() -> None:
    with pytest.raises(MalformedInput, match="got 2 bytes after the metadata, expected none"):
        decode_metadata(encode_metadata(FULL) + b"ab")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", 7),
        ("tenant", None),
        ("tenant", b"acme"),
        ("tenant", "\ud800"),
        ("occurred_at", "now"),
        ("occurred_at", 1.5),
        ("occurred_at", None),
        ("sequence", 2**63),
        ("stream", 1),
        ("stream", "true"),
        ("latency_ms", "12"),
        ("roles", "admin"),
        ("roles", [1]),
        ("roles", 7),
        ("extras", ["a"]),
        ("extras", {"a": 1}),
        ("extras", {1: "a"}),
        ("extras", None),
        *[("tenant", nothing) for nothing in (None, b"", 0, False, [], {})],
        ("extras", []),
        ("extras", ""),
    ],
)
def test_values_of_another_type_are_refused(field: str, value: object) -> None:
    metadata: Any = {field: value}
    with pytest.raises(MalformedInput, match=f"metadata field '{field}' does not fit|signed 64-bit number"):
        encode_metadata(metadata)


def test_fields_that_the_schema_does_not_have_are_refused() -> None:
    metadata: Any = {"tenant": "acme", "colour": "red"}
    with pytest.raises(MalformedInput, match="got metadata field 'colour', expected one of"):
        encode_metadata(metadata)
