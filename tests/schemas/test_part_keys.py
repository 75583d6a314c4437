"""The fast forms of HMAC give the bytes of the slow ones, and no frame is inflated beyond what the part states."""

from __future__ import annotations

import hmac
import os

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedInput, VerificationError
from schemas.ids import KeyId
from schemas.parts import COMMIT_DOMAIN, ZSTD, Opener, PartKeys, SealedPart, commit, part_key


@given(salt=st.binary(min_size=32, max_size=32), part_type=st.integers(1, 255), data=st.binary(max_size=300))
def test_commit_is_hmac(salt: bytes, part_type: int, data: bytes) -> None:
    message = COMMIT_DOMAIN + bytes((part_type,)) + len(data).to_bytes(8, "big") + data
    assert commit(salt, part_type, data) == hmac.digest(salt, message, "sha256")


@given(secret=st.binary(min_size=32, max_size=32), name=st.binary(min_size=16, max_size=16), part=st.integers(1, 255))
def test_part_keys_are_part_key(secret: bytes, name: bytes, part: int) -> None:
    keys = PartKeys(secret)
    assert [keys.key(name, part), keys.key(name, part)] == [part_key(secret, name, part)] * 2


def test_a_secret_of_another_size_is_refused() -> None:
    with pytest.raises(MalformedInput, match="got a subject key of 31 bytes"):
        PartKeys(bytes(31))


def test_a_frame_that_claims_more_than_the_part_is_refused_before_it_is_inflated() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
    name, key, salt, commitment = os.urandom(16), os.urandom(32), os.urandom(32), os.urandom(32)
    sealed = AESGCM(key).encrypt(bytes(12), salt + bomb, b"\x02" + commitment)
    part = SealedPart(2, KeyId(bytes(16)), ZSTD, bytes(12), sealed, 100)
    with pytest.raises(VerificationError, match="part content: not a zstd frame of 100 bytes"):
        Opener().open(part, commitment, name, key)
