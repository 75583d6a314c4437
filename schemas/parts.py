"""Parts of a record: commit, seal, open.

A part is sealed in this order: commit to its bytes under a fresh salt, compress, put the salt in front, encrypt under a
key that belongs to this event and part alone. The commitment goes to the ledger and outlives the part; salt and bytes
lie only under the ciphertext, so destroying the subject key leaves a commitment that nobody can test guesses against.

The bytes are those of ``docs/log-format.md``; :func:`commit` is HMAC-SHA256 keyed with the salt, which hides even
"yes" and "no", and binds because the key length is fixed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import MalformedInput, VerificationError
from schemas.ids import EventId, KeyId, format_event_id

METADATA = 0x01
CONTENT = 0x02
SOURCE = 0x03
PART_NAMES = {METADATA: "metadata", CONTENT: "content", SOURCE: "source"}

RAW = 0
ZSTD = 1
CHUNKS = 2
"""Codec numbers. ``CHUNKS`` is reserved for references into earlier parts of the session."""

SALT_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_RANDOM_BYTES = SALT_BYTES + NONCE_BYTES

COMMIT_DOMAIN = b"affidavit/commit/v1\x00"
DEK_DOMAIN = b"affidavit/dek/v1\x00"

ZSTD_THRESHOLD = 96
"""Below this many bytes a zstd frame is about as long as what it holds."""

ZSTD_LEVEL = 1
"""Ingest pays for the level once per event; level 3 saves 5 % of bytes for twice the time."""

MAX_PART_BYTES = 512 * 1024 * 1024
"""Largest part that :func:`open_part` will inflate; a frame that claims more is refused before any allocation."""

_sha256 = hashlib.sha256
_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))
_INNER_REST = b"\x36" * 32
_OUTER_REST = b"\x5c" * 32
_COMMIT_INNER = _INNER_REST + COMMIT_DOMAIN
_DEK_INNER = _INNER_REST + DEK_DOMAIN
"""The pads of HMAC-SHA256 (RFC 2104) for a key of 32 bytes: half a block of key, half a block of zeros."""


class SubjectKey(NamedTuple):
    """A subject key at hand: its 16-byte name and its 32 secret bytes."""

    key_id: KeyId
    secret: bytes


class SealedPart(NamedTuple):
    """One part as the record carries it: ciphertext of ``salt(32) ‖ codec(part bytes)``, with the GCM tag at its end.

    ``size`` counts the part's bytes before compression. ``address`` names the object that holds the ciphertext when
    it is too large for the bus; ``ciphertext`` is then empty.
    """

    type: int
    key_id: KeyId
    codec: int
    nonce: bytes
    ciphertext: bytes
    size: int
    address: str = ""


class OpenedPart(NamedTuple):
    """A part in the clear: its type, its salt (32 bytes) and its exact bytes."""

    type: int
    salt: bytes
    data: bytes


def commit(salt: bytes, part_type: int, data: bytes) -> bytes:
    """The 32-byte commitment: ``HMAC-SHA256(salt, domain ‖ type ‖ u64be len(data) ‖ data)``.

    HMAC is written out (RFC 2104): it runs once per part, and OpenSSL's takes as long again to look itself up.
    """
    if len(salt) != SALT_BYTES:
        raise MalformedInput(f"got a salt of {len(salt)} bytes, expected {SALT_BYTES}")
    inner = _sha256(salt.translate(_IPAD) + _COMMIT_INNER + bytes((part_type,)) + len(data).to_bytes(8, "big"))
    inner.update(data)
    return _sha256(salt.translate(_OPAD) + _OUTER_REST + inner.digest()).digest()


def part_key(secret: bytes, event_id: EventId | bytes, part_type: int) -> bytes:
    """The AES-256 key of one part of one event: HKDF-Expand (RFC 5869 §2.3) of the subject key, one block."""
    if len(secret) != SALT_BYTES:
        raise MalformedInput(f"got a subject key of {len(secret)} bytes, expected {SALT_BYTES}")
    inner = _sha256(secret.translate(_IPAD) + _DEK_INNER + event_id + bytes((part_type, 1))).digest()
    return _sha256(secret.translate(_OPAD) + _OUTER_REST + inner).digest()


class PartKeys:
    """:func:`part_key` for many events under one subject key: the two blocks that only the secret fills are hashed
    once. Holds the secret's hash states, so keep it no longer than the secret itself."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SALT_BYTES:
            raise MalformedInput(f"got a subject key of {len(secret)} bytes, expected {SALT_BYTES}")
        self._inner = _sha256(secret.translate(_IPAD) + _DEK_INNER)
        self._outer = _sha256(secret.translate(_OPAD) + _OUTER_REST)

    def key(self, event_id: EventId | bytes, part_type: int) -> bytes:
        """The AES-256 key of one part of one event."""
        inner = self._inner.copy()
        inner.update(event_id + bytes((part_type, 1)))
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


class Sealer:
    """Seals parts. Holds one zstd context, so use one per thread."""

    def __init__(self, level: int = ZSTD_LEVEL) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level, write_content_size=True)

    def seal(self, part_type: int, data: bytes, event_id: EventId, key: SubjectKey) -> tuple[SealedPart, bytes]:
        """Seal ``data`` under a fresh salt and nonce; return the part and its 32-byte commitment."""
        (sealed,), (commitment,) = self.seal_all(((part_type, data),), event_id, (key,))
        return sealed, commitment[1]

    def seal_all(
        self, parts: Sequence[tuple[int, bytes]], event_id: EventId, keys: Sequence[SubjectKey]
    ) -> tuple[list[SealedPart], list[tuple[int, bytes]]]:
        """Seal the ``(type, bytes)`` parts of one event, each under its key; return them with their ``(type,
        commitment)`` pairs, in the order given. One draw of randomness serves them all."""
        random = os.urandom(_RANDOM_BYTES * len(parts))
        sealed: list[SealedPart] = []
        commitments: list[tuple[int, bytes]] = []
        at = 0
        for (part_type, data), (key_id, secret) in zip(parts, keys, strict=True):
            middle, end = at + SALT_BYTES, at + _RANDOM_BYTES
            salt, nonce, at = random[at:middle], random[middle:end], end
            commitment = commit(salt, part_type, data)
            codec, packed, size = RAW, data, len(data)
            if size >= ZSTD_THRESHOLD:
                smaller = self._zstd.compress(data)
                if len(smaller) < size:
                    codec, packed = ZSTD, smaller
            cipher = AESGCM(part_key(secret, event_id, part_type))
            ciphertext = cipher.encrypt(nonce, salt + packed, bytes((part_type,)) + commitment)
            sealed.append(SealedPart(part_type, key_id, codec, nonce, ciphertext, size))
            commitments.append((part_type, commitment))
        return sealed, commitments


class Opener:
    """Opens parts. Holds one zstd context, so use one per thread."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def open(self, part: SealedPart, commitment: bytes, event_id: EventId | bytes, key: bytes) -> OpenedPart:
        """Decrypt, inflate, and check against the commitment.

        Args:
            part: with its ciphertext present.
            commitment: 32 bytes, from the ledger or the bus header.
            event_id: 16 bytes.
            key: the part's key, :func:`part_key`.

        Raises:
            VerificationError: the ciphertext, the size or the commitment does not match.
        """
        try:
            plain = AESGCM(key).decrypt(part.nonce, part.ciphertext, bytes((part.type,)) + commitment)
        except (InvalidTag, ValueError):
            raise self._fault(part, event_id, "the ciphertext does not open under its key and commitment") from None
        salt, data = plain[:SALT_BYTES], plain[SALT_BYTES:]
        if part.size > MAX_PART_BYTES:
            raise self._fault(part, event_id, f"got a size of {part.size} bytes, expected at most {MAX_PART_BYTES}")
        if part.codec != RAW:
            data = self._unpack(data, part, event_id)
        if len(data) != part.size:
            raise self._fault(part, event_id, f"got {len(data)} bytes, expected {part.size}")
        if len(salt) != SALT_BYTES or commit(salt, part.type, data) != commitment:
            raise self._fault(part, event_id, "the bytes do not match their commitment")
        return OpenedPart(part.type, salt, data)

    def _unpack(self, packed: bytes, part: SealedPart, event_id: EventId | bytes) -> bytes:
        if part.codec != ZSTD:
            raise self._fault(part, event_id, f"got codec {part.codec}, expected 0 (raw) or 1 (zstd)")
        try:
            # The frame's own claim is what the decompressor allocates, whatever limit it is given.
            if zstandard.frame_content_size(packed) != part.size:
                raise self._fault(part, event_id, f"not a zstd frame of {part.size} bytes")
            return self._zstd.decompress(packed, part.size, False, False)
        except zstandard.ZstdError as error:
            raise self._fault(part, event_id, f"not a zstd frame of {part.size} bytes: {error}") from None

    def _fault(self, part: SealedPart, event_id: EventId | bytes, what: str) -> VerificationError:
        name = PART_NAMES.get(part.type, part.type)
        return VerificationError(f"event {format_event_id(event_id)} part {name}: {what}")
