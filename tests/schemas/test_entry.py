"""Ledger entries: both ways, and any change of a byte is refused or means something else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.entry import (
    CONTROL,
    EVENT,
    GENESIS,
    INVALID,
    Entry,
    chain_next,
    decode_entry,
    encode_entry,
    invalid_commitments,
    leaf_hash,
    pack_commitments,
    unpack_commitments,
    valid_commitments,
)
from schemas.errors import MalformedInput

U64 = st.integers(0, 2**64 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
PAIRS = st.dictionaries(st.integers(1, 255), DIGESTS, min_size=1, max_size=32)
ENTRIES = st.builds(
    Entry,
    st.sampled_from([GENESIS, EVENT, CONTROL, INVALID]),
    U64,
    U64,
    PAIRS.map(lambda pairs: pack_commitments(list(pairs.items()))),
)


@given(entry=ENTRIES)
def test_entries_both_ways(entry: Entry) -> None:
    data = encode_entry(entry)
    assert decode_entry(data) == entry
    assert len(data) == 19 + len(entry.commitments)


@given(entry=ENTRIES, at=st.integers(min_value=0), value=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_means_something_else(entry: Entry, at: int, value: int) -> None:
    data = bytearray(encode_entry(entry))
    data[at % len(data)] ^= value
    try:
        changed = decode_entry(bytes(data))
    except MalformedInput:
        return
    assert changed != entry
    assert encode_entry(changed) == data


@given(data=st.binary(max_size=120) | st.binary(max_size=70).map(lambda tail: b"\x01\x01" + bytes(16) + tail))
def test_any_bytes_are_an_entry_or_malformed(data: bytes) -> None:
    try:
        entry = decode_entry(data)
    except MalformedInput:
        return
    assert encode_entry(entry) == data


@given(entry=ENTRIES, more=st.binary(min_size=1, max_size=40), less=st.integers(1, 200))
def test_lengths_are_exact(entry: Entry, more: bytes, less: int) -> None:
    data = encode_entry(entry)
    for wrong in (data + more, data[:-less]):
        with pytest.raises(MalformedInput, match=r"got an entry of|got .* bytes of commitments"):
            decode_entry(wrong)


@given(pairs=PAIRS)
def test_commitments_both_ways(pairs: dict[int, bytes]) -> None:
    header = pack_commitments(list(pairs.items()))
    assert unpack_commitments(header) == pairs
    assert list(unpack_commitments(header)) == sorted(pairs)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        bytes(33),
        b"\x01" + bytes(31),
        b"\x01" + bytes(33),
        (b"\x02" + bytes(32)) + (b"\x01" + bytes(32)),
        (b"\x01" + bytes(32)) * 2,
        b"".join(bytes([kind]) + bytes(32) for kind in range(1, 34)),
    ],
    ids=["empty", "type 0", "short", "long", "unsorted", "twice", "33 of them"],
)
def test_commitments_that_are_refused(header: bytes) -> None:
    assert not valid_commitments(header)
    with pytest.raises(MalformedInput, match="bytes of commitments, expected n × 33, sorted by part type"):
        unpack_commitments(header)


@pytest.mark.parametrize("pairs", [[], [(1, bytes(32)), (1, bytes(32))], [(0, bytes(32))], [(1, bytes(31))]])
def test_pairs_that_cannot_be_packed(pairs: list[tuple[int, bytes]]) -> None:
    with pytest.raises(MalformedInput, match="got commitments of part types"):
        pack_commitments(pairs)


HEADERS = st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=3)
STRAY = st.tuples(st.binary(max_size=3), st.binary(max_size=3), HEADERS)


@given(one=STRAY, other=STRAY)
def test_different_messages_commit_to_different_bytes(
    one: tuple[bytes, bytes, list[tuple[str, bytes]]], other: tuple[bytes, bytes, list[tuple[str, bytes]]]
) -> None:
    same = one[:2] == other[:2] and sorted(one[2]) == sorted(other[2])
    assert (invalid_commitments(*one) == invalid_commitments(*other)) == same
    assert valid_commitments(invalid_commitments(*one))


def test_a_header_name_that_is_not_unicode_is_committed_to() -> None:
    names = [b"\xff".decode("utf-8", "surrogateescape"), b"\xfe".decode("utf-8", "surrogateescape")]
    first, second = (invalid_commitments(b"", b"", [(name, b"")]) for name in names)
    assert first != second


@given(index=U64, previous=DIGESTS, leaf=DIGESTS)
def test_the_chain_takes_in_index_previous_and_leaf(index: int, previous: bytes, leaf: bytes) -> None:
    expected = hashlib.sha256(b"affidavit/chain/v1\x00" + index.to_bytes(8, "big") + previous + leaf).digest()
    assert chain_next(index, previous, leaf) == expected


def test_leaf_and_entry_domains_differ() -> None:
    assert leaf_hash(b"") == bytes.fromhex("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")
