"""Segments: Avro container files (Avro 1.12 §Object Container Files) that keep messages of the bus, exactly.

The bytes are a function of the messages and the object's key alone: the sync marker is derived from the key and no
clock is read, so a writer that crashed writes the same object again. Nothing is decoded or encoded on the way; items
and blocks are joined byte strings. The codec is ``null``, because ciphertext does not compress.

The reader is as strict as the writer is plain: :func:`parse_segment` accepts exactly what :func:`encode_segment`
writes. Any Avro reader reads the files too; ``avro/segment.v1.avsc`` is in their header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas.avro_binary import avro_bytes, read_varint, varint
from schemas.errors import MalformedInput
from schemas.metadata import schema

MAGIC = b"Obj\x01"
SYNC_DOMAIN = b"affidavit/segment/v1\x00"
SYNC_BYTES = 16

BLOCK_BYTES = 256 * 1024
"""A block is closed before it grows beyond this: small enough for a reader to skip through, large enough that the
20-odd bytes around it do not matter."""

_SCHEMA = json.dumps(schema("segment.v1"), separators=(",", ":")).encode("utf-8")

Headers = tuple[tuple[str, bytes], ...]
Item = tuple[bytes, bytes, bytes]
"""The Avro binary of one record in three pieces: what comes before the value, the value, what comes after."""


class SegmentRecord(NamedTuple):
    """One message as the archive keeps it; the fields of ``segment.v1.avsc``."""

    offset: int
    time_ms: int
    kind: int
    event_id: bytes
    commitments: bytes
    value: bytes
    key: bytes = b""
    headers: Headers = ()


def pack_item(
    offset: int,
    time_ms: int,
    kind: int,
    event_id: bytes,
    commitments: bytes,
    value: bytes,
    key: bytes = b"",
    headers: Headers = (),
) -> Item:
    """One record, from the fields of :class:`SegmentRecord`. Runs once per record: no object is made, and ``value``,
    nearly all of the bytes, is not copied."""
    head = b"".join(
        (
            varint(offset),
            varint(time_ms),
            varint(kind),
            varint(len(event_id)),
            event_id,
            varint(len(commitments)),
            commitments,
            varint(len(value)),
        )
    )
    if key or headers:
        return head, value, avro_bytes(key) + _pack_headers(headers)
    return head, value, b"\x00\x00"


def encode_segment(key: str, items: Iterable[Item]) -> bytes:
    """The container file that lies at object ``key``; at least one item, in offset order."""
    sync = sync_marker(key)
    pieces = [segment_header(key)]
    block: list[bytes] = []
    count = size = 0
    for item in items:
        head, value, tail = item
        grown = size + len(head) + len(value) + len(tail)
        if grown > BLOCK_BYTES and count:
            pieces += (varint(count), varint(size), *block, sync)
            block.clear()
            grown -= size
            count = 0
        block += item
        count += 1
        size = grown
    pieces += (varint(count), varint(size), *block, sync)
    return b"".join(pieces)


def segment_header(key: str) -> bytes:
    """Magic, metadata and sync marker. ``affidavit.segment`` holds the key, so that a file knows where it belongs."""
    meta = (("avro.codec", b"null"), ("avro.schema", _SCHEMA), ("affidavit.segment", key.encode("ascii")))
    pairs = b"".join(avro_bytes(name.encode("ascii")) + avro_bytes(value) for name, value in meta)
    return MAGIC + varint(len(meta)) + pairs + b"\x00" + sync_marker(key)


def sync_marker(key: str) -> bytes:
    """The 16 bytes between blocks: ``SHA-256(domain ‖ key)``, cut short."""
    return hashlib.sha256(SYNC_DOMAIN + key.encode("ascii")).digest()[:SYNC_BYTES]


def parse_segment(key: str, data: bytes) -> Iterator[SegmentRecord]:
    """Read the container file at object ``key``, block by block.

    Raises:
        MalformedInput: the bytes are not exactly what :func:`encode_segment` writes for that key, or the offsets do
            not ascend. The records of the blocks before the fault have been yielded.
    """
    header = segment_header(key)
    if not data.startswith(header):
        raise MalformedInput(f"got {len(data)} bytes that do not begin with the segment.v1 header of this key")
    at, last, room = len(header), -1, -1
    while True:
        try:
            records, end, size = _block(data, at, header[-SYNC_BYTES:], room)
        except IndexError:
            raise MalformedInput(f"got {len(data)} bytes, expected more: the file is cut short") from None
        for record in records:
            if record.offset <= last:
                raise MalformedInput(f"got offset {record.offset} after {last}, expected ascending offsets")
            last = record.offset
            yield record
        at, room = end + SYNC_BYTES, BLOCK_BYTES - size
        if at == len(data):
            return


def _block(data: bytes, begin: int, sync: bytes, room: int) -> tuple[list[SegmentRecord], int, int]:
    """The records of the block at ``begin``, where its sync marker is, and its size. ``room`` is what the block before
    left free: the first item here must not have fitted there."""
    count, at = read_varint(data, begin)
    size, at = read_varint(data, at)
    first, end = at, at + size
    if count < 1 or size < 1 or end + len(sync) > len(data) or (size > BLOCK_BYTES and count > 1):
        raise MalformedInput(f"got a block of {count} records and {size} bytes at byte {begin} of {len(data)}")
    records: list[SegmentRecord] = []
    while at < end:
        record, at = _item(data, at)
        if not records and at - first <= room:
            raise MalformedInput(f"got a block at byte {begin} whose first record fits into the block before it")
        records.append(record)
    if at != end or len(records) != count or data[end : end + len(sync)] != sync:
        raise MalformedInput(f"got a block at byte {begin} that does not end as it says, at byte {end}")
    return records, end, size


def _item(data: bytes, at: int) -> tuple[SegmentRecord, int]:
    offset, at = read_varint(data, at)
    time_ms, at = read_varint(data, at)
    kind, at = read_varint(data, at)
    event_id, at = _bytes(data, at)
    commitments, at = _bytes(data, at)
    value, at = _bytes(data, at)
    key, at = _bytes(data, at)
    headers, at = _headers(data, at)
    return SegmentRecord(offset, time_ms, kind, event_id, commitments, value, key, headers), at


def _pack_headers(headers: Headers) -> bytes:
    if not headers:
        return b"\x00"
    pairs = [avro_bytes(name.encode("utf-8", "surrogateescape")) + avro_bytes(value) for name, value in headers]
    return varint(len(pairs)) + b"".join(pairs) + b"\x00"


def _headers(data: bytes, at: int) -> tuple[Headers, int]:
    count, at = read_varint(data, at)
    if count == 0:
        return (), at
    if count < 0:
        raise MalformedInput(f"got {count} headers at byte {at}, expected 0 or more")
    headers = []
    for _ in range(count):
        name, at = _bytes(data, at)
        value, at = _bytes(data, at)
        headers.append((name.decode("utf-8", "surrogateescape"), value))
    end, at = read_varint(data, at)
    if end != 0:
        raise MalformedInput(f"got more headers at byte {at}, expected one block of them")
    return tuple(headers), at


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_varint(data, at)
    end = at + size
    if size < 0 or end > len(data):
        raise MalformedInput(f"got a length of {size} at byte {at} of {len(data)}")
    return data[at:end], end
