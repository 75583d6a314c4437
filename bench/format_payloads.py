"""What every format is measured on: records of 1 to 3 KB as its gateway sends them, no two the same, and the same in
every run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import format_records as records
from bench.otlp import JSON, bodies
from collector.gateways import Format
from collector.gateways.agentgateway import AgentgatewayFormat
from collector.gateways.anthropic_compliance import AnthropicComplianceFormat
from collector.gateways.anthropic_hooks import AnthropicHooksFormat
from collector.gateways.bedrock import BedrockFormat
from collector.gateways.cloudevents import CloudEventsFormat
from collector.gateways.cloudflare import CloudflareFormat
from collector.gateways.contextforge import ContextForgeFormat
from collector.gateways.docker_mcp import DockerMcpFormat
from collector.gateways.envoy import EnvoyFormat
from collector.gateways.helicone import HeliconeFormat
from collector.gateways.helicone_log import HeliconeLogFormat
from collector.gateways.kong import KongFormat
from collector.gateways.langfuse import LangfuseFormat
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.native import NativeFormat
from collector.gateways.openai_audit import OpenAIAuditFormat
from collector.gateways.otlp import OtlpFormat
from collector.gateways.portkey import PortkeyFormat
from collector.gateways.proxy import ProxyFormat
from collector.gateways.vertex import VertexFormat

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from recorded import recorded

BATCH = 500


@dataclass(frozen=True, slots=True)
class Traffic:
    """Records of one format.

    Attributes:
        name: of the row.
        format: reads them.
        bodies: of requests; one with :data:`BATCH` records, or one for each, where the gateway sends them so.
        media_type: of each request.
    """

    name: str
    format: Format
    bodies: Sequence[bytes]
    media_type: str = JSON


def traffic() -> list[Traffic]:
    """Every format of the catalogue, and both encodings of OTLP."""
    told: dict[str, tuple[Format, Sequence[bytes]]] = {
        "native": (NativeFormat(), [_lines(records.native)]),
        "LiteLLM": (LiteLLMFormat(), [_array(records.litellm)]),
        "Kong": (KongFormat(), [_array(records.kong)]),
        "Portkey": (PortkeyFormat(), [_lines(records.portkey)]),
        "Cloudflare Logpush": (CloudflareFormat(), [_lines(records.cloudflare)]),
        "Helicone webhook, one a request": (HeliconeFormat(), _each(records.helicone)),
        "Helicone log, one a request": (HeliconeLogFormat(), _each(records.helicone_log)),
        "Bedrock": (BedrockFormat(), [_lines(records.bedrock)]),
        "Vertex, rows of Claude": (VertexFormat(), [_lines(records.vertex)]),
        "Anthropic compliance": (AnthropicComplianceFormat(), [_page(records.activity)]),
        "OpenAI audit log": (OpenAIAuditFormat(), [_page(records.audit)]),
        "Envoy access log": (EnvoyFormat(), [_lines(records.envoy)]),
        "agentgateway access log": (AgentgatewayFormat(), [_lines(records.agentgateway)]),
        "ContextForge": (ContextForgeFormat(), [_lines(records.contextforge)]),
        "Docker MCP": (DockerMcpFormat(), [_text_lines()]),
        "Langfuse": (LangfuseFormat(), [json.dumps({"batch": [records.langfuse(at) for at in range(BATCH)]}).encode()]),
        "Anthropic hooks, one a request": (AnthropicHooksFormat(), _each(records.hook)),
    }
    rows = [Traffic(name, source, made) for name, (source, made) in told.items()]
    batch = "application/cloudevents-batch+json"
    rows.append(Traffic("CloudEvents", CloudEventsFormat(), [_array(records.cloudevent)], batch))
    rows.append(Traffic("recording proxy, one a request", ProxyFormat(), _exchanges(), "application/warc"))
    rows += [Traffic(f"OTLP {name}", OtlpFormat(signal), [body], kind) for name, signal, kind, body in bodies()]
    return rows


def _lines(record: Callable[[int], dict[str, Any]]) -> bytes:
    return b"\n".join(_each(record))


def _array(record: Callable[[int], dict[str, Any]]) -> bytes:
    return b"[" + b",".join(_each(record)) + b"]"


def _each(record: Callable[[int], dict[str, Any]]) -> list[bytes]:
    return [json.dumps(record(at)).encode() for at in range(BATCH)]


def _page(record: Callable[[int], dict[str, Any]]) -> bytes:
    return json.dumps({"data": [record(at) for at in range(BATCH)], "has_more": False}).encode()


def _text_lines() -> bytes:
    calls = ("  - Calling tool get_weather with arguments: object with 2 field(s)", "  > Calling tool x took: 1.5s")
    return "\n".join(f"2026-08-21T09:00:00.{at:09}Z {calls[at % 2]}" for at in range(BATCH)).encode()


def _exchanges() -> list[bytes]:
    return [
        recorded(
            records.asked(at),
            records.answered(at),
            api="openai",
            path="/v1/chat/completions",
            headers=[("user-agent", "x")],
        )
        for at in range(BATCH)
    ]
