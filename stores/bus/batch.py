"""Packed batches: messages of one shard joined into two byte strings, which the SQLite bus keeps as one row.

One row per message would be the obvious table. It is not used because Python's ``sqlite3`` lets go of the interpreter
lock on every row it steps over, and has to win it back from whatever else is running: beside one busy thread a table of
messages took 90 appends a second and gave 150 headers, rows of packed messages 17,000 and 37,000.

::

    head = n × sizes ‖ n × (event id ‖ fingerprint ‖ commitments)        what the signer reads
    body = n × (key ‖ value ‖ headers)                                   what it does not

``sizes`` is 20 bytes, little-endian: i16 kind (−1: none) | u8 len(event id) | u8 len(fingerprint) | u16
len(commitments) | u16 1 when the commitments are valid | u32 len(key) | u32 len(value) | u32 len(headers).
``headers`` is there only when it is not exactly ours: ``n × (u16 len ‖ name ‖ u32 len ‖ value)``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.entry import valid_commitments
from schemas.errors import LimitExceeded, MalformedInput
from schemas.ids import Offset, Shard
from stores.bus import Message, Outgoing
from stores.bus.headers import (
    EVENT_ID_BYTES,
    OUR_SCHEMAS,
    Foreign,
    Header,
    read_headers,
    write_headers,
)

_SIZES = struct.Struct("<hBBHHIII")
_NAME = struct.Struct("<H")
_DATA = struct.Struct("<I")


class Packed(NamedTuple):
    """One message, ready to be joined with others."""

    sizes: bytes
    head: bytes
    body: bytes
    valid: bool


class Batch(NamedTuple):
    """A row: ``records`` messages, of which ``whole`` lack valid commitments, so that every reader needs their body."""

    records: int
    whole: int
    head: bytes
    body: bytes


def pack(message: Outgoing | Foreign) -> Packed:
    """Pack one message.

    Raises:
        LimitExceeded: a field is longer than the format can say (4 GiB).
    """
    if isinstance(message, Foreign):
        kind, event_id, commitments, fingerprint, exact = read_headers(message.headers)
        valid, headers = valid_commitments(commitments), b"" if exact else _pack_headers(message.headers)
    else:
        kind, event_id, commitments, fingerprint = message[3:]
        valid, headers = valid_commitments(commitments), b""
        if not valid or len(event_id) != EVENT_ID_BYTES or fingerprint not in OUR_SCHEMAS:
            return pack(Foreign(message.topic, message.key, message.value, write_headers(message)))
    key, value = message.key, message.value
    try:
        sizes = _SIZES.pack(
            kind, len(event_id), len(fingerprint), len(commitments), valid, len(key), len(value), len(headers)
        )
    except struct.error as error:
        raise LimitExceeded(f"got a message of {len(value)} bytes, expected less than 4 GiB: {error}") from None
    body = key + value + headers if headers else key + value
    return Packed(sizes, event_id + fingerprint + commitments, body, valid)


def join(messages: Sequence[Packed]) -> Batch:
    """Join packed messages into a row."""
    sizes, heads, bodies, valid = zip(*messages, strict=True)
    return Batch(len(sizes), len(sizes) - sum(valid), b"".join(sizes + heads), b"".join(bodies))


def split(
    shard: Shard, first: int, time_ms: int, count: int, head: bytes, body: bytes | None, *, skip: int, values: bool
) -> Iterator[Message]:
    """The messages of a row, from the ``skip``-th on; without ``values``, those with valid commitments come bare.

    ``body`` may be ``None`` when all of them do.

    Raises:
        MalformedInput: the row is not what :func:`join` makes.
    """
    at, low = count * _SIZES.size, 0
    if len(head) < at:
        raise MalformedInput(f"{shard} offset {first}: got {len(head)} bytes for the heads of {count} messages")
    offset = first
    for kind, ids, prints, commits, valid, keys, sized, extra in _SIZES.iter_unpack(head[:at]):
        start, at = at, at + ids + prints + commits
        middle = low + keys
        end, low = middle + sized, middle + sized + extra
        if offset - first >= skip:
            key = value = b""
            headers: tuple[Header, ...] = ()
            if body is not None and (values or not valid):
                key, value = body[middle - keys : middle], body[middle:end]
                headers = _unpack_headers(body[end:low]) if extra else ()
            event_id, commitments = head[start : start + ids], head[at - commits : at]
            yield Message(shard, Offset(offset), time_ms, key, value, kind, event_id, commitments, headers)
        offset += 1
    if at != len(head) or (body is not None and low != len(body)):
        raise MalformedInput(f"{shard} offset {first}: got a row whose sizes do not add up")


def unpack(topic: str, count: int, head: bytes, body: bytes) -> list[Outgoing | Foreign]:
    """The messages of a row as they were before :func:`pack`, to be written elsewhere with the same headers.

    A message with exactly our headers comes as :class:`~stores.bus.Outgoing`, whoever wrote it.

    Raises:
        MalformedInput: the row is not what :func:`join` makes.
    """
    at, low = count * _SIZES.size, 0
    messages: list[Outgoing | Foreign] = []
    if len(head) >= at:
        for kind, ids, prints, commits, _, keys, sized, extra in _SIZES.iter_unpack(head[:at]):
            prints_at = at + ids
            commits_at = prints_at + prints
            end = low + keys + sized
            key, value = body[low : low + keys], body[low + keys : end]
            if ids and prints and commits and kind >= 0 and not extra:
                own = head[at:prints_at], head[commits_at : commits_at + commits], head[prints_at:commits_at]
                messages.append(Outgoing(topic, key, value, kind, *own))
            else:
                messages.append(_restore(topic, key, value, _unpack_headers(body[end : end + extra])))
            at, low = commits_at + commits, end + extra
    if at != len(head) or low != len(body):
        raise MalformedInput(f"got a row of {count} messages of topic {topic} whose sizes do not add up")
    return messages


def _restore(topic: str, key: bytes, value: bytes, headers: tuple[Header, ...]) -> Outgoing | Foreign:
    if [name for name, _ in headers] == ["c", "id", "k", "s"] and len(headers[2][1]) == 1:
        commitments, event_id, kind, fingerprint = [data for _, data in headers]
        return Outgoing(topic, key, value, kind[0], event_id, commitments, fingerprint)
    return Foreign(topic, key, value, headers)


def _pack_headers(headers: Sequence[Header]) -> bytes:
    pieces: list[bytes] = []
    for name, value in headers:
        raw = name.encode("utf-8", "surrogateescape")
        if len(raw) > 0xFFFF:
            raise LimitExceeded(f"got a header name of {len(raw)} bytes, expected at most {0xFFFF}")
        pieces += _NAME.pack(len(raw)), raw, _DATA.pack(len(value)), value
    return b"".join(pieces)


def _unpack_headers(data: bytes) -> tuple[Header, ...]:
    headers: list[Header] = []
    at = 0
    while at < len(data):
        (size,) = _NAME.unpack_from(data, at)
        at += _NAME.size
        name = data[at : at + size].decode("utf-8", "surrogateescape")
        at += size
        (size,) = _DATA.unpack_from(data, at)
        at += _DATA.size
        headers.append((name, data[at : at + size]))
        at += size
    return tuple(headers)
