"""Dead letters: the whole record, both ways, readable by others."""

from __future__ import annotations

import io
import random
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_keys import MemoryKeys
from sealed_records import messages, sealed, strays

from schemas.entry import valid_commitments
from schemas.errors import MalformedInput
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from schemas.metadata import schema
from sinks.deadletter import DeadLetter, decode_deadletter, encode_deadletter, outgoing
from stores.bus import Message

SHARD = Shard(EVENTS, 3)
SCHEMA: Any = schema("deadletter.v1")
RECORDS = messages([*sealed(MemoryKeys(), 2), *strays()], SHARD, start=70)

letters = st.builds(
    DeadLetter,
    st.text(max_size=10),
    st.text(max_size=40),
    st.integers(0, 2**48),
    st.builds(
        Message,
        st.builds(Shard, st.sampled_from([EVENTS, CONTROL]), st.integers(0, 256)),
        st.integers(0, 2**62).map(Offset),
        st.integers(0, 2**48),
        st.binary(max_size=20),
        st.binary(max_size=200),
        st.integers(-1, 255),
        st.binary(max_size=16),
        st.binary(max_size=70),
        st.lists(
            st.tuples(st.binary(max_size=5).map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.binary())
        ).map(tuple),
    ),
    st.just(True),
)


@given(letters)
def test_a_letter_reads_back_as_it_was_written(letter: DeadLetter) -> None:
    data = encode_deadletter(letter)
    assert decode_deadletter(data) == letter
    assert encode_deadletter(decode_deadletter(data)) == data
    plain: Any = fastavro.schemaless_reader(io.BytesIO(data), SCHEMA, None)
    assert (plain["offset"], plain["value"]) == (letter.message.offset, letter.message.value)


@pytest.mark.parametrize("message", RECORDS, ids=lambda message: str(message.offset))
def test_a_letter_is_a_message_of_its_own(message: Message) -> None:
    letter = DeadLetter("splunk", "too large", 1_764_000_000_000, message)
    sent = outgoing(letter)
    assert (sent.topic, sent.key) == (DEADLETTER, b"events/3")
    assert len(sent.event_id) == 16
    assert len(sent.fingerprint) == 8
    assert sent.event_id == (message.event_id or sent.event_id)
    assert sent.commitments == message.commitments
    assert valid_commitments(sent.commitments) or message.headers or not message.commitments
    assert decode_deadletter(sent.value) == letter
    assert outgoing(letter) == sent


def test_a_letter_without_its_record_keeps_the_address() -> None:
    bare = decode_deadletter(encode_deadletter(DeadLetter("splunk", "too large", 5, RECORDS[-1], whole=False)))
    assert (bare.message.shard, bare.message.offset, bare.reason) == (SHARD, RECORDS[-1].offset, "too large")
    assert (bare.message.key, bare.message.value, bare.message.headers) == (b"", b"", ())


def test_cut_and_changed_letters_are_refused_or_show() -> None:
    letter = DeadLetter("splunk", "too large", 5, RECORDS[3])
    data = encode_deadletter(letter)
    rng = random.Random(3)
    for at in range(len(data)):
        with pytest.raises(MalformedInput, match="not a dead letter"):
            decode_deadletter(data[:at])
        changed = data[:at] + bytes((data[at] ^ (1 << rng.randrange(8)),)) + data[at + 1 :]
        try:
            found = decode_deadletter(changed)
        except MalformedInput:
            continue
        assert found != letter
    with pytest.raises(MalformedInput, match="as it is written"):
        decode_deadletter(data + b"\x00")


@given(st.binary(max_size=100))
def test_noise_is_no_letter(noise: bytes) -> None:
    try:
        letter = decode_deadletter(noise)
    except MalformedInput:
        return
    assert encode_deadletter(letter) == noise


@pytest.mark.parametrize("message", RECORDS, ids=lambda message: str(message.offset))
def test_a_letter_that_two_processes_write_is_one_letter(message: Message) -> None:
    """Sink, shard and offset say that it is the same; nothing that names it depends on who wrote it, or when."""
    first = DeadLetter("archive", "odd one", 1_764_000_000_000, message)
    second = DeadLetter("archive", "odd one, in other words", 1_764_000_007_777, message)
    assert first.identity == second.identity == ("archive", SHARD, message.offset)
    assert decode_deadletter(outgoing(second).value).identity == first.identity
    one, other = outgoing(first), outgoing(second)
    assert one._replace(value=b"") == other._replace(value=b"")


def test_letters_of_other_sinks_and_offsets_are_others() -> None:
    """A stray has no id of its own: its letter's is made of the address. A record's letter has the record's."""
    stray = RECORDS[-1]._replace(event_id=b"")
    letters = [
        DeadLetter(sink, "odd one", 0, stray._replace(offset=Offset(offset), shard=Shard(EVENTS, partition)))
        for sink in ("archive", "clickhouse")
        for offset in (1, 2)
        for partition in (0, 1)
    ]
    assert len({letter.identity for letter in letters}) == 8
    assert len({outgoing(letter).event_id for letter in letters}) == 8
    assert {len(outgoing(letter).event_id) for letter in letters} == {16}
    record = RECORDS[0]
    assert outgoing(DeadLetter("archive", "odd one", 0, record)).event_id == record.event_id
