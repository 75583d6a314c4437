"""The pages of an object, and the cursor of a bucket: any content, any cut, both directions."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.poll.object_cursor import Listed, Part, Reached, Sum, format_reached, parse_reached, unread
from collector.poll.object_pages import Pages
from schemas.errors import LedgerContradiction, LimitExceeded, MalformedInput


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def taken(pages: Pages) -> list[bytes]:
    found = []
    while not pages.exhausted:
        found.append(pages.take())
    return found


LINES = st.lists(st.integers(0, 400).map(lambda size: json.dumps("x" * size).encode() + b"\n"), max_size=20)


@given(LINES, st.integers(1, 900), st.integers(1, 300), st.lists(st.booleans(), max_size=3))
def test_pages_put_together_are_the_content_however_it_is_stored(
    lines: list[bytes], page: int, chunk: int, packed: list[bool]
) -> None:
    content = b"".join(lines)
    stored = content
    if packed:
        middle = len(content) // 2
        stored = gzip.compress(content[:middle]) + gzip.compress(content[middle:])
    found = taken(Pages(chunks(stored, chunk), page_bytes=page))
    assert b"".join(found) == content
    assert all(one.endswith(b"\n") for one in found)
    assert all(len(one) <= max(page, *map(len, lines)) for one in found)


@given(LINES, st.integers(1, 900), st.integers(0, 20))
def test_pages_go_on_where_they_stopped(lines: list[bytes], page: int, at: int) -> None:
    content = b"".join(lines)
    skip = sum(map(len, lines[:at]))
    pages = Pages(chunks(gzip.compress(content), 50), skip, page_bytes=page)
    assert b"".join(taken(pages)) == content[skip:]
    assert pages.offset == max(skip, len(content))


@given(st.binary(max_size=300), st.integers(1, 50), st.integers(1, 50))
def test_any_bytes_are_pages_or_damaged_gzip(data: bytes, page: int, chunk: int) -> None:
    try:
        assert b"".join(taken(Pages(chunks(data, chunk), page_bytes=page))) == data
    except MalformedInput:
        assert data.startswith(b"\x1f\x8b")


def test_what_is_given_back_comes_again() -> None:
    pages = Pages(iter([b"1\n2\n3\n"]), page_bytes=100)
    assert pages.take() == b"1\n2\n3\n"
    pages.give_back(b"3\n")
    assert (pages.offset, pages.take()) == (4, b"3\n")


def test_a_record_beyond_the_limit_is_refused() -> None:
    pages = Pages(iter([b"1\n", b'"' + b"x" * 5000 + b'"\n']), page_bytes=100, record_bytes=1000)
    with pytest.raises(LimitExceeded, match="more than 1000 bytes"):
        taken(pages)


def test_a_bomb_costs_a_page_and_not_what_it_inflates_to() -> None:
    bomb = gzip.compress(b"0\n" * (40 << 20))
    tracemalloc.start()
    pages = Pages(chunks(bomb, 1 << 20))
    first = pages.take()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(first) < (2 << 20) + 1
    assert peak < 20 << 20


LISTED = st.builds(Listed, st.integers(0, 1 << 40), st.text(), st.text(), st.integers(0))
REACHED = st.builds(
    Reached,
    since=st.integers(0, 1 << 40),
    low=st.integers(0, 1 << 40),
    history=st.none() | st.text(),
    mark=st.tuples(st.integers(0, 1 << 40), st.text()),
    width=st.integers(1, 9999),
    sums=st.dictionaries(st.integers(-1, 1 << 30), st.builds(Sum, st.integers(0, 99), st.integers(0, (1 << 64) - 1))),
    part=st.none() | st.builds(Part, LISTED, st.integers(0)),
)


@given(REACHED)
def test_a_cursor_comes_back_as_it_was_written(reached: Reached) -> None:
    assert parse_reached(format_reached(reached)) == reached


@given(st.text() | REACHED.map(lambda reached: format_reached(reached) + " "))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(LedgerContradiction, match="expected one that we wrote"):
        parse_reached(text)


DIGESTS = st.sets(st.text().map(lambda key: Listed(0, key, "", 1).digest), max_size=30)


@given(DIGESTS, st.data())
def test_what_the_sums_do_not_know_is_found(listed: set[int], data: st.DataObject) -> None:
    new = data.draw(st.sets(st.sampled_from(sorted(listed)), max_size=5)) if listed else set()
    known = Sum()
    for digest in listed - new:
        known = known.plus(Sum(1, digest))
    missing, guessed = unread(known, array("Q", sorted(listed)))
    assert missing >= new
    assert guessed == (len(new) > 2)
    assert guessed or missing == new
