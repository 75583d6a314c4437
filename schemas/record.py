"""The record: one sealed event as it travels on the bus and lies in the archive. Avro ``record.v1.avsc``.

The codec is written out by hand because it must be strict: :func:`decode_record` accepts exactly what
:func:`encode_record` writes (one array block, shortest varints, parts sorted by type), so equal records are equal
bytes. Any Avro reader reads the result.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from schemas.avro_binary import avro_text, read_varint, varint
from schemas.errors import MalformedInput
from schemas.ids import EventId, KeyId
from schemas.parts import SealedPart

MAX_PARTS = 32
MAX_TYPE = 0xFF
MAX_CODEC = 2**31 - 1
"""Avro ``int``: other readers refuse more."""

_PART_HEAD = struct.Struct("B16sB12s")
"""Type, key id, codec and nonce where type and codec are below 64, as all of ours are: one byte each in Avro."""


@dataclass(frozen=True, slots=True)
class Record:
    """A sealed event. ``parts`` are sorted by type, no type twice, at least one."""

    event_id: EventId
    tenant: str
    retention_class: str
    parts: tuple[SealedPart, ...]


def encode_record(record: Record) -> bytes:
    """Avro binary of a record, without header.

    Raises:
        MalformedInput: the fields are not such that :func:`decode_record` would give them back.
    """
    if len(record.event_id) != 16:
        raise MalformedInput(f"got an event id of {len(record.event_id)} bytes, expected 16")
    if not 1 <= len(record.parts) <= MAX_PARTS:
        raise MalformedInput(f"got {len(record.parts)} parts, expected 1 to {MAX_PARTS}")
    pieces = [record.event_id, avro_text(record.tenant), avro_text(record.retention_class), varint(len(record.parts))]
    last = 0
    for kind, key_id, codec, nonce, ciphertext, size, address in record.parts:
        if not last < kind <= MAX_TYPE:
            raise MalformedInput(f"got part type {kind} after {last}, expected ascending types from 1 to {MAX_TYPE}")
        if not 0 <= codec <= MAX_CODEC or size < 0 or len(key_id) != 16 or len(nonce) != 12:
            raise MalformedInput(f"got part {kind} with a codec, size, key id or nonce that no record can carry")
        last = kind
        if kind | codec < 64:
            head = _PART_HEAD.pack(kind << 1, key_id, codec << 1, nonce)
        else:
            head = varint(kind) + key_id + varint(codec) + nonce
        end = avro_text(address) if address else b"\x00"
        pieces += (head, varint(len(ciphertext)), ciphertext, varint(size), end)
    pieces.append(b"\x00")
    return b"".join(pieces)


def decode_record(data: bytes) -> Record:
    """Read a record.

    Raises:
        MalformedInput: the bytes are not exactly what :func:`encode_record` writes.
    """
    try:
        return _decode(data)
    except (IndexError, struct.error):
        raise MalformedInput(f"got a record cut short at byte {len(data)}") from None
    except UnicodeDecodeError as error:
        raise MalformedInput(f"got text in a record that is not UTF-8 at byte {error.start}") from None


def _decode(data: bytes) -> Record:
    event_id, at = _fixed(data, 0, 16)
    tenant, at = _bytes(data, at)
    retention_class, at = _bytes(data, at)
    count, at = read_varint(data, at)
    if not 1 <= count <= MAX_PARTS:
        raise MalformedInput(f"got {count} parts, expected 1 to {MAX_PARTS}")
    parts: list[SealedPart] = []
    last = 0
    for _ in range(count):
        kind, key_id, codec, nonce = _PART_HEAD.unpack_from(data, at)
        if (kind | codec) & 0x81:
            kind, key_id, codec, nonce, at = _long_head(data, at)
        else:
            kind, codec, at = kind >> 1, codec >> 1, at + _PART_HEAD.size
        if not last < kind <= MAX_TYPE:
            raise MalformedInput(f"got part type {kind} after {last}, expected ascending types from 1 to {MAX_TYPE}")
        last = kind
        ciphertext, at = _bytes(data, at)
        size, at = read_varint(data, at)
        if not 0 <= codec <= MAX_CODEC or size < 0:
            raise MalformedInput(f"got codec {codec} and size {size}, expected neither below 0")
        address, at = _bytes(data, at)
        parts.append(SealedPart(kind, KeyId(key_id), codec, nonce, ciphertext, size, address.decode("utf-8")))
    end, at = read_varint(data, at)
    if end != 0 or at != len(data):
        raise MalformedInput(f"got {len(data) - at} bytes after the parts, expected the end of the record")
    return Record(EventId(event_id), tenant.decode("utf-8"), retention_class.decode("utf-8"), tuple(parts))


def _long_head(data: bytes, at: int) -> tuple[int, bytes, int, bytes, int]:
    """What :data:`_PART_HEAD` reads, for numbers of any size; and the position behind it."""
    kind, at = read_varint(data, at)
    key_id, at = _fixed(data, at, 16)
    codec, at = read_varint(data, at)
    nonce, at = _fixed(data, at, 12)
    return kind, key_id, codec, nonce, at


def _fixed(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise IndexError
    return data[at:end], end


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_varint(data, at)
    if size < 0:
        raise MalformedInput(f"got a length of {size} at byte {at}, expected 0 or more")
    return _fixed(data, at, size)
