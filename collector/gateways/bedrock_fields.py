"""The fields of a Bedrock invocation record, group by group (docs/gateways.md §4). Pure."""

from __future__ import annotations

import re
from typing import Any

from collector.gateways.bedrock_bodies import METRICS, LoggedBody
from collector.gateways.bedrock_guardrails import was_blocked
from collector.gateways.leftovers import Fields
from collector.gateways.times import from_text
from collector.gateways.usage import body_usage
from collector.gateways.vocabulary import BEDROCK, stop_reason
from collector.json_units import encode_content
from schemas.metadata import Metadata

_PRINCIPAL = re.compile(r"arn:[^:]*:(?:iam|sts)::[0-9]*:(?P<kind>user|assumed-role|federated-user|root)/?(?P<name>.*)")
_GEOGRAPHY = re.compile(r"(?:us|eu|apac|global|us-gov|jp|au|ca|sa|me|af|il|uk)\.(?=[a-z0-9-]+\.)")
"""What a cross-region inference profile has in front of the model's id: ``us.anthropic.claude-…``."""

_STOPS = ("stopReason", "stop_reason", "finish_reason", "completionReason", "finishReason")
_NESTED_STOPS = ("results", "outputs", "generations", "choices", "completions")
_MAX_LONG = (1 << 63) - 1


def take_ids(fields: Fields, shared: Metadata) -> None:
    """Ids. The request id is AWS's, the same as in CloudTrail and in ``x-amzn-requestid``."""
    shared["request_id_cloud"] = shared["exchange_id"] = fields.take_text("requestId")
    shared["format_version"] = fields.take_text("schemaVersion")
    shared["project_id"] = fields.take_text("accountId")
    shared["region"] = fields.take_text("region")
    shared["served_region"] = fields.take_text("inferenceRegion")
    fields.drop_same("schemaType", "ModelInvocationLog")
    moment = from_text(stated) if isinstance(stated := fields.peek("timestamp"), str) else None
    if moment is not None:
        fields.take("timestamp")
        shared["occurred_at"] = shared["started_at"] = moment.micros
        shared["time_precision"], shared["time_role"] = moment.precision, "start"


def take_actor(fields: Fields, shared: Metadata, request: dict[str, Any]) -> None:
    """Who called. AWS vouches for the principal. The name of a role's session was chosen by whoever took the role on:
    often it is the person. What the request says of its user, its sender claims."""
    arn = fields.part("identity").take_text("arn")
    shared["cloud_principal"] = arn
    found = _PRINCIPAL.fullmatch(arn)
    if found is not None:
        path, _, last = found["name"].rpartition("/")
        shared["user_name"] = last
        shared["user_id_kind"] = {"user": "iam_user", "assumed-role": "iam_role_session"}.get(found["kind"], "")
        if found["kind"] == "assumed-role" and path:
            shared["roles"] = [path]
        if last.count("@") == 1:
            shared["user_email"] = last
    about = request.get("metadata")
    claimed = about.get("user_id") if isinstance(about, dict) else None
    if isinstance(claimed, str):
        shared["end_user_id"] = claimed
    shared["assurance"] = "provider_authenticated" if arn else "client_asserted" if claimed else "unknown"


def take_model(fields: Fields, shared: Metadata, request: dict[str, Any], response: dict[str, Any]) -> None:
    """Which model. The caller names a model, an inference profile or an ARN of either."""
    asked = fields.take_text("modelId")
    shared["model_requested"] = asked
    shared["provider"], shared["model_path"] = BEDROCK, "bedrock"
    if asked.startswith("arn:"):
        shared["deployment_id"] = asked
    last = asked.rsplit("/", 1)[-1]
    if "." in last and "application-inference-profile" not in asked:
        shared["model_routed"] = _GEOGRAPHY.sub("", last, count=1)
    served = response.get("model")
    if isinstance(served, str):
        shared["model_served"] = served
    answer_id = response.get("id")
    if isinstance(answer_id, str):
        shared["request_id_response"] = answer_id
    shared["api"] = fields.take_text("operation")
    shared["operation"] = _operation(shared["api"], request)
    if shared["api"]:
        shared["stream"] = shared["api"].endswith("Stream")


def _operation(api: str, request: dict[str, Any]) -> str:
    """OpenTelemetry's name of the operation, as far as the request shows it."""
    if api.startswith("Converse") or isinstance(request.get("messages"), list):
        return "chat"
    if any(name in request for name in ("prompt", "textGenerationConfig")):
        return "text_completion"
    if any(name in request for name in ("texts", "embeddingConfig", "embeddingParams", "singleEmbeddingParams")):
        return "embeddings"
    return "image_generation" if "textToImageParams" in request else ""


def take_usage(asked: Fields, answered: Fields, response: Metadata, body: LoggedBody) -> None:
    """Tokens: Bedrock's input count leaves out what was read from or written to a cache. Where the record has no
    counts, those of the body count."""
    stated = body.fields
    metrics = Fields(stated.get(METRICS))
    usage = Fields(stated.get("usage"))
    raw = {
        name: value
        for holder, names in (
            (asked, ("inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")),
            (answered, ("outputTokenCount",)),
        )
        for name in names
        if (value := holder.peek(name)) is not None
    }
    uncached = _first((asked, "inputTokenCount"), (usage, "inputTokens"), (metrics, "inputTokenCount"))
    if uncached is None and not raw:
        response.update(body_usage(stated))
        return
    read = _first(
        (asked, "cacheReadInputTokenCount"),
        (usage, "cacheReadInputTokens"),
        (usage, "cacheReadInputTokenCount"),
        (metrics, "cacheReadInputTokenCount"),
        (usage, "cache_read_input_tokens"),
    )
    write = _first(
        (asked, "cacheWriteInputTokenCount"),
        (usage, "cacheWriteInputTokens"),
        (usage, "cacheWriteInputTokenCount"),
        (metrics, "cacheWriteInputTokenCount"),
        (usage, "cache_creation_input_tokens"),
    )
    response["cache_read_tokens"], response["cache_write_tokens"] = read, write
    response["output_tokens"] = _first(
        (answered, "outputTokenCount"), (usage, "outputTokens"), (metrics, "outputTokenCount")
    )
    if raw:
        response["usage_raw"] = encode_content(raw).decode()
    if uncached is not None:
        response["input_uncached_tokens"] = uncached
        response["input_tokens"] = min(uncached + (read or 0) + (write or 0), _MAX_LONG)
        response["usage_semantics"] = "uncached"


def take_outcome(fields: Fields, response: Metadata, body: LoggedBody) -> None:
    """How it ended, how long it took, and what went wrong."""
    stated = body.fields
    metrics = Fields(stated.get(METRICS))
    latency = metrics.take_number("invocationLatency")
    if latency is None:
        latency = Fields(stated.get("metrics")).take_number("latencyMs")
    if latency is not None:
        response["latency_ms"] = latency
    first = metrics.take_number("firstByteLatency")
    if first is not None:
        response["time_to_first_token_ms"] = first
    raw = stop_word(body.value)
    if raw:
        response["stop_reason_raw"], response["stop_reason"] = raw, stop_reason(raw)
    code = fields.take_text("errorCode")
    response["error_code"] = code
    response["outcome"] = "ok" if body.value is not None or body.gaps else ""
    if was_blocked(body.value):
        response["outcome"], response["error_stage"] = "blocked", "guardrail"
    if body.partial:
        response["outcome"] = "partial"
    if code or body.error is not None:
        response["outcome"], response["error_stage"] = "error", "provider"
        error = Fields(body.error).part("error")
        response["error_type"] = error.take_text("type")
        response["error_message"] = error.take_text("message") or Fields(stated).take_text("message")


def stop_word(body: object) -> str:
    """Why the answer ended, in the model's word: of the first result, where there are several."""
    if not isinstance(body, dict):
        return ""
    places = [body]
    for name in _NESTED_STOPS:
        inner = body.get(name)
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            places.append(inner[0])
    for place in places:
        for name in _STOPS:
            if isinstance(place.get(name), str) and place[name]:
                return str(place[name])
    return ""


def _first(*places: tuple[Fields, str]) -> int | None:
    """The first count that is stated; it alone is taken."""
    for fields, name in places:
        found = fields.take_count(name)
        if found is not None:
            return found
    return None
