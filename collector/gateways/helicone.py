"""Helicone: its webhook, and the log objects that its SDKs send without a proxy in between.

The webhook carries bodies up to 10 KB; in the place of a larger one stands a sentence, and, with ``include_data``, the
address of both bodies, signed for half an hour. What is fetched from there becomes a unit of its own behind the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from collector.gateways import Attachment, Draft, Reading, Received, Unit
from collector.gateways.bodies import Body, body_text, read_body
from collector.gateways.exchange import Exchange, exchange_drafts, name_provider
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.source_ids import joined_id
from collector.inflate import inflate
from collector.json_units import parse_json, split_json
from schemas.errors import AffidavitError
from schemas.metadata import Metadata

LIMIT = 10 * 1024
"""Characters of a body that the webhook carries."""

_TOO_LARGE = "Body too large for webhook"
_GZIP = b"\x1f\x8b"
MAX_INFLATED = 64 * 1024 * 1024
"""Bytes that a fetched object, which Helicone compresses, may inflate to."""


class HeliconeFormat:
    """The webhook. ``POST /v1/helicone/{webhook}``."""

    name = "helicone"
    scheme = "https"
    light = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per payload, and one behind it for what was fetched from its address."""
        units = []
        for unit in split_json(body):
            record = unit.value
            if unit.error:
                units.append(Unit(unit.source, error=unit.error))
            elif not isinstance(record, dict) or not ("request_id" in record or "request_body" in record):
                units.append(Unit(unit.source, error="got no object with request_id, expected one"))
            else:
                units.append(Unit(unit.source, joined_id(record.get("request_id")), _drafts(record)))
                attachment = received.attachments.get(_address(record))
                if attachment is not None and _lacks(record):
                    units.append(_fetched(record, attachment))
        return Reading(units)

    def references(self, body: bytes, fetched: Mapping[str, Attachment]) -> list[str]:
        """The addresses of bodies that are not in the payload whole."""
        records = [unit.value for unit in split_json(body) if isinstance(unit.value, dict)]
        return [address for record in records if (address := _address(record)) and _lacks(record)]


def _address(record: dict[str, Any]) -> str:
    address = record.get("request_response_url")
    return address if isinstance(address, str) else ""


def _lacks(record: dict[str, Any]) -> bool:
    return any(_body(record, name).gaps for name in ("request_body", "response_body"))


def _body(record: dict[str, Any], name: str) -> Body:
    """A body, its state, and where it is when it is not here."""
    value = record.get(name)
    if value in (None, "", {}, []):
        return Body(gaps=[Gap("/content", "not_captured", note="not in the payload")])
    if isinstance(value, str) and value.startswith(_TOO_LARGE):
        place = plain_address(_address(record))
        state = "by_ref" if place else "not_captured"
        return Body(gaps=[Gap("/content", state, limit=LIMIT, ref=place, note=value[:200])])
    body = read_body(value)
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and body.value == {"text": value}:
        body.gaps.append(Gap("/content", "truncated", limit=len(value), note="the text ends in the midst of a body"))
    return body


def plain_address(address: str) -> str:
    """Where something is, without what opens it."""
    return address.partition("?")[0].partition("#")[0]


def _drafts(record: dict[str, Any]) -> list[Draft]:
    fields = Fields(record)
    request, response = _body(record, "request_body"), _body(record, "response_body")
    for name in ("request_body", "response_body"):
        fields.take(name)
    exchange = _exchange(fields, request, response, ("/request_body", "/response_body"))
    place = plain_address(fields.take_text("request_response_url"))
    _measure(fields, exchange)
    drafts = exchange_drafts(exchange)
    drafts[0].metadata["extras"] = fields.leftovers() | ({"request_response_url": body_text(place)} if place else {})
    return drafts


def _exchange(fields: Fields, request: Body, response: Body, places: tuple[str, str]) -> Exchange:
    """Who and which. The payload has no time; what it has of the user, the client says."""
    exchange = Exchange(request, response, *places)
    shared = exchange.shared
    shared["request_id_gateway"] = shared["exchange_id"] = fields.take_text("request_id")
    shared["end_user_id"] = fields.take_text("user_id")
    name_provider(shared, fields.take_text("provider"))
    shared["model_routed"] = fields.take_text("model")
    return exchange


def _measure(fields: Fields, exchange: Exchange) -> None:
    stated = fields.part("metadata")
    measured = exchange.measured
    latency = stated.take_number("latencyMs")
    if latency is not None:
        exchange.times["latency_ms"] = latency
    cost = stated.take_number("cost")
    if cost is not None:
        measured["cost_amount"], measured["cost_computed_by"] = cost, "helicone"
    names = ("promptTokens", "completionTokens", "totalTokens")
    counts = {name: stated.peek(name) for name in names if stated.peek(name) is not None}
    if counts and not any(exchange.response.fields.get(name) for name in ("usage", "usageMetadata")):
        for name, field in zip(names, ("input_tokens", "output_tokens", "total_tokens"), strict=True):
            measured[field] = stated.take_count(name)  # type: ignore[literal-required]
        measured["usage_semantics"] = "total" if exchange.shared.get("provider") == "openai" else "unknown"
        measured["usage_raw"] = body_text(counts)


def _fetched(record: dict[str, Any], attachment: Attachment) -> Unit:
    """The bytes that were behind the address, or why there are none."""
    key = joined_id(record.get("request_id"), "request_response_url") or joined_id("fetched", _address(record))
    if attachment.problem:
        return Unit(attachment.data, key, [_missing(record, attachment.problem)])
    data = attachment.data
    if data.startswith(_GZIP):
        try:
            data = inflate(data, ["gzip"], MAX_INFLATED)
        except AffidavitError as error:
            return Unit(attachment.data, key, error=str(error))
    found = parse_json(data)
    if found.error or not isinstance(found.value, dict):
        return Unit(attachment.data, key, error=found.error or "got no object, expected request and response")
    own = Fields(found.value)
    request, response = read_body(own.take("request")), read_body(own.take("response"))
    exchange = _exchange(Fields(record), request, response, ("/request", "/response"))
    drafts = exchange_drafts(exchange)
    digest = hashlib.sha256(attachment.data).hexdigest()
    about = {"sha256": digest, "size": len(attachment.data), "from": plain_address(_address(record))}
    drafts[0].metadata["extras"] = own.leftovers() | {"fetched": body_text(about)}
    return Unit(attachment.data, key, drafts)


def _missing(record: dict[str, Any], problem: str) -> Draft:
    metadata: Metadata = {
        **_exchange(Fields(record), Body(), Body(), ("", "")).shared,
        "error_stage": "fetch",
        "error_message": problem,
        "operation": "fetch",
    }
    metadata["assurance"] = "client_asserted" if metadata.get("end_user_id") else "unknown"
    gap = Gap("/content", "not_captured", ref=plain_address(_address(record)), note=problem)
    state_gaps(metadata, [gap])
    return Draft("response", metadata)
