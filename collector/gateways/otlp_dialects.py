"""Gateways that speak OTLP with names of their own: what to read before the conventions are applied.

A dialect gives a span or log record the conventions' names where it has its own, keeps names that would mean something
else there out of the way, and says what the record reports where the attributes alone would mislead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from collector.gateways import Draft
from collector.gateways.agentgateway_fields import adopt, settle_known, speaks_agentgateway
from collector.gateways.contextforge_gaps import find_gaps
from collector.gateways.contextforge_spans import contextforge_base, speaks_contextforge
from collector.gateways.docker_mcp_spans import docker_mcp_base, speaks_docker_mcp
from collector.gateways.envoy import envoy_backend
from collector.gateways.gaps import Gap
from collector.gateways.genai import Role
from collector.gateways.otlp_drafts import base_metadata
from collector.gateways.otlp_telemetry import Group, Telemetry
from schemas.metadata import Metadata


class Read(NamedTuple):
    """Metadata that all events of a record share, what it reports (``None``: as the attributes say), and how to find
    the places that the gateway hid or cut, in ``(content, its pointer)``."""

    base: Metadata
    role: Role | None = None
    find_gaps: Callable[[object, str], list[Gap]] | None = None


TOTAL_SINCE = {
    "com.anthropic.sdk.python": (2, 14),
    "opentelemetry.instrumentation.anthropic": (0, 62),
    "openinference.instrumentation.anthropic": (3, 1),
}
"""Scope → version from which on its input tokens of Anthropic include cached ones: tried against a fake API that counts
as Anthropic does. Of other emitters that is not known, and said so."""


def settle_usage(drafts: list[Draft], group: Group) -> None:
    """Say what input tokens count where the emitter is known and the numbers alone do not tell."""
    since = TOTAL_SINCE.get(group.scope_name)
    if since is None or _version(group.scope_version) < since:
        return
    for draft in drafts:
        metadata = draft.metadata
        if metadata.get("usage_semantics") == "unknown" and metadata.get("input_tokens") is not None:
            cached = (metadata.get("cache_read_tokens") or 0) + (metadata.get("cache_write_tokens") or 0)
            metadata["usage_semantics"] = "total"
            metadata["input_uncached_tokens"] = (metadata["input_tokens"] or 0) - cached


def _version(text: str) -> tuple[int, ...]:
    steps = text.split(".")[:2]
    return tuple(int(step) for step in steps) if all(step.isascii() and step.isdigit() for step in steps) else ()


def read_base(telemetry: Telemetry, group: Group, shared: Metadata) -> Read:
    """The metadata of a record, by its dialect if it has one."""
    if speaks_agentgateway(telemetry, group):
        known = adopt(telemetry.attributes)
        base = base_metadata(telemetry, shared)
        settle_known(telemetry, base, known)
        return Read(base)
    if speaks_contextforge(telemetry, group):
        return Read(*contextforge_base(telemetry, shared), find_gaps)
    if speaks_docker_mcp(telemetry, group):
        return Read(*docker_mcp_base(telemetry, shared))
    base = base_metadata(telemetry, shared)
    backend = envoy_backend(telemetry.events)
    if backend:
        base.setdefault("tool_server", backend)
    return Read(base)
