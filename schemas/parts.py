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
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.chunks import MAX_OVERHEAD, Held, Manifest, assemble, decode_manifest, encode_manifest, nothing_held
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from schemas.ids import EventId, KeyId, format_event_id
from schemas.shared import MAX_SHARED_OVERHEAD, Shared, decode_shared

METADATA = 0x01
CONTENT = 0x02
SOURCE = 0x03
PART_NAMES = {METADATA: "metadata", CONTENT: "content", SOURCE: "source"}

RAW = 0
ZSTD = 1
CHUNKS = 2
"""Codec numbers. ``CHUNKS`` is a zstd frame of a manifest with references into earlier parts of the session
(:mod:`schemas.chunks`)."""
ZSTD_METADATA = 3
"""A zstd frame of metadata v1 under the dictionary ``avro/metadata.v1.dict``: two fifths fewer bytes than without it,
in half the time."""

SHARED = 4
"""A zstd frame of the part without some runs of bytes, which lie in blobs that other parts may share
(:mod:`schemas.shared`): ``address`` names them, separated by spaces, and the ciphertext is here all the same."""

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

MANIFEST_LEVEL = 6
"""A manifest holds some kilobytes that later records refer to: 6 % fewer bytes for 30 µs."""

MAX_PART_BYTES = 512 * 1024 * 1024
"""Largest part that :func:`open_part` will inflate; a frame that claims more is refused before any allocation."""

_sha256 = hashlib.sha256().copy
"""A fresh SHA-256, in half the time: OpenSSL looks the algorithm up each time it is asked for it by name."""

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
    it is too large for the bus; ``ciphertext`` is then empty. With codec :data:`SHARED` see there.
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


class Unsealed(NamedTuple):
    """A part decrypted and inflated, and not compared with its commitment.

    ``own`` are the bytes that lie in this part: all of it, or with a ``manifest`` those that no earlier record holds.
    With ``shared``, both are of its rest.
    """

    salt: bytes
    own: bytes
    manifest: Manifest | None
    shared: Shared | None = None


def commit(salt: bytes, part_type: int, data: bytes) -> bytes:
    """The 32-byte commitment: ``HMAC-SHA256(salt, domain ‖ type ‖ u64be len(data) ‖ data)``.

    HMAC is written out (RFC 2104): it runs once per part, and OpenSSL's takes as long again to look itself up.
    """
    if len(salt) != SALT_BYTES:
        raise MalformedInput(f"got a salt of {len(salt)} bytes, expected {SALT_BYTES}")
    inner, outer = _sha256(), _sha256()
    inner.update(salt.translate(_IPAD) + _COMMIT_INNER + bytes((part_type,)) + len(data).to_bytes(8, "big"))
    inner.update(data)
    outer.update(salt.translate(_OPAD) + _OUTER_REST + inner.digest())
    return outer.digest()


def part_key(secret: bytes, event_id: EventId | bytes, part_type: int) -> bytes:
    """The AES-256 key of one part of one event: HKDF-Expand (RFC 5869 §2.3) of the subject key, one block."""
    if len(secret) != SALT_BYTES:
        raise MalformedInput(f"got a subject key of {len(secret)} bytes, expected {SALT_BYTES}")
    inner, outer = _sha256(), _sha256()
    inner.update(secret.translate(_IPAD) + _DEK_INNER + event_id + bytes((part_type, 1)))
    outer.update(secret.translate(_OPAD) + _OUTER_REST + inner.digest())
    return outer.digest()


class PartKeys:
    """:func:`part_key` for many events under one subject key: the two blocks that only the secret fills are hashed
    once. Holds the secret's hash states, so keep it no longer than the secret itself."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SALT_BYTES:
            raise MalformedInput(f"got a subject key of {len(secret)} bytes, expected {SALT_BYTES}")
        self._inner, self._outer = _sha256(), _sha256()
        self._inner.update(secret.translate(_IPAD) + _DEK_INNER)
        self._outer.update(secret.translate(_OPAD) + _OUTER_REST)

    def key(self, event_id: EventId | bytes, part_type: int) -> bytes:
        """The AES-256 key of one part of one event."""
        inner = self._inner.copy()
        inner.update(event_id + bytes((part_type, 1)))
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


_NO_MANIFESTS: Mapping[int, Manifest] = MappingProxyType({})


@lru_cache(maxsize=1)
def metadata_dictionary() -> zstandard.ZstdCompressionDict:
    """The dictionary of codec :data:`ZSTD_METADATA`. The file is released and never changes."""
    dictionary = zstandard.ZstdCompressionDict((Path(__file__).parent / "avro" / "metadata.v1.dict").read_bytes())
    dictionary.precompute_compress(level=ZSTD_LEVEL)
    return dictionary


class Sealer:
    """Seals parts. Holds one zstd context, so use one per thread."""

    def __init__(self, level: int = ZSTD_LEVEL) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level, write_content_size=True)
        self._metadata = zstandard.ZstdCompressor(
            level=level, dict_data=metadata_dictionary(), write_content_size=True, write_dict_id=False
        )
        self._denser = zstandard.ZstdCompressor(level=MANIFEST_LEVEL, write_content_size=True)

    def seal(self, part_type: int, data: bytes, event_id: EventId, key: SubjectKey) -> tuple[SealedPart, bytes]:
        """Seal ``data`` under a fresh salt and nonce; return the part and its 32-byte commitment."""
        (sealed,), (commitment,) = self.seal_all(((part_type, data),), event_id, (key,))
        return sealed, commitment[1]

    def seal_all(
        self,
        parts: Sequence[tuple[int, bytes]],
        event_id: EventId,
        keys: Sequence[SubjectKey],
        manifests: Mapping[int, Manifest] = _NO_MANIFESTS,
    ) -> tuple[list[SealedPart], list[tuple[int, bytes]]]:
        """Seal the ``(type, bytes)`` parts of one event, each under its key; return them with their ``(type,
        commitment)`` pairs, in the order given. One draw of randomness serves them all. A part whose type is in
        ``manifests`` is stored as that manifest, which must be one of exactly these bytes."""
        random = os.urandom(_RANDOM_BYTES * len(parts))
        sealed: list[SealedPart] = []
        commitments: list[tuple[int, bytes]] = []
        at = 0
        for (part_type, data), (key_id, secret) in zip(parts, keys, strict=True):
            middle, end = at + SALT_BYTES, at + _RANDOM_BYTES
            salt, nonce, at = random[at:middle], random[middle:end], end
            commitment = commit(salt, part_type, data)
            codec, packed, size = RAW, data, len(data)
            if part_type in manifests:
                codec, packed = CHUNKS, self._denser.compress(encode_manifest(manifests[part_type]))
            elif size >= ZSTD_THRESHOLD:
                known = part_type == METADATA
                smaller = (self._metadata if known else self._zstd).compress(data)
                if len(smaller) < size:
                    codec, packed = ZSTD_METADATA if known else ZSTD, smaller
            cipher = AESGCM(part_key(secret, event_id, part_type))
            ciphertext = cipher.encrypt(nonce, salt + packed, bytes((part_type,)) + commitment)
            sealed.append(SealedPart(part_type, key_id, codec, nonce, ciphertext, size))
            commitments.append((part_type, commitment))
        return sealed, commitments


class Opener:
    """Opens parts. Holds one zstd context, so use one per thread."""

    def __init__(self) -> None:
        plain = zstandard.ZstdDecompressor()
        self._zstd = plain
        self._by_codec = {ZSTD: plain, ZSTD_METADATA: zstandard.ZstdDecompressor(dict_data=metadata_dictionary())}

    def open(
        self,
        part: SealedPart,
        commitment: bytes,
        event_id: EventId | bytes,
        key: bytes,
        held: Held = nothing_held,
    ) -> OpenedPart:
        """Decrypt, inflate, put together, and check against the commitment.

        Args:
            part: with its ciphertext present.
            commitment: 32 bytes, from the ledger or the bus header.
            event_id: 16 bytes.
            key: the part's key, :func:`part_key`.
            held: gives the bytes of earlier records that the part repeats.

        Raises:
            EvidenceIncomplete: a record that the part repeats is gone.
            VerificationError: the ciphertext, the size or the commitment does not match.
        """
        unsealed = self.unseal(part, commitment, event_id, key)
        if unsealed.shared is not None:
            raise EvidenceIncomplete(f"{_name(part, event_id)}: some of it lies in the object store, at {part.address}")
        salt, data = unsealed.salt, put_together(part, event_id, unsealed, held)
        if len(salt) != SALT_BYTES or commit(salt, part.type, data) != commitment:
            raise self._fault(part, event_id, "the bytes do not match their commitment")
        return OpenedPart(part.type, salt, data)

    def unseal(self, part: SealedPart, commitment: bytes, event_id: EventId | bytes, key: bytes) -> Unsealed:
        """Decrypt and inflate, without a look at what earlier records hold.

        Raises:
            VerificationError: the ciphertext or the size does not match.
        """
        try:
            plain = AESGCM(key).decrypt(part.nonce, part.ciphertext, bytes((part.type,)) + commitment)
        except (InvalidTag, ValueError):
            raise self._fault(part, event_id, "the ciphertext does not open under its key and commitment") from None
        salt, data = plain[:SALT_BYTES], plain[SALT_BYTES:]
        if part.size > MAX_PART_BYTES:
            raise self._fault(part, event_id, f"got a size of {part.size} bytes, expected at most {MAX_PART_BYTES}")
        if part.codec == CHUNKS:
            manifest = self._manifest(data, part, event_id)
            return Unsealed(salt, manifest.own, manifest)
        if part.codec == SHARED:
            return self._shared(salt, data, part, event_id)
        if part.codec != RAW:
            data = self._unpack(data, part, event_id)
        if len(data) != part.size:
            raise self._fault(part, event_id, f"got {len(data)} bytes, expected {part.size}")
        return Unsealed(salt, data, None)

    def _unpack(self, packed: bytes, part: SealedPart, event_id: EventId | bytes) -> bytes:
        decompressor = self._by_codec.get(part.codec)
        if decompressor is None:
            raise self._fault(part, event_id, f"got codec {part.codec}, expected 0 to {SHARED}")
        try:
            # The frame's own claim is what the decompressor allocates, whatever limit it is given.
            if zstandard.frame_content_size(packed) != part.size:
                raise self._fault(part, event_id, f"not a zstd frame of {part.size} bytes")
            return decompressor.decompress(packed, part.size, False, False)
        except zstandard.ZstdError as error:
            raise self._fault(part, event_id, f"not a zstd frame of {part.size} bytes: {error}") from None

    def _manifest(self, packed: bytes, part: SealedPart, event_id: EventId | bytes) -> Manifest:
        try:
            size = zstandard.frame_content_size(packed)
            if not 0 < size <= part.size + MAX_OVERHEAD:
                raise self._fault(part, event_id, f"not a zstd frame of a manifest of {part.size} bytes")
            return decode_manifest(self._zstd.decompress(packed, size, False, False), part.size)
        except (zstandard.ZstdError, MalformedInput) as error:
            raise self._fault(part, event_id, f"not a manifest of {part.size} bytes: {error}") from None

    def _shared(self, salt: bytes, packed: bytes, part: SealedPart, event_id: EventId | bytes) -> Unsealed:
        try:
            size = zstandard.frame_content_size(packed)
            if not 0 < size <= part.size + MAX_SHARED_OVERHEAD:
                raise self._fault(part, event_id, f"not a zstd frame of a part of {part.size} bytes with shared runs")
            blobs = len(part.address.split(" "))
            shared = decode_shared(self._zstd.decompress(packed, size, False, False), part.size, blobs)
            manifest = decode_manifest(shared.rest, shared.size) if shared.codec == CHUNKS else None
        except (zstandard.ZstdError, MalformedInput) as error:
            raise self._fault(part, event_id, f"not a part of {part.size} bytes with shared runs: {error}") from None
        return Unsealed(salt, shared.rest if manifest is None else manifest.own, manifest, shared)

    def _fault(self, part: SealedPart, event_id: EventId | bytes, what: str) -> VerificationError:
        return VerificationError(f"{_name(part, event_id)}: {what}")


def put_together(part: SealedPart, event_id: EventId | bytes, unsealed: Unsealed, held: Held) -> bytes:
    """The bytes of a part, of one with shared runs those of its rest, with what earlier records hold of them.

    Raises:
        EvidenceIncomplete: one of those records is gone.
    """
    if unsealed.manifest is None:
        return unsealed.own
    try:
        return assemble(unsealed.manifest, held(unsealed.manifest.records))
    except EvidenceIncomplete as error:
        raise EvidenceIncomplete(f"{_name(part, event_id)}: {error}") from None


def _name(part: SealedPart, event_id: EventId | bytes) -> str:
    return f"event {format_event_id(event_id)} part {PART_NAMES.get(part.type, part.type)}"
