"""Avro numbers and byte strings: both ways, and against another implementation."""

from __future__ import annotations

import io

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro_binary import avro_bytes, read_varint, varint
from schemas.errors import MalformedInput

LONGS = st.integers(-(2**63), 2**63 - 1) | st.integers(-70_000, 70_000)


@given(value=LONGS, before=st.binary(max_size=3), after=st.binary(max_size=3))
def test_numbers_are_read_as_they_were_written(value: int, before: bytes, after: bytes) -> None:
    coded = varint(value)
    assert read_varint(before + coded + after, len(before)) == (value, len(before) + len(coded))


@given(value=LONGS)
def test_numbers_are_those_of_avro(value: int) -> None:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, {"type": "long"}, value)
    assert varint(value) == stream.getvalue()


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**70])
def test_numbers_beyond_64_bits_are_refused(value: int) -> None:
    with pytest.raises(MalformedInput, match=f"got {value}, expected a signed 64-bit number"):
        varint(value)


@given(data=st.binary(min_size=1, max_size=12) | st.binary(min_size=1, max_size=12).map(lambda raw: b"\xff" * 8 + raw))
def test_a_number_has_one_spelling(data: bytes) -> None:
    try:
        value, end = read_varint(data, 0)
    except MalformedInput:
        return
    except IndexError:  # cut short: the callers say where
        assert all(byte >= 0x80 for byte in data)
        return
    assert varint(value) == data[:end]


@pytest.mark.parametrize("data", ["8000", "ff00", "808000", "ffffffffffffffffff02", "ffffffffffffffffffff01"])
def test_longer_spellings_are_refused(data: str) -> None:
    with pytest.raises(MalformedInput, match=r"shortest form|more than ten bytes"):
        read_varint(bytes.fromhex(data), 0)


@given(value=st.binary(max_size=300))
def test_byte_strings(value: bytes) -> None:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, {"type": "bytes"}, value)
    assert avro_bytes(value) == stream.getvalue()
