"""Metadata v1: what is known of an event without reading its content.

One flat list of fields serves the native API, the Avro part, the ClickHouse columns and the dashboards, so that one
word means one thing everywhere. A field that is absent takes the default of ``avro/metadata.v1.avsc``: ``""`` for text
(never null: a detection must not be evaded by leaving a field out), ``null`` for a number or flag that the source did
not give (zero and unknown are different evidence), an empty list or map.

Times are microseconds since 1970-01-01 UTC; the source part keeps what was finer. Token counts follow
``input = uncached + cache read + cache write``; the numbers as the source gave them are in ``usage_raw``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

Kind = Literal[
    "prompt",
    "response",
    "tool_call",
    "tool_result",
    "context",
    "guardrail",
    "session",
    "admin",
    "access",
    "unparsed",
]

KIND_CODES: dict[str, int] = {
    "prompt": 1,
    "response": 2,
    "tool_call": 3,
    "tool_result": 4,
    "context": 5,
    "guardrail": 6,
    "session": 7,
    "admin": 8,
    "access": 9,
    "unparsed": 10,
}
"""The one-byte code of each kind in bus header ``k``. Codes are never reused."""

KIND_NAMES: dict[int, str] = {code: name for name, code in KIND_CODES.items()}


class Metadata(TypedDict, total=False):
    """The fields of an event; see the groups below. Every key is optional here, and has a default in the schema."""

    # --- identity and correlation
    event_id: str
    kind: Kind
    tenant: str
    exchange_id: str
    session_id: str
    conversation_id: str
    prompt_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    parent_event_id: str
    call_id: str
    previous_response_id: str
    message_ids: list[str]
    sequence: int | None
    attempt: int | None
    ordinal: int
    source_id: str
    request_id_gateway: str
    request_id_client: str
    request_id_provider: str
    request_id_response: str
    request_id_cloud: str
    # --- times
    occurred_at: int
    started_at: int | None
    ended_at: int | None
    first_token_at: int | None
    received_at: int
    time_precision: str
    time_role: str
    # --- source
    gateway: str
    gateway_version: str
    format: str
    format_version: str
    receiver: str
    token_id: str
    peer_ip: str
    collector_id: str
    collector_sequence: int
    source_event_id: str
    source_pointer: str
    body_sha256: str
    unit_index: int
    unit_count: int
    media_type: str
    content_encoding: str
    # --- actor
    actor_type: str
    user_id: str
    user_id_kind: str
    user_email: str
    user_name: str
    end_user_id: str
    roles: list[str]
    groups: list[str]
    team_id: str
    team_name: str
    org_id: str
    project_id: str
    workspace_id: str
    api_key_id: str
    api_key_alias: str
    service_account: str
    cloud_principal: str
    agent_id: str
    agent_parent_id: str
    agent_name: str
    client_ip: str
    user_agent: str
    device_id: str
    acting_as: str
    delegation: list[str]
    assurance: str
    # --- model
    provider: str
    provider_raw: str
    model_requested: str
    model_routed: str
    model_served: str
    deployment_id: str
    model_path: str
    region: str
    served_region: str
    endpoint: str
    api: str
    fallback_chain: list[str]
    # --- operation
    operation: str
    stream: bool | None
    # --- tool
    tool_name: str
    tool_namespaced_name: str
    tool_kind: str
    tool_server: str
    tool_server_url: str
    tool_session_id: str
    jsonrpc_id: str
    tool_decision: str
    tool_decision_by: str
    tool_decision_rule: str
    tool_is_error: bool | None
    tool_duration_ms: float | None
    # --- usage and cost
    input_tokens: int | None
    input_uncached_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    audio_input_tokens: int | None
    audio_output_tokens: int | None
    image_input_tokens: int | None
    total_tokens: int | None
    usage_semantics: str
    usage_raw: str
    cost_amount: float | None
    cost_currency: str
    cost_computed_by: str
    cost_raw: str
    # --- latency
    latency_ms: float | None
    time_to_first_token_ms: float | None
    gateway_ms: float | None
    provider_ms: float | None
    # --- outcome
    outcome: str
    http_status: int | None
    stop_reason: str
    stop_reason_raw: str
    error_type: str
    error_code: str
    error_stage: str
    error_message: str
    # --- governance
    classification: str
    data_categories: list[str]
    approval_tier: int | None
    dlp_verdict: str
    dlp_rules: list[str]
    guardrail_name: str
    guardrail_provider: str
    guardrail_mode: str
    guardrail_verdict: str
    guardrail_action: str
    policy_id: str
    policy_version: str
    residency: str
    purpose: str
    business_unit: str
    # --- documents put before the model
    document_id: str
    document_source: str
    document_label: str
    document_sha256: str
    # --- what we did not get
    content_state: str
    content_gaps: str
    # --- the rest
    retention_class: str
    tags: list[str]
    extras: dict[str, str]


CONTENT_STATES = (
    "full",
    "by_ref",
    "reconstructed",
    "client_asserted",
    "encrypted",
    "truncated",
    "redacted",
    "omitted",
    "not_captured",
)
"""From best to worst; ``content_state`` is the worst of an event, ``content_gaps`` a JSON list with one object per
place: ``{"pointer", "state", "limit"?, "original_size"?, "original_sha256"?, "ref"?}``."""


def schema(name: str) -> dict[str, Any]:
    """The Avro schema in ``schemas/avro/<name>.avsc``, parsed as JSON. One file per version; a file is never edited."""
    text = (Path(__file__).parent / "avro" / f"{name}.avsc").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
