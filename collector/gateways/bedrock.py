"""Amazon Bedrock's model invocation logs: from S3, from CloudWatch Logs, or sent by whoever has them.

One JSON object per invocation, one per line. A record that refers to objects (bodies above 100 KB, images, documents)
is followed by a unit for each of them that was fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.gateways import Attachment, Draft, Reading, Received, Unit
from collector.gateways.bedrock_envelopes import Wrapped, unwrap
from collector.gateways.bedrock_record import is_record, read_record, record_references
from collector.gateways.leftovers import Fields
from collector.json_units import split_json
from schemas.metadata import Metadata


class BedrockFormat:
    """See the module. A :class:`~collector.gateways.ReferencingFormat`. ``POST /v1/bedrock``."""

    name = "bedrock"
    scheme = "s3"
    tells_documents = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per record, and behind it one per object that it refers to."""
        return Reading([unit for wrapped in unwrap(body) for unit in _units(wrapped, received.attachments)])

    def references(self, body: bytes, fetched: Mapping[str, Attachment]) -> list[str]:
        """``s3://`` addresses of bodies and media."""
        found: dict[str, None] = {}
        for unit in split_json(body):
            if is_record(unit.value):
                found |= dict.fromkeys(record_references(unit.value, fetched))
        return list(found)


def _units(wrapped: Wrapped, attachments: Mapping[str, Attachment]) -> list[Unit]:
    if wrapped.error:
        return [Unit(wrapped.source, error=wrapped.error)]
    if wrapped.control:
        return [_control_unit(wrapped)]
    if not is_record(wrapped.value):
        return [Unit(wrapped.source, error=f"got {_named(wrapped.value)}, expected a ModelInvocationLog")]
    key = _source_id(wrapped.value)
    found = read_record(wrapped.value, attachments, wrapped.extras)
    behind = [Unit(data, f"{key}/{ref}" if key else "", [draft]) for ref, data, draft in found.attached]
    return [Unit(wrapped.source, key, found.drafts), *behind]


def _source_id(record: dict[str, Any]) -> str:
    """``accountId/region/requestId/operation``; ``""`` where there is no request id."""
    parts = [record.get(name) for name in ("accountId", "region", "requestId", "operation")]
    if not parts[2] or not all(part is None or isinstance(part, str | int) for part in parts):
        return ""
    return "/".join("" if part is None else str(part) for part in parts)


def _control_unit(wrapped: Wrapped) -> Unit:
    """CloudWatch asks whether its destination is there; Firehose may send nothing."""
    fields = Fields(wrapped.value)
    metadata: Metadata = {
        "operation": fields.take_text("messageType") or "empty_delivery",
        "assurance": "unknown",
        "extras": dict(wrapped.extras),
    }
    return Unit(wrapped.source, "", [Draft("session", metadata, wrapped.value, "")])


def _named(value: object) -> str:
    if not isinstance(value, dict):
        return type(value).__name__
    return f"an object with {', '.join(sorted(str(name)[:32] for name in value)[:8]) or 'no fields'}"
