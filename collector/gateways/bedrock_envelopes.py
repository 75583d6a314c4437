"""What Bedrock's records come wrapped in when AWS delivers them: CloudWatch Logs subscriptions, Firehose. Pure.

A subscription sends ``{"logEvents": [{"id", "timestamp", "message"}], …}``, compressed with gzip: as such, in base64 as
``{"awslogs": {"data"}}`` (Lambda), or in base64 within ``{"requestId", "timestamp", "records": [{"data"}]}``
(Firehose).
The source of a record that comes so is its ``message``; what the envelope says of it goes to extras.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.gateways.bedrock_bodies import GZIP_MAGIC, MAX_BODY_BYTES
from collector.inflate import inflate
from collector.json_units import JsonUnit, encode_content, parse_json, split_json
from schemas.errors import InputError

_DEPTH = 3
"""Envelopes within envelopes: Firehose, CloudWatch, record."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A record without its envelopes. ``control``: it is none, but a word between the services."""

    source: bytes
    value: Any
    error: str = ""
    extras: Mapping[str, str] = field(default_factory=dict)
    control: bool = False


@dataclass(slots=True)
class _Room:
    """Bytes that may still be inflated out of one body."""

    left: int = MAX_BODY_BYTES


def unwrap(body: bytes) -> list[Wrapped]:
    """The records of a body, in order; what is no envelope comes back as it is."""
    return list(_unwrap_bytes(body, {}, _DEPTH, _Room()))


def _unwrap_bytes(body: bytes, extras: Mapping[str, str], depth: int, room: _Room) -> Iterator[Wrapped]:
    if body[:2] == GZIP_MAGIC:
        try:
            plain = inflate(body, ["gzip"], room.left)
        except InputError as error:
            yield Wrapped(body, None, str(error), extras)
            return
        room.left -= len(plain)
        body = plain
    for unit in split_json(body):
        yield from _unwrap(unit, extras, depth, room)


def _unwrap(unit: JsonUnit, extras: Mapping[str, str], depth: int, room: _Room) -> Iterator[Wrapped]:
    value = unit.value
    if unit.error or not isinstance(value, dict) or depth == 0:
        yield Wrapped(unit.source, value, unit.error, extras)
    elif isinstance(value.get("awslogs"), dict):
        yield from _unwrap_base64(unit, value["awslogs"].get("data"), extras, depth, room)
    elif isinstance(value.get("records"), list) and all(_has_data(record) for record in value["records"]):
        said = {**extras, **_said("firehose", value, ("requestId", "timestamp"))}
        for record in value["records"]:
            yield from _unwrap_base64(unit, record["data"], said, depth, room)
        if not value["records"]:
            yield Wrapped(unit.source, value, "", said, control=True)
    elif isinstance(value.get("logEvents"), list):
        yield from _unwrap_events(unit, value, extras)
    else:
        yield Wrapped(unit.source, value, "", extras)


def _unwrap_base64(
    unit: JsonUnit, data: object, extras: Mapping[str, str], depth: int, room: _Room
) -> Iterator[Wrapped]:
    try:
        inner = base64.b64decode(data if isinstance(data, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        yield Wrapped(unit.source, None, f"got data that is not base64: {error}", extras)
        return
    if not inner:
        yield Wrapped(unit.source, None, "got an envelope without data", extras)
        return
    yield from _unwrap_bytes(inner, extras, depth - 1, room)


def _unwrap_events(unit: JsonUnit, value: dict[str, Any], extras: Mapping[str, str]) -> Iterator[Wrapped]:
    said = {**extras, **_said("cloudwatch", value, ("owner", "logGroup", "logStream", "subscriptionFilters"))}
    if value.get("messageType") == "CONTROL_MESSAGE" or not value["logEvents"]:
        yield Wrapped(unit.source, value, "", said, control=True)
        return
    for event in value["logEvents"]:
        message = event.get("message") if isinstance(event, dict) else None
        if not isinstance(message, str):
            yield Wrapped(encode_content(event), None, "got a log event without a message", said)
            continue
        own = {**said, **_said("cloudwatch", event, tuple(name for name in event if name != "message"))}
        inner = parse_json(message.encode("utf-8", "surrogatepass"))
        yield Wrapped(inner.source, inner.value, inner.error, own)


def _said(prefix: str, value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    return {
        f"{prefix}.{name}": encode_content(value[name]).decode()
        for name in names
        if value.get(name) not in (None, "", [], {})
    }


def _has_data(record: object) -> bool:
    return isinstance(record, dict) and isinstance(record.get("data"), str)
