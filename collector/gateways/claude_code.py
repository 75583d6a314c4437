"""Claude Code's log events: prompts, decisions on tools, results, requests, and what happens around them.

Source: Claude Code's monitoring page, and what version 2.1.331 sends (collector/pages/claude-code.md). Traps that shape
this file:

- A refused tool call has only a ``tool_decision``; so the decision *is* the call.
- ``tool_result`` tells that a tool ran, for how long and with what input, never what it answered: the answer lies in
  the next ``api_request_body``, whose new tool results therefore become events too.
- ``input_tokens`` leaves the cache out; the total is computed.
- ``event.sequence`` counts per process and begins again when a session is resumed, so a record's key has its time too.
- Numbers come as numbers or as text. What switches turn off comes as ``<REDACTED>`` or not at all.
- ``user.id`` names an installation, not a person, unless a gateway's identity provider put it there.

The exchange is one request and its answer; the turn is ``prompt.id``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from collector.gateways import Draft
from collector.gateways.claude_code_bodies import request_body_drafts, response_body_drafts
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.genai_attributes import Convert, count, flag, number, prefer, text
from collector.gateways.json_texts import argument_content, parsed
from collector.gateways.otlp_telemetry import Group, Telemetry
from collector.gateways.vocabulary import provider_name
from collector.json_units import encode_content
from schemas.metadata import Metadata

NAME = "claude_code"
PREFIX = "claude_code."
SCOPES = "com.anthropic.claude_code"
REDACTED = "<REDACTED>"

FIELDS: dict[str, tuple[str, Convert]] = {
    "prompt.id": ("prompt_id", text),
    "event.sequence": ("sequence", count),
    "attempt": ("attempt", count),
    "organization.id": ("org_id", text),
    "user.account_uuid": ("user_id", text),
    "app.version": ("gateway_version", text),
    "request_id": ("request_id_provider", text),
    "client_request_id": ("request_id_client", text),
    "agent.name": ("agent_name", text),
    "agent_id": ("agent_id", text),
    "parent_agent_id": ("agent_parent_id", text),
    "tool_use_id": ("call_id", text),
    "tool_name": ("tool_name", text),
    "tool_source": ("tool_kind", text),
    "mcp_server.name": ("tool_server", text),
    "server_name": ("tool_server", text),
    "status_code": ("http_status", count),
    "error_type": ("error_type", text),
    "error": ("error_message", text),
}
_USAGE = {
    "input_tokens": "input_uncached_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_creation_tokens": "cache_write_tokens",
    "cache_creation_5m_tokens": "cache_write_5m_tokens",
    "cache_creation_1h_tokens": "cache_write_1h_tokens",
}
_PROVIDERS = {"firstParty": "anthropic", "foundry": "azure.ai.inference"}

Read = Callable[[dict[str, Any], Metadata], list[Draft]]


def event_name(telemetry: Telemetry, group: Group) -> str:
    """The event's name without its prefix; ``""`` when the record is not Claude Code's. Any of the event name, the
    attribute and the body may hold it, and all but the attribute need the prefix."""
    for value in (telemetry.name, telemetry.body):
        if isinstance(value, str) and value.startswith(PREFIX):
            return value.removeprefix(PREFIX)
    value = telemetry.attributes.get("event.name")
    if not isinstance(value, str):
        return ""
    ours = value.startswith(PREFIX) or group.scope_name.startswith(SCOPES)
    return value.removeprefix(PREFIX) if ours else ""


def source_id(telemetry: Telemetry, name: str) -> str:
    """The key of a record, ``""`` when a part of it is missing (the hash of its bytes then stands in)."""
    attributes = telemetry.attributes
    parts = [attributes.get("session.id"), attributes.get("event.sequence"), attributes.get("event.timestamp")]
    if any(part in (None, "") for part in parts):
        return ""
    return "/".join((str(parts[0]), str(parts[1]), name, str(parts[2])))


def claude_code_drafts(telemetry: Telemetry, name: str, base: Metadata) -> list[Draft]:
    """The events of one record. ``base`` has the fields that all OTLP records share; it is filled in further."""
    attributes = telemetry.attributes
    if attributes.setdefault("event.name", name) in (name, PREFIX + name):
        telemetry.body = None if telemetry.body == PREFIX + name else telemetry.body
        telemetry.name = "" if telemetry.name in (name, PREFIX + name) else telemetry.name
    base["format"] = NAME
    identify(attributes, base)
    exchange = text(attributes.get("request_body_id")) or base.get("request_id_provider") or base.get("prompt_id")
    if exchange:
        base["exchange_id"] = exchange
    if "session_id" not in base and telemetry.trace_id:
        base["session_id"] = telemetry.trace_id
    base["occurred_at"] = telemetry.started // 1000
    base["time_role"] = "log"
    drafts = READERS.get(name, _session)(attributes, base)
    drafts[0].metadata.setdefault("operation", name)
    return drafts


def identify(attributes: dict[str, Any], base: Metadata) -> None:
    """Who and which request: ids, the person, the model's provider."""
    fields: dict[str, Any] = base  # type: ignore[assignment]
    install = fields.pop("user_id", None)
    for key in [key for key in attributes if key in FIELDS]:
        field, convert = FIELDS[key]
        value = convert(attributes[key])
        if value is not None and (fields.setdefault(field, value) == value or field == "gateway_version"):
            fields[field] = value
            del attributes[key]
    _identify_user(attributes, base, install)
    _identify_model(attributes, base)
    ids = [attributes.pop(key) for key in ("message.id", "message.uuid") if isinstance(attributes.get(key), str)]
    if ids:
        base["message_ids"] = ids


def _identify_user(attributes: dict[str, Any], base: Metadata, install: str | None) -> None:
    """``user.id`` of most sessions stands for a device; a person is named by the account, or by configuration."""
    base["actor_type"] = "user"
    base["assurance"] = "client_asserted"
    groups = attributes.get("user.groups")
    if isinstance(groups, list) and all(isinstance(group, str) for group in groups):
        base["groups"] = attributes.pop("user.groups")
    if install and attributes.get("identity.source") == "gateway-oidc":
        base.setdefault("user_id", install)
        base["user_id_kind"] = "sso_subject"
        base["assurance"] = "gateway_authenticated"
    elif base.get("user_id"):
        base["user_id_kind"] = "account"
    elif base.get("end_user_id"):
        base["user_id"], base["user_id_kind"] = base["end_user_id"], "configured"
    elif install:
        base["user_id"], base["user_id_kind"] = install, "install_id"
    if install and install != base.get("user_id"):
        base["device_id"] = install


def _identify_model(attributes: dict[str, Any], base: Metadata) -> None:
    raw = attributes.get("anthropic.provider")
    if isinstance(raw, str) and raw:
        prefer(base, "provider_raw", attributes.pop("anthropic.provider"), attributes)
        base["provider"] = _PROVIDERS.get(raw, provider_name(raw))
        base["model_path"] = {"firstParty": "direct", "foundry": "azure"}.get(raw, raw)
    if attributes.get("anthropic.custom_base_url") is True:
        base["model_path"] = "gateway"
    model = attributes.get("model")
    if isinstance(model, str) and model and base.setdefault("model_requested", model) == model:
        del attributes["model"]


def take_usage(attributes: dict[str, Any], metadata: Metadata) -> None:
    """Tokens, cost and latency of a request. The source's input leaves the cache out; ours is the sum."""
    fields: dict[str, Any] = metadata  # type: ignore[assignment]
    raw = {key: attributes.pop(key) for key in _USAGE if count(attributes.get(key)) is not None}
    for key, value in raw.items():
        fields[_USAGE[key]] = count(value)
    if raw:
        fields["usage_raw"] = encode_content(raw).decode()
        fields["usage_semantics"] = "uncached"
    if "input_tokens" in raw:
        parts = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens")
        fields["input_tokens"] = sum(fields.get(part) or 0 for part in parts)
        fields["total_tokens"] = fields["input_tokens"] + (fields.get("output_tokens") or 0)
    costs = {key: attributes.pop(key) for key in ("cost_usd", "cost_usd_micros") if key in attributes}
    amount = number(costs.get("cost_usd"))
    if costs:
        fields["cost_raw"] = encode_content(costs).decode()
    if amount is not None:
        fields |= {"cost_amount": amount, "cost_currency": "USD", "cost_computed_by": "client estimate"}
    for key, field in (("duration_ms", "latency_ms"), ("ttft_ms", "time_to_first_token_ms")):
        value = number(attributes.get(key))
        if value is not None:
            fields[field] = value
            del attributes[key]


def _user_prompt(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    prompt = attributes.pop("prompt", None)
    if attributes.get("prompt_text") == prompt:
        attributes.pop("prompt_text", None)
    return [_said("prompt", "user", prompt, attributes.get("prompt_length"), base)]


def _assistant_response(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    base["outcome"] = "ok"
    base.setdefault("model_served", base.get("model_requested", ""))
    response = attributes.pop("response", None)
    return [_said("response", "assistant", response, attributes.get("response_length"), base)]


def _said(kind: Any, role: str, words: Any, length: Any, base: Metadata) -> Draft:
    """One message. Its length as the client counted it shows what was cut off, or hidden."""
    size = count(length)
    place = "/content/messages/0/content"
    base.setdefault("operation", "chat")
    if words is None:
        state_gaps(base, [Gap("/content", "not_captured", original_size=size)])
        return Draft(kind, base)
    gaps = []
    if words == REDACTED:
        gaps = [Gap(place, "redacted", original_size=size, note="switched off at the client")]
    elif isinstance(words, str) and size is not None and size > _utf16_units(words):
        gaps = [Gap(place, "truncated", limit=len(words), original_size=size)]
    state_gaps(base, gaps)
    return Draft(kind, base, {"messages": [{"role": role, "content": words}]})


def _utf16_units(words: str) -> int:
    """Length as JavaScript counts it."""
    return len(words) if words.isascii() else len(words.encode("utf-16-le", "surrogatepass")) // 2


def _tool_decision(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    base.setdefault("operation", "execute_tool")
    _take_text(attributes, base, "decision", "tool_decision")
    _take_text(attributes, base, "source", "tool_decision_by")
    if base.get("tool_decision") == "reject":
        base["outcome"] = "blocked"
    parameters = attributes.pop("tool_parameters", None)
    state_gaps(base, [Gap("/content", "not_captured")] if parameters is None else [])
    return [Draft("tool_call", base, None if parameters is None else argument_content(parameters))]


def _tool_result(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    base.setdefault("operation", "execute_tool")
    _take_text(attributes, base, "decision_type", "tool_decision")
    _take_text(attributes, base, "decision_source", "tool_decision_by")
    success = flag(attributes.get("success"))
    if success is not None:
        base["tool_is_error"] = not success
        base["outcome"] = "ok" if success else "error"
    duration = number(attributes.get("duration_ms"))
    if duration is not None:
        base["tool_duration_ms"] = duration
        del attributes["duration_ms"]
    content: dict[str, Any] = {}
    gaps = [Gap("/content/result", "not_captured", original_size=count(attributes.get("tool_result_size_bytes")))]
    for key, name in (("tool_parameters", "parameters"), ("tool_input", "input")):
        if key in attributes:
            raw = attributes.pop(key)
            content[name] = parsed(raw)
            if content[name] is not raw:
                content[f"{name}_text"] = raw
    size, given = count(attributes.get("tool_input_size_bytes")), content.get("input_text", content.get("input"))
    if isinstance(given, str) and size is not None and size > len(given.encode("utf-8", "surrogatepass")):
        gaps.append(Gap("/content/input", "truncated", original_size=size))
    state_gaps(base, gaps)
    return [Draft("tool_result", base, content or None)]


def _take_text(attributes: dict[str, Any], base: Metadata, key: str, field: str) -> None:
    value = attributes.get(key)
    if isinstance(value, str) and value:
        base[field] = attributes.pop(key)  # type: ignore[literal-required]


def _api_request(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    """The numbers of a request that succeeded; what was said comes in other events of the same exchange."""
    base.setdefault("operation", "chat")
    base.setdefault("model_served", base.get("model_requested", ""))
    base["outcome"] = "ok"
    take_usage(attributes, base)
    return [Draft("response", base)]


def _api_error(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    base.setdefault("operation", "chat")
    base["outcome"] = "error"
    take_usage(attributes, base)
    return [Draft("response", base)]


def _api_refusal(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    base.setdefault("operation", "chat")
    base |= {"outcome": "blocked", "stop_reason": "content_filter", "stop_reason_raw": "refusal"}
    return [Draft("response", base)]


def _session(attributes: dict[str, Any], base: Metadata) -> list[Draft]:
    """Anything else: the attributes stay as they are, in extras."""
    success = flag(attributes.get("success"))
    if base.get("error_message") or base.get("error_type") or success is False:
        base["outcome"] = "error"
    elif success:
        base["outcome"] = "ok"
    return [Draft("session", base)]


READERS: dict[str, Read] = {
    "user_prompt": _user_prompt,
    "assistant_response": _assistant_response,
    "tool_decision": _tool_decision,
    "tool_result": _tool_result,
    "api_request": _api_request,
    "api_error": _api_error,
    "api_retries_exhausted": _api_error,
    "api_refusal": _api_refusal,
    "api_request_body": request_body_drafts,
    "api_response_body": response_body_drafts,
}
"""Every other event is a ``session`` event: hooks, permission modes, sign-in, MCP connections, plugins, skills, …"""
