"""What the recording proxy saw: one exchange as a WARC file of request, response and what the proxy knows of both.

The proxy writes the file (``collector.proxy.recording``); this module reads it, and gives the same events for the same
bytes, so that an auditor can derive them again.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.bodies import Body
from collector.gateways.exchange import Exchange, exchange_drafts, name_provider, operation_of
from collector.gateways.leftovers import Fields
from collector.gateways.mcp_exchange import is_rpc, rpc_drafts
from collector.gateways.proxy_heads import (
    Head,
    claimed_session,
    provider_of,
    split_head,
    take_request,
    take_response,
)
from collector.gateways.warc import WarcRecord, parse_warc
from collector.gateways.wire_bodies import read_wire_body
from collector.json_units import encode_content, parse_json
from schemas.errors import MalformedInput
from schemas.metadata import Metadata

FORMAT_VERSION = "1"

_WITH_BODY = ("POST ", "PUT ", "PATCH ")

_OUTCOMES = {
    "cancelled": "cancelled",
    "broken": "partial",
    "unreachable": "error",
    "timeout": "error",
}
"""How the exchange ended → outcome, where the provider's own answer does not tell."""


class ProxyFormat:
    """See the module."""

    name = "proxy"
    tells_documents = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit: the exchange."""
        try:
            records = {record.field("WARC-Type"): record for record in parse_warc(body)}
            request, about = _messages(records)
            recorded = _Recorded(request, records.get("response"), about, received)
        except MalformedInput as error:
            return Reading([Unit(body, error=str(error))], error=str(error))
        drafts = recorded.drafts()
        return Reading([Unit(body, Fields(about).take_text("exchange_id"), drafts)])


def _messages(records: dict[str, WarcRecord]) -> tuple[WarcRecord, dict[str, Any]]:
    if "request" not in records or "metadata" not in records:
        raise MalformedInput(f"got WARC records {', '.join(records) or 'none'}, expected request and metadata")
    about = parse_json(bytes(records["metadata"].block[0])).value
    if not isinstance(about, dict):
        raise MalformedInput("got a metadata record that is no JSON object")
    return records["request"], about


class _Recorded:
    """One exchange, being read."""

    def __init__(
        self, request: WarcRecord, response: WarcRecord | None, about: dict[str, Any], received: Received
    ) -> None:
        self._about = Fields(about)
        self._api, self._end = self._about.take_text("api"), self._about.take_text("end")
        self._request, asked = split_head(memoryview(request.block[0]))
        cut = self._cut("request", self._about.take_flag("request_cut") is not True)
        self._asked = read_wire_body(asked, self._request.headers, self._api, cut=cut)
        self._response: Head | None = None
        self._answered = Body()
        if response is not None:
            self._response, answered = split_head(memoryview(response.block[0]))
            cut = self._cut("response", self._end == "complete")
            self._answered = read_wire_body(answered, self._response.headers, self._api, cut=cut)
        self._request_rest: dict[str, str] = {}
        self._response_rest: dict[str, str] = {}
        self._shared: Metadata = {"client_ip": received.peer_ip, "format_version": FORMAT_VERSION}

    def drafts(self) -> list[Draft]:
        exchange = Exchange(self._asked, self._answered, "/request", "/response", self._shared)
        self._name(exchange)
        self._measure(exchange)
        extras = self._extras()
        if self._api == "mcp" or is_rpc(self._asked.value):
            drafts = rpc_drafts(exchange)
        else:
            drafts = exchange_drafts(exchange)
            if not self._request.start.startswith(_WITH_BODY) and len(drafts) > 1:
                drafts = drafts[1:]  # a GET puts nothing before the model
        drafts[0].metadata["extras"] = extras | drafts[0].metadata.get("extras", {})
        return drafts

    def _cut(self, side: str, ended: bool) -> str:
        """Why a body is not all there."""
        lost = self._about.take_count(f"{side}_lost_bytes") or 0
        if lost:
            return f"{lost} bytes of it were not kept: there was no room for a copy"
        return "" if ended else "the connection ended before the body"

    def _name(self, exchange: Exchange) -> None:
        """Who, and what was asked of whom."""
        shared, about, asked = self._shared, self._about, exchange.request.fields
        shared["exchange_id"] = shared["request_id_gateway"] = about.take_text("exchange_id")
        shared["endpoint"] = about.take_text("url")
        method, _, rest = self._request.start.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        shared["api"] = path
        raw = provider_of(shared["endpoint"])
        if raw:
            name_provider(shared, raw)
        shared["operation"] = _operation(method, path, asked)
        credential = about.part("credential")
        shared["api_key_id"], shared["api_key_alias"] = (
            credential.take_text("fingerprint"),
            credential.take_text("alias"),
        )
        claimed = about.part("asserted")
        self._request_rest = take_request(self._request.headers, shared)
        for field, name in (("session_id", "session"), ("end_user_id", "user")):
            if stated := claimed.take_text(name):
                shared[field] = stated  # type: ignore[literal-required]
        metadata = asked.get("metadata")
        if not shared.get("session_id") and isinstance(metadata, dict):
            shared["session_id"] = claimed_session(metadata.get("user_id"))

    def _measure(self, exchange: Exchange) -> None:
        """When, how long, and how it ended."""
        about, times, measured = self._about, exchange.times, exchange.measured
        started, ended = about.take_count("started_at"), about.take_count("ended_at")
        first = about.take_count("first_token_at")
        if started is not None:
            times["started_at"] = times["occurred_at"] = started
            times["time_precision"], times["time_role"] = "us", "start"
        if self._end in ("", "open"):
            return
        if ended is not None:
            times["ended_at"] = times["occurred_at"] = ended
            times["time_precision"], times["time_role"] = "us", "end"
        if first is not None:
            times["first_token_at"] = first
        if started is not None and ended is not None:
            measured["latency_ms"] = (ended - started) / 1000
        if started is not None and first is not None:
            measured["time_to_first_token_ms"] = (first - started) / 1000
        measured["error_message"] = about.take_text("error")
        status = None
        if self._response is not None:
            self._response_rest = take_response(self._response.headers, self._shared, measured)
            status = _status(self._response.start)
            measured["http_status"] = status
        if self._end in _OUTCOMES and (status is None or status < 400):
            measured["outcome"] = _OUTCOMES[self._end]
        if self._end in ("unreachable", "timeout"):
            measured["error_stage"], measured["error_type"] = "transport", self._end

    def _extras(self) -> dict[str, str]:
        extras = self._about.leftovers()
        extras["end"] = encode_content(self._end).decode()
        for name, rest in (("request_headers", self._request_rest), ("response_headers", self._response_rest)):
            if rest:
                extras[name] = encode_content(rest).decode()
        return extras


def _operation(method: str, path: str, asked: dict[str, Any]) -> str:
    if f"{method} ".startswith(_WITH_BODY):
        return "count_tokens" if path.endswith("/count_tokens") else operation_of(path, asked)
    kept = ("/responses/", "/chat/completions/", "/conversations/", "/messages/batches/")
    return "retrieve" if any(part in path for part in kept) else "admin"


def _status(start: str) -> int | None:
    code = start.split(" ")[1:2]
    return int(code[0]) if code and code[0].isascii() and code[0].isdigit() and len(code[0]) == 3 else None
