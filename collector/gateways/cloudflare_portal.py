"""The dataset ``mcp_portal_logs``: who called which tool of which MCP server, without arguments and results."""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.times import from_instant
from schemas.metadata import Metadata

_NEVER = "the portal logs neither arguments nor results"


def read_portal(record: dict[str, Any]) -> list[Draft]:
    """A call and its result; a resource or prompt that was read is ``context``; every other method a ``session``."""
    fields = Fields(record)
    method = fields.take_text("Method")
    shared = _take_shared(fields)
    ended: Metadata = {**shared}
    success = fields.take_flag("Success")
    ended["error_message"] = fields.take_text("Error")
    ended["outcome"] = "" if success is None else "ok" if success else "error"
    duration = fields.take_number("ServerResponseDurationMs")
    ended["latency_ms"] = duration
    if method == "tools/call":
        tool: Metadata = {
            "tool_kind": "mcp",
            "operation": "execute_tool",
            "tool_name": fields.take_text("ToolCallName"),
        }
        call = Draft("tool_call", {**shared, **tool})
        result = Draft("tool_result", {**ended, **tool, "tool_duration_ms": duration})
        result.metadata["tool_is_error"] = None if success is None else not success
        drafts = [call, result]
    elif method in ("resources/read", "prompts/get"):
        read: Metadata = {"operation": f"mcp.{method}", "document_source": shared["tool_server"]}
        read["document_id"] = fields.take_text("ResourceReadURI", "PromptGetName")
        drafts = [Draft("context", {**ended, **read})]
    else:
        drafts = [Draft("session", {**ended, "operation": f"mcp.{method}" if method else "mcp"})]
    for draft in drafts:
        gaps = [] if draft.kind == "session" else [Gap("/content", "not_captured", note=_NEVER)]
        state_gaps(draft.metadata, gaps)
    drafts[0].metadata["extras"] = fields.leftovers()
    return drafts


def _take_shared(fields: Fields) -> Metadata:
    shared: Metadata = {
        "session_id": fields.peek("SessionID") if isinstance(fields.peek("SessionID"), str) else "",
        "tool_session_id": fields.take_text("SessionID"),
        "tool_server": fields.take_text("ServerID"),
        "tool_server_url": fields.take_text("ServerURL"),
        "user_id": fields.take_text("UserID"),
        "user_email": fields.take_text("UserEmail"),
        "client_ip": fields.take_text("ClientIP"),
        "workspace_id": fields.take_text("PortalID"),
    }
    shared["user_id_kind"] = "cloudflare_access" if shared["user_id"] else ""
    shared["assurance"] = "gateway_authenticated" if shared["user_id"] or shared["user_email"] else "unknown"
    moment = from_instant(fields.peek("Datetime"))
    if moment is not None:
        fields.take("Datetime")
        shared["occurred_at"], shared["time_precision"] = moment
        shared["time_role"] = "log"
    return shared
