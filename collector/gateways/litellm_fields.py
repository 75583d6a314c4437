"""The fields of a StandardLoggingPayload, group by group (collector/pages/litellm.md)."""

from __future__ import annotations

from typing import Any

from collector.gateways.leftovers import Fields
from collector.gateways.times import from_any
from collector.gateways.vocabulary import model_path, provider_name
from collector.json_units import encode_content
from schemas.metadata import Metadata

_OPERATIONS = {
    **dict.fromkeys(("completion", "anthropic_messages", "responses"), "chat"),
    "text_completion": "text_completion",
    "embedding": "embeddings",
    "rerank": "rerank",
    "image_generation": "image_generation",
    "call_mcp_tool": "execute_tool",
    "vector_store_search": "retrieval",
}
"""``call_type`` without its leading ``a`` → OpenTelemetry's operation name."""

_PROVIDER_IDS = ("llm_provider-request-id", "llm_provider-x-request-id")
_CLOUD_IDS = ("llm_provider-x-amzn-requestid",)


def take_ids(fields: Fields, shared: Metadata) -> None:
    """Ids and correlation. The exchange is the call as LiteLLM counts it; retries and fallbacks share the trace."""
    call_id, own_id = fields.take_text("litellm_call_id"), fields.take_text("id")
    shared["exchange_id"] = call_id or own_id
    shared["request_id_gateway"] = call_id
    shared["request_id_response"] = own_id
    shared["trace_id"] = fields.take_text("trace_id")
    shared["session_id"] = fields.take_text("session_id")
    headers = fields.part("hidden_params").part("additional_headers")
    shared["request_id_provider"] = headers.take_text(*_PROVIDER_IDS)
    shared["request_id_cloud"] = headers.take_text(*_CLOUD_IDS)
    retries = headers.take_count("x-litellm-attempted-retries")
    if retries is not None:
        shared["attempt"] = retries + 1
    parameters = fields.peek("model_parameters")
    if isinstance(parameters, dict) and isinstance(parameters.get("previous_response_id"), str):
        shared["previous_response_id"] = parameters["previous_response_id"]
    shared["tags"] = fields.take_texts("request_tags")


def take_actor(fields: Fields, shared: Metadata) -> None:
    """Who called. The proxy vouches for ``user_api_key_*``; ``end_user`` is what the client says."""
    metadata = fields.part("metadata")
    shared["api_key_id"] = metadata.take_text("user_api_key_hash")
    shared["api_key_alias"] = metadata.take_text("user_api_key_alias")
    shared["user_id"] = metadata.take_text("user_api_key_user_id")
    shared["user_email"] = metadata.take_text("user_api_key_user_email")
    shared["team_id"] = metadata.take_text("user_api_key_team_id", "team_id")
    shared["team_name"] = metadata.take_text("user_api_key_team_alias", "team_alias")
    shared["org_id"] = metadata.take_text("user_api_key_org_id")
    shared["project_id"] = metadata.take_text("user_api_key_project_id")
    shared["end_user_id"] = fields.take_text("end_user")
    metadata.drop_same("user_api_key_end_user_id", shared["end_user_id"])
    if not shared["end_user_id"]:
        shared["end_user_id"] = metadata.take_text("user_api_key_end_user_id")
    shared["client_ip"] = fields.take_text("requester_ip_address") or metadata.take_text("requester_ip_address")
    metadata.drop_same("requester_ip_address", shared["client_ip"])
    shared["user_agent"] = fields.take_text("user_agent") or metadata.take_text("user_agent")
    metadata.drop_same("user_agent", shared["user_agent"])
    metadata.drop_same("team_id", shared["team_id"])
    metadata.drop_same("team_alias", shared["team_name"])
    if shared["api_key_id"] or shared["user_id"]:
        shared["assurance"] = "gateway_authenticated"
    else:
        shared["assurance"] = "client_asserted" if shared["end_user_id"] else "unknown"
    if shared["user_id"]:
        shared["user_id_kind"] = "litellm_user"


def take_model(fields: Fields, shared: Metadata, body: object) -> None:
    """Which model. The client asks for a group; ``model`` is where LiteLLM sent it, with the provider in front."""
    routed, group = fields.take_text("model"), fields.take_text("model_group")
    hidden = fields.part("hidden_params")
    hidden.drop_same("litellm_model_name", routed)
    shared["model_requested"] = group or routed
    shared["model_routed"] = routed
    served = body.get("model") if isinstance(body, dict) else None
    if isinstance(served, str) and served:
        shared["model_served"] = routed.partition("/")[2] or routed if served == group and routed else served
    shared["deployment_id"] = fields.take_text("model_id")
    hidden.drop_same("model_id", shared["deployment_id"])
    shared["endpoint"] = fields.take_text("api_base")
    if not shared["endpoint"]:
        shared["endpoint"] = hidden.take_text("api_base")
    hidden.drop_same("api_base", shared["endpoint"])
    shared["api"] = fields.take_text("call_type")
    operation = shared["api"].removeprefix("a") if shared["api"] != "anthropic_messages" else shared["api"]
    shared["operation"] = _OPERATIONS.get(operation, operation)
    raw = fields.take_text("custom_llm_provider")
    shared["provider_raw"] = raw
    shared["provider"] = provider_name(raw or (routed.partition("/")[0] if "/" in routed else ""))
    shared["model_path"] = "gateway" if fields.peek("cache_hit") is True else model_path(shared["provider"])
    _take_stream(fields, shared)


def _take_stream(fields: Fields, shared: Metadata) -> None:
    stream = fields.take_flag("stream")
    parameters = fields.peek("model_parameters")
    asked = parameters.get("stream") if isinstance(parameters, dict) else None
    shared["stream"] = stream if stream is not None else asked if isinstance(asked, bool) else None
    for name in ("aws_region_name", "vertex_location", "region_name"):
        region = parameters.get(name) if isinstance(parameters, dict) else None
        if isinstance(region, str):
            shared["region"] = region


def take_times(fields: Fields, shared: Metadata) -> Metadata:
    """When, as of the end of the call. ``response_time`` is left over: it means another thing for a stream."""
    times: Metadata = {}
    start, end = from_any(fields.peek("startTime")), from_any(fields.peek("endTime"))
    first = from_any(fields.peek("completionStartTime"))
    if start is not None:
        fields.take("startTime")
        times["started_at"] = start.micros
    if end is not None:
        fields.take("endTime")
        times["ended_at"] = times["occurred_at"] = end.micros
        times["time_precision"], times["time_role"] = end.precision, "end"
    elif start is not None:
        times["occurred_at"], times["time_precision"], times["time_role"] = start.micros, start.precision, "start"
    if first is not None:
        fields.take("completionStartTime")
        times["first_token_at"] = first.micros
    if start is not None and end is not None:
        times["latency_ms"] = (end.micros - start.micros) / 1000
    if start is not None and first is not None and shared.get("stream"):
        times["time_to_first_token_ms"] = (first.micros - start.micros) / 1000
    overhead = fields.part("hidden_params").take_number("litellm_overhead_time_ms")
    if overhead is not None:
        times["gateway_ms"] = overhead
    return times


def ask_time(shared: Metadata, times: Metadata) -> Metadata:
    """``shared`` at the start of the call."""
    asked: Metadata = {**shared}
    if times.get("started_at") is not None:
        asked["occurred_at"] = times["started_at"]  # type: ignore[typeddict-item]
        asked["time_precision"], asked["time_role"] = times["time_precision"], "start"
    return asked


def take_usage(fields: Fields, response: Metadata, body: object) -> None:
    """Tokens and cost. LiteLLM counts as OpenAI does: prompt tokens include cached ones, whatever the
    provider. A failure's zeros are nobody's count, and stay left over."""
    usage = fields.part("metadata").take("usage_object")
    inner = body.get("usage") if isinstance(body, dict) else None
    details = usage if isinstance(usage, dict) else inner if isinstance(inner, dict) else {}
    if usage is not None or details:
        response["usage_raw"] = encode_content(usage if usage is not None else details).decode()
    if fields.peek("total_tokens") or fields.peek("status") != "failure":
        response["input_tokens"] = fields.take_count("prompt_tokens")
        response["output_tokens"] = fields.take_count("completion_tokens")
        response["total_tokens"] = fields.take_count("total_tokens")
    if response.get("input_tokens") is not None:
        response["usage_semantics"] = "total"
        _split_input(details, response)
    amount = fields.take_number("response_cost")
    if amount is not None:
        response["cost_amount"], response["cost_currency"], response["cost_computed_by"] = amount, "USD", "litellm"
        fields.part("hidden_params").drop_same("response_cost", amount)
    breakdown = fields.take("cost_breakdown")
    if breakdown not in (None, {}):
        response["cost_raw"] = encode_content(breakdown).decode()


def _split_input(details: dict[str, Any], response: Metadata) -> None:
    asked, answered = Fields(details.get("prompt_tokens_details")), Fields(details.get("completion_tokens_details"))
    top = Fields(details)
    read = _first((asked, "cached_tokens"), (top, "cache_read_input_tokens"))
    write = _first(
        (asked, "cache_write_tokens"), (asked, "cache_creation_tokens"), (top, "cache_creation_input_tokens")
    )
    response["cache_read_tokens"], response["cache_write_tokens"] = read, write
    uncached = (response["input_tokens"] or 0) - (read or 0) - (write or 0)
    if uncached >= 0:
        response["input_uncached_tokens"] = uncached
    else:
        response["usage_semantics"] = "unknown"
    by_age = top.part("cache_creation")
    response["cache_write_5m_tokens"] = by_age.take_count("ephemeral_5m_input_tokens")
    response["cache_write_1h_tokens"] = by_age.take_count("ephemeral_1h_input_tokens")
    response["reasoning_tokens"] = answered.take_count("reasoning_tokens")
    response["audio_input_tokens"] = asked.take_count("audio_tokens")
    response["audio_output_tokens"] = answered.take_count("audio_tokens")
    response["image_input_tokens"] = asked.take_count("image_tokens")


def _first(*places: tuple[Fields, str]) -> int | None:
    counts = (fields.take_count(name) for fields, name in places)
    return next((count for count in counts if count is not None), None)


def take_outcome(fields: Fields, response: Metadata) -> None:
    """How it ended, and what went wrong."""
    error = fields.part("error_information")
    stated = fields.peek("status")
    status = fields.take("status") if isinstance(stated, str) and stated in _OUTCOMES else ""
    guardrail = fields.part("status_fields").take_text("guardrail_status")
    fields.part("status_fields").drop_same("llm_api_status", status)
    response["guardrail_verdict"] = guardrail
    response["outcome"] = _outcome(status, guardrail)
    response["error_type"] = error.take_text("error_class")
    response["error_code"] = error.take_text("error_code")
    response["error_message"] = error.take_text("error_message")
    text = fields.take_text("error_str")
    if not response["error_message"]:
        response["error_message"] = text
    elif text != response["error_message"] and text:
        response["extras"] = {"error_str": encode_content(text).decode()}
    code = response["error_code"]
    if len(code) == 3 and code.isascii() and code.isdigit():
        response["http_status"] = int(code)
    if not response.get("request_id_provider"):
        response["request_id_provider"] = error.take_text("error_provider_request_id")
    if response["outcome"] == "blocked":
        response["error_stage"] = "guardrail"
    elif response["outcome"] == "error":
        response["error_stage"] = "provider" if error.peek("llm_provider") else "gateway"


def _outcome(status: str, guardrail: str) -> str:
    if guardrail == "guardrail_intervened" and status != "success":
        return "blocked"
    return _OUTCOMES.get(status, "")


_OUTCOMES = {"success": "ok", "failure": "error"}
