"""GenAI attributes with a metadata field of their own, in every spelling seen (collector/pages/opentelemetry.md).

One table for all generations and dialects, because their names do not collide. A value goes to its field only if it
fits and the field is still free or holds the same; whatever does not stays an attribute, and so becomes an extra. A
value that is changed on the way (seconds to milliseconds, a provider's name to ours) stays an attribute as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from collector.gateways.otlp_fields import integer
from collector.gateways.otlp_telemetry import add_attribute
from collector.gateways.vocabulary import model_path, provider_name, stop_reason
from collector.json_units import encode_content
from schemas.metadata import Metadata

Convert = Callable[[Any], Any]
"""A value as its field holds it, or ``None`` where it does not fit."""

_MAX_LONG = (1 << 63) - 1


def text(value: Any) -> str | None:
    """Non-empty text; numbers in digits."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def count(value: Any) -> int | None:
    """A number of tokens, attempts, milliseconds …, also when it came as text."""
    number = integer(value)
    return number if number is not None and abs(number) <= _MAX_LONG else None


def number(value: Any) -> float | None:
    """A finite double, also when it came as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        converted = float(value)
    except (ValueError, OverflowError):
        return None
    return converted if abs(converted) < float("inf") else None


def flag(value: Any) -> bool | None:
    """A boolean, also when it came as text."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def texts(value: Any) -> list[str] | None:
    """A non-empty list of texts."""
    fits = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    return value if fits else None


class _Field(NamedTuple):
    name: str
    convert: Convert


_TEXT_FIELDS = {
    # who and where
    "session.id": "session_id",
    "langfuse.session.id": "session_id",
    "traceloop.association.properties.session_id": "session_id",
    "gen_ai.conversation.id": "conversation_id",
    "user.id": "user_id",
    "langfuse.user.id": "user_id",
    "traceloop.association.properties.user_id": "user_id",
    "user.email": "user_email",
    "user.name": "user_name",
    "user.full_name": "user_name",
    "enduser.id": "end_user_id",
    "llm.user": "end_user_id",
    "gen_ai.user": "end_user_id",
    "litellm.end_user.id": "end_user_id",
    "litellm.team.id": "team_id",
    "litellm.team.alias": "team_name",
    "litellm.api_key.hash": "api_key_id",
    "client.address": "client_ip",
    "user_agent.original": "user_agent",
    "gen_ai.agent.id": "agent_id",
    "gen_ai.agent.name": "agent_name",
    "agent.name": "agent_name",
    # which request
    "gen_ai.response.id": "request_id_response",
    "gen_ai.request.previous_response.id": "previous_response_id",
    "litellm.call_id": "request_id_gateway",
    "anthropic.request.id": "request_id_provider",
    # which model
    "gen_ai.request.model": "model_requested",
    "llm.request.model_name": "model_requested",
    "gen_ai.response.model": "model_served",
    "llm.response.model_name": "model_served",
    "llm.model_name": "model_served",
    "embedding.model_name": "model_served",
    "reranker.model_name": "model_served",
    "langfuse.observation.model.name": "model_requested",
    "litellm.model_group": "model_routed",
    "server.address": "endpoint",
    "cloud.region": "region",
    "openai.api.type": "api",
    # which operation and tool
    "gen_ai.operation.name": "operation",
    "gen_ai.tool.name": "tool_name",
    "mcp.tool.name": "tool_name",
    "tool.name": "tool_name",
    "tool_call.function.name": "tool_name",
    "gen_ai.tool.type": "tool_kind",
    "gen_ai.tool.call.id": "call_id",
    "tool_call.id": "call_id",
    "tool.id": "call_id",
    "mcp.session.id": "tool_session_id",
    "mcp.server.name": "tool_server",
    "mcp.backend.name": "tool_server",
    "litellm.mcp.server.name": "tool_server",
    "jsonrpc.request.id": "jsonrpc_id",
    "mcp.request.id": "jsonrpc_id",
    "rpc.jsonrpc.request_id": "jsonrpc_id",
    # how it ended
    "error.type": "error_type",
    "error.code": "error_code",
    "exception.type": "error_type",
    "exception.message": "error_message",
    "langfuse.observation.status_message": "error_message",
    # documents
    "gen_ai.data_source.id": "document_source",
    "mcp.resource.uri": "document_source",
}

FIELDS: dict[str, _Field] = {key: _Field(name, text) for key, name in _TEXT_FIELDS.items()} | {
    "gen_ai.request.stream": _Field("stream", flag),
    "gen_ai.is_streaming": _Field("stream", flag),
    "llm.is_streaming": _Field("stream", flag),
    "litellm.request.streaming": _Field("stream", flag),
    "http.response.status_code": _Field("http_status", count),
    "http.status_code": _Field("http_status", count),
    "user.roles": _Field("roles", texts),
    "tag.tags": _Field("tags", texts),
    "langfuse.trace.tags": _Field("tags", texts),
}

_PROVIDERS = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "gen_ai.model.provider")

USAGE = {
    "gen_ai.usage.input_tokens": "input_tokens",
    "gen_ai.usage.prompt_tokens": "input_tokens",
    "llm.token_count.prompt": "input_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.completion_tokens": "output_tokens",
    "llm.token_count.completion": "output_tokens",
    "gen_ai.usage.total_tokens": "total_tokens",
    "llm.usage.total_tokens": "total_tokens",
    "llm.token_count.total": "total_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_read_input_tokens": "cache_read_tokens",
    "llm.token_count.prompt_details.cache_read": "cache_read_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_write_tokens",
    "gen_ai.usage.cache_write.input_tokens": "cache_write_tokens",
    "gen_ai.usage.cache_creation_input_tokens": "cache_write_tokens",
    "llm.token_count.prompt_details.cache_write": "cache_write_tokens",
    "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
    "gen_ai.usage.reasoning_tokens": "reasoning_tokens",
    "llm.token_count.completion_details.reasoning": "reasoning_tokens",
    "gen_ai.usage.audio.input_tokens": "audio_input_tokens",
    "llm.token_count.prompt_details.audio": "audio_input_tokens",
    "gen_ai.usage.audio.output_tokens": "audio_output_tokens",
    "llm.token_count.completion_details.audio": "audio_output_tokens",
    "gen_ai.usage.image.input_tokens": "image_input_tokens",
}
_USAGE_PREFIXES = ("gen_ai.usage.", "llm.usage.", "llm.token_count.")
_COSTS = ("gen_ai.usage.cost", "llm.cost.total", "litellm.cost.total_cost", "litellm.cost.total")
_COST_PREFIXES = ("llm.cost.", "litellm.cost.")
_FINISH = (
    "gen_ai.response.finish_reasons",
    "gen_ai.response.finish_reason",
    "gen_ai.response.stop_reason",
    "llm.response.finish_reason",
    "llm.response.stop_reason",
    "llm.finish_reason",
    "anthropic.message.stop_reason",
)


def take_fields(attributes: dict[str, Any], metadata: Metadata) -> None:
    """Move attributes to their metadata fields."""
    fields: dict[str, Any] = metadata  # type: ignore[assignment]
    for key in [key for key in attributes if key in FIELDS]:
        name, convert = FIELDS[key]
        value = convert(attributes[key])
        if value is not None and fields.setdefault(name, value) == value:
            del attributes[key]
    for key in _PROVIDERS:
        raw = attributes.get(key)
        if isinstance(raw, str) and raw and fields.setdefault("provider_raw", raw) == raw:
            del attributes[key]
    if "provider_raw" in fields:
        fields["provider"] = provider_name(fields["provider_raw"])
        fields["model_path"] = model_path(fields["provider"])


def prefer(metadata: Metadata, name: str, value: Any, attributes: dict[str, Any]) -> None:
    """Set a field to a better value than it has; the one that it displaces becomes an extra, ``displaced.<field>``."""
    fields: dict[str, Any] = metadata  # type: ignore[assignment]
    displaced = fields.get(name)
    if displaced not in (None, "", value):
        add_attribute(attributes, f"displaced.{name}", displaced)
    fields[name] = value


def take_usage(attributes: dict[str, Any], metadata: Metadata) -> None:
    """Move token counts, costs and finish reasons to their fields; they belong to the response alone.

    What ``input`` means differs by emitter. The convention says that it includes cached tokens. It is taken
    so, except where the numbers themselves say otherwise: fewer than the cached ones alone can only be uncached.
    """
    fields: dict[str, Any] = metadata  # type: ignore[assignment]
    raw: dict[str, Any] = {}
    costs: dict[str, Any] = {}
    for key in [key for key in attributes if key.startswith(("gen_ai.usage.", "llm.", "litellm.cost."))]:
        if key in _COSTS or key.startswith(_COST_PREFIXES):
            costs[key] = attributes.pop(key)
        elif key.startswith(_USAGE_PREFIXES):
            value = raw[key] = attributes.pop(key)
            name, tokens = USAGE.get(key), count(value)
            if name is not None and tokens is not None:
                fields.setdefault(name, tokens)
    if raw:
        fields["usage_raw"] = encode_content(raw).decode()
        settle_input(metadata)
    if costs:
        _take_costs(costs, fields)
    _take_finish(attributes, fields)
    first_chunk = number(attributes.get("gen_ai.response.time_to_first_chunk"))
    if first_chunk is not None:
        fields["time_to_first_token_ms"] = first_chunk * 1000


def settle_input(metadata: Metadata) -> None:
    """Say what the reported input counts, and fill in the uncached part where that is known."""
    reported = metadata.get("input_tokens")
    if reported is None:
        return
    cached = (metadata.get("cache_read_tokens") or 0) + (metadata.get("cache_write_tokens") or 0)
    if cached == 0:
        metadata["usage_semantics"] = "total"
        metadata["input_uncached_tokens"] = reported
    elif reported < cached:
        metadata["usage_semantics"] = "uncached"
        metadata["input_uncached_tokens"] = reported
        metadata["input_tokens"] = min(reported + cached, _MAX_LONG)
    elif metadata.get("provider") in ("anthropic", "aws.bedrock"):
        metadata["usage_semantics"] = "unknown"
    else:
        metadata["usage_semantics"] = "total"
        metadata["input_uncached_tokens"] = reported - cached


def set_stop_reason(metadata: Metadata, raw: str) -> None:
    """The finish reason of the first choice, in our words and in the source's."""
    if raw and not metadata.get("stop_reason_raw"):
        metadata["stop_reason_raw"] = raw
        metadata["stop_reason"] = stop_reason(raw)


def _take_costs(costs: dict[str, Any], fields: dict[str, Any]) -> None:
    fields["cost_raw"] = encode_content(costs).decode()
    for key in _COSTS:
        amount = number(costs.get(key))
        if amount is not None:
            fields["cost_amount"] = amount
            fields["cost_currency"] = "USD"
            fields["cost_computed_by"] = "source"
            return


def _take_finish(attributes: dict[str, Any], fields: dict[str, Any]) -> None:
    metadata: Metadata = fields  # type: ignore[assignment]
    for key in _FINISH:
        value = attributes.get(key)
        if isinstance(value, str) and value.startswith("["):
            value = value.strip('[]"')
        reasons = [value] if isinstance(value, str) else texts(value) or []
        if reasons and all(reason == reasons[0] for reason in reasons):
            set_stop_reason(metadata, reasons[0])
            if attributes[key] in (metadata.get("stop_reason_raw"), reasons):
                del attributes[key]
        elif reasons:
            set_stop_reason(metadata, reasons[0])
