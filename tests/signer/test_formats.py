"""Parsers and formatters of the ledger are symmetric and strict; trees agree with their definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.entry import CONTROL, EVENT, INVALID, ZERO, pack_commitments
from schemas.errors import LedgerContradiction, MalformedInput, VerificationError
from schemas.ids import ANCHOR, EVENTS, Offset, Shard
from signer import merkle, strict_base64
from signer.batch import EMPTY, entries_of, extend
from signer.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint
from signer.checkpoint_set import CheckpointSet, LogHead, decode_set, encode_set, encode_sets
from signer.genesis import Genesis, Predecessor, format_genesis, parse_genesis
from signer.note import Note, Signature, VerifierKey, format_note, format_vkey, parse_note, parse_vkey
from signer.origin import Origin, check_deployment, parse_origin, term_at
from signer.staging import Staged, decode_staging, encode_staging, staged_size, staging_key
from signer.tiles import (
    ENTRIES,
    Tile,
    decode_bundle,
    encode_bundle,
    format_tile_path,
    new_tiles,
    parse_tile_path,
    root_of_edge,
    width_at,
)
from stores.bus import Message

hashes = st.binary(min_size=32, max_size=32)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"), min_size=1)
sizes = st.integers(1, 2**62)
deployments = st.from_regex(r"\A[a-z][a-z0-9-]{0,20}(\.[a-z]{2,8}){0,2}(/[a-z0-9_]{1,8})?\Z")
origins = st.builds(
    Origin,
    deployments,
    st.one_of(st.just(Shard(ANCHOR, 0)), st.builds(Shard, st.sampled_from(["events", "control"]), st.integers(0, 255))),
    st.sampled_from(["2025q1", "2026q4", "2026q4.2", "2031q2.10"]),
)
tiles = st.builds(Tile, st.integers(ENTRIES, 63), st.integers(0, 10**13), st.integers(1, 256))
heads = st.lists(
    st.builds(LogHead, origins.map(str), sizes, hashes, hashes),
    min_size=1,
    max_size=8,
    unique_by=lambda head: head.origin,
).map(sorted)


@given(st.binary())
def test_base64(data: bytes) -> None:
    assert strict_base64.decode(strict_base64.encode(data)) == data


@pytest.mark.parametrize("text", ["AA", "A===", "AA==\n", " AA==", "!!AA==", "A_==", "AAAA=", "AA==AA==", "AB=="])
def test_base64_that_is_not(text: str) -> None:
    with pytest.raises(MalformedInput, match="expected base64"):
        strict_base64.decode(text)


def test_stray_bits_are_read_where_others_write_them() -> None:
    assert strict_base64.decode("AB==", canonical=False) == b"\x00"


@given(origins)
def test_origins(origin: Origin) -> None:
    assert parse_origin(str(origin)) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "events/0/2026q4",
        "a/events/00/2026q4",
        "a/events/0/2026q5",
        "a/events/0/2026q4.1",
        "a/deadletter/0/2026q4",
        "a/../events/0/2026q4",
        "a b/events/0/2026q4",
        "a//events/0/2026q4",
        "a/anchor/0/2026q4",
        "a/events/0/2026q4\n",
        "a" * 240 + "/events/0/2026q4",
    ],
)
def test_origins_that_are_not(text: str) -> None:
    with pytest.raises(MalformedInput, match="got origin"):
        parse_origin(text)


def test_terms_and_deployments() -> None:
    assert [term_at(ms) for ms in (0, 1_764_000_000_000, 1_767_225_599_999, 1_767_225_600_000)] == [
        "1970q1",
        "2025q4",
        "2025q4",
        "2026q1",
    ]
    assert check_deployment("audit.example.com/eu") == "audit.example.com/eu"
    for name in ("", "a/", "/a", "a b", "..", "a/./b", "a+b", "x" * 230):
        with pytest.raises(MalformedInput, match="got deployment name"):
            check_deployment(name)


@given(tiles)
def test_tile_paths(tile: Tile) -> None:
    assert parse_tile_path(format_tile_path(tile)) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/1000",
        "tile/00/000",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/01",
        "tile/0/x1/001",
        "tile/data/000",
        "tile/0/000/",
        "/tile/0/000",
    ],
)
def test_tile_paths_that_are_not(path: str) -> None:
    with pytest.raises(MalformedInput, match="got"):
        parse_tile_path(path)


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_new_tiles_are_those_whose_width_changed(old: int, grown: int) -> None:
    new = old + grown
    written = {(tile.level, tile.index): tile.width for tile in new_tiles(old, new)}
    for level in range(3):
        first = (old >> (8 * level)) // 256
        for index in range(first, (new >> (8 * level)) // 256 + 1):
            before, after = width_at(old, level, index), width_at(new, level, index)
            assert written.pop((level, index), 0) == (after if after != before else 0)
    assert written == {}


@given(st.lists(st.binary(max_size=300), max_size=40))
def test_bundles(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert decode_bundle(data, len(entries)) == entries
    with pytest.raises(MalformedInput, match="expected exactly"):
        decode_bundle(data, len(entries) + 1)
    if data:
        with pytest.raises(MalformedInput, match="expected exactly"):
            decode_bundle(data[:-1], len(entries))


def test_an_entry_that_no_bundle_holds() -> None:
    assert decode_bundle(encode_bundle([b"x" * 65_535]), 1) == [b"x" * 65_535]
    with pytest.raises(MalformedInput, match="got an entry of 65536 bytes"):
        encode_bundle([b"x" * 65_536])


@given(names, hashes, st.sampled_from([1, 4]))
def test_vkeys(name: str, public_key: bytes, algorithm: int) -> None:
    key = VerifierKey(name, public_key, algorithm)
    assert parse_vkey(format_vkey(key)) == key


lines = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))


@given(
    st.lists(lines, min_size=1),
    st.lists(
        st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1)), min_size=1, max_size=9
    ),
)
def test_notes(text: list[str], signatures: list[Signature]) -> None:
    note = Note("".join(f"{line}\n" for line in text), tuple(signatures))
    assert parse_note(format_note(note)) == note


@given(lines.filter(bool), sizes, hashes, st.lists(lines.filter(bool), max_size=3))
def test_checkpoints(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert parse_checkpoint(format_checkpoint(checkpoint)) == checkpoint


@pytest.mark.parametrize("size", ["01", "-1", "+1", "1 ", "", "٣", "1_0", "99999999999999999999"])
def test_checkpoint_sizes_that_are_not(size: str) -> None:
    root = strict_base64.encode(ZERO)
    with pytest.raises(MalformedInput, match=r"got checkpoint size|not three or more non-empty lines"):
        parse_checkpoint(f"origin\n{size}\n{root}\n")


def test_checkpoints_that_are_not() -> None:
    root = strict_base64.encode(ZERO)
    for text, match in (
        ("origin\n1\n", "three or more"),
        (f"origin\n1\n{root}", "three or more"),
        (f"\n1\n{root}\n", "non-empty"),
        (f"origin\n1\n{root}\n\n", "non-empty"),
        (f"origin\n1\n{strict_base64.encode(b'x')}\n", "root of 1 bytes"),
        (f"origin\n0\n{root}\n", "for size 0"),
    ):
        with pytest.raises(MalformedInput, match=match):
            parse_checkpoint(text)


previous = st.none() | st.builds(Predecessor, origins.map(str), sizes, hashes, hashes)


@given(origins, hashes, sizes, st.text(), sizes, st.dictionaries(st.text(), st.text()), previous, st.text())
def test_genesis_documents(
    origin: Origin,
    key: bytes,
    opened: int,
    topic: str,
    start: int,
    schemas: dict[str, str],
    before: Predecessor | None,
    reason: str,
) -> None:
    vkey = format_vkey(VerifierKey(str(origin), key))
    fingerprints = tuple(sorted(schemas.items()))
    genesis = Genesis(str(origin), vkey, opened, topic, start, fingerprints, before, reason)
    assert parse_genesis(format_genesis(genesis)) == genesis


def altered(change: Callable[[bytes], bytes]) -> bytes:
    origin = "a.example.com/events/0/2026q4"
    vkey = format_vkey(VerifierKey(origin, ZERO))
    return change(format_genesis(Genesis(origin, vkey, 5, "t", 0, (), None, "r")))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.replace(b'"version": 1', b'"version": 2'),
        lambda data: data.replace(b'"opened_ms": 5', b'"opened_ms": 5.0'),
        lambda data: data.replace(b'"opened_ms": 5', b'"opened_ms": -5'),
        lambda data: data.replace(b'"partition": 0', b'"partition": 1'),
        lambda data: data.replace(b'"start_offset": 0', b'"start_offset": true'),
        lambda data: data.replace(b'"topic": "events",\n', b""),
        lambda data: data.replace(b'  "reason"', b'  "more": 1,\n  "reason"'),
        lambda data: data.replace(b'"schemas": {}', b'"schemas": []'),
        lambda data: data.replace(b'"previous": null', b'"previous": {}'),
        lambda data: b"[" * 100_000,
        lambda data: b"\xff\xfe",
        lambda data: b"null",
    ],
)
def test_genesis_documents_that_are_not(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(MalformedInput, match=r"got a genesis document|got origin|got verifier key"):
        parse_genesis(altered(change))


def test_a_genesis_key_bears_the_name_of_its_log() -> None:
    origin = "a.example.com/events/0/2026q4"
    other = format_vkey(VerifierKey("a.example.com", ZERO))
    with pytest.raises(MalformedInput, match=r"expected one named 'a.example.com/events/0/2026q4'"):
        parse_genesis(format_genesis(Genesis(origin, other, 5, "t", 0, (), None, "r")))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), heads, hashes)
def test_checkpoint_sets(sequence: int, time_ms: int, states: list[LogHead], token: bytes) -> None:
    entry = CheckpointSet(sequence, time_ms, tuple(states), token)
    data = encode_set(entry)
    assert decode_set(data) == entry
    assert encode_sets(sequence, time_ms, states, token) == [data]
    for bad in (data[:-1], data + b"\x00", b"\x02" + data[1:], data[:1] + b"\x01" + data[2:]):
        with pytest.raises(MalformedInput, match="got"):
            decode_set(bad)


def test_a_set_over_many_logs_is_split() -> None:
    states = [LogHead(f"a.example.com/events/{number}/2026q4", 1, ZERO, ZERO) for number in range(2000)]
    entries = encode_sets(7, 9, states)
    assert len(entries) == 4
    assert max(len(entry) for entry in entries) <= 65_535
    decoded = [decode_set(entry) for entry in entries]
    assert {(entry.sequence, entry.time_ms) for entry in decoded} == {(7, 9)}
    assert [head for entry in decoded for head in entry.heads] == sorted(states)
    with pytest.raises(MalformedInput, match="expected at most 65535"):
        encode_set(CheckpointSet(7, 9, tuple(sorted(states))))


@given(sizes, sizes, st.lists(st.tuples(st.text("abc/.x0123", max_size=40), st.binary(max_size=99)), max_size=9))
def test_staging(old: int, size: int, objects: list[tuple[str, bytes]]) -> None:
    staged = Staged(old, size, tuple(objects))
    data = encode_staging(staged)
    assert decode_staging(data) == staged
    assert staged_size(staging_key("a/events/0/2026q4", size, ZERO)) == size
    for bad in (data[:-1], data + b"\x00", b"A" + data[1:]):
        with pytest.raises(MalformedInput, match="got a staging object"):
            decode_staging(bad)


# --- trees


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it is written there."""
    if len(leaves) < 2:
        return leaves[0] if leaves else merkle.EMPTY_ROOT
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node(by_definition(leaves[:split]), by_definition(leaves[split:]))


@given(st.lists(hashes, max_size=70))
def test_roots(leaves: list[bytes]) -> None:
    root = by_definition(leaves)
    assert merkle.root_of(leaves) == root
    frontier = merkle.Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    assert frontier.root() == root
    whole = merkle.Frontier()
    aligned = len(leaves) // 8 * 8
    for at in range(0, aligned, 8):
        whole.append_subtree(merkle.root_of(leaves[at : at + 8]), 8)
    assert whole.root(leaves[aligned:]) == root


def test_a_frontier_takes_only_what_fits() -> None:
    frontier = merkle.Frontier()
    frontier.append(ZERO)
    with pytest.raises(MalformedInput, match="expected an aligned power of 2"):
        frontier.append_subtree(ZERO, 2)
    with pytest.raises(MalformedInput, match="expected fewer than its last subtree"):
        frontier.root([ZERO])


@given(st.integers(1, 300), st.data())
def test_proofs_hold_and_break(size: int, data: st.DataObject) -> None:
    leaves = [merkle.leaf(b"%d" % index) for index in range(size)]

    def full(start: int, end: int) -> bytes:
        return merkle.root_of(leaves[start:end])

    root = merkle.root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = [merkle.range_hash(start, end, full) for start, end in merkle.inclusion_ranges(index, size)]
    merkle.verify_inclusion(index, size, leaves[index], proof, root)
    broken: list[list[bytes]] = [[*proof, ZERO], proof[:-1] if proof else [ZERO]]
    broken += [[*proof[:at], ZERO, *proof[at + 1 :]] for at in range(len(proof))]
    for bad in broken:
        with pytest.raises(VerificationError, match="inclusion of leaf"):
            merkle.verify_inclusion(index, size, leaves[index], bad, root)
    old = data.draw(st.integers(1, size))
    proof = [merkle.range_hash(start, end, full) for start, end in merkle.consistency_ranges(old, size)]
    merkle.verify_consistency(old, size, merkle.root_of(leaves[:old]), root, proof)
    with pytest.raises(VerificationError, match="consistency of size"):
        merkle.verify_consistency(old, size, merkle.root_of(leaves[:old]), root, [*proof, ZERO])
    with pytest.raises(VerificationError, match="consistency of size"):
        merkle.verify_consistency(old, size, ZERO, root, proof)


def test_ranges_outside_the_tree() -> None:
    with pytest.raises(MalformedInput, match="got leaf 3 of a tree of size 3"):
        merkle.inclusion_ranges(3, 3)
    with pytest.raises(MalformedInput, match="got sizes 4 and 3"):
        merkle.consistency_ranges(4, 3)


# --- batches


def message(offset: int, time_ms: int = 5, **changes: Any) -> Message:
    header = pack_commitments([(1, bytes((offset % 256,)) * 32)])
    return Message(Shard(EVENTS, 0), Offset(offset), time_ms, b"", b"", 1, b"i" * 16, header)._replace(**changes)


@given(st.lists(st.integers(0, 300), max_size=6))
def test_the_log_is_the_same_in_any_batches(counts: list[int]) -> None:
    entries = [b"entry %d" % index for index in range(sum(counts))]
    written: dict[str, bytes] = {}
    head, at = EMPTY, 0
    for count in counts:
        batch = extend(head, entries[at : at + count])
        head, at = batch.head, at + count
        written |= dict(batch.objects)
        leaves = merkle.leaves(entries[:at])
        assert batch.root == merkle.root_of(leaves) == root_of_edge(head.edge)
    whole = extend(EMPTY, entries)
    assert (whole.head.chain, whole.head.entries, whole.root) == (head.chain, head.entries, head.root())
    assert dict(whole.objects).items() <= written.items()


def test_kinds_and_strays() -> None:
    for kind in (EVENT, CONTROL):
        entries = entries_of([message(3), message(4, commitments=b"short", headers=(("c", b"short"),))], kind, 3, 0)
        assert [entry[1] for entry in entries] == [kind, INVALID]


@pytest.mark.parametrize(
    "header",
    [b"", b"\x01" * 32, b"\x01" * 34, b"\x02" * 33 + b"\x01" * 33, b"\x01" * 66, b"\x00" * 33, b"\x01" * 33 * 33],
)
def test_headers_that_are_no_commitments(header: bytes) -> None:
    assert entries_of([message(0, commitments=header)], EVENT, 0, 0)[0][1] == INVALID


def test_gaps_and_clocks() -> None:
    with pytest.raises(LedgerContradiction, match="got offset 5 after 3, expected 4"):
        entries_of([message(3), message(5)], EVENT, 3, 0)
    with pytest.raises(LedgerContradiction, match="got offset 3 after 1, expected 2"):
        entries_of([message(3)], EVENT, 2, 0)
    with pytest.raises(LedgerContradiction, match="got bus time 4, 61 s before the highest time in the log, 61000"):
        entries_of([message(3, 61_000), message(4, 4)], EVENT, 3, 0)
    with pytest.raises(LedgerContradiction, match="got bus time 5, 60 s before the highest time in the log, 60006"):
        entries_of([message(3)], EVENT, 3, 60_006)
    assert len(entries_of([message(3, 60_005), message(4, 5), message(5, 60_004)], EVENT, 3, 0)) == 3
