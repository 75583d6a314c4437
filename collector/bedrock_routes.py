"""Where Bedrock's records are pushed: by whoever has them, and by Firehose, which has no token but an access key.

Firehose (AWS's *HTTP endpoint delivery request and response specifications*) wants its request id back, and sends a
batch again for as long as the stream's retry duration says when it does not get a 200 with it.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from collector.answers import JSON, answer_counts
from collector.gateways import Reading, Received
from collector.gateways.bedrock import BedrockFormat
from collector.json_units import split_json
from collector.openapi import operation
from collector.routes import Answer, Failed, Outcome, Route
from schemas.errors import AccessDenied

ACCESS_KEY = "x-amz-firehose-access-key"


@dataclass(slots=True)
class Delivery(Reading):
    """A reading that knows which request of Firehose it was."""

    request_id: str = ""


class FirehoseFormat(BedrockFormat):
    """Bedrock's records as Firehose delivers them."""

    def read(self, body: bytes, received: Received) -> Reading:
        """As :class:`~collector.gateways.bedrock.BedrockFormat`."""
        found = super().read(body, received)
        delivery = Delivery(found.units, found.error)
        for unit in split_json(body):
            if isinstance(unit.value, dict) and isinstance(unit.value.get("requestId"), str):
                delivery.request_id = unit.value["requestId"]
        return delivery


def verify_firehose(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: int) -> None:
    """Firehose copies the key of its destination into a header; nothing is signed.

    Raises:
        AccessDenied: it is none of the webhook's secrets.
    """
    given = headers.get(ACCESS_KEY, "").encode("utf-8", "surrogateescape")
    if not any(hmac.compare_digest(given, secret) for secret in secrets):
        raise AccessDenied(f"got no {ACCESS_KEY} that is a secret of this webhook; set it as the destination's key")


def answer_firehose(outcome: Outcome, media_type: str) -> Answer:
    """The request id, and on failure why. What could not be read is recorded, so it is delivered."""
    request_id = getattr(outcome.reading, "request_id", "") if not isinstance(outcome, Failed) else ""
    said: dict[str, Any] = {"requestId": request_id, "timestamp": time.time_ns() // 1_000_000}
    if not isinstance(outcome, Failed):
        return Answer(200, {"content-type": JSON}, orjson.dumps(said))
    text = str(outcome.error) if outcome.status != 500 else "internal error; nothing is known to be stored, send again"
    headers = {"content-type": JSON}
    if outcome.retry_after:
        headers["retry-after"] = str(outcome.retry_after)
    return Answer(outcome.status, headers, orjson.dumps(said | {"errorMessage": text}))


def bedrock_routes() -> tuple[Route, ...]:
    """``/v1/bedrock`` with a token, ``/v1/bedrock/firehose/{webhook}`` with an access key."""
    counts = {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in ("accepted", "unparsed", "events")},
    }
    sent = operation(
        "Send Bedrock invocation records",
        "NDJSON of ModelInvocationLog records, with or without gzip, or the envelope of a CloudWatch Logs "
        "subscription. Bodies that Bedrock put into objects of their own are not fetched here: read the bucket with a "
        "feed for that.",
        ["application/x-ndjson", "application/json"],
        {"type": "object"},
        {"type": "object", "properties": counts},
    )
    delivered = operation(
        "Receive Bedrock records from Firehose",
        "The endpoint of a Firehose stream behind a CloudWatch Logs subscription. The key of the stream's destination "
        "is a secret of the webhook in the settings; there is no token.",
        ["application/json"],
        {"type": "object"},
        {"type": "object", "properties": {"requestId": {"type": "string"}, "timestamp": {"type": "integer"}}},
    )
    return (
        Route(("/v1/bedrock", "/ingest/bedrock"), BedrockFormat(), answer_counts, operation=sent),
        Route(
            ("/v1/bedrock/firehose/{webhook}",),
            FirehoseFormat(),
            answer_firehose,
            operation=delivered,
            verify=verify_firehose,
        ),
    )
