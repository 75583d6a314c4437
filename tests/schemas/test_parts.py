"""Parts: what was sealed opens, and any change of any byte is a failed verification."""

from __future__ import annotations

import hashlib
import hmac
import os
from contextlib import suppress

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedInput, VerificationError
from schemas.ids import EventId, KeyId
from schemas.parts import (
    CHUNKS,
    CONTENT,
    MAX_PART_BYTES,
    METADATA,
    RAW,
    SHARED,
    SOURCE,
    ZSTD,
    ZSTD_METADATA,
    OpenedPart,
    Opener,
    SealedPart,
    Sealer,
    SubjectKey,
    commit,
    part_key,
)

EVENT = EventId(bytes(range(16)))
KEY = SubjectKey(KeyId(b"k" * 16), b"s" * 32)
DATA = st.binary(max_size=400) | st.binary(min_size=1, max_size=20).map(lambda unit: unit * 50)
TYPES = st.sampled_from([METADATA, CONTENT, SOURCE])


def open_part(part: SealedPart, commitment: bytes) -> OpenedPart:
    return Opener().open(part, commitment, EVENT, part_key(KEY.secret, EVENT, part.type))


@given(part_type=TYPES, data=DATA)
def test_what_was_sealed_opens(part_type: int, data: bytes) -> None:
    part, commitment = Sealer().seal(part_type, data, EVENT, KEY)
    opened = open_part(part, commitment)
    assert (opened.type, opened.data) == (part_type, data)
    assert commit(opened.salt, part_type, data) == commitment
    assert (part.type, part.key_id, part.size, part.address) == (part_type, KEY.key_id, len(data), "")


@given(salt=st.binary(min_size=32, max_size=32), part_type=st.integers(0, 255), data=st.binary(max_size=200))
def test_a_commitment_is_an_hmac(salt: bytes, part_type: int, data: bytes) -> None:
    message = b"affidavit/commit/v1\x00" + bytes([part_type]) + len(data).to_bytes(8, "big") + data
    assert commit(salt, part_type, data) == hmac.new(salt, message, hashlib.sha256).digest()


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_salts_have_32_bytes(size: int) -> None:
    with pytest.raises(MalformedInput, match=f"got a salt of {size} bytes, expected 32"):
        commit(bytes(size), METADATA, b"")


def test_sealing_twice_gives_nothing_to_compare() -> None:
    (one, first), (two, second) = (Sealer().seal(CONTENT, b"yes", EVENT, KEY) for _ in range(2))
    assert first != second
    assert one.nonce != two.nonce
    assert one.ciphertext != two.ciphertext


@settings(max_examples=300)
@given(
    data=DATA,
    field=st.sampled_from(["nonce", "ciphertext", "commitment", "key", "event_id"]),
    at=st.integers(min_value=0),
    flip=st.integers(1, 255),
)
def test_any_changed_byte_is_found(data: bytes, field: str, at: int, flip: int) -> None:
    part, commitment = Sealer().seal(CONTENT, data, EVENT, KEY)
    parts = {
        "nonce": part.nonce,
        "ciphertext": part.ciphertext,
        "commitment": commitment,
        "key": part_key(KEY.secret, EVENT, CONTENT),
        "event_id": EVENT,
    }
    changed = bytearray(parts[field])
    changed[at % len(changed)] ^= flip
    parts[field] = bytes(changed)
    if field == "event_id":
        parts["key"] = part_key(KEY.secret, parts["event_id"], CONTENT)
    broken = part._replace(nonce=parts["nonce"], ciphertext=parts["ciphertext"])
    with pytest.raises(VerificationError, match="part content: the ciphertext does not open"):
        Opener().open(broken, parts["commitment"], parts["event_id"], parts["key"])


@given(
    data=DATA,
    changes=st.fixed_dictionaries(
        {},
        optional={
            "type": st.integers(0, 255),
            "codec": st.integers(0, 63),
            "nonce": st.binary(max_size=16),
            "ciphertext": st.binary(max_size=80),
            "size": st.integers(0, 2**62),
        },
    ),
)
def test_any_change_of_a_field_is_found(data: bytes, changes: dict[str, int | bytes]) -> None:
    part, commitment = Sealer().seal(CONTENT, data, EVENT, KEY)
    changed = part._replace(**changes)  # type: ignore[arg-type]
    if changed == part:
        assert open_part(changed, commitment).data == data
        return
    if changed == part._replace(codec=ZSTD_METADATA) and part.codec == ZSTD:
        # A frame that refers to no byte of a dictionary says the same with any; the commitment is what counts.
        with suppress(VerificationError):
            assert open_part(changed, commitment).data == data
        return
    with pytest.raises(VerificationError, match=r"event 00010203-0405-0607-0809-0a0b0c0d0e0f part"):
        open_part(changed, commitment)


@given(
    packed=st.binary(max_size=100),
    codec=st.sampled_from([RAW, ZSTD, CHUNKS, ZSTD_METADATA, SHARED]),
    size=st.integers(0, 200),
)
def test_whoever_has_the_key_cannot_forge_either(packed: bytes, codec: int, size: int) -> None:
    commitment = commit(b"s" * 32, CONTENT, b"what was really said, and nothing else")
    forged = forge(b"s" * 32 + packed, commitment, codec, size)
    with pytest.raises(VerificationError, match="part content"):
        open_part(forged, commitment)


def forge(plain: bytes, commitment: bytes, codec: int, size: int) -> SealedPart:
    """A part that decrypts to ``plain``, as only a holder of the key can make."""
    nonce = os.urandom(12)
    cipher = AESGCM(part_key(KEY.secret, EVENT, CONTENT))
    ciphertext = cipher.encrypt(nonce, plain, bytes([CONTENT]) + commitment)
    return SealedPart(CONTENT, KEY.key_id, codec, nonce, ciphertext, size)


@pytest.mark.parametrize("plain", [b"", b"short", bytes(31)])
def test_a_plaintext_without_a_whole_salt(plain: bytes) -> None:
    with pytest.raises(VerificationError, match="part content"):
        open_part(forge(plain, bytes(32), RAW, 0), bytes(32))


def test_a_frame_that_claims_more_than_its_part_is_not_inflated() -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(200 << 20))
    commitment = commit(bytes(32), CONTENT, b"x" * 100)
    for size in (100, MAX_PART_BYTES + 1):
        with pytest.raises(VerificationError, match="part content"):
            open_part(forge(bytes(32) + bomb, commitment, ZSTD, size), commitment)


@pytest.mark.parametrize("frame", ["no size", "trailing", "cut"])
def test_frames_that_are_not_what_we_write(frame: str) -> None:
    data = b"text " * 100
    packed = zstandard.ZstdCompressor(write_content_size=frame != "no size").compress(data)
    packed = {"no size": packed, "trailing": packed + b"x", "cut": packed[:-3]}[frame]
    commitment = commit(bytes(32), CONTENT, data)
    with pytest.raises(VerificationError, match=r"not a zstd frame of 500 bytes|do not match|does not open"):
        open_part(forge(bytes(32) + packed, commitment, ZSTD, 500), commitment)


@given(
    one=st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 255)), secret=st.binary(min_size=32, max_size=32)
)
def test_part_keys_are_hkdf_expand(one: tuple[bytes, int], secret: bytes) -> None:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    info = b"affidavit/dek/v1\x00" + one[0] + bytes([one[1]])
    assert part_key(secret, *one) == HKDFExpand(SHA256(), 32, info).derive(secret)
