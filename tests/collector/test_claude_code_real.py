"""Claude Code itself, over OTLP/HTTP in both encodings and over gRPC: one prompt, one tool round, what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from claude_code import CHUNKING_VERSION, PROMPT, VERSION, run_claude_code
from collector_server import OpenedEvent, collector_server
from fake_messages_api import ANSWER, COMMAND, fake_messages_api
from faults import Fault, Faults

from collector.gateways import Received
from collector.gateways.otlp import OtlpFormat
from collector.gateways.otlp_telemetry import Signal


def of_event(events: list[OpenedEvent], name: str) -> list[OpenedEvent]:
    return [event for event in events if event.metadata["extras"].get("event.name") == json.dumps(name)]


def reread(event: OpenedEvent) -> Any:
    """The events that the format makes of a stored source part."""
    metadata = event.metadata
    signal: Signal = "traces" if "/resourceSpans/" in metadata["source_pointer"] else "logs"
    received = Received("acme", "claude-code", "", "otlp-http", "", metadata["media_type"], "", 0)
    assert event.source is not None
    (unit,) = OtlpFormat(signal).read(event.source, received).units
    assert unit.source == event.source
    return unit.drafts


def check_whole_bodies(bodies: list[OpenedEvent], events: list[OpenedEvent]) -> None:
    """The prompt as the API got it, and what its second turn brought back from the tool."""
    assert PROMPT in json.dumps(bodies[0].content["messages"])
    exchange = {bodies[1].metadata["exchange_id"]}
    (given,) = [event for event in events if event.metadata["exchange_id"] in exchange and event.metadata["call_id"]]
    assert (given.metadata["kind"], given.metadata["call_id"]) == ("tool_result", "toolu_01Affidavit")
    assert "affidavit-marker" in json.dumps(given.content)
    calls = [event for event in events if event.metadata["kind"] == "tool_call" and "command" in str(event.content)]
    assert COMMAND in [event.content["arguments"].get("command") for event in calls]


def check_cut_bodies(bodies: list[OpenedEvent]) -> None:
    """This version cuts at 60 KB, so what is left is no JSON; it is kept, and the cut is stated."""
    for body in bodies:
        assert body.content["body"].startswith('{"model":')
        (gap,) = json.loads(body.metadata["content_gaps"])
        assert gap["state"] == "truncated"
        assert gap["original_size"] > len(body.content["body"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "protocol"),
    [(VERSION, "http/json"), (VERSION, "http/protobuf"), (VERSION, "grpc"), (CHUNKING_VERSION, "http/json")],
)
def test_a_session_with_one_tool_call(version: str, protocol: str, tmp_path: Path) -> None:
    with fake_messages_api() as api, collector_server("claude-code", grpc=protocol == "grpc") as collector:
        url = f"http://{collector.grpc}" if protocol == "grpc" else collector.url
        answered = json.loads(run_claude_code(api, url, collector.token, protocol, tmp_path, version=version))
        events = collector.opened()
    assert answered["result"] == ANSWER
    assert [event for event in events if event.metadata["kind"] == "unparsed"] == []
    for event in events:
        metadata = event.metadata
        assert (metadata["gateway"], metadata["format"]) == ("claude-code", "claude_code")
        assert metadata["receiver"] == ("otlp-grpc" if protocol == "grpc" else "otlp-http")
        assert (metadata["session_id"], metadata["gateway_version"]) == (answered["session_id"], version)
        assert (metadata["user_id"], metadata["user_id_kind"]) == ("dana@example.com", "configured")

    (asked,) = of_event(events, "user_prompt")
    assert asked.content == {"messages": [{"role": "user", "content": PROMPT}]}
    turn = asked.metadata["prompt_id"]
    assert turn

    (decision,) = of_event(events, "tool_decision")
    (ran,) = of_event(events, "tool_result")
    for event in (decision, ran):
        metadata = event.metadata
        assert (metadata["call_id"], metadata["tool_name"]) == ("toolu_01Affidavit", "Bash")
        assert metadata["prompt_id"] == turn
    assert (decision.metadata["kind"], decision.metadata["tool_decision"]) == ("tool_call", "accept")
    assert decision.content["arguments"]["full_command"] == COMMAND
    assert (ran.metadata["kind"], ran.metadata["tool_is_error"]) == ("tool_result", False)

    (said,) = of_event(events, "assistant_response")
    assert said.content == {"messages": [{"role": "assistant", "content": ANSWER}]}
    requests = of_event(events, "api_request")
    assert [event.metadata["input_tokens"] for event in requests] == [12 + 410 + 30112] * 2
    assert said.metadata["exchange_id"] == requests[-1].metadata["exchange_id"]

    bodies = of_event(events, "api_request_body")
    assert [event.metadata["kind"] for event in bodies] == ["prompt", "prompt"]
    if version == CHUNKING_VERSION:
        check_cut_bodies(bodies)
    else:
        check_whole_bodies(bodies, events)

    names = {event.metadata["extras"].get("otlp.name") for event in events} - {None}
    assert {'"claude_code.interaction"', '"claude_code.llm_request"', '"claude_code.tool"'} <= names
    (output,) = [
        event
        for event in events
        if event.content == {"result": {"bash_command": COMMAND, "output": "affidavit-marker"}}
    ]
    assert output.metadata["call_id"] == "toolu_01Affidavit"

    for event in events:
        if event.source is not None:
            first = reread(event)[0]
            assert first.kind == event.metadata["kind"]
            if not isinstance(event.content, dict) or "history" not in event.content:  # leaves out what went before
                assert first.content == event.content


@pytest.mark.slow
def test_a_session_that_meets_a_bus_that_is_away(tmp_path: Path) -> None:
    """The first append is stored but reported as failed: the exporter repeats it, and the ids show the repeat."""
    with fake_messages_api() as api, collector_server("claude-code", Faults({1: Fault.REPORTED})) as collector:
        run_claude_code(api, collector.url, collector.token, "http/protobuf", tmp_path)
        events = collector.opened()
    ids = [event.metadata["event_id"] for event in events]
    assert len(of_event(events, "user_prompt")) >= 1
    assert len(set(ids)) < len(ids)


@pytest.mark.slow
def test_a_session_that_hides_what_was_said(tmp_path: Path) -> None:
    off = dict.fromkeys(
        ("OTEL_LOG_USER_PROMPTS", "OTEL_LOG_ASSISTANT_RESPONSES", "OTEL_LOG_TOOL_DETAILS", "OTEL_LOG_RAW_API_BODIES"),
        "0",
    )
    with fake_messages_api() as api, collector_server("claude-code") as collector:
        run_claude_code(api, collector.url, collector.token, "http/json", tmp_path, **off)
        events = collector.opened()
    (asked,) = of_event(events, "user_prompt")
    (gap,) = json.loads(asked.metadata["content_gaps"])
    assert (gap["state"], gap["original_size"]) == ("redacted", len(PROMPT))
    assert PROMPT not in "".join(json.dumps(event.content) for event in events)
    assert of_event(events, "api_request_body") == []
