"""Streams as the providers send them, as JSON events and as bytes; every one made here, by their documentation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def sse(events: Iterable[dict[str, Any]], *, named: bool = True, done: bool = False) -> bytes:
    """The events as a provider writes them."""
    lines = [
        (f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
        for event in events
    ]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def anthropic_events() -> list[dict[str, Any]]:
    """Thinking, text with a citation, a tool call in pieces, one without arguments, a server tool and its result."""
    usage = {"input_tokens": 12, "cache_creation_input_tokens": 410, "cache_read_input_tokens": 30112}
    message = {
        "id": "msg_01Stream",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1, "service_tier": "standard"},
    }
    citation = {
        "type": "char_location",
        "cited_text": "Paris",
        "document_index": 0,
        "document_title": "Atlas",
        "start_char_index": 3,
        "end_char_index": 8,
        "file_id": None,
    }
    found = {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_01",
        "content": [
            {
                "type": "web_search_result",
                "title": "Météo",
                "url": "https://example.com/paris",
                "encrypted_content": "EqgfCioIARgBIiQ3YTAw",
                "page_age": None,
            }
        ],
    }
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": "The user asks "},
                {"type": "thinking_delta", "thinking": "für Paris."},
                {"type": "signature_delta", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
            ],
        ),
        (
            {"type": "text", "text": ""},
            [
                {"type": "text_delta", "text": "I look "},
                {"type": "text_delta", "text": "it up: ☀\u2028"},
                {"type": "citations_delta", "citation": citation},
            ],
        ),
        (
            {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {}},
            [
                {"type": "input_json_delta", "partial_json": text}
                for text in ("", '{"city": "Pa', 'ris", "days', '": [1, 2]}')
            ],
        ),
        ({"type": "tool_use", "id": "toolu_02", "name": "now", "input": {}}, []),
        (
            {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {}},
            [{"type": "input_json_delta", "partial_json": '{"query":"weather"}'}],
        ),
        (found, []),
    ]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for index, (start, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 61, "input_tokens": 15, "cache_read_input_tokens": None},
        },
        {"type": "message_stop"},
    ]
    return events


def chat_chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One chunk of a chat completion."""
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_787_305_200,
        "model": "gpt-5-2026-05-01",
    }
    return {**head, "choices": list(choices), **more}


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One choice of a chunk."""
    return {"index": index, "delta": fields, "finish_reason": finish}


def call(index: int | None, text: str = "", **fields: Any) -> dict[str, Any]:
    """A delta with a fragment of a tool call; ``call_id`` and ``name`` begin one."""
    fragment: dict[str, Any] = {} if index is None else {"index": index}
    if "call_id" in fields:
        fragment |= {"id": fields["call_id"], "type": "function"}
    fragment["function"] = {"arguments": text} | ({"name": fields["name"]} if "name" in fields else {})
    return {"tool_calls": [fragment]}


def chat_chunks() -> list[dict[str, Any]]:
    """Two choices, text, a refusal, two interleaved calls with empty content between, usage in a chunk of its own."""
    return [
        chat_chunk(
            delta(role="assistant", content="", refusal=None),
            delta(1, role="assistant", content=""),
            service_tier="flex",
        ),
        chat_chunk(delta(content="Bon"), delta(1, refusal="I can")),
        chat_chunk(delta(content="jour ☀")),
        chat_chunk(delta(**call(0, call_id="call_1", name="get_weather"))),
        chat_chunk(delta(content="")),
        chat_chunk(delta(**call(0, '{"city":'))),
        chat_chunk(delta(**call(1, call_id="call_2", name="now"))),
        chat_chunk(delta(**call(0, '"Paris"}')), delta(1, refusal="not")),
        chat_chunk(delta(**call(1, "{}"))),
        chat_chunk(delta(finish="tool_calls"), delta(1, finish="stop")),
        chat_chunk(usage={"prompt_tokens": 12, "completion_tokens": 8, "total_tokens": 20}),
    ]


def responses_events(*, keep_output: bool = True) -> list[dict[str, Any]]:
    """Reasoning, a message in two parts, a function call. ``keep_output`` false: the end repeats nothing of it."""
    part = {"type": "output_text", "text": "", "annotations": []}
    text_part = {**part, "text": "Sunny, 24 °C."}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    call_item = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "now", "arguments": ""}
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": []}
    thought = {"type": "summary_text", "text": "Think first."}
    items: list[dict[str, Any]] = [
        {**reasoning, "summary": [thought]},
        {**message, "status": "completed", "content": [text_part]},
        {**call_item, "arguments": '{"zone":"CET"}', "status": "completed"},
    ]
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_787_305_200,
        "status": "in_progress",
        "model": "gpt-5-2026-05-01",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    usage = {"input_tokens": 30, "output_tokens": 5, "total_tokens": 35}
    end = {**response, "status": "completed", "usage": usage, "output": items if keep_output else []}
    summary: dict[str, Any] = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    text: dict[str, Any] = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    arguments: dict[str, Any] = {"item_id": "fc_1", "output_index": 2}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": reasoning},
        {"type": "response.reasoning_summary_part.added", **summary, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **summary, "delta": "Think "},
        {"type": "response.reasoning_summary_text.delta", **summary, "delta": "first."},
        {"type": "response.reasoning_summary_text.done", **summary, "text": "Think first."},
        {"type": "response.reasoning_summary_part.done", **summary, "part": thought},
        {"type": "response.output_item.done", "output_index": 0, "item": items[0]},
        {"type": "response.output_item.added", "output_index": 1, "item": message},
        {"type": "response.content_part.added", **text, "part": part},
        {"type": "response.output_text.delta", **text, "delta": "Sunny, ", "logprobs": []},
        {"type": "response.output_text.delta", **text, "delta": "24 °C.", "logprobs": []},
        {"type": "response.output_text.done", **text, "text": "Sunny, 24 °C.", "logprobs": []},
        {"type": "response.content_part.done", **text, "part": text_part},
        {"type": "response.output_item.done", "output_index": 1, "item": items[1]},
        {"type": "response.output_item.added", "output_index": 2, "item": call_item},
        {"type": "response.function_call_arguments.delta", **arguments, "delta": '{"zone":'},
        {"type": "response.function_call_arguments.delta", **arguments, "delta": '"CET"}'},
        {"type": "response.function_call_arguments.done", **arguments, "name": "now", "arguments": '{"zone":"CET"}'},
        {"type": "response.output_item.done", "output_index": 2, "item": items[2]},
        {"type": "response.completed", "response": end},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def until(events: Sequence[dict[str, Any]], kind: str, occurrence: int = 1) -> list[dict[str, Any]]:
    """The events before the one of that type: a stream that broke off."""
    places = [at for at, event in enumerate(events) if event.get("type") == kind]
    return list(events[: places[occurrence - 1]])
