"""Rows of Vertex AI's request-response logging as events: Gemini's calls and Claude's. Pure.

A row says which model was called with what, and what came of it; it does not say who called, which only the audit log
does. Column by column, as BigQuery exports them: JSON columns as JSON or as text that is JSON, times in several
spellings, ``request_id`` as up to 38 digits.
"""

from __future__ import annotations

import re
from typing import Any

from collector.gateways import Draft
from collector.gateways.bodies import Body, body_text, read_body
from collector.gateways.exchange import (
    Exchange,
    at_moment,
    call_draft,
    document_draft,
    exchange_drafts,
    result_draft,
)
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.gemini import (
    BLOCKED,
    candidates,
    finish_word,
    gemini_calls,
    gemini_ran,
    gemini_usage,
    grounding,
    join_chunks,
    member,
    new_gemini_documents,
    new_gemini_results,
    spelling,
    text_member,
)
from collector.gateways.json_texts import parsed
from collector.gateways.leftovers import Fields
from collector.gateways.source_ids import joined_id
from collector.gateways.streams import read_events
from collector.gateways.times import Time, from_any
from collector.gateways.usage import body_error
from collector.gateways.vocabulary import VERTEX, stop_reason
from collector.json_units import encode_content
from schemas.metadata import Metadata

_MODEL = re.compile(r"publishers/([^/]+)/models/(.+)")
_COLUMNS = ("full_request", "full_response", "request_payload", "response_payload")
_OPERATIONS = {"counttokens": "count_tokens"}


def is_row(value: object) -> bool:
    """Whether a JSON value is a row of the table."""
    return isinstance(value, dict) and "logging_time" in value and any(name in value for name in _COLUMNS)


def row_id(row: dict[str, Any]) -> str:
    """``request_id`` and ``logging_time``, this in microseconds, because it is spelt in several ways; the table is not
    named in a row. A request id that came as a float has lost digits, and is none."""
    named, logged = row.get("request_id"), row.get("logging_time")
    if isinstance(named, float) or logged is None:
        return ""
    moment = _moment(logged)
    return joined_id(
        str(named) if isinstance(named, int) and not isinstance(named, bool) else named,
        str(moment.micros) if moment else logged,
    )


def read_row(row: dict[str, Any]) -> list[Draft]:
    """The events of a call, in causal order."""
    fields = Fields({**row, "metadata": parsed(row.get("metadata"))})
    request, request_at, request_beside = _take_body(fields, "full_request", "request_payload")
    response, response_at, response_beside = _take_body(fields, "full_response", "response_payload")
    otel = parsed(fields.take("otel_log"))
    if otel not in (None, "", {}, []):
        response_beside["otel_log"] = otel
    shared = _take_shared(fields)
    times, measured = _take_times(fields)
    exchange = Exchange(request, response, request_at, response_at, shared, times, measured)
    drafts = _gemini_drafts(exchange) if _is_gemini(request, response, shared) else _claude_drafts(exchange)
    _put_beside(drafts, "prompt", "full_request", request_beside)
    _put_beside(drafts, "response", "full_response", response_beside)
    first = drafts[0].metadata
    first["extras"] = {**fields.leftovers(), **first.get("extras", {})}
    return drafts


def _take_body(fields: Fields, name: str, legacy: str) -> tuple[Body, str, dict[str, Any]]:
    """A body, the pointer to it, and what is to be kept beside it: the old column, where both have something."""
    value, old = fields.take(name), fields.take(legacy)
    if value in (None, "", {}, []):
        pieces = [parsed(piece) for piece in old] if isinstance(old, list) else [parsed(old)]
        return _body(pieces[0] if len(pieces) == 1 else pieces), f"/{legacy}", {}
    return _body(parsed(value)), f"/{name}", {legacy: old} if old not in (None, "", {}, []) else {}


def _body(value: Any) -> Body:
    """An array is the chunks of a stream: Gemini's answers, or Claude's events; so is the text of one."""
    chunks = value if isinstance(value, list) else []
    if isinstance(value, str) and "candidates" in value:
        chunks = read_events(value.encode("utf-8", "surrogatepass"), named=False).objects
    if not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        return read_body(value)
    if any(isinstance(chunk.get("type"), str) for chunk in chunks):
        lines = "\n".join(encode_content(chunk).decode("utf-8", "surrogatepass") for chunk in chunks)
        found = read_body(lines)
        return found if found.streamed else Body(value)
    if not any("candidates" in chunk for chunk in chunks):
        return Body(value)
    gap = Gap("/content", "reconstructed", note="put together from the chunks of a stream")
    return Body(join_chunks(chunks), [gap], streamed=True)


def _is_gemini(request: Body, response: Body, shared: Metadata) -> bool:
    if shared["provider_raw"]:
        return shared["provider_raw"] == "google"
    return "contents" in request.fields or "candidates" in response.fields


def _take_shared(fields: Fields) -> Metadata:
    shared: Metadata = {"assurance": "unknown", "provider": VERTEX, "provider_raw": "", "model_path": "vertex"}
    routed = fields.take_text("model")
    shared["model_routed"] = routed
    if model := _MODEL.fullmatch(routed):
        shared["provider_raw"], shared["model_requested"] = model[1], model[2]
    shared["request_id_cloud"] = fields.take_text("request_id")
    shared["exchange_id"] = shared["request_id_cloud"]
    shared["endpoint"] = fields.take_text("endpoint")
    shared["deployment_id"] = fields.take_text("deployed_model_id")
    shared["api"] = fields.take_text("api_method")
    method = shared["api"].lower()
    shared["operation"] = _OPERATIONS.get(method, "chat")
    shared["stream"] = method.startswith("stream") if method else None
    return shared


def _take_times(fields: Fields) -> tuple[Metadata, Metadata]:
    times: Metadata = {}
    moment = _moment(fields.peek("logging_time"))
    if moment is not None:
        if moment.precision != "ns":
            fields.take("logging_time")
        times["occurred_at"], times["time_precision"] = moment
        times["time_role"] = "log"
    latency = fields.part("metadata").take_number("request_latency")
    return times, {"latency_ms": latency} if latency is not None else {}


def _moment(value: object) -> Time | None:
    """As BigQuery writes times: RFC 3339, ``2026-08-21 09:00:04.248 UTC``, or seconds as text."""
    if not isinstance(value, str):
        return from_any(value)
    try:
        return from_any(float(value))
    except ValueError:
        return from_any(value.removesuffix(" UTC"))


def _claude_drafts(exchange: Exchange) -> list[Draft]:
    answer = exchange.response.fields
    if answer.get("type") == "message" and answer.get("stop_reason"):
        exchange.measured["outcome"] = "ok"
    if exchange.response.value is None and not exchange.response.gaps:
        exchange.measured = {}  # a latency alone is no answer
    return exchange_drafts(exchange)


def _gemini_drafts(exchange: Exchange) -> list[Draft]:
    asked, answer = exchange.request.value, exchange.response.value
    starting: Metadata = {**exchange.shared, **at_moment(exchange.times)}
    _name(exchange.shared, answer)
    request_at, response_at = exchange.request_at, exchange.response_at
    prompt: Metadata = {**starting}
    state_gaps(prompt, exchange.request.gaps)
    drafts = [Draft("prompt", prompt, asked, request_at)]
    drafts += [result_draft(result, starting) for result in new_gemini_results(asked, request_at)]
    drafts += [document_draft(document, starting) for document in new_gemini_documents(asked, request_at)]
    if answer is None:
        return drafts
    ending: Metadata = {**exchange.shared, **at_moment(exchange.times)}
    drafts += [document_draft(document, ending) for document in grounding(answer, response_at)]
    drafts += _verdicts(answer, ending, response_at)
    drafts.append(_response(exchange, ending))
    drafts += [call_draft(call, ending) for call in gemini_calls(answer, response_at)]
    drafts += [result_draft(result, ending) for result in gemini_ran(answer, response_at)]
    return drafts


def _name(shared: Metadata, answer: object) -> None:
    shared["model_served"] = text_member(answer, "model_version")
    shared["request_id_response"] = text_member(answer, "response_id")


def _response(exchange: Exchange, ending: Metadata) -> Draft:
    answer = exchange.response.value
    metadata: Metadata = {**ending, **exchange.measured, **gemini_usage(answer)}
    error = body_error(exchange.response.fields)
    metadata.update(error)
    raw = finish_word(answer)
    metadata["stop_reason_raw"], metadata["stop_reason"] = raw, stop_reason(raw)
    if error:
        metadata["outcome"], metadata["error_stage"] = "error", "provider"
    elif raw in BLOCKED or text_member(member(answer, "prompt_feedback"), "block_reason"):
        metadata["outcome"], metadata["error_stage"] = "blocked", "guardrail"
    elif raw:
        metadata["outcome"] = "ok"
    state_gaps(metadata, exchange.response.gaps)
    return Draft("response", metadata, answer, exchange.response_at)


def _verdicts(answer: object, ending: Metadata, at: str) -> list[Draft]:
    """What the filters said, where they blocked: of the prompt, and of each candidate."""
    drafts = []
    feedback = member(answer, "prompt_feedback")
    if text_member(feedback, "block_reason"):
        place = f"{at}/{spelling(answer, 'prompt_feedback')}"
        drafts.append(_verdict(feedback, text_member(feedback, "block_reason"), "pre_call", ending, place))
    for candidate, place in candidates(answer, at):
        word = text_member(candidate, "finish_reason")
        if word in BLOCKED:
            told = {name: value for name, value in candidate.items() if name != "content"}
            drafts.append(_verdict(told, word, "post_call", ending, place))
    return drafts


def _verdict(told: Any, word: str, mode: str, ending: Metadata, at: str) -> Draft:
    ratings = member(told, "safety_ratings")
    blocking = [rating for rating in ratings if member(rating, "blocked")] if isinstance(ratings, list) else []
    metadata: Metadata = {
        **ending,
        "guardrail_name": "vertex_safety",
        "guardrail_provider": "google",
        "guardrail_mode": mode,
        "guardrail_verdict": word,
        "dlp_rules": [text_member(rating, "category") for rating in blocking],
        "outcome": "blocked",
    }
    state_gaps(metadata, [])
    return Draft("guardrail", metadata, told, at)


def _put_beside(drafts: list[Draft], kind: str, name: str, beside: dict[str, Any]) -> None:
    """Keep more in the content of a draft than its body, which then lies under ``name``."""
    if not beside:
        return
    draft = next((draft for draft in drafts if draft.kind == kind), drafts[0])
    draft.content = {**({} if draft.content is None else {name: draft.content}), **beside}
    gaps = draft.metadata.get("content_gaps")
    if gaps:
        moved = [{**gap, "pointer": gap["pointer"].replace("/content", f"/content/{name}", 1)} for gap in parsed(gaps)]
        draft.metadata["content_gaps"] = body_text(moved)
