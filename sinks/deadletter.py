"""The dead letter: a record that a sink could not deliver, its address and the reason. Avro ``deadletter.v1.avsc``.

It is a message on topic ``deadletter`` of the same bus, so it is as durable as the record. The value stays sealed, as
it was; nothing is opened to be rejected. A letter may be there twice (a runner that crashed writes it again, and so may
another process that took the shard): :attr:`DeadLetter.identity` says that it is the same one, and nothing but reason
and time differ between the two.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import fastavro

from schemas.errors import MalformedInput
from schemas.fingerprints import DEADLETTER_V1
from schemas.ids import DEADLETTER, Offset, Shard, event_id
from schemas.metadata import KIND_CODES, schema
from stores.bus import Message, Outgoing

_SCHEMA: Any = fastavro.parse_schema(schema("deadletter.v1"))


class DeadLetter(NamedTuple):
    """One rejected record.

    Attributes:
        sink: who rejected it.
        reason: why, without the record's content.
        rejected_ms: when, milliseconds since 1970 UTC.
        message: the record as it was on the bus, with its shard and offset.
        whole: false where key, value and headers are left out, because the bus takes no message of that size; the
            record is then only at its address.
    """

    sink: str
    reason: str
    rejected_ms: int
    message: Message
    whole: bool = True

    @property
    def identity(self) -> tuple[str, Shard, Offset]:
        """Sink, shard and offset: equal for every copy of a letter."""
        return self.sink, self.message.shard, self.message.offset


def encode_deadletter(letter: DeadLetter) -> bytes:
    """Avro binary of a letter, without header."""
    message = letter.message
    stream = io.BytesIO()
    fastavro.schemaless_writer(
        stream,
        _SCHEMA,
        {
            "sink": letter.sink,
            "topic": message.shard.topic,
            "partition": message.shard.partition,
            "offset": message.offset,
            "reason": letter.reason,
            "rejected_ms": letter.rejected_ms,
            "time_ms": message.time_ms,
            "kind": message.kind,
            "event_id": message.event_id,
            "commitments": message.commitments,
            "key": message.key if letter.whole else b"",
            "value": message.value if letter.whole else b"",
            "headers": [
                {"name": name.encode("utf-8", "surrogateescape"), "value": value}
                for name, value in (message.headers if letter.whole else ())
            ],
            "whole": letter.whole,
        },
    )
    return stream.getvalue()


def decode_deadletter(data: bytes) -> DeadLetter:
    """Read what :func:`encode_deadletter` wrote.

    Raises:
        MalformedInput: other bytes.
    """
    try:
        raw: Any = fastavro.schemaless_reader(io.BytesIO(data), _SCHEMA, None)
        letter = _letter(raw)
        same = encode_deadletter(letter) == data
    except (ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise MalformedInput(f"got {len(data)} bytes that are not a dead letter: {type(error).__name__}") from None
    if not same:
        raise MalformedInput(f"got {len(data)} bytes that are not a dead letter as it is written")
    return letter


def outgoing(letter: DeadLetter) -> Outgoing:
    """The message for the bus. Letters of one shard stay in order; kind and id are the record's, if it has any."""
    message = letter.message
    address = f"{message.shard}/{message.offset}"
    return Outgoing(
        DEADLETTER,
        str(message.shard).encode("ascii"),
        encode_deadletter(letter),
        message.kind if message.kind >= 0 else KIND_CODES["unparsed"],
        message.event_id or event_id("", letter.sink, address, DEADLETTER, 0),
        message.commitments,
        DEADLETTER_V1,
    )


def _letter(raw: dict[str, Any]) -> DeadLetter:
    headers = tuple((item["name"].decode("utf-8", "surrogateescape"), item["value"]) for item in raw["headers"])
    message = Message(
        Shard(raw["topic"], raw["partition"]),
        Offset(raw["offset"]),
        raw["time_ms"],
        raw["key"],
        raw["value"],
        raw["kind"],
        raw["event_id"],
        raw["commitments"],
        headers,
    )
    return DeadLetter(raw["sink"], raw["reason"], raw["rejected_ms"], message, raw["whole"])
