"""An agent's session as gateways report it: every turn sends the whole conversation again, in three formats.

Deterministic. The text is Python's own documentation and library, so that it compresses as prose and code do.
"""

from __future__ import annotations

import functools
import json
import pydoc_data.topics
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

SYSTEM_CHARACTERS = 14_000
TOOLS = 22
ANSWER_CHARACTERS = 260
RESULT_CHARACTERS = 1_150
START_NS = 1_787_305_200_125_000_000
TURN_NS = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of the model: what was sent, and what came back."""

    number: int
    messages: list[dict[str, Any]]
    answer: dict[str, Any]


def session(turns: int, seed: int = 0) -> Iterator[Turn]:
    """The turns of a session that asks once and then works with tools. Messages are of the Anthropic API."""
    asked = f"Task {seed}: {_prose(seed, 400)}"
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": asked}]}]
    for number in range(turns):
        call = f"toolu_{seed:04d}_{number:05d}"
        arguments = {"file_path": f"/work/project/src/module_{number % 37}.py", "offset": 40 * number, "limit": 40}
        answer = {
            "role": "assistant",
            "content": [
                {"type": "text", "text": _prose(seed + 31 * number, ANSWER_CHARACTERS)},
                {"type": "tool_use", "id": call, "name": f"tool_{number % TOOLS}", "input": arguments},
            ],
        }
        yield Turn(number, list(messages), answer)
        found = _code(seed + number, RESULT_CHARACTERS)
        result = {"type": "tool_result", "tool_use_id": call, "content": found}
        messages += [answer, {"role": "user", "content": [result]}]


def litellm(turn: Turn, name: str) -> bytes:
    """The callback body of LiteLLM: a list of one StandardLoggingPayload, messages of the OpenAI API."""
    exchange = f"chatcmpl-{name}-{turn.number}"
    text, call = turn.answer["content"]
    answer = {"role": "assistant", "content": text["text"], "tool_calls": [_openai_call(call)]}
    started = (START_NS + turn.number * TURN_NS) / 1e9
    usage = {"prompt_tokens": 3000 + 400 * turn.number, "completion_tokens": 120, "total_tokens": 3120}
    record = {
        "id": exchange,
        "litellm_call_id": f"call-{name}-{turn.number}",
        "trace_id": name,
        "session_id": name,
        "call_type": "acompletion",
        "status": "success",
        "custom_llm_provider": "anthropic",
        "model": "claude-sonnet-5",
        "startTime": started,
        "endTime": started + 3.25,
        **usage,
        "response_cost": 0.0123 + turn.number / 1e4,
        "metadata": {"user_api_key_user_id": "u-7", "user_api_key_hash": "hash-7", "usage_object": usage},
        "messages": [{"role": "system", "content": _system()}, *_openai(turn.messages)],
        "response": {
            "id": exchange,
            "model": "claude-sonnet-5",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": answer}],
            "usage": usage,
        },
        "model_parameters": {"stream": True, "max_tokens": 8192, "tools": _tools()},
    }
    return json.dumps([record]).encode()


def claude_code(turn: Turn, name: str) -> bytes:
    """Claude Code's logs of one request with raw bodies: OTLP in JSON, the mark for the cache on the last message."""
    request = {
        "model": "claude-sonnet-5",
        "messages": [*turn.messages[:-1], _marked(turn.messages[-1])],
        "system": [{"type": "text", "text": _system(), "cache_control": {"type": "ephemeral"}}],
        "tools": _tools(),
        "max_tokens": 32_000,
        "stream": True,
    }
    response = {
        "id": f"msg_{name}_{turn.number}",
        "type": "message",
        "model": "claude-sonnet-5",
        **turn.answer,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 3000 + 400 * turn.number, "output_tokens": 120},
    }
    common = {"session.id": name, "prompt.id": f"prompt-{name}", "user.id": "u-7", "model": "claude-sonnet-5"}
    records = []
    for at, (event, value) in enumerate((("api_request_body", request), ("api_response_body", response))):
        body = json.dumps(value)
        stated = {"event.name": event, "event.sequence": 2 * turn.number + at, "body": body, "body_length": len(body)}
        records.append(
            {
                "timeUnixNano": str(START_NS + turn.number * TURN_NS + at * 3_250_000_000),
                "body": {"stringValue": f"claude_code.{event}"},
                "attributes": [
                    {"key": key, "value": {"stringValue": str(item)}}
                    for key, item in {**common, **stated, "request_id": f"req-{name}-{turn.number}"}.items()
                ],
            }
        )
    scope = {"scope": {"name": "com.anthropic.claude_code.events"}, "logRecords": records}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}]}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}).encode()


def otlp_traces(turn: Turn, name: str) -> bytes:
    """A span of OpenTelemetry's GenAI conventions, in protobuf."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add()
    spans.resource.attributes.append(_attribute("service.name", "agent"))
    span = spans.scope_spans.add().spans.add()
    span.trace_id = bytes.fromhex("5b8efff798038103d269b633813fc60c")
    span.span_id = (turn.number + 1).to_bytes(8, "big")
    span.name = "chat claude-sonnet-5"
    span.start_time_unix_nano = START_NS + turn.number * TURN_NS
    span.end_time_unix_nano = span.start_time_unix_nano + 3_250_000_000
    for key, value in {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-5",
        "gen_ai.response.id": f"msg_{name}_{turn.number}",
        "gen_ai.conversation.id": name,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": _system()}]),
        "gen_ai.tool.definitions": json.dumps(_tools()),
        "gen_ai.input.messages": json.dumps([_parts(message) for message in turn.messages]),
        "gen_ai.output.messages": json.dumps([{**_parts(turn.answer), "finish_reason": "tool_call"}]),
        "enduser.id": "u-7",
    }.items():
        span.attributes.append(_attribute(key, value))
    return bytes(request.SerializeToString())


FORMATS: dict[str, Callable[[Turn, str], bytes]] = {
    "litellm": litellm,
    "claude-code": claude_code,
    "otlp": otlp_traces,
}
"""By name: from a turn and the name of its session to the body of a request."""


def _openai(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        first = message["content"][0]
        if message["role"] == "assistant":
            calls = [_openai_call(message["content"][1])]
            yield {"role": "assistant", "content": first["text"], "tool_calls": calls}
        elif first["type"] == "tool_result":
            yield {"role": "tool", "tool_call_id": first["tool_use_id"], "content": first["content"]}
        else:
            yield {"role": "user", "content": first["text"]}


def _openai_call(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call["input"])}
    return {"id": call["id"], "type": "function", "function": function}


def _parts(message: dict[str, Any]) -> dict[str, Any]:
    found = []
    for block in message["content"]:
        match block["type"]:
            case "text":
                found.append({"type": "text", "content": block["text"]})
            case "tool_use":
                called = {"id": block["id"], "name": block["name"], "arguments": block["input"]}
                found.append({"type": "tool_call", **called})
            case _:
                found.append({"type": "tool_call_response", "id": block["tool_use_id"], "response": block["content"]})
    role = "tool" if found[0]["type"] == "tool_call_response" else message["role"]
    return {"role": role, "parts": found}


def _marked(message: dict[str, Any]) -> dict[str, Any]:
    *before, last = message["content"]
    return {**message, "content": [*before, {**last, "cache_control": {"type": "ephemeral"}}]}


def _attribute(key: str, value: str) -> KeyValue:
    attribute = KeyValue(key=key)
    attribute.value.string_value = value
    return attribute


@functools.cache
def _prose_text() -> str:
    return "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


@functools.cache
def _code_text() -> str:
    folder = Path(sysconfig.get_path("stdlib"))
    return "\n".join((folder / f"{name}.py").read_text() for name in ("argparse", "tarfile", "typing", "zipfile"))


def _prose(seed: int, size: int) -> str:
    return _cut(_prose_text(), seed, size)


def _code(seed: int, size: int) -> str:
    return _cut(_code_text(), seed, size)


def _cut(text: str, seed: int, size: int) -> str:
    """Different seeds below some hundreds give different stretches of the text."""
    start = seed * (size + 37) % (len(text) - size)
    return text[start : start + size]


def _system() -> str:
    return _prose_text()[:SYSTEM_CHARACTERS]


@functools.cache
def _tools() -> list[dict[str, Any]]:
    tools = []
    for number in range(TOOLS):
        properties = {
            name: {"type": "string", "description": _prose(1000 + 7 * number + at, 90)}
            for at, name in enumerate(("file_path", "pattern", "offset", "limit"))
        }
        schema = {"type": "object", "properties": properties, "required": ["file_path"]}
        described = {"name": f"tool_{number}", "description": _prose(2000 + number, 1_500), "input_schema": schema}
        tools.append(described)
    return tools
