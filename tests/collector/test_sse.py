"""Server-sent events: what the standard allows, however the network cuts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.gateways.sse import ServerSentEvent, SseParser, parse_sse

PIECES = st.sampled_from(
    [
        *(b"data: {}", b"data:{}", b"data", b"data:  two", b"event: ping", b"event:x", b": comment", b":", b"id: 7"),
        *(b"\n", b"\r\n", b"\r", b"\n\n", b"\xef\xbb\xbf", "data: ☀".encode(), b"data: \xff\xfe", b"retry: 10"),
    ]
)


def in_chunks(body: bytes, sizes: list[int]) -> list[ServerSentEvent]:
    parser, found, at = SseParser(), [], 0
    for size in sizes:
        found += parser.feed(body[at : at + size])
        at += size
    return found + parser.feed(body[at:]) + parser.close()


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"event: a\ndata: 1\n\n", [("a", "1", True)]),
        (b"event:a\ndata:1\n\n", [("a", "1", True)]),
        (b"event: a\r\ndata: 1\r\n\r\n", [("a", "1", True)]),
        (b"event: a\rdata: 1\r\r", [("a", "1", True)]),
        (b": hello\n\n:\ndata: 1\n: in between\n\n", [("", "1", True)]),
        (b"data: {\ndata: }\n\n", [("", "{\n}", True)]),
        (b"data: 1  \n\n", [("", "1  ", True)]),
        (b"data:  1\n\n", [("", " 1", True)]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("", "1", True)]),
        (b"data\n\n", [("", "", True)]),
        (b"event: a\n\ndata: 1\n\n", [("", "1", True)]),
        (b"id: 3\nretry: 10\ndata: 1\nother: x\n\n", [("", "1", True)]),
        (b"data: 1\n\ndata: 2", [("", "1", True), ("", "2", False)]),
        (b"data: 1\n", [("", "1", False)]),
        ("data: \u2028 \x85 \x0b\n\n".encode(), [("", "\u2028 \x85 \x0b", True)]),
        (b"data: \xff\n\n", [("", "\ufffd", True)]),
        (b"", []),
    ],
)
def test_spellings_that_the_standard_allows(body: bytes, events: list[tuple[str, str, bool]]) -> None:
    assert parse_sse(body) == [ServerSentEvent(*event) for event in events]


@given(body=st.lists(PIECES, max_size=30).map(b"".join), sizes=st.lists(st.integers(0, 9), max_size=40))
def test_chunks_make_no_difference(body: bytes, sizes: list[int]) -> None:
    assert in_chunks(body, sizes) == parse_sse(body)


@given(body=st.binary(max_size=300))
def test_any_bytes_give_an_answer(body: bytes) -> None:
    assert in_chunks(body, [1] * len(body)) == parse_sse(body)


def test_a_line_of_many_chunks_is_read_once() -> None:
    parser = SseParser()
    parser.feed(b"data: ")
    for _ in range(200_000):
        parser.feed(b"x" * 50)
    assert len(parser.feed(b"\n\n")[0].data) == 10_000_000
