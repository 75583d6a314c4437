"""Ledger entries: the fixed bytes that the log hashes. Entry, leaf, chain; see ``docs/log-format.md`` §3.

An entry holds commitments and no payload, so the ledger is permanent while everything it speaks of can be destroyed.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from schemas.errors import MalformedInput

VERSION = 1

GENESIS = 0x00
EVENT = 0x01
CONTROL = 0x02
INVALID = 0x03
CHECKPOINT_SET = 0x20

NO_OFFSET = 2**64 - 1
"""``src_offset`` of a genesis entry, which has no place on the bus."""

ZERO = bytes(32)
"""The chain value before leaf 0, and the salt of the genesis commitment (a public document needs no secret)."""

CHAIN_DOMAIN = b"affidavit/chain/v1\x00"
INVALID_DOMAIN = b"affidavit/invalid/v1\x00"

COMMITMENT_BYTES = 33
MAX_COMMITMENTS = 32

_HEAD = struct.Struct(">BBQQB")
_CHAIN_INDEX = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Entry:
    """One ledger entry.

    Attributes:
        kind: ``GENESIS``, ``EVENT``, ``CONTROL`` or ``INVALID``.
        offset: the bus offset it stands for (u64).
        time_ms: the bus's timestamp, milliseconds since 1970 UTC.
        commitments: ``n × (u8 part type, 32 bytes)``, sorted by part type; the bytes of bus header ``c``.
    """

    kind: int
    offset: int
    time_ms: int
    commitments: bytes


def encode_entry(entry: Entry) -> bytes:
    """``u8 version | u8 kind | u64be offset | u64be time_ms | u8 n | n × (u8 type | 32 bytes)``."""
    return pack_entry(entry.kind, entry.offset, entry.time_ms, entry.commitments)


def pack_entry(kind: int, offset: int, time_ms: int, commitments: bytes) -> bytes:
    """:func:`encode_entry` without the object, for the hot path. The commitments must be valid already."""
    return _HEAD.pack(VERSION, kind, offset, time_ms, len(commitments) // COMMITMENT_BYTES) + commitments


def decode_entry(data: bytes) -> Entry:
    """Read an entry; anything that :func:`encode_entry` would not write is refused.

    Raises:
        MalformedInput: wrong version, kind, length, or commitments out of order.
    """
    if len(data) < _HEAD.size:
        raise MalformedInput(f"got an entry of {len(data)} bytes, expected at least {_HEAD.size}")
    version, kind, offset, time_ms, count = _HEAD.unpack_from(data)
    if version != VERSION:
        raise MalformedInput(f"got entry version {version}, expected {VERSION}")
    if kind not in (GENESIS, EVENT, CONTROL, INVALID):
        raise MalformedInput(f"got entry kind {kind:#04x}, expected genesis, event, control or invalid")
    commitments = data[_HEAD.size :]
    if len(commitments) != count * COMMITMENT_BYTES or not valid_commitments(commitments):
        raise MalformedInput(
            f"got {len(commitments)} bytes of commitments for n={count}, expected n × 33, sorted by part type"
        )
    return Entry(kind, offset, time_ms, commitments)


def valid_commitments(header: bytes) -> bool:
    """Whether the bytes of bus header ``c`` are 1 to 32 commitments, sorted by part type, no type twice."""
    size = len(header)
    if size == 0 or size % COMMITMENT_BYTES or size > MAX_COMMITMENTS * COMMITMENT_BYTES:
        return False
    last = 0
    for at in range(0, size, COMMITMENT_BYTES):
        if header[at] <= last:
            return False
        last = header[at]
    return True


def pack_commitments(pairs: list[tuple[int, bytes]]) -> bytes:
    """Join ``(part type, 32 bytes)`` pairs into the bytes of header ``c``."""
    header = b"".join([bytes((kind,)) + digest for kind, digest in sorted(pairs)])
    if not valid_commitments(header):
        raise MalformedInput(
            f"got commitments of part types {[kind for kind, _ in pairs]}, expected 1 to 32, each once"
        )
    return header


def unpack_commitments(header: bytes) -> dict[int, bytes]:
    """``part type → commitment`` of a valid header ``c``."""
    if not valid_commitments(header):
        raise MalformedInput(f"got {len(header)} bytes of commitments, expected n × 33, sorted by part type")
    return {header[at]: header[at + 1 : at + COMMITMENT_BYTES] for at in range(0, len(header), COMMITMENT_BYTES)}


def invalid_commitments(key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bytes:
    """What an entry of kind *invalid* commits to: a plain hash of the message's raw bytes, as part type 3.

    The signer must be a pure function of what lies on the bus, so there is no secret salt here; a message that never
    was a record of ours gets integrity without the secrecy of commitments. Headers are sorted by name, then value.
    """
    digest = hashlib.sha256(INVALID_DOMAIN)
    for raw in (
        key,
        value,
        *(item for name, data in sorted(headers) for item in (name.encode("utf-8", "surrogateescape"), data)),
    ):
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return b"\x03" + digest.digest()


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 §2.1 leaf hash of entry bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def chain_next(index: int, previous: bytes, leaf: bytes) -> bytes:
    """Chain value of leaf ``index``: ``SHA256(domain ‖ u64be index ‖ previous ‖ leaf)``; :data:`ZERO` before leaf 0."""
    return hashlib.sha256(CHAIN_DOMAIN + _CHAIN_INDEX.pack(index) + previous + leaf).digest()
