"""Rows for the ``ingest`` table as Avro, made by joining byte strings. Pure.

The metadata columns *are* the bytes of the metadata part: they stand in the middle of the row, untouched, and
ClickHouse parses them. Every row is a container block of its own, so that bytes which do not parse end at their block:
a forged metadata part can spoil its own row and no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from schemas.avro_binary import avro_bytes, varint
from schemas.metadata import schema
from schemas.parts import CONTENT, SOURCE
from schemas.record import Record, encode_record
from sinks.opening import Opened, SourcePiece
from sinks.proof import Proof
from stores.bus import Message

EVENTS = 1
CONTENTS = 2
BOTH = 3
"""Values of ``into``: which tables a row is for."""

_HEAD = (
    ("into", "int"),
    ("origin", "string"),
    ("topic", "string"),
    ("partition", "int"),
    ("offset", "long"),
    ("leaf_index", "long"),
    ("entry_kind", "int"),
    ("bus_time", {"type": "long", "logicalType": "timestamp-millis"}),
    ("commitments", "bytes"),
    ("leaf", "bytes"),
    ("chain", "bytes"),
    ("metadata_status", "string"),
    ("content_status", "string"),
    ("source_status", "string"),
    ("status_reason", "string"),
    ("sealed_bytes", "long"),
)
_TAIL = (
    ("metadata_raw", "bytes"),
    ("metadata_salt", "bytes"),
    ("content", "bytes"),
    ("content_salt", "bytes"),
    ("source", "bytes"),
    ("source_salt", "bytes"),
    (
        "source_pieces",
        {
            "type": "array",
            "items": {
                "type": "record",
                "name": "SourcePiece",
                "fields": [
                    {"name": "partition", "type": "int"},
                    {"name": "offset", "type": "long"},
                    {"name": "start", "type": "long"},
                    {"name": "length", "type": "long"},
                ],
            },
        },
    ),
    ("content_object", "string"),
    ("source_object", "string"),
    ("elsewhere", "bytes"),
)
_NOTHING_ELSEWHERE = b"\x00\x00\x00"


def row_schema() -> dict[str, object]:
    """The Avro schema of a row: address and proof, the fields of metadata v1, the parts."""
    own = [[{"name": name, "type": kind} for name, kind in fields] for fields in (_HEAD, _TAIL)]
    return {"type": "record", "name": "Row", "fields": [*own[0], *schema("metadata.v1")["fields"], *own[1]]}


_SCHEMA = json.dumps(row_schema(), separators=(",", ":")).encode()
_SYNC = hashlib.sha256(b"affidavit/clickhouse/rows\x00" + _SCHEMA).digest()[:16]
"""Fixed, so that equal rows are equal bytes and a repeated insert has the same deduplication token."""

_CONTAINER = (
    b"Obj\x01"
    + varint(2)
    + avro_bytes(b"avro.schema")
    + avro_bytes(_SCHEMA)
    + avro_bytes(b"avro.codec")
    + avro_bytes(b"null")
    + b"\x00"
    + _SYNC
)
_ONE = varint(1)
_DIGEST_LENGTH = varint(32)


class Row(NamedTuple):
    """One row before it is encoded.

    Attributes:
        into: :data:`EVENTS`, :data:`CONTENTS` or :data:`BOTH`.
        log: :func:`pack_log` of the row's log and shard.
    """

    into: int
    log: bytes
    proof: Proof
    opened: Opened
    message: Message


def pack_log(origin: str, topic: str, partition: int) -> bytes:
    """The fields that all rows of a shard and log share."""
    return avro_bytes(origin.encode()) + avro_bytes(topic.encode()) + varint(partition)


def encode_row(row: Row) -> bytes:
    """One container block with one row."""
    into, log, (_, leaf_index, entry_kind, commitments, leaf, chain), opened, message = row
    statuses, reason, columns, metadata, content, source, salts, pieces, elsewhere, fetched = opened
    why = reason.encode()
    body = b"".join(
        (
            varint(into),
            log,
            varint(message.offset),
            varint(leaf_index),
            varint(entry_kind),
            varint(message.time_ms),
            varint(len(commitments)),
            commitments,
            _DIGEST_LENGTH,
            leaf,
            _DIGEST_LENGTH,
            chain,
            _statuses(statuses),
            varint(len(why)),
            why,
            varint(len(message.value) + fetched),
            columns,
            varint(len(metadata)),
            metadata,
            varint(len(salts[0])),
            salts[0],
            varint(len(content)),
            content,
            varint(len(salts[1])),
            salts[1],
            varint(len(source)),
            source,
            varint(len(salts[2])),
            salts[2],
            _pieces(pieces) if pieces else b"\x00",
            _elsewhere(elsewhere) if elsewhere is not None else _NOTHING_ELSEWHERE,
        )
    )
    return b"".join((_ONE, varint(len(body)), body, _SYNC))


def _pieces(pieces: Sequence[SourcePiece]) -> bytes:
    return varint(len(pieces)) + b"".join([varint(number) for piece in pieces for number in piece]) + b"\x00"


def _elsewhere(record: Record) -> bytes:
    """The last three fields."""
    addresses = {part.type: part.address for part in record.parts}
    return b"".join(
        (
            avro_bytes(addresses.get(CONTENT, "").encode()),
            avro_bytes(addresses.get(SOURCE, "").encode()),
            avro_bytes(encode_record(record)),
        )
    )


def container(blocks: Iterable[bytes]) -> bytes:
    """An Avro container file of blocks."""
    return b"".join((_CONTAINER, *blocks))


@lru_cache(maxsize=1024)
def _statuses(statuses: tuple[str, str, str]) -> bytes:
    """Their three fields; there are a few dozen combinations at most."""
    return b"".join(avro_bytes(status.encode()) for status in statuses)
