"""Cutting JSON bodies: every byte in exactly one unit, every value exact, whatever comes in."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.json_units import encode_content, parse_json, split_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
FRAGMENTS = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r\n", b" ", b"null", b"NaN", b"1e999"])
    | st.sampled_from([b'{"a":1}', b'"\\ud800"', b"\xef\xbb\xbf", b"\xff", b"[1", b"-", b"true", b"\x00", b'{"a":[1,'])
    | st.binary(max_size=6),
    max_size=30,
).map(b"".join)


@given(st.binary() | FRAGMENTS)
@example(b"[" * 3000)
@example(b'{"a":' * 3000)
@example(b'[{"a":1}\n{"b":2}]')
@example(b'{"a":1,\n{"b":2}\n')
def test_any_bytes_are_cut_without_losing_one(body: bytes) -> None:
    units = split_json(body)
    at = 0
    between = b""
    for unit in units:
        start = body.index(unit.source, at)
        between += body[at:start]
        at = start + len(unit.source)
        assert unit.source
        assert unit.error == "" or unit.value is None
    between += body[at:]
    assert between.replace(b"\xef\xbb\xbf", b"", 1).strip(b" \t\r\n,[]") == b""


@given(st.lists(OBJECTS, max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_the_elements_of_an_array_are_its_units(objects: list[Any], indent: int | None, ascii_only: bool) -> None:
    body = json.dumps(objects, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    units = split_json(body)
    if not any(unit.error for unit in units):  # lone surrogates as raw bytes are not UTF-8
        assert [unit.value for unit in units] == objects
        assert [json.loads(unit.source) for unit in units] == objects


@given(st.lists(OBJECTS, max_size=5), st.sampled_from(["\n", "\r\n", "\n\n", " ", ""]))
def test_lines_and_concatenated_values_are_units(objects: list[Any], between: str) -> None:
    units = split_json(between.join(json.dumps(one) for one in objects).encode())
    assert [unit.value for unit in units] == objects


def test_a_broken_line_costs_itself_alone() -> None:
    units = split_json(b'{"a":1}\n{"b":\n{"c":3}\nnull\n\xff\n{"d":4}')
    assert [unit.source for unit in units] == [b'{"a":1}', b'{"b":', b'{"c":3}', b"null", b"\xff", b'{"d":4}']
    assert [bool(unit.error) for unit in units] == [False, True, False, False, True, False]


def test_a_broken_array_keeps_what_came_before() -> None:
    units = split_json(b'[{"a":1}, {"b":}, {"c":3}]')
    assert [(unit.source, bool(unit.error)) for unit in units] == [(b'{"a":1}', False), (b'{"b":}, {"c":3}]', True)]


def test_a_byte_that_is_not_utf8_is_noticed_in_a_body_of_ascii() -> None:
    (unit,) = split_json(b'{"a":"\xff"}')
    assert (unit.value, unit.error) == (None, "got bytes that are not UTF-8 at byte 6")


def test_a_line_that_is_not_utf8_says_so_and_the_others_are_read() -> None:
    first, second, third = split_json(b'{"a":"\xc3\xa4"}\n{"b":"\xff"}\n{"c":1}')
    assert (first.value, third.value) == ({"a": "ä"}, {"c": 1})
    assert (second.source, second.error) == (b'{"b":"\xff"}', "got bytes that are not UTF-8 at byte 6")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('"\\ud800"', "\ud800"),
        ('{"a":1,"a":2}', {"a": 2}),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_what_json_in_the_wild_holds_stays_exact(text: str, value: object) -> None:
    assert [unit.value for unit in split_json(f'{{"x": {text}}}'.encode())] == [{"x": value}]


def test_a_hostile_body_takes_linear_time() -> None:
    body = b'{"a":[1,\n' * 60_000
    units = split_json(body)
    assert b"".join(unit.source for unit in units).replace(b"\n", b"") == body.replace(b"\n", b"")


@given(VALUES)
def test_what_was_parsed_can_be_written(value: Any) -> None:
    encoded = encode_content(value)
    assert json.loads(encoded) == value
    encoded.decode("utf-8")


@pytest.mark.parametrize("value", [10**30, "\ud800", {"a": [{"\udfff": 2**64}]}])
def test_what_the_fast_encoder_refuses_is_written_all_the_same(value: object) -> None:
    assert json.loads(encode_content(value)) == value


def test_nesting_up_to_the_parsers_limit_is_written() -> None:
    value: Any = "deep"
    for _ in range(5000):
        value = {"a": [value, 1], "b": 2}
    encoded = encode_content(value)
    assert encoded.startswith(b'{"a":[{"a":[')
    assert encoded.count(b'"b":2') == 5000


@pytest.mark.parametrize("source", [b"", b"{", b"{} {}", b"\xff", b'{"a":1}x'])
def test_bytes_that_are_not_one_value_are_an_error(source: bytes) -> None:
    unit = parse_json(source)
    assert unit.error
    assert unit.source == source


@given(VALUES)
def test_one_value_parses_as_it_was_written(value: Any) -> None:
    unit = parse_json(json.dumps(value).encode())
    assert unit.error == ""
    assert unit.value == value or (isinstance(value, float) and math.isnan(value))
