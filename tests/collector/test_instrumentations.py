"""The SDKs of Anthropic and OpenAI, instrumented in four ways, set up as our page says: what each sends is on the bus.

Each asks with a tool, gives the tool's result, asks as a stream, and, with OpenAI, meets a failure.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_chat_api
import fake_messages_api
import pytest
from collector_server import OpenedEvent, RunningCollector, collector_server
from faults import Fault, Faults
from own_venv import own_venv

import collector
from collector.gateways import Received
from collector.gateways.otlp import OtlpFormat
from collector.gateways.otlp_telemetry import Signal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "instrumentations-requirements.txt"
PROGRAM = HERE.parent / "support" / "instrumented_client.py"
PAGE = Path(collector.__file__).parent / "pages" / "opentelemetry.md"
PROTOCOLS = ("http/protobuf", "grpc")


def settings(running: RunningCollector, protocol: str) -> dict[str, str]:
    """The environment that the page says to paste, with this collector's address and token."""
    block = PAGE.read_text().split("```sh\n")[1].split("```")[0]
    url = f"http://{running.grpc}" if protocol == "grpc" else running.url
    pasted = block.replace("http://127.0.0.1:4318", url).replace("TOKEN", running.token)
    pasted = pasted.replace("Authorization=", "authorization=") if protocol == "grpc" else pasted
    return dict(word.split("=", 1) for word in shlex.split(pasted, comments=True))


@contextmanager
def asked(
    instrumentation: str, sdk: str, protocol: str, faults: Faults | None = None, **more: str
) -> Iterator[list[OpenedEvent]]:
    """The events of one run of the program."""
    python = own_venv("instrumentations-venv", REQUIREMENTS) / "python"
    api = fake_messages_api.fake_messages_api() if sdk == "anthropic" else fake_chat_api.fake_chat_api()
    with collector_server("otel", faults, grpc=True) as running, api as url:
        environment = {
            "PATH": os.environ["PATH"],
            "NO_PROXY": "*",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_SERVICE_NAME": "billing-bot",
            **settings(running, protocol),
            **more,
        }
        command = [str(python), str(PROGRAM), instrumentation, sdk, url]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert ended.returncode == 0, ended.stderr
        events = running.opened()
    assert [event for event in events if event.metadata["kind"] == "unparsed"] == []
    receiver = "otlp-grpc" if protocol == "grpc" else "otlp-http"
    assert {event.metadata["receiver"] for event in events} == {receiver}
    for event in events:
        check_source(event)
    yield events


def check_source(event: OpenedEvent) -> None:
    """The stored bytes read again give the same event."""
    if event.source is None:
        return
    metadata = event.metadata
    signal: Signal = "traces" if "/resourceSpans/" in metadata["source_pointer"] else "logs"
    received = Received("acme", "otel", "", metadata["receiver"], "", metadata["media_type"], "", 0)
    (unit,) = OtlpFormat(signal).read(event.source, received).units
    assert unit.source == event.source
    assert unit.drafts[0].kind == metadata["kind"]
    if not isinstance(event.content, dict) or "history" not in event.content:  # which leaves out what was said before
        assert unit.drafts[0].content == event.content


def of_scope(events: list[OpenedEvent], scope: str) -> list[list[OpenedEvent]]:
    """The events of each record of a scope, records in the order in which they began."""
    records: dict[str, list[OpenedEvent]] = {}
    for event in events:
        records.setdefault(event.metadata["source_event_id"], []).append(event)
    own = [own for own in records.values() if own[0].metadata["extras"].get("scope.name") == json.dumps(scope)]
    return sorted(own, key=lambda record: record[0].metadata["occurred_at"])


def kinds(record: list[OpenedEvent]) -> list[str]:
    return [event.metadata["kind"] for event in record]


def check_turns(records: list[list[OpenedEvent]], call_id: str, tool: str, given: str, answer: str) -> None:
    """A call, its result, a stream."""
    call, result, stream = records[:3]
    assert kinds(call) == ["prompt", "response", "tool_call"]
    assert kinds(result) == ["prompt", "tool_result", "response"]
    assert kinds(stream) == ["prompt", "response"]
    assert "Weather in Paris?" in json.dumps(call[0].content["messages"])
    assert (call[2].metadata["call_id"], call[2].metadata["tool_name"]) == (call_id, tool)
    assert call[1].metadata["stop_reason"] == "tool_call"
    assert (result[1].metadata["call_id"], result[1].content["result"]) == (call_id, given)
    assert answer in json.dumps(result[2].content, ensure_ascii=False)
    assert "And as a stream?" in json.dumps(stream[0].content)
    assert answer in json.dumps(stream[1].content, ensure_ascii=False)
    for record in records:
        assert {event.metadata["content_state"] for event in record} == {"full"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("instrumentation", "scope"),
    [
        ("openllmetry", "opentelemetry.instrumentation.anthropic"),
        ("openinference-anthropic", "openinference.instrumentation.anthropic"),
    ],
)
def test_anthropic(instrumentation: str, scope: str, protocol: str) -> None:
    with asked(instrumentation, "anthropic", protocol, OTEL_EXPORTER_OTLP_COMPRESSION="gzip") as events:
        records = of_scope(events, scope)
        own = of_scope(events, "com.anthropic.sdk.python")
    assert len(records) == 3
    check_turns(records, "toolu_01Affidavit", "Bash", "affidavit-marker", fake_messages_api.ANSWER)
    for response in (record[-1] if record[-1].metadata["kind"] == "response" else record[1] for record in records):
        metadata = response.metadata
        assert (metadata["provider"], metadata["model_requested"]) == ("anthropic", "claude-sonnet-5")
        assert (metadata["input_tokens"], metadata["cache_read_tokens"]) == (12 + 410 + 30112, 30112)
        assert (metadata["usage_semantics"], metadata["input_uncached_tokens"]) == ("total", 12)
    check_the_sdks_own(own)


def check_the_sdks_own(records: list[list[OpenedEvent]]) -> None:
    """The SDK has spans of its own, without content."""
    assert [kinds(record) for record in records] == [["prompt", "response"]] * 3
    for _, response in records:
        metadata = response.metadata
        assert metadata["request_id_provider"].startswith("req_011CAffidavit")
        assert (metadata["usage_semantics"], metadata["content_state"]) == ("total", "not_captured")
    assert [response.metadata["stop_reason"] for _, response in records] == ["tool_call", "stop", "stop"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("instrumentation", "scope"),
    [
        ("openai-v2", "opentelemetry.util.genai.handler"),
        ("openinference-openai", "openinference.instrumentation.openai"),
    ],
)
def test_openai(instrumentation: str, scope: str, protocol: str) -> None:
    with asked(instrumentation, "openai", protocol, OTEL_EXPORTER_OTLP_COMPRESSION="gzip") as events:
        records = [record for record in of_scope(events, scope) if "otlp.name" in record[0].metadata["extras"]]
        logs = [record for record in of_scope(events, scope) if "otlp.eventName" in record[0].metadata["extras"]]
    assert len(records) == 4
    check_turns(records, "call_1", "get_weather", "14 °C", fake_chat_api.ANSWER)
    for record in records[:3]:
        metadata = record[0].metadata
        assert (metadata["provider"], metadata["model_requested"]) == ("openai", "gpt-5")
        assert metadata["model_served"] == fake_chat_api.SERVED
    prompt, response = records[3]
    assert (prompt.metadata["model_requested"], response.content) == ("too-busy", None)
    assert response.metadata["outcome"] == "error"
    assert "RateLimitError" in response.metadata["error_type"]
    if instrumentation == "openai-v2":  # log events say the same as the spans, in the same exchanges
        assert [kinds(record) for record in logs] == [kinds(record) for record in records]
        exchanges = [record[0].metadata["exchange_id"] for record in records]
        assert [record[0].metadata["exchange_id"] for record in logs] == exchanges


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_an_outage_loses_nothing(fault: Fault, protocol: str) -> None:
    with asked("openai-v2", "openai", protocol, Faults({1: fault, 2: fault})) as events:
        records = of_scope(events, "opentelemetry.util.genai.handler")
    assert len({event.metadata["event_id"] for event in events}) == 2 * (3 + 3 + 2 + 2)
    assert len({record[0].metadata["event_id"] for record in records}) == 2 * 4


def test_content_that_is_hidden_is_not_captured() -> None:
    hidden = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT"}
    with asked("openai-v2", "openai", "grpc", **hidden) as events:
        states = {(event.metadata["kind"], event.metadata["content_state"]) for event in events}
    assert "Paris" not in json.dumps([event.content for event in events])
    assert ("prompt", "not_captured") in states
    assert ("prompt", "full") not in states
