"""Bodies of log lines: JSON and text side by side, every byte in one line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.gateways import text_lines
from collector.gateways.text_lines import split_lines


def test_lines_of_json_and_of_text() -> None:
    found = split_lines(b'\xef\xbb\xbf{"a": 1}\r\n\r\nplain \xc3\xa9\n{"a": \n[2]\n\xff\n')
    assert [line.source for line in found] == [b'{"a": 1}', b"plain \xc3\xa9", b'{"a": ', b"[2]", b"\xff"]
    assert [line.value for line in found] == [{"a": 1}, None, None, [2], None]
    assert [line.text for line in found] == ["", "plain é", '{"a": ', "", ""]
    assert found[-1].error == "got bytes that are not UTF-8 at byte 0"


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_and_an_object_over_several_lines_are_json(indent: int | None) -> None:
    records = [{"a": [1, "x\ny"]}, {"b": 2}]
    found = split_lines(json.dumps(records, indent=indent).encode())
    assert [line.value for line in found] == records
    (one,) = split_lines(json.dumps(records[0], indent=2).encode())
    assert one.value == records[0]


def test_too_many_lines_are_kept_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINES", 3)
    found = split_lines(b"a\nb\nc\nd\ne\n")
    assert [line.source for line in found] == [b"a", b"b", b"c", b"d\ne\n"]
    assert "send smaller batches" in found[-1].error
    assert [line.source for line in split_lines(b"a\nb\nc")] == [b"a", b"b", b"c"]


@given(st.lists(st.binary(max_size=12), max_size=12).map(b"\n".join))
def test_every_byte_is_in_one_line(body: bytes) -> None:
    found = b"".join(line.source for line in split_lines(body))
    marks = b" \t\r\n\x0b\x0c\xef\xbb\xbf[],"
    assert found.translate(None, marks) == body.translate(None, marks)


def test_nesting_is_an_answer() -> None:
    (line,) = split_lines(b'{"a":' * 100_000)
    assert line.text
