"""Shards and event ids: parse and format are inverses, and nothing else parses."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedInput
from schemas.ids import (
    ANCHOR,
    NAMESPACE,
    TOPICS,
    EventId,
    Shard,
    event_id,
    format_event_id,
    parse_event_id,
    parse_shard,
)

SHARDS = st.builds(Shard, st.sampled_from((*TOPICS, ANCHOR)), st.integers(0, 10**6))
IDS = st.binary(min_size=16, max_size=16).map(EventId)
TEXTS = st.text(max_size=8)


@given(shard=SHARDS)
def test_shards_both_ways(shard: Shard) -> None:
    assert parse_shard(str(shard)) == shard


@given(text=st.text(max_size=12) | st.text("0123456789").map("events/{}".format) | SHARDS.map(lambda one: f"{one} "))
def test_a_shard_has_one_spelling(text: str) -> None:
    try:
        shard = parse_shard(text)
    except MalformedInput:
        return
    assert str(shard) == text


@pytest.mark.parametrize("text", ["", "events", "events/", "events/01", "events/-1", "events/١", "Events/0", "x/0"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(MalformedInput, match="got shard"):
        parse_shard(text)


@given(value=IDS)
def test_event_ids_both_ways(value: EventId) -> None:
    assert parse_event_id(format_event_id(value)) == value
    assert format_event_id(value) == str(uuid.UUID(bytes=bytes(value)))


@given(text=st.text(max_size=40) | IDS.map(lambda value: format_event_id(value).upper()) | IDS.map(lambda v: v.hex()))
def test_an_event_id_has_one_spelling(text: str) -> None:
    try:
        value = parse_event_id(text)
    except MalformedInput:
        return
    assert format_event_id(value) == text


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_event_ids_have_16_bytes(size: int) -> None:
    with pytest.raises(MalformedInput, match=f"got an event id of {size} bytes, expected 16"):
        format_event_id(bytes(size))


NAMES = st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, st.integers(0, 20))


@given(one=NAMES, other=NAMES)
def test_events_have_the_same_id_when_they_are_the_same(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    assert (event_id(*one) == event_id(*other)) == (one == other)
    made = uuid.UUID(bytes=bytes(event_id(*one)))
    assert (made.version, made.variant) == (5, uuid.RFC_4122)


def test_parts_do_not_run_into_each_other() -> None:
    assert event_id("ab", "c", "", "", 0) != event_id("a", "bc", "", "", 0)
    assert event_id("a", "b", "c", "d", 1) != event_id("a", "b", "c", "d1", 0)


def test_the_namespace_never_changes() -> None:
    assert str(NAMESPACE) == "6f1d9a54-3c0e-5b8a-9d5e-0a4f6d1c7b20"


def test_text_that_is_not_unicode_still_has_an_id() -> None:
    assert event_id("acme", "x", "\ud800", "prompt", 0) != event_id("acme", "x", "\ud801", "prompt", 0)
