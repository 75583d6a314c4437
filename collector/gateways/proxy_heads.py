"""Heads of recorded HTTP messages, and what they say of who called, with which ids, through what. Pure.

Nobody but the client vouches for what its headers say, and nobody but the provider for what is in the answer's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from collector.gateways.leftovers import Fields
from collector.json_units import parse_json
from schemas.errors import MalformedInput
from schemas.metadata import Metadata


class Head(NamedTuple):
    """The head of a request or response. ``headers``: names in lower case, values of one name joined with a comma."""

    start: str
    headers: dict[str, str]


def split_head(block: memoryview) -> tuple[Head, bytes]:
    """The head of an HTTP message, and the body behind it.

    Raises:
        MalformedInput: there is no empty line that ends a head.
    """
    window = bytes(block[: 1 << 18])
    end = window.find(b"\r\n\r\n")
    if end < 0:
        raise MalformedInput("got an HTTP message without the end of its head")
    first, *lines = window[:end].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(first, headers), bytes(block[end + 4 :])


_PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "api.openai.com": "openai",
    "generativelanguage.googleapis.com": "gemini",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "xai",
    "api.perplexity.ai": "perplexity",
}
_PROVIDER_ENDS = {".openai.azure.com": "azure", "aiplatform.googleapis.com": "vertex_ai", ".amazonaws.com": "bedrock"}


def provider_of(url: str) -> str:
    """Who answers at a URL, by its host; ``""`` for a host that is nobody's we know."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return _PROVIDERS.get(host) or next((name for end, name in _PROVIDER_ENDS.items() if host.endswith(end)), "")


_REQUEST_TEXT = {
    "user-agent": "user_agent",
    "x-claude-code-session-id": "session_id",
    "x-claude-code-prompt-id": "prompt_id",
    "x-claude-code-agent-id": "agent_id",
    "x-claude-code-parent-agent-id": "agent_parent_id",
    "x-claude-code-agent-type": "agent_name",
    "x-client-request-id": "request_id_client",
    "openai-organization": "org_id",
    "openai-project": "project_id",
    "mcp-session-id": "tool_session_id",
}
"""Header of a request → field."""

_RESPONSE_TEXT = {
    "request-id": "request_id_provider",
    "x-request-id": "request_id_provider",
    "x-amzn-requestid": "request_id_cloud",
    "apim-request-id": "request_id_cloud",
    "anthropic-organization-id": "org_id",
    "openai-organization": "org_id",
    "openai-project": "project_id",
    "mcp-session-id": "tool_session_id",
}
"""Header of a response → field; the first that fits."""

TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
"""``traceparent`` (W3C Trace Context): trace, parent."""

_SESSION = re.compile(r"_session_([0-9a-fA-F-]{36})$")


def take_request(headers: Mapping[str, str], shared: Metadata) -> dict[str, str]:
    """Fill in what the request's headers say; returns the rest of them."""
    fields = Fields(headers)
    for name, field in _REQUEST_TEXT.items():
        if text := fields.take_text(name):
            shared[field] = text  # type: ignore[literal-required]
    trace = TRACE.fullmatch(headers.get("traceparent", ""))
    if trace:
        fields.take("traceparent")
        shared["trace_id"], shared["parent_span_id"] = trace[1], trace[2]
    retries = fields.take_count("x-stainless-retry-count")
    if retries is not None:
        shared["attempt"] = retries + 1
    return _rest(fields, headers)


def take_response(headers: Mapping[str, str], shared: Metadata, response: Metadata) -> dict[str, str]:
    """Fill in what the response's headers say; returns the rest of them. An id or organisation that the provider states
    takes the place of one that the client claimed."""
    fields = Fields(headers)
    for name, field in _RESPONSE_TEXT.items():
        stated = fields.peek(name)
        if isinstance(stated, str) and stated and (field == "org_id" or not shared.get(field)):
            shared[field] = fields.take_text(name)  # type: ignore[literal-required]
    spent = headers.get("openai-processing-ms", "")
    if spent.isascii() and spent.isdigit() and len(spent) < 12:
        fields.take("openai-processing-ms")
        response["provider_ms"] = float(spent)
    return _rest(fields, headers)


def claimed_session(user_id: object) -> str:
    """The session in Claude Code's ``metadata.user_id``: JSON with ``session_id``, or text ``…_session_<uuid>``."""
    if not isinstance(user_id, str):
        return ""
    if user_id.startswith("{"):
        stated: Any = parse_json(user_id.encode("utf-8", "surrogatepass")).value
        named = stated.get("session_id") if isinstance(stated, dict) else None
        return named if isinstance(named, str) else ""
    found = _SESSION.search(user_id)
    return found[1] if found else ""


def _rest(fields: Fields, headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in fields}
