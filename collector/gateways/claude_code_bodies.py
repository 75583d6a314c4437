"""The raw Messages API bodies that Claude Code reports: the whole prompt, the whole response.

With ``OTEL_LOG_RAW_API_BODIES`` they come as text in attribute ``body``, cut at the client's limit, or as the path of
a file on the developer's disk in ``body_ref``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collector.gateways import Draft
from collector.gateways.gaps import Gap, pointer, state_gaps
from collector.gateways.genai_attributes import count, flag, prefer, set_stop_reason
from collector.gateways.genai_calls import call_drafts, result_drafts
from collector.gateways.json_texts import parsed
from collector.json_units import encode_content
from schemas.metadata import Metadata

_REDACTED = "<REDACTED>"


def request_body_drafts(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    """A prompt, and the tool results that are new in it."""
    body, gaps = _take_body(attributes)
    base.setdefault("operation", "chat")
    content = body if isinstance(body, dict) or body is None else {"body": body}
    messages = body.get("messages") if isinstance(body, dict) else None
    _state(base, content, gaps)
    found: Metadata = {**_apart(base), "operation": "execute_tool"}
    return [Draft("prompt", base, content), *result_drafts(messages, found)]


def response_body_drafts(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    """A response, and the tool calls that it asks for."""
    body, gaps = _take_body(attributes)
    base.setdefault("operation", "chat")
    base["outcome"] = "ok"
    if not isinstance(body, dict):
        content = None if body is None else {"body": body}
        _state(base, content, gaps)
        return [Draft("response", base, content)]
    response: Metadata = {**base}
    if isinstance(body.get("id"), str):
        prefer(response, "request_id_response", body["id"], attributes)
    if isinstance(body.get("model"), str):
        prefer(response, "model_served", body["model"], attributes)
    if isinstance(body.get("stop_reason"), str):
        set_stop_reason(response, body["stop_reason"])
    if body.get("type") == "error":
        response["outcome"] = "error"
    _read_usage(body.get("usage"), response)
    content = {"messages": [body]}
    _state(response, content, gaps)
    found: Metadata = {**_apart(base), "operation": "execute_tool"}
    return [Draft("response", response, content), *call_drafts([body], found)]


def _apart(base: Metadata) -> Metadata:
    """Metadata for a call or result found in a body: what is said of the body itself left out."""
    apart = base.copy()
    for name in ("content_state", "content_gaps", "outcome", "message_ids", "sequence"):
        apart.pop(name, None)  # type: ignore[misc]
    return apart


def _take_body(attributes: dict[str, Any]) -> tuple[Any, list[Gap]]:
    body, reference = attributes.pop("body", None), attributes.get("body_ref")
    size = count(attributes.get("body_length"))
    gaps = []
    if flag(attributes.get("body_truncated")):
        gaps.append(Gap("/content", "truncated", original_size=size))
    if isinstance(reference, str) and body is None:
        gaps.append(Gap("/content", "by_ref", original_size=size, ref=attributes.pop("body_ref")))
    elif body is None:
        gaps.append(Gap("/content", "not_captured", original_size=size))
    value = parsed(body)
    if isinstance(body, str) and _REDACTED in body:
        prefix = ("content",) if isinstance(value, dict) and "messages" in value else ("content", "messages", 0)
        places = _redacted(value) if isinstance(value, dict) else iter(())
        gaps += [Gap(pointer(*prefix, *place), "redacted", note=_REDACTED) for place in places]
    return value, gaps


def _redacted(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if value == _REDACTED:
        yield at
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _redacted(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _redacted(inner, (*at, index))


def _state(metadata: Metadata, content: Any, gaps: list[Gap]) -> None:
    missing = content is None and not gaps
    state_gaps(metadata, [Gap("/content", "not_captured")] if missing else gaps)


def _read_usage(usage: Any, metadata: Metadata) -> None:
    """The API's own numbers: its input leaves the cache out."""
    if not isinstance(usage, dict) or count(usage.get("input_tokens")) is None:
        return
    written = usage.get("cache_creation")
    by_age = written if isinstance(written, dict) else {}
    details = usage.get("output_tokens_details")
    uncached, read = count(usage.get("input_tokens")) or 0, count(usage.get("cache_read_input_tokens"))
    write, output = count(usage.get("cache_creation_input_tokens")), count(usage.get("output_tokens"))
    metadata |= {
        "usage_raw": encode_content(usage).decode(),
        "usage_semantics": "uncached",
        "input_uncached_tokens": uncached,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "cache_write_5m_tokens": count(by_age.get("ephemeral_5m_input_tokens")),
        "cache_write_1h_tokens": count(by_age.get("ephemeral_1h_input_tokens")),
        "input_tokens": uncached + (read or 0) + (write or 0),
        "output_tokens": output,
        "reasoning_tokens": count(details.get("thinking_tokens")) if isinstance(details, dict) else None,
        "total_tokens": uncached + (read or 0) + (write or 0) + (output or 0),
    }
