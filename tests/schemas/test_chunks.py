"""The manifest of a part that repeats earlier ones: strict in both directions, and read by any Avro library."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chunks import (
    MAX_PIECES,
    OWN,
    Manifest,
    Piece,
    Place,
    assemble,
    decode_manifest,
    encode_manifest,
    nothing_held,
)
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from schemas.ids import EventId, KeyId
from schemas.metadata import schema
from schemas.parts import CHUNKS, CONTENT, SOURCE, Opener, SealedPart, Sealer, SubjectKey, part_key

EVENT = EventId(bytes(range(16)))
KEY = SubjectKey(KeyId(bytes(16)), bytes(range(32)))
FIRST, SECOND = Place(0, 7), Place(2, 9)
HELD = {FIRST: b"the first record", SECOND: b"and another one"}
MANIFEST = Manifest((FIRST, SECOND), (Piece(0, 4, 5), Piece(OWN, 0, 2), Piece(1, 0, 3), Piece(OWN, 2, 1)), b"--!")
WHOLE = b"first--and!"


@st.composite
def manifests(draw: st.DrawFn) -> tuple[Manifest, int]:
    places = sorted(draw(st.sets(st.tuples(st.integers(0, 300), st.integers(0, 2**40)), max_size=6)))
    numbers = st.integers(OWN, len(places) - 1)
    wanted = draw(st.permutations([*range(len(places)), *draw(st.lists(numbers, max_size=12))]))
    pieces, own_end = [], 0
    for record in wanted:
        length = draw(st.integers(1, 300))
        pieces.append(Piece(record, own_end if record == OWN else draw(st.integers(0, 2**30)), length))
        own_end += length if record == OWN else 0
    own = draw(st.binary(min_size=own_end, max_size=own_end))
    return Manifest(tuple(map(Place._make, places)), tuple(pieces), own), sum(piece.length for piece in pieces)


@given(manifests())
def test_both_directions(given: tuple[Manifest, int]) -> None:
    manifest, size = given
    assert decode_manifest(encode_manifest(manifest), size) == manifest


@given(manifests())
def test_an_avro_library_reads_it(given: tuple[Manifest, int]) -> None:
    manifest, _ = given
    stream = io.BytesIO(encode_manifest(manifest))
    found: Any = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema("chunks.v1")), None)
    assert stream.read() == b""
    assert [tuple(place.values()) for place in found["records"]] == list(manifest.records)
    assert [tuple(piece.values()) for piece in found["pieces"]] == list(manifest.pieces)
    assert found["own"] == manifest.own


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_a_manifest_or_refused(data: bytes, size: int) -> None:
    try:
        manifest = decode_manifest(data, size)
    except MalformedInput:
        return
    assert encode_manifest(manifest) == data


@given(manifests(), st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_gives_another_manifest_or_none(given: tuple[Manifest, int], at: int, flip: int) -> None:
    manifest, size = given
    data = bytearray(encode_manifest(manifest))
    data[at % len(data)] ^= flip
    try:
        found = decode_manifest(bytes(data), size)
    except MalformedInput:
        return
    assert found != manifest
    assert encode_manifest(found) == data


@pytest.mark.parametrize(
    ("manifest", "size", "message"),
    [
        (MANIFEST, 12, "got pieces of 11 bytes"),
        (MANIFEST._replace(own=b"--!?"), 11, "3 of 4 own"),
        (MANIFEST._replace(records=(SECOND, FIRST)), 11, "expected them ascending"),
        (MANIFEST._replace(records=(FIRST, FIRST)), 11, "expected them ascending"),
        (MANIFEST._replace(records=(FIRST, SECOND, Place(3, 0))), 11, "and 2 of 3 records"),
        (MANIFEST._replace(records=(FIRST, Place(-1, 0))), 11, "expected them ascending"),
        (MANIFEST._replace(records=(FIRST, Place(2**31, 0))), 11, "expected them ascending"),
        (MANIFEST._replace(records=(FIRST,)), 11, "got a piece of record 1"),
        (Manifest((), (Piece(-2, 0, 1),), b""), 1, "got a piece of record -2"),
        (Manifest((FIRST,), (Piece(0, 0, 0),), b""), 0, "length 0"),
        (Manifest((FIRST,), (Piece(0, -1, 1),), b""), 1, "start -1"),
        (Manifest((), (Piece(OWN, 1, 1), Piece(OWN, 0, 1)), b"ab"), 2, "expected from 0 on"),
        (Manifest((FIRST,), (Piece(0, 0, 1),) * (MAX_PIECES + 1), b""), MAX_PIECES + 1, "items in a manifest"),
    ],
)
def test_what_breaks_a_rule_is_refused(manifest: Manifest, size: int, message: str) -> None:
    with pytest.raises(MalformedInput, match=message):
        decode_manifest(encode_manifest(manifest), size)


def test_pieces_are_put_together() -> None:
    assert assemble(MANIFEST, HELD) == WHOLE


def test_what_is_gone_is_named() -> None:
    with pytest.raises(EvidenceIncomplete, match="repeats bytes of partition 2 offset 9, which is not there"):
        assemble(MANIFEST, {FIRST: HELD[FIRST]})
    with pytest.raises(EvidenceIncomplete, match="partition 0 offset 7, which holds 5 bytes, expected 9"):
        assemble(MANIFEST, {**HELD, FIRST: b"short"})


def sealed() -> tuple[SealedPart, bytes]:
    (part,), (commitment,) = Sealer().seal_all([(SOURCE, WHOLE)], EVENT, [KEY], {SOURCE: MANIFEST})
    return part, commitment[1]


def test_a_part_that_repeats_others_opens_to_all_of_its_bytes() -> None:
    part, commitment = sealed()
    assert (part.codec, part.size) == (CHUNKS, len(WHOLE))
    key = part_key(KEY.secret, EVENT, SOURCE)
    opened = Opener().open(part, commitment, EVENT, key, lambda places: {place: HELD[place] for place in places})
    assert opened.data == WHOLE
    assert Opener().unseal(part, commitment, EVENT, key) == (opened.salt, b"--!", MANIFEST, None)


def test_a_wrong_reference_never_goes_unnoticed() -> None:
    part, commitment = sealed()
    key = part_key(KEY.secret, EVENT, SOURCE)
    with pytest.raises(VerificationError, match="part source: the bytes do not match their commitment"):
        Opener().open(part, commitment, EVENT, key, lambda _: {**HELD, SECOND: b"AND another one"})
    with pytest.raises(EvidenceIncomplete, match="part source: repeats bytes of partition 0 offset 7, which is not"):
        Opener().open(part, commitment, EVENT, key, nothing_held)
    with pytest.raises(EvidenceIncomplete, match="part source: repeats bytes"):
        Opener().open(part, commitment, EVENT, key)


@pytest.mark.parametrize("codec", [1, 3])
def test_a_manifest_is_no_other_codec(codec: int) -> None:
    part, commitment = sealed()
    with pytest.raises(VerificationError, match="part source: "):
        Opener().open(part._replace(codec=codec), commitment, EVENT, part_key(KEY.secret, EVENT, SOURCE))


def test_what_is_no_manifest_is_refused() -> None:
    part, commitment = Sealer().seal(CONTENT, bytes(500), EVENT, KEY)
    with pytest.raises(VerificationError, match="part content: not a manifest of 500 bytes"):
        Opener().open(part._replace(codec=CHUNKS), commitment, EVENT, part_key(KEY.secret, EVENT, CONTENT))
    with pytest.raises(VerificationError, match="not a manifest of 0 bytes"):
        Opener().open(part._replace(codec=CHUNKS, size=0), commitment, EVENT, part_key(KEY.secret, EVENT, CONTENT))
