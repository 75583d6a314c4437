"""Parts that share runs of bytes: their encoding is strict, and opens to the bytes that were sealed, or to an error."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from schemas.ids import EventId, KeyId
from schemas.part_streams import blob_address, open_shared, pack_run, run_key, seal_run, seal_shared
from schemas.parts import SHARED, SOURCE, Opener, SealedPart, SubjectKey, part_key
from schemas.shared import REST_RAW, Run, Shared, decode_shared, encode_shared, joined, without_runs

KEY = SubjectKey(KeyId(bytes(range(16))), bytes(range(32)))
EVENT = EventId(bytes(16))
IMAGE = random.Random(5).randbytes(100_000)
WHOLE = b'{"a":"' + IMAGE + b'","b":"' + IMAGE + b'"}'
RANGES = [(6, 6 + len(IMAGE)), (13 + len(IMAGE), 13 + 2 * len(IMAGE))]


@dataclass
class Bytes:
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        yield self.data


def sealed_run(data: bytes, key: SubjectKey = KEY) -> tuple[bytes, bytes]:
    """Ciphertext and key."""
    packed, sealed = bytearray(), bytearray()
    opens = run_key(key.secret, SOURCE, pack_run([data], len(data), packed.extend))
    seal_run(opens, [bytes(packed)], sealed.extend)
    return bytes(sealed), opens


def sealed() -> tuple[SealedPart, bytes, dict[str, bytes]]:
    ciphertext, opens = sealed_run(IMAGE)
    address = blob_address("ab" * 32)
    rest = without_runs([WHOLE], RANGES)
    shared = Shared((Run(6, 0, len(IMAGE), opens), Run(13, 0, len(IMAGE), opens)), REST_RAW, len(rest), rest)
    part, commitment = seal_shared(SOURCE, Bytes(WHOLE), shared, [address], EVENT, KEY)
    return part, commitment, {address: ciphertext}


def opened(part: SealedPart, commitment: bytes, blobs: dict[str, bytes]) -> bytes:
    key = part_key(KEY.secret, EVENT, SOURCE)
    return b"".join(open_shared(Opener(), part, commitment, EVENT, key, blobs.__getitem__))


def test_a_part_with_a_run_twice_opens_to_all_of_its_bytes() -> None:
    part, commitment, blobs = sealed()
    assert (part.codec, part.size, len(blobs)) == (SHARED, len(WHOLE), 1)
    assert len(part.ciphertext) < 300
    assert opened(part, commitment, blobs) == WHOLE


def test_equal_runs_under_one_key_are_equal_and_under_another_are_not() -> None:
    assert sealed_run(IMAGE) == sealed_run(IMAGE)
    other = SubjectKey(KEY.key_id, bytes(32))
    assert sealed_run(IMAGE, other) != sealed_run(IMAGE)
    assert sealed_run(IMAGE + b"x")[1] != sealed_run(IMAGE)[1]


def test_who_has_no_object_store_is_told_where_the_rest_is() -> None:
    part, commitment, _ = sealed()
    with pytest.raises(EvidenceIncomplete, match="lies in the object store, at blobs/abab"):
        Opener().open(part, commitment, EVENT, part_key(KEY.secret, EVENT, SOURCE))


def test_a_blob_that_is_gone_is_named() -> None:
    part, commitment, _ = sealed()
    with pytest.raises(KeyError, match="blobs/abab"):
        opened(part, commitment, {})


@pytest.mark.parametrize("at", [0, 50, 5000, -17, -1])
def test_a_blob_that_was_changed_does_not_open(at: int) -> None:
    part, commitment, blobs = sealed()
    ((address, ciphertext),) = blobs.items()
    changed = bytearray(ciphertext)
    changed[at] ^= 1
    with pytest.raises(VerificationError, match="source"):
        opened(part, commitment, {address: bytes(changed)})


@pytest.mark.parametrize("other", [IMAGE[:-1], IMAGE + b"x", bytes(len(IMAGE))])
def test_another_run_in_its_place_does_not_open(other: bytes) -> None:
    part, commitment, blobs = sealed()
    with pytest.raises(VerificationError, match="source"):
        opened(part, commitment, dict.fromkeys(blobs, sealed_run(other)[0]))


def test_a_blob_cut_short_does_not_open() -> None:
    part, commitment, blobs = sealed()
    ((address, ciphertext),) = blobs.items()
    for length in (0, 10, len(ciphertext) - 1):
        with pytest.raises(VerificationError, match="source"):
            opened(part, commitment, {address: ciphertext[:length]})


def test_another_commitment_or_address_does_not_pass() -> None:
    part, commitment, blobs = sealed()
    with pytest.raises(VerificationError, match="does not open"):
        opened(part, bytes(32), blobs)
    for address in ("", "segments/x", f"{part.address} {part.address}", part.address + " "):
        with pytest.raises(VerificationError, match="shared runs"):
            opened(part._replace(address=address), commitment, blobs)


RUN = Run(3, 0, 5, bytes(32))
GOOD = Shared((RUN, Run(3, 1, 6, bytes(32)), Run(4, 0, 5, bytes(32))), REST_RAW, 4, b"rest")


def test_the_encoding_is_read_as_it_was_written() -> None:
    assert decode_shared(encode_shared(GOOD), 20, 2) == GOOD


@pytest.mark.parametrize(
    ("changed", "size", "blobs"),
    [
        (GOOD, 21, 2),
        (GOOD, 20, 1),
        (GOOD, 20, 3),
        (GOOD._replace(runs=()), 4, 0),
        (GOOD._replace(runs=GOOD.runs[::-1]), 20, 2),
        (GOOD._replace(runs=(RUN._replace(at=5),)), 9, 1),
        (GOOD._replace(runs=(RUN._replace(at=-1),)), 9, 1),
        (GOOD._replace(runs=(RUN._replace(size=0),)), 4, 1),
        (GOOD._replace(runs=(RUN._replace(blob=1),)), 9, 1),
        (GOOD._replace(codec=1), 20, 2),
        (GOOD._replace(size=5), 21, 2),
        (GOOD._replace(rest=b""), 20, 2),
    ],
)
def test_what_does_not_add_up_is_refused(changed: Shared, size: int, blobs: int) -> None:
    with pytest.raises(MalformedInput, match="got"):
        decode_shared(encode_shared(changed), size, blobs)


@given(st.data())
def test_any_change_of_the_encoding_is_refused_or_says_the_same(draw: st.DataObject) -> None:
    data = bytearray(encode_shared(GOOD))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    try:
        found = decode_shared(bytes(data), 20, 2)
    except MalformedInput:
        return
    assert encode_shared(found) == bytes(data)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8), st.lists(st.integers(1, 50), max_size=20))
def test_the_rest_and_the_runs_make_the_whole(data: bytes, edges: Sequence[int], steps: Sequence[int]) -> None:
    cuts = sorted({min(edge, len(data)) for edge in edges})
    ranges = [(low, high) for low, high in zip(cuts[::2], cuts[1::2], strict=False) if low < high]
    chunks, at = [], 0
    for step in [*steps, 1000]:
        chunks.append(data[at : at + step])
        at += step
    rest = without_runs(chunks, ranges)
    runs, before = [], 0
    for low, high in ranges:
        runs.append(Run(low - before, len(runs), high - low, bytes(32)))
        before += high - low
    shared = Shared(tuple(runs), REST_RAW, len(rest), rest)
    assert b"".join(joined(shared, rest, lambda run: [data[slice(*ranges[run.blob])]])) == data
