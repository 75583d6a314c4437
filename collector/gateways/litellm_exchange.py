"""A StandardLoggingPayload as events: prompt, context, guardrail verdicts, response, tool calls and results.

Every event carries who, which model and which ids; usage, cost, latency and outcome belong to the response alone;
what no field takes is in the extras of the first event. A failure has a response too: its error is the answer.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.exchange import at_moment, call_draft, result_draft
from collector.gateways.leftovers import Fields
from collector.gateways.litellm_fields import (
    ask_time,
    take_actor,
    take_ids,
    take_model,
    take_outcome,
    take_times,
    take_usage,
)
from collector.gateways.messages import argument_content, body_calls, body_results, new_results, stop_word
from collector.gateways.times import from_any
from collector.gateways.vocabulary import stop_reason
from schemas.metadata import Metadata

_BLOCKING = ("guardrail_intervened", "blocked")


def read_exchange(record: dict[str, Any]) -> list[Draft]:
    """The events of one call, in causal order."""
    fields = Fields(record)
    shared: Metadata = {}
    take_ids(fields, shared)
    take_actor(fields, shared)
    body = fields.take("response")
    take_model(fields, shared, body)
    times = take_times(fields, shared)
    mcp = fields.part("metadata").part("mcp_tool_call_metadata")
    if mcp.peek("name"):
        drafts = _mcp_drafts(fields, mcp, shared, times, body)
    else:
        drafts = _model_drafts(fields, shared, times, body)
    first = drafts[0].metadata
    first["extras"] = {**fields.leftovers(), **first.get("extras", {})}
    return drafts


def _model_drafts(fields: Fields, shared: Metadata, times: Metadata, body: object) -> list[Draft]:
    messages = fields.take("messages")
    asked = {"messages": messages, "parameters": fields.take("model_parameters"), **_built_in_tools(fields)}
    asked = {name: value for name, value in asked.items() if value not in (None, [], {}, "")}
    starting = ask_time(shared, times)
    drafts = [Draft("prompt", {**starting}, asked, "/messages" if messages else "")] if asked else []
    drafts += [result_draft(result, starting) for result in new_results(messages, "/messages")]
    drafts += _context_drafts(fields, starting)
    drafts += _guardrail_drafts(fields, starting)
    response: Metadata = {**shared, **times}
    take_usage(fields, response, body)
    take_outcome(fields, response)
    raw = stop_word(body)
    if raw:
        response["stop_reason_raw"], response["stop_reason"] = raw, stop_reason(raw)
    drafts.append(Draft("response", response, body if body not in (None, {}, [], "") else None, "/response"))
    ending: Metadata = {**shared, **at_moment(times)}
    drafts += [call_draft(call, ending) for call in body_calls(body, "/response")]
    drafts += [result_draft(result, ending) for result in body_results(body, "/response")]
    return drafts


def _mcp_drafts(fields: Fields, mcp: Fields, shared: Metadata, times: Metadata, body: object) -> list[Draft]:
    """``call_mcp_tool``: a call and its result, without a model."""
    arguments = mcp.take("arguments")
    tool: Metadata = {
        **shared,
        "operation": "execute_tool",
        "tool_kind": "mcp",
        "tool_name": mcp.take_text("name"),
        "tool_namespaced_name": mcp.take_text("namespaced_tool_name"),
        "tool_server": mcp.take_text("mcp_server_name"),
        "tool_server_url": mcp.take_text("mcp_server_resource"),
        "tool_session_id": mcp.take_text("mcp_session_id"),
        "call_id": shared.get("request_id_gateway", ""),
    }
    call = Draft("tool_call", ask_time(tool, times), argument_content(arguments), "/metadata/mcp_tool_call_metadata")
    if messages := fields.take("messages"):
        call.content = {**argument_content(arguments), "messages": messages}
    answered: Metadata = {**tool, **times}
    take_usage(fields, answered, None)
    take_outcome(fields, answered)
    if "latency_ms" in times:
        answered["tool_duration_ms"] = times["latency_ms"]
    stated = mcp.take("result")
    result = {"result": stated, "response": body if body != stated else None}
    content = {name: value for name, value in result.items() if value not in (None, {}, [], "")}
    answered["tool_is_error"] = answered.get("outcome") != "ok" or _says_error(stated) or _says_error(body)
    guarded = _guardrail_drafts(fields, ask_time(tool, times))
    return [call, *guarded, Draft("tool_result", answered, content or None, "/metadata/mcp_tool_call_metadata/result")]


def _says_error(result: object) -> bool:
    """A tool that failed is a successful MCP call whose result has ``isError``."""
    return isinstance(result, dict) and result.get("isError") is True


def _built_in_tools(fields: Fields) -> dict[str, Any]:
    """``standard_built_in_tools_params`` without what is null."""
    stated = fields.peek("standard_built_in_tools_params")
    if not isinstance(stated, dict):
        return {}
    fields.take("standard_built_in_tools_params")
    used = {name: value for name, value in stated.items() if value is not None}
    return {"built_in_tools": used} if used else {}


def _context_drafts(fields: Fields, starting: Metadata) -> list[Draft]:
    """One event per document that a search in a vector store put before the model; the first of a search tells the
    search as well. A search without documents is one event."""
    drafts = []
    for at, search in enumerate(fields.part("metadata").take_objects("vector_store_request_metadata")):
        place = f"/metadata/vector_store_request_metadata/{at}"
        own = Fields(search)
        metadata: Metadata = {
            **starting,
            "document_source": own.take_text("vector_store_id"),
            "operation": "retrieval",
        }
        _take_span(own, metadata)
        documents = own.part("vector_store_search_response").take_objects("data")
        told = {name: value for name, value in search.items() if value is not None}
        if not documents:
            drafts.append(Draft("context", metadata, told, place))
            continue
        response = {name: value for name, value in told["vector_store_search_response"].items() if name != "data"}
        told["vector_store_search_response"] = response
        for index, document in enumerate(documents):
            content = {**(told if index == 0 else {}), "document": document}
            named: Metadata = {**metadata, "document_id": _name_of(document), "document_label": _label_of(document)}
            drafts.append(Draft("context", named, content, f"{place}/vector_store_search_response/data/{index}"))
    return drafts


def _name_of(document: dict[str, Any]) -> str:
    return Fields(document).take_text("file_id", "id")


def _label_of(document: dict[str, Any]) -> str:
    return Fields(document).take_text("filename", "title")


def _guardrail_drafts(fields: Fields, starting: Metadata) -> list[Draft]:
    """One event per guardrail that looked at the call. Older versions have the list in ``metadata``."""
    drafts = []
    for place, holder in (("", fields), ("/metadata", fields.part("metadata"))):
        for at, verdict in enumerate(holder.take_objects("guardrail_information")):
            drafts.append(_guardrail_draft(verdict, starting, f"{place}/guardrail_information/{at}"))
    return drafts


def _guardrail_draft(verdict: dict[str, Any], starting: Metadata, at: str) -> Draft:
    own = Fields(verdict)
    status = own.take_text("guardrail_status", "status")
    metadata: Metadata = {
        **starting,
        "guardrail_name": own.take_text("guardrail_name", "name"),
        "guardrail_provider": own.take_text("guardrail_provider", "provider"),
        "guardrail_mode": own.take_text("guardrail_mode", "mode"),
        "guardrail_verdict": status,
        "guardrail_action": own.take_text("action"),
        "dlp_rules": own.take_texts("violation_categories"),
        "outcome": "blocked" if status in _BLOCKING else "error" if "fail" in status else "ok",
    }
    masked = own.peek("masked_entity_count")
    if isinstance(masked, dict) and masked:
        metadata["data_categories"] = [str(name) for name in masked]
        metadata["dlp_verdict"] = "masked"
    _take_span(own, metadata)
    return Draft("guardrail", metadata, {name: value for name, value in verdict.items() if value is not None}, at)


def _take_span(own: Fields, metadata: Metadata) -> None:
    started, ended = from_any(own.peek("start_time")), from_any(own.peek("end_time"))
    if started is not None:
        metadata["started_at"] = metadata["occurred_at"] = started.micros
    if ended is not None:
        metadata["ended_at"] = ended.micros
    if started is not None and ended is not None:
        metadata["latency_ms"] = (ended.micros - started.micros) / 1000
