"""A record as other systems are told of it: one flat dictionary, with the names of metadata v1. Pure.

What a field means is said once, in ``schemas/avro/metadata.v1.avsc``. Empty fields are left out, times are RFC 3339 in
UTC, content is the JSON that was sealed. What each destination makes of it is its own affair.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from schemas.errors import MalformedInput
from schemas.ids import format_event_id
from schemas.metadata import Metadata, schema
from schemas.metadata_binary import decode_set_fields, with_all_fields
from schemas.parts import CONTENT
from sinks.identity import stated_leaf
from sinks.opening import ABSENT, MALFORMED, OK, Opened, stated
from stores.bus import Message

EARLIEST_US = 1_000_000_000_000_000
"""An event that says it is older than 2001 has a wrong clock."""

AHEAD_US = 86_400_000_000
"""So has one that is a day ahead of the bus."""

_TIMES = frozenset(field["name"] for field in schema("metadata.v1")["fields"] if "timestamp-micros" in str(field))


class Description(NamedTuple):
    """What there is to say of one record.

    Attributes:
        time_us: when it happened, microseconds since 1970 UTC; when the bus took it, where the event's own clock is
            plainly wrong.
        event_id: UUID, or ``""`` where the message has none.
        metadata: all fields of metadata v1, as decoded.
        fields: what is not empty of it, with times as text; then ``shard``, ``offset``, ``bus_time``, ``leaf``, and
            what became of the parts.
        content: JSON of the content part, ``b""`` where it was not opened or is absent.
    """

    message: Message
    time_us: int
    event_id: str
    metadata: Metadata
    fields: dict[str, Any]
    content: bytes


def describe(message: Message, opened: Opened) -> Description:
    """Put together what is known of a message. Content that is not JSON becomes a JSON string; no record fails."""
    status, reason = opened.statuses[0], opened.reason
    try:
        found = decode_set_fields(opened.columns)
    except MalformedInput as error:
        found = decode_set_fields(stated(message))
        status, reason = MALFORMED, f"metadata: {error}"
    metadata = with_all_fields(found)
    fields = {name: _text(value) if name in _TIMES else value for name, value in found.items()}
    fields["shard"] = str(message.shard)
    fields["offset"] = message.offset
    fields["bus_time"] = _text(message.time_ms * 1000)
    fields["leaf"] = leaf_of(message).hex()
    _tell_parts(fields, (status, *opened.statuses[1:]), reason)
    for part in opened.elsewhere.parts if opened.elsewhere is not None else ():
        if part.type == CONTENT:
            fields["content_object"], fields["content_bytes"] = part.address, part.size
    return Description(
        message,
        happened(metadata, message),
        metadata["event_id"] or (format_event_id(message.event_id) if len(message.event_id) == 16 else ""),
        metadata,
        fields,
        _json(opened.content),
    )


def happened(metadata: Metadata, message: Message) -> int:
    """Microseconds since 1970: when it happened, or when the bus took it if that cannot be."""
    own, bus = metadata["occurred_at"], message.time_ms * 1000
    return own if EARLIEST_US <= own <= bus + AHEAD_US else bus


def leaf_of(message: Message) -> bytes:
    """The ledger's leaf of a message, 32 bytes."""
    return stated_leaf(
        message.shard,
        message.offset,
        message.time_ms,
        message.commitments,
        message.key,
        message.value,
        message.headers,
    )


def _tell_parts(fields: dict[str, Any], statuses: tuple[str, ...], reason: str) -> None:
    """``metadata_status`` and ``content_status``, where they are not as they should be, and why."""
    named = zip(("metadata_status", "content_status"), statuses, strict=False)
    odd = {name: status for name, status in named if status not in (OK, ABSENT)}
    fields |= odd
    if odd and reason:
        fields["status_reason"] = reason


def _json(content: bytes) -> bytes:
    if not content:
        return b""
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return orjson.dumps(content.decode("utf-8", "replace"))
    return content


def _text(micros: int) -> str:
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest:06}Z"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    """RFC 3339 up to the second; records of a batch share theirs. A time that no calendar has is given as it is."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
