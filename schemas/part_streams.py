"""Large parts: sealed and opened piece by piece, in memory that does not grow with them.

The bytes are those of :mod:`schemas.parts`: whoever opens a part whole need not know that it was sealed in pieces.
Sealing reads the part twice, because the commitment, which the cipher binds, must be there before the first byte of
ciphertext. What it cannot do without the whole is to choose: the codec is always one zstd frame.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Protocol, cast

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import AEADDecryptionContext, Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from schemas.chunks import Held, nothing_held
from schemas.errors import InvariantError, VerificationError
from schemas.ids import EventId, format_event_id
from schemas.parts import (
    COMMIT_DOMAIN,
    MANIFEST_LEVEL,
    MAX_PART_BYTES,
    NONCE_BYTES,
    PART_NAMES,
    RAW,
    SALT_BYTES,
    SHARED,
    TAG_BYTES,
    ZSTD,
    ZSTD_LEVEL,
    Opener,
    SealedPart,
    SubjectKey,
    part_key,
    put_together,
)
from schemas.shared import Run, Shared, encode_shared, joined

BLOBS = "blobs/"
"""Folder of the object store for the ciphertext of parts that are too large for the bus; a name in it is the SHA-256
of the ciphertext, in hex."""

_ADDRESS = re.compile(re.escape(BLOBS) + "[0-9a-f]{64}")
_STEP = 1 << 20


class Sized(Protocol):
    """Bytes that are read in pieces, any number of times; equal each time."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """All of them, in order."""
        ...


def blob_address(sha256: str) -> str:
    """The address of a blob by the SHA-256 of its ciphertext, in hex."""
    return BLOBS + sha256


def is_blob_address(address: str) -> bool:
    """Whether :func:`blob_address` could have made it."""
    return _ADDRESS.fullmatch(address) is not None


def commit_stream(salt: bytes, part_type: int, data: Sized) -> bytes:
    """:func:`schemas.parts.commit` of ``data``.

    Raises:
        InvariantError: there are not ``data.size`` bytes.
    """
    inner = hmac.new(salt, COMMIT_DOMAIN + bytes((part_type,)) + data.size.to_bytes(8, "big"), hashlib.sha256)
    read = 0
    for chunk in data.chunks():
        inner.update(chunk)
        read += len(chunk)
    if read != data.size:
        raise InvariantError(f"got {read} bytes of a part, expected {data.size}")
    return inner.digest()


def seal_stream(
    part_type: int, data: Sized, event_id: EventId, key: SubjectKey, write: Callable[[bytes], object]
) -> tuple[SealedPart, bytes]:
    """Seal ``data`` under a fresh salt and nonce. Gives the ciphertext to ``write``, piece by piece; returns the part
    without ciphertext and address, and its 32-byte commitment."""
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    commitment = commit_stream(salt, part_type, data)
    cipher = Cipher(AES(part_key(key.secret, event_id, part_type)), GCM(nonce)).encryptor()
    cipher.authenticate_additional_data(bytes((part_type,)) + commitment)
    write(cipher.update(salt))
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True).compressobj(size=data.size)
    for chunk in data.chunks():
        if packed := frame.compress(chunk):
            write(cipher.update(packed))
    write(cipher.update(frame.flush()))
    cipher.finalize()
    write(cipher.tag)
    return SealedPart(part_type, key.key_id, ZSTD, nonce, b"", data.size), commitment


def open_stream(
    part: SealedPart, commitment: bytes, event_id: EventId | bytes, key: bytes, ciphertext: Iterable[bytes]
) -> Iterator[bytes]:
    """The bytes of a part, piece by piece. **Nothing of what is yielded may be believed before the iterator has
    ended**: tag and commitment are at the end of it.

    Args:
        part: its ``ciphertext`` is not looked at.
        commitment: 32 bytes, from the ledger or the bus header.
        event_id: 16 bytes.
        key: the part's key, :func:`schemas.parts.part_key`.
        ciphertext: the object at ``part.address``, in pieces of any size.

    Raises:
        VerificationError: the ciphertext, the size or the commitment does not match.
    """
    if part.size > MAX_PART_BYTES or part.codec not in (RAW, ZSTD):
        raise _fault(part, event_id, f"got codec {part.codec} and {part.size} bytes, expected a part that we can open")
    plain = _decrypted(part, commitment, event_id, key, ciphertext)
    salt, rest = _salt(plain)
    if len(salt) != SALT_BYTES:
        raise _fault(part, event_id, "the bytes do not match their commitment")
    inner = hmac.new(salt, COMMIT_DOMAIN + bytes((part.type,)) + part.size.to_bytes(8, "big"), hashlib.sha256)
    size = 0
    for chunk in _inflated(part, event_id, rest, plain):
        size += len(chunk)
        if size > part.size:
            break
        inner.update(chunk)
        yield chunk
    for _ in plain:  # to its tag
        pass
    if size != part.size:
        raise _fault(
            part, event_id, f"got {'more than ' * (size > part.size)}{min(size, part.size)} bytes, expected {part.size}"
        )
    if not hmac.compare_digest(inner.digest(), commitment):
        raise _fault(part, event_id, "the bytes do not match their commitment")


def check_stream(
    part: SealedPart, commitment: bytes, event_id: EventId | bytes, key: bytes, ciphertext: Iterable[bytes]
) -> None:
    """Open a part and keep nothing of it.

    Raises:
        VerificationError: as :func:`open_stream`.
    """
    for _ in open_stream(part, commitment, event_id, key, ciphertext):
        pass


RUN_DOMAIN = b"affidavit/run/v1\0"
_RUN_NONCE = bytes(NONCE_BYTES)
"""A key seals one frame only, because it follows from the frame: its nonce need not differ."""


def run_key(secret: bytes, part_type: int, digest: bytes) -> bytes:
    """The key of a run: HMAC-SHA256 under the subject key, over domain, part type, and the SHA-256 of its frame."""
    return hmac.digest(secret, RUN_DOMAIN + bytes((part_type,)) + digest, "sha256")


def pack_run(chunks: Iterable[bytes], size: int, write: Callable[[bytes], object]) -> bytes:
    """Write the zstd frame of a run of ``size`` bytes; return its SHA-256."""
    digest = hashlib.sha256()
    packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True).compressobj(size=size)

    def put(packed: bytes) -> None:
        if packed:
            digest.update(packed)
            write(packed)

    for chunk in chunks:
        put(packer.compress(chunk))
    put(packer.flush())
    return digest.digest()


def seal_run(key: bytes, packed: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Write the ciphertext of a run: of its frame, under the key that follows from it."""
    cipher = Cipher(AES(key), GCM(_RUN_NONCE)).encryptor()
    cipher.authenticate_additional_data(RUN_DOMAIN)
    for piece in packed:
        write(cipher.update(piece))
    cipher.finalize()
    write(cipher.tag)


def seal_shared(
    part_type: int, data: Sized, shared: Shared, addresses: Sequence[str], event_id: EventId, key: SubjectKey
) -> tuple[SealedPart, bytes]:
    """Seal a part that shares runs; return it with its 32-byte commitment.

    Args:
        data: the whole part, which is committed to.
        shared: what stands for it.
        addresses: of the blobs, in the order of ``shared``.
    """
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    commitment = commit_stream(salt, part_type, data)
    packed = zstandard.ZstdCompressor(level=MANIFEST_LEVEL, write_content_size=True).compress(encode_shared(shared))
    cipher = AESGCM(part_key(key.secret, event_id, part_type))
    ciphertext = cipher.encrypt(nonce, salt + packed, bytes((part_type,)) + commitment)
    return SealedPart(part_type, key.key_id, SHARED, nonce, ciphertext, data.size, " ".join(addresses)), commitment


def open_shared(
    opener: Opener,
    part: SealedPart,
    commitment: bytes,
    event_id: EventId | bytes,
    key: bytes,
    fetch: Callable[[str], bytes | Iterable[bytes]],
    held: Held = nothing_held,
) -> Iterator[bytes]:
    """The bytes of a part that shares runs, as :func:`open_stream` gives those of others.

    Args:
        key: the part's key.
        fetch: gives the object at an address; raises ``KeyError`` when it is gone.
        held: gives the bytes of earlier records that the part repeats.

    Raises:
        KeyError: a blob is gone.
        EvidenceIncomplete: a record that the part repeats is gone.
        VerificationError: something does not open, or the bytes do not match the commitment.
    """
    unsealed = opener.unseal(part, commitment, event_id, key)
    rest = put_together(part, event_id, unsealed, held)
    shared, addresses = unsealed.shared, part.address.split(" ")
    if shared is None or not all(map(is_blob_address, addresses)):
        raise _fault(part, event_id, f"got codec {part.codec} and address {part.address[:200]!r}, expected shared runs")
    inner = hmac.new(unsealed.salt, COMMIT_DOMAIN + bytes((part.type,)) + part.size.to_bytes(8, "big"), hashlib.sha256)

    def bytes_of(run: Run) -> Iterator[bytes]:
        found = fetch(addresses[run.blob])
        return _open_run(part, event_id, run, (found,) if isinstance(found, bytes) else found)

    for chunk in joined(shared, rest, bytes_of):
        inner.update(chunk)
        yield chunk
    if len(unsealed.salt) != SALT_BYTES or not hmac.compare_digest(inner.digest(), commitment):
        raise _fault(part, event_id, "the bytes do not match their commitment")


def check_shared(
    opener: Opener,
    part: SealedPart,
    commitment: bytes,
    event_id: EventId | bytes,
    key: bytes,
    fetch: Callable[[str], bytes | Iterable[bytes]],
    held: Held = nothing_held,
) -> None:
    """Open a part that shares runs and keep nothing of it; raises as :func:`open_shared`."""
    for _ in open_shared(opener, part, commitment, event_id, key, fetch, held):
        pass


def _open_run(part: SealedPart, event_id: EventId | bytes, run: Run, ciphertext: Iterable[bytes]) -> Iterator[bytes]:
    cipher = Cipher(AES(run.key), GCM(_RUN_NONCE)).decryptor()
    cipher.authenticate_additional_data(RUN_DOMAIN)
    size = 0
    plain = _plain(cipher, ciphertext, part, event_id)
    for chunk in _inflated(part._replace(codec=ZSTD, size=run.size), event_id, b"", plain):
        size += len(chunk)
        if size > run.size:
            break
        yield chunk
    for _ in plain:  # to its tag
        pass
    if size != run.size:
        raise _fault(part, event_id, f"got a run of {'more than ' * (size > run.size)}{run.size} bytes")


def _plain(
    cipher: AEADDecryptionContext, ciphertext: Iterable[bytes], part: SealedPart, event_id: EventId | bytes
) -> Iterator[bytes]:
    """What a cipher makes of all but the last bytes, which are the tag."""
    held = b""
    for piece in ciphertext:
        held += piece
        if len(held) > TAG_BYTES:
            yield cipher.update(held[:-TAG_BYTES])
            held = held[-TAG_BYTES:]
    try:
        cipher.finalize_with_tag(held)
    except (InvalidTag, ValueError):
        raise _fault(part, event_id, "the ciphertext does not open under its key and commitment") from None


def _decrypted(
    part: SealedPart, commitment: bytes, event_id: EventId | bytes, key: bytes, ciphertext: Iterable[bytes]
) -> Iterator[bytes]:
    """The plaintext; the last bytes are held back, because they are the tag."""
    cipher = Cipher(AES(key), GCM(part.nonce)).decryptor()
    cipher.authenticate_additional_data(bytes((part.type,)) + commitment)
    yield from _plain(cipher, ciphertext, part, event_id)


def _salt(plain: Iterator[bytes]) -> tuple[bytes, bytes]:
    """The salt, and what was read beyond it."""
    head = b""
    for piece in plain:
        head += piece
        if len(head) >= SALT_BYTES:
            break
    return head[:SALT_BYTES], head[SALT_BYTES:]


def _inflated(part: SealedPart, event_id: EventId | bytes, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if part.codec == RAW:
        yield first
        yield from rest
        return
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
        cast(IO[bytes], _Joined(first, rest)), _STEP
    )
    try:
        while chunk := reader.read(_STEP):
            yield chunk
    except zstandard.ZstdError as error:
        for _ in rest:  # a wrong key is told as such
            pass
        raise _fault(part, event_id, f"not a zstd frame of {part.size} bytes: {error}") from None


class _Joined:
    """Pieces as a file that is read once."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._held, self._rest = first, rest

    def read(self, size: int = -1) -> bytes:
        while len(self._held) < size and (piece := next(self._rest, b"")):
            self._held += piece
        found, self._held = self._held[:size], self._held[size:]
        return found


def _fault(part: SealedPart, event_id: EventId | bytes, what: str) -> VerificationError:
    name = PART_NAMES.get(part.type, part.type)
    return VerificationError(f"event {format_event_id(event_id)} part {name}: {what}")
