"""ContextForge itself, set up as our page says: one tool call, as spans over HTTP and gRPC; its audit as a webhook."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from collector_server import OpenedEvent, RunningCollector, collector_server
from contextforge import ADMIN, contextforge
from litellm_proxy import eventually

import collector

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = Path(collector.__file__).parent / "pages" / "contextforge.md"


def settings(running: RunningCollector, protocol: str) -> dict[str, str]:
    """The environment that the page says to paste, with this collector's address and token."""
    block = PAGE.read_text().split("```sh\n")[1].split("```")[0]
    pasted = block.replace("http://127.0.0.1:4318", running.url).replace("TOKEN", running.token)
    found = dict(word.split("=", 1) for word in shlex.split(pasted, comments=True))
    if protocol == "grpc":
        found |= {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{running.grpc}"}
    return found


def named(events: list[OpenedEvent], operation: str) -> dict[str, OpenedEvent]:
    return {event.metadata["kind"]: event for event in events if event.metadata["operation"] == operation}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_tool_call_and_the_audit(protocol: str, tmp_path: Path) -> None:
    with (
        collector_server("contextforge", grpc=True) as running,
        contextforge(tmp_path, settings(running, protocol)) as forge,
    ):
        answer = forge.call({"city": "Paris", "password": "hunter2"})
        assert answer["result"]["isError"] is False

        def look() -> list[OpenedEvent] | None:
            events = running.opened()
            both = named(events, "execute_tool") and named(events, "audit_create_tool")
            return events if both else None

        events = eventually(look, 60)
    assert [event for event in events if event.metadata["kind"] == "unparsed"] == []
    calls = [event for event in events if event.metadata["kind"] == "tool_call"]
    assert len(calls) == 1
    call, result = named(events, "execute_tool")["tool_call"], named(events, "execute_tool")["tool_result"]
    for event in (call, result):
        metadata = event.metadata
        assert metadata["receiver"] == ("otlp-grpc" if protocol == "grpc" else "otlp-http")
        assert (metadata["tool_name"], metadata["user_email"]) == (forge.tool, ADMIN)
        assert metadata["assurance"] == "gateway_authenticated"
        assert metadata["call_id"] == ""
    assert call.content["arguments"] == {"city": "Paris", "password": "***"}
    assert {gap["state"] for gap in json.loads(call.metadata["content_gaps"])} == {"redacted"}
    assert "temp_c" in json.dumps(result.content)
    assert result.metadata["tool_is_error"] is False
    made = named(events, "audit_create_tool")["admin"].metadata
    assert (made["receiver"], made["format"], made["user_email"]) == ("http", "contextforge", ADMIN)
    assert made["extras"]["context.resource_name"] == json.dumps(forge.tool)
