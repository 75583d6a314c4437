"""Every gateway that is supported, one entry each: its name, what reads it, and how its records get here.

``affidavit gateways`` shows this table, the receiver serves its routes, and each entry has a page of the same name in
``collector/pages``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from collector.answers import answer_counts, answer_events
from collector.bedrock_routes import bedrock_routes
from collector.cloudevents_routes import HANDSHAKE, cloudevents_routes
from collector.gateways import Format
from collector.gateways.agentgateway import AgentgatewayFormat
from collector.gateways.anthropic_compliance import AnthropicComplianceFormat
from collector.gateways.anthropic_hooks import AnthropicHooksFormat
from collector.gateways.bedrock import BedrockFormat
from collector.gateways.cloudevents import CloudEventsFormat
from collector.gateways.cloudflare import CloudflareFormat
from collector.gateways.cloudflare_fields import Decrypt
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
from collector.hook_routes import hook_route
from collector.langfuse_routes import HEALTH, langfuse_routes
from collector.log_routes import agentgateway_routes, contextforge_routes, docker_mcp_routes, envoy_routes
from collector.openapi import events_operation, litellm_operation
from collector.provider_routes import audit_routes, compliance_routes, vertex_routes
from collector.pushed_routes import cloudflare_routes, helicone_routes, kong_routes, portkey_routes
from collector.routes import Greeting, Route


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings of a deployment add to the table; by default nothing.

    Attributes:
        cloudflare_decrypt: opens the encrypted fields of Cloudflare's Logpush, where there is a key.
    """

    cloudflare_decrypt: Decrypt | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """One entry.

    Attributes:
        name: as in ``affidavit gateways show NAME``, and the name of its page.
        title: what its makers call it.
        formats: what reads its records; several where it can send in several ways, the usual one first.
        receivers: how they get here: ``http``, ``otlp-http``, ``otlp-grpc``, ``poll``, ``objects``, ``file`` or
            ``proxy``.
        routes, greetings: what the collector serves for it, besides the routes of OpenTelemetry.
        configured: its routes where they depend on the settings, in the place of ``routes``.
    """

    name: str
    title: str
    formats: tuple[Format, ...]
    receivers: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    greetings: tuple[Greeting, ...] = ()
    configured: Callable[[Options], tuple[Route, ...]] | None = None

    def routes_with(self, options: Options) -> tuple[Route, ...]:
        """Its routes in a deployment with these settings."""
        return self.configured(options) if self.configured else self.routes


OTLP = (OtlpFormat("traces"), OtlpFormat("logs"))
OTLP_RECEIVERS = ("otlp-http", "otlp-grpc")

GATEWAYS: tuple[Gateway, ...] = (
    Gateway(
        "native",
        "The native API",
        (NativeFormat(),),
        ("http",),
        (Route(("/v1/events",), NativeFormat(), answer_events, operation=events_operation()),),
    ),
    Gateway(
        "litellm",
        "LiteLLM proxy",
        (LiteLLMFormat(),),
        ("http",),
        (Route(("/v1/litellm", "/ingest/litellm"), LiteLLMFormat(), answer_counts, operation=litellm_operation()),),
    ),
    Gateway("kong", "Kong AI Gateway", (KongFormat(),), ("http",), kong_routes()),
    Gateway("portkey", "Portkey AI Gateway", (PortkeyFormat(),), ("http", "objects"), portkey_routes()),
    Gateway(
        "cloudflare",
        "Cloudflare AI Gateway",
        (CloudflareFormat(),),
        ("http", "objects"),
        cloudflare_routes(),
        configured=lambda options: cloudflare_routes(options.cloudflare_decrypt),
    ),
    Gateway("helicone", "Helicone", (HeliconeFormat(), HeliconeLogFormat()), ("http",), helicone_routes()),
    Gateway(
        "anthropic-compliance",
        "Anthropic Compliance API",
        (AnthropicComplianceFormat(),),
        ("poll", "http"),
        compliance_routes(),
    ),
    Gateway("vertex", "Google Vertex AI", (VertexFormat(),), ("poll", "objects", "http", "file"), vertex_routes()),
    Gateway("openai-audit", "OpenAI audit log", (OpenAIAuditFormat(),), ("poll", "http"), audit_routes()),
    Gateway("bedrock", "Amazon Bedrock", (BedrockFormat(),), ("objects", "http"), bedrock_routes()),
    Gateway("envoy", "Envoy AI Gateway", (*OTLP, EnvoyFormat()), (*OTLP_RECEIVERS, "http", "file"), envoy_routes()),
    Gateway(
        "agentgateway",
        "agentgateway",
        (*OTLP, AgentgatewayFormat()),
        (*OTLP_RECEIVERS, "http", "file"),
        agentgateway_routes(),
    ),
    Gateway(
        "contextforge",
        "IBM ContextForge",
        (*OTLP, ContextForgeFormat()),
        (*OTLP_RECEIVERS, "http", "file"),
        contextforge_routes(),
    ),
    Gateway(
        "docker-mcp",
        "Docker MCP Gateway",
        (*OTLP, DockerMcpFormat()),
        (*OTLP_RECEIVERS, "http", "file"),
        docker_mcp_routes(),
    ),
    Gateway("opentelemetry", "OpenTelemetry GenAI instrumentations", OTLP, OTLP_RECEIVERS),
    Gateway("claude-code", "Claude Code", OTLP, OTLP_RECEIVERS),
    Gateway(
        "langfuse",
        "Langfuse SDKs",
        (LangfuseFormat(), OTLP[0]),
        ("http", "otlp-http"),
        langfuse_routes(),
        (HEALTH,),
    ),
    Gateway("file", "Files, followed as they grow", (NativeFormat(),), ("file",)),
    Gateway("cloudevents", "CloudEvents", (CloudEventsFormat(),), ("http",), cloudevents_routes(), (HANDSHAKE,)),
    Gateway("anthropic-hooks", "Anthropic inference hooks", (AnthropicHooksFormat(),), ("http",), (hook_route(),)),
    Gateway("proxy", "Recording proxy", (ProxyFormat(),), ("proxy",)),
)
"""In the order of the documentation."""


def gateway(name: str) -> Gateway | None:
    """The entry of that name."""
    return next((one for one in GATEWAYS if one.name == name), None)
