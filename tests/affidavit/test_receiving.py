"""What receives beside the HTTP server, in one process and for real: gRPC, the recording proxy, a feed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from fake_messages_api import fake_messages_api
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from up_process import Up, command, command_json

from affidavit.demo.deployment import wait_for

pytestmark = pytest.mark.slow

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with fake_messages_api() as url:
        yield url


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, provider: str) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "job.ndjson").write_text('{"kind":"prompt","id":"f-1"}\n{"kind":"response","id":"f-2"}\n{"kind":"pro')
    made = Up(
        tmp_path_factory.mktemp("receiving") / "data",
        AFFIDAVIT_PROXY_ENABLED="true",
        AFFIDAVIT_UPSTREAMS_CLAUDE_URL=provider,
        AFFIDAVIT_UPSTREAMS_CLAUDE_API="anthropic",
        AFFIDAVIT_FEEDS_OPENAI_KIND="openai-audit",
        AFFIDAVIT_FEEDS_OPENAI_TENANT="acme",
        AFFIDAVIT_FEEDS_OPENAI_KEY="sk-admin-0000000000000000",
        AFFIDAVIT_FEEDS_OPENAI_SINCE="2026-11-01T00:00:00Z",
        AFFIDAVIT_FEEDS_OPENAI_URL="http://127.0.0.1:9",
        AFFIDAVIT_FILES_JOB_PATH=str(folder / "*.ndjson"),
        AFFIDAVIT_FILES_JOB_TENANT="acme",
        AFFIDAVIT_FILES_JOB_GATEWAY="nightly",
    )
    made.start()
    yield made
    assert made.stop() == 0, made.log[-3000:]


@pytest.fixture(scope="module")
def token(up: Up) -> str:
    made: str = command_json(up.data, "token", "create", "--tenant", "acme", "--gateway", "tests")["token"]
    return made


def rows(up: Up, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = command_json(up.data, "query", sql)["rows"]
    return found


def has_metric(up: Up, line: str) -> bool | None:
    return line in httpx.get(up.monitor + "/metrics").text or None


def test_spans_over_grpc(up: Up, token: str) -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="x")
    span.attributes.add(key="gen_ai.operation.name").value.string_value = "execute_tool"
    span.attributes.add(key="gen_ai.tool.name").value.string_value = "grpc_tool"
    with grpc.insecure_channel(up.grpc.removeprefix("http://")) as channel:
        export = channel.unary_unary(EXPORT)
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            export(request.SerializeToString())
        export(request.SerializeToString(), metadata=[("authorization", f"Bearer {token}")])
    sql = "SELECT receiver, kind FROM events WHERE tool_name = 'grpc_tool' ORDER BY kind"
    found = wait_for("the span", lambda: rows(up, sql) or None)
    assert {row["receiver"] for row in found} == {"otlp-grpc"}
    metrics = httpx.get(up.monitor + "/metrics").text
    assert f'affidavit_collector_requests_total{{route="{EXPORT}",status="2xx"}} 1.0' in metrics


def test_an_exchange_through_the_proxy(up: Up, token: str) -> None:
    body = {"model": "claude-sonnet-5", "max_tokens": 64, "messages": [{"role": "user", "content": "print the marker"}]}
    url = f"{up.proxy}/claude/v1/messages"
    assert httpx.post(url, json=body, headers={"x-api-key": "sk-ant-0"}).status_code == 401
    answer = httpx.post(url, json=body, headers={"x-api-key": "sk-ant-0", "x-affidavit-token": token})
    assert answer.json()["role"] == "assistant"
    sql = "SELECT kind, model_requested, receiver FROM events WHERE format = 'proxy' AND topic = 'events' ORDER BY kind"
    found = wait_for("the exchange", lambda: rows(up, sql) or None)
    assert [(row["kind"], row["receiver"]) for row in found] == [("prompt", "proxy"), ("response", "proxy")]
    wait_for("the count", lambda: has_metric(up, "affidavit_proxy_recorded_exchanges_total 1.0"))


def test_a_file_that_is_followed(up: Up) -> None:
    sql = "SELECT kind, receiver FROM events WHERE gateway = 'nightly' ORDER BY kind"
    found = wait_for("the lines", lambda: rows(up, sql) or None)
    assert [(row["kind"], row["receiver"]) for row in found] == [("prompt", "file"), ("response", "file")]
    assert has_metric(up, 'affidavit_file_lines_total{files="job"} 2.0')


def test_a_feed_that_cannot_be_reached_is_tried_again_and_shows(up: Up) -> None:
    wait_for("the failure", lambda: has_metric(up, 'affidavit_feed_state{feed="openai",state="failing"} 1.0'))
    assert httpx.get(up.monitor + "/readyz").status_code == 200
    assert "sk-admin" not in up.log


def test_each_role_that_receives_says_how_far_it_came(up: Up) -> None:
    sql = "SELECT DISTINCT extras['role'] AS role FROM events WHERE operation = 'collector.heartbeat' ORDER BY role"
    found = wait_for("heartbeats", lambda: [json.loads(row["role"]) for row in rows(up, sql)] or None)
    assert found == ["collector", "poller", "proxy"]


def test_a_port_that_is_taken_is_said(up: Up, tmp_path: Path) -> None:
    taken = {"AFFIDAVIT_GRPC_PORT": up.grpc.rpartition(":")[2]}
    free = {f"AFFIDAVIT_{name}_PORT": "0" for name in ("COLLECTOR", "QUERY", "MONITOR")}
    ran = command(tmp_path / "other", "up", **free, **taken)
    assert ran.returncode == 3
    assert "for gRPC; choose another port" in ran.stderr
