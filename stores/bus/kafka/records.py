"""Record batches: our messages to Kafka's bytes and back (pure; the codec is aiokafka's, in C)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import calc_crc32c

from schemas.entry import COMMITMENT_BYTES, valid_commitments
from schemas.errors import ConfigurationError, LedgerContradiction, Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Message, Outgoing
from stores.bus.headers import EVENT_ID_BYTES, OUR_SCHEMAS, Foreign, read_headers, write_headers

CODECS = {"none": 0, "lz4": 3, "zstd": 4}
"""Attribute bits of a batch."""

CONTROL_BIT = 0x20

Headers = tuple[tuple[str, bytes], ...]


class Packed(NamedTuple):
    """A message with its headers written: what a batch holds."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    size: int


def pack(message: Outgoing | Foreign) -> Packed:
    """Write the headers; ``size`` is that of a batch with this record alone, uncompressed."""
    headers = list(message.headers if isinstance(message, Foreign) else write_headers(message))
    size = DefaultRecordBatchBuilder.estimate_size_in_bytes(message.key, message.value, headers)
    return Packed(message.key, message.value, headers, size)


_PRODUCER, _PRODUCER_AT = struct.Struct(">qhi"), 43
_CRC, _CRC_AT, _CRC_FROM = struct.Struct(">I"), 17, 21
"""Where in a batch's head the producer's id, epoch and sequence lie, and the checksum of all that follows it."""


class BatchUnderWay:
    """A batch that takes records until it is full."""

    def __init__(self, compression: str, max_bytes: int, now_ms: int) -> None:
        self._builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=CODECS[compression],
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=max_bytes,
        )
        self._now_ms = now_ms
        self._built: bytearray | None = None
        self.count = 0

    def add(self, record: Packed) -> bool:
        """Take the record, unless the batch is full. The first always fits: its size was looked at before."""
        taken = self._builder.append(self.count, self._now_ms, record.key, record.value, record.headers)
        if taken is None:
            return False
        self.count += 1
        return True

    def build(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """The bytes. Built again with other numbers, only these and the checksum differ."""
        if self._built is None:
            self._builder.set_producer_state(producer_id, epoch, sequence)
            self._built = bytearray(self._builder.build())
        else:
            _PRODUCER.pack_into(self._built, _PRODUCER_AT, producer_id, epoch, sequence)
            _CRC.pack_into(self._built, _CRC_AT, calc_crc32c(memoryview(self._built)[_CRC_FROM:]))
        return bytes(self._built)


class Chunk(NamedTuple):
    """Bytes of a fetch, from the batch at ``position`` on, and where the shard ended when they were fetched."""

    raw: bytes
    position: int
    high_watermark: int


class Taken(NamedTuple):
    """What :func:`unpack` took out of a chunk: messages, and the rest, ``None`` when there is none."""

    messages: list[Message]
    size: int
    rest: Chunk | None


_BATCH_HEAD = struct.Struct(">qiibIhi")
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta."""

_LENGTH_ENDS = 12


def unpack(chunk: Chunk, shard: Shard, offset: int, *, max_records: int, room: int, values: bool, alone: bool) -> Taken:
    """Messages from ``offset`` on: no more than ``max_records``, no more than ``room`` bytes of values unless it is
    the first and ``alone``. They end before a gap.

    Raises:
        LedgerContradiction: there is a message behind ``offset``, and none at it.
        Unavailable: the bytes do not carry their checksum.
    """
    found: list[Message] = []
    size, expected, position = 0, offset, chunk.position
    known: dict[bytes, bool] = {}
    for start, end, batch_offset, batch in _batches(chunk, offset):
        position = start
        if batch_offset > expected or batch is None:
            return _gap_or(found, size, shard, expected, batch_offset)
        for record in batch:
            if record.offset < expected:
                continue
            if record.offset > expected:
                return _gap_or(found, size, shard, expected, record.offset)
            value_size = len(record.value or b"")
            if len(found) >= max_records or (size + value_size > room and (found or not alone)):
                return Taken(found, size, chunk._replace(position=start))
            found.append(_message(shard, record, values, known))
            size += value_size
            expected += 1
        if expected < batch.next_offset:
            return _gap_or(found, size, shard, expected, batch.next_offset)
        position = end
    rest = chunk._replace(position=position) if position < len(chunk.raw) and found else None
    return Taken(found, size, rest if rest is not None and _whole(rest) else None)


def _gap_or(found: list[Message], size: int, shard: Shard, expected: int, next_offset: int) -> Taken:
    """The messages before a gap; the gap itself is met by whoever asks next."""
    if found:
        return Taken(found, size, None)
    raise gap(shard, expected, next_offset)


def gap(shard: Shard, offset: int, next_offset: int) -> LedgerContradiction:
    """The error of offsets that hold no message."""
    return LedgerContradiction(
        f"{shard}: got no message at offsets {offset} to {next_offset - 1}, expected one at each: a transactional "
        f"producer or compaction was at work; stop it, and let the ledger begin a new term at offset {next_offset}"
    )


def _batches(chunk: Chunk, offset: int) -> Iterator[tuple[int, int, int, Any]]:
    """Where each batch begins and ends, its first offset, and the batch; ``None`` for a batch of markers."""
    view, position = memoryview(chunk.raw), chunk.position
    while position + _BATCH_HEAD.size <= len(view):
        base, length, _, magic, _, attributes, last = _BATCH_HEAD.unpack_from(view, position)
        end = position + _LENGTH_ENDS + length
        if end > len(view):
            return
        if magic < 2:
            legacy = LegacyRecordBatch(view[position:end], magic)
            if legacy.next_offset > offset:
                yield position, end, min(base, offset), legacy
        elif base + last >= offset:
            if attributes & CONTROL_BIT:
                # Markers of a transaction: they use up offsets and hold no message.
                yield position, end, base + last + 1, None
            else:
                yield position, end, base, _checked(view[position:end])
        position = end


def _checked(raw: memoryview) -> Any:
    try:
        batch = DefaultRecordBatch(raw)
        whole = batch.validate_crc()
    except (CorruptRecordException, UnsupportedCodecError) as error:
        raise ConfigurationError(f"got a record batch that cannot be read: {error}") from error
    if not whole:
        raise Unavailable("got a record batch from Kafka whose checksum does not match; reading it again")
    return batch


def _whole(chunk: Chunk) -> bool:
    """Whether at least one more batch lies complete in the chunk."""
    if chunk.position + _BATCH_HEAD.size > len(chunk.raw):
        return False
    (length,) = struct.unpack_from(">i", chunk.raw, chunk.position + 8)
    return chunk.position + _LENGTH_ENDS + int(length) <= len(chunk.raw)


def _message(shard: Shard, record: Any, values: bool, known: dict[bytes, bool]) -> Message:
    """One message. ``known`` remembers which part types make valid commitments: they are few, messages many."""
    headers: Sequence[tuple[str, bytes | None]] = record.headers
    if len(headers) == 4:
        (name_c, commitments), (name_id, event_id), (name_k, kind), (name_s, fingerprint) = headers
        if (
            name_c == "c"
            and name_id == "id"
            and name_k == "k"
            and name_s == "s"
            and commitments is not None
            and event_id is not None
            and kind is not None
            and len(event_id) == EVENT_ID_BYTES
            and len(kind) == 1
            and fingerprint in OUR_SCHEMAS
            and _valid(commitments, known)
        ):
            key, value = (record.key or b"", record.value or b"") if values else (b"", b"")
            return Message(
                shard, Offset(record.offset), record.timestamp or 0, key, value, kind[0], event_id, commitments
            )
    return _stray(shard, record, values)


def _stray(shard: Shard, record: Any, values: bool) -> Message:
    """A message of somebody else's. Kafka knows null keys, values and header values; here they are empty."""
    headers: Headers = tuple((name, value or b"") for name, value in record.headers)
    ours = read_headers(headers)
    bare = not values and valid_commitments(ours.commitments)
    return Message(
        shard,
        Offset(record.offset),
        max(record.timestamp or 0, 0),
        b"" if bare else record.key or b"",
        b"" if bare else record.value or b"",
        ours.kind,
        ours.event_id,
        ours.commitments,
        () if ours.exact or bare else headers,
    )


def _valid(commitments: bytes, known: dict[bytes, bool]) -> bool:
    size = len(commitments)
    if size % COMMITMENT_BYTES:
        return False
    types = commitments[::COMMITMENT_BYTES]
    answer = known.get(types)
    if answer is None:
        answer = known[types] = valid_commitments(commitments)
    return answer
