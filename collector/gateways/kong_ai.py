"""What Kong's AI plugins add to a record below ``ai``: model calls, verdicts of guards, documents, token counts."""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.bodies import Body, absent, body_text, read_body
from collector.gateways.exchange import Exchange, at_start, name_provider
from collector.gateways.gaps import Gap, pointer, state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.usage import count_openai
from schemas.metadata import Metadata

NAMESPACE_FIELDS = ("meta", "usage", "payload", "cache")
"""An object below ``ai`` with one of these is a model call, whatever its name."""

_WITHHELD = "Kong logs bodies only with config.logging.log_payloads, and no request that nginx spooled to disk"
_GUARDS = ("aws-guardrails", "lakera-guard", "azure-content-safety", "gcp-model-armor", "ai-semantic-prompt-guard")

_Frame = tuple[Metadata, Metadata, int | None]
"""Who and which; when; the HTTP status that the client got."""


def model_exchange(own: Fields, root: Fields, at: str, frame: _Frame) -> Exchange:
    """The model call of one plugin. Older versions have the request in ``ai.payload``, the ``root``."""
    known, times, status = frame
    shared: Metadata = {**known}
    meta, payload = own.part("meta"), own.part("payload")
    if provider := meta.take_text("provider_name"):
        name_provider(shared, provider)
    shared["model_requested"] = meta.take_text("request_model")
    shared["model_served"] = meta.take_text("response_model")
    if shared.get("deployment_id") == "":
        shared["deployment_id"] = meta.take_text("azure_deployment_id")
    mode = meta.peek("request_mode")
    if mode in ("stream", "realtime", "oneshot"):
        shared["stream"] = mode != "oneshot"
        if mode != "realtime":
            meta.take("request_mode")
    if str(own.part("cache").peek("cache_status")).lower() == "hit":
        shared["model_path"] = "gateway"
    request, request_at = _payload(payload, root, "request", at)
    response, response_at = _payload(payload, root, "response", at)
    exchange = Exchange(request, response, request_at, response_at, shared, {**times})
    _measure(own, meta, exchange, status)
    exchange.surroundings = _inner_drafts(own, at_start(shared, times), at)
    return exchange


def _payload(payload: Fields, root: Fields, name: str, at: str) -> tuple[Body, str]:
    for holder, place in ((payload, at), (root, "/ai")):
        if holder.peek(name) not in (None, "", {}, []):
            return read_body(holder.take(name)), f"{place}/payload/{name}"
    return absent(_WITHHELD), f"{at}/payload/{name}"


def _measure(own: Fields, meta: Fields, exchange: Exchange, status: int | None) -> None:
    """Tokens as Kong counts them, in OpenAI's words; the provider's own numbers in the body go before them."""
    measured, times = exchange.measured, exchange.times
    usage = own.part("usage")
    stated = usage.peek_all()
    cost, first = usage.take_number("cost"), usage.take_number("time_to_first_token")
    if stated:
        if not any(exchange.response.fields.get(name) for name in ("usage", "usageMetadata")):
            count_openai(stated, measured)
            if exchange.shared.get("provider") not in ("openai", "azure.ai.openai") and measured.get("usage_semantics"):
                measured["usage_semantics"] = "unknown"
                measured.pop("input_uncached_tokens", None)
        measured["usage_raw"] = body_text(stated)
        usage.take_all()
    if cost is not None:
        measured["cost_amount"], measured["cost_computed_by"] = cost, "kong"
    if first is not None:
        times["time_to_first_token_ms"] = first
    latency = meta.take_number("llm_latency")
    if latency is not None:
        times["provider_ms"] = latency
    measured["http_status"] = status


def _inner_drafts(own: Fields, starting: Metadata, at: str) -> list[Draft]:
    """Guards and retrieval, which Kong notes within the model call's object."""
    guards = [name for name in own.names() if _is_guard(name, own.peek(name))]
    drafts = [_guard_draft(name, own.take(name), starting, at + pointer(name)) for name in guards]
    if isinstance(own.peek("rag-inject"), dict) and own.peek("rag-inject"):
        drafts += _retrieval_drafts(own.take("rag-inject"), starting, at + "/rag-inject")
    return drafts


def _is_guard(name: str, stated: Any) -> bool:
    return name in _GUARDS or (isinstance(stated, dict) and any("block_reason" in key for key in stated))


def _guard_draft(name: str, stated: Any, starting: Metadata, at: str) -> Draft:
    fields = Fields(stated)
    reasons = [fields.take_text(f"{side}_block_reason") for side in ("input", "output")]
    blocked = any(reasons)
    metadata: Metadata = {
        **starting,
        "guardrail_name": name,
        "guardrail_provider": "kong",
        "guardrail_mode": "output" if reasons[1] else "input" if reasons[0] else "",
        "guardrail_verdict": "blocked" if blocked else "",
        "dlp_rules": [reason for reason in reasons if reason],
        "policy_id": fields.take_text("guardrails_id", "lakera_project_id"),
        "policy_version": fields.take_text("guardrails_version"),
        "region": fields.take_text("aws_region"),
        "outcome": "blocked" if blocked else "",
    }
    state_gaps(metadata, [])
    return Draft("guardrail", metadata, stated, at)


def _retrieval_drafts(stated: dict[str, Any], starting: Metadata, at: str) -> list[Draft]:
    """``rag-inject``: Kong names the chunks that it put into the prompt, and does not log their text."""
    chunks = stated.get("chunk_ids")
    names = [str(chunk) for chunk in chunks if isinstance(chunk, str | int)] if isinstance(chunks, list) else []
    drafts = []
    for index, name in enumerate(names or [""]):
        metadata: Metadata = {
            **starting,
            "operation": "retrieval",
            "document_id": name,
            "document_source": str(stated.get("vector_db") or ""),
        }
        state_gaps(metadata, [Gap("/content/document", "not_captured", note="Kong logs the ids of chunks alone")])
        content = stated if index == 0 else {"chunk_id": name}
        drafts.append(Draft("context", metadata, content, at + (pointer("chunk_ids", index) if names else "")))
    return drafts


def plugin_drafts(ai: Fields, starting: Metadata) -> list[Draft]:
    """Plugins that stand beside the model call: the PII sanitizer, and the audits of content guards."""
    drafts = []
    if isinstance(ai.peek("sanitizer"), dict) and ai.peek("sanitizer"):
        drafts.append(_sanitizer_draft(ai.take("sanitizer"), starting))
    audits = ai.peek("audit")
    if isinstance(audits, dict):
        for name in list(audits):
            metadata: Metadata = {**starting, "guardrail_name": str(name), "guardrail_provider": "kong"}
            if isinstance(audits[name], dict):
                metadata["data_categories"] = [str(category) for category in audits[name]]
            state_gaps(metadata, [])
            drafts.append(Draft("guardrail", metadata, audits[name], pointer("ai", "audit", name)))
        ai.take("audit")
    return drafts


def _sanitizer_draft(stated: dict[str, Any], starting: Metadata) -> Draft:
    items = stated.get("sanitized_items")
    kinds = {
        str(item["entity_type"]) for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict) and item.get("entity_type")
    }  # fmt: skip
    metadata: Metadata = {
        **starting,
        "guardrail_name": "ai-sanitizer",
        "guardrail_provider": "kong",
        "data_categories": sorted(kinds),
        "dlp_verdict": "masked" if Fields(stated).take_count("pii_sanitized") else "",
        "outcome": "ok",
    }
    state_gaps(metadata, [])
    return Draft("guardrail", metadata, stated, "/ai/sanitizer")
