"""IBM ContextForge: events of its SIEM export, rows of its audit trail, and its JSON log.

Source: IBM/mcp-context-forge ecba50e4, ``services/siem_export_service.py``, ``db.py`` (AuditTrail) and
``services/logging_service.py``. Traps that shape this file:

- A webhook that is sent again has another ``_meta.attempt``, so its bytes differ: ``event_id`` is the key.
- Export redacts fields by name, the user's e-mail address among them, unless it is told otherwise.
- Audit rows are about the gateway's own objects. Calls of tools are spans (:mod:`.contextforge_spans`); a row says
  ``EXECUTE`` at most, and never arguments.
- ``client_ip`` is the word ``unknown`` where it is not known, ``user_id`` may be ``system``.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.contextforge_gaps import find_gaps
from collector.gateways.gaps import Gap, note_gaps, pointer, state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.text_lines import TextLine, split_lines
from collector.gateways.times import from_any
from collector.json_units import parse_json
from schemas.metadata import Kind, Metadata

_UNKNOWN = ("unknown", "***REDACTED***")
_REFUSED = ("denied", "blocked", "locked")
_EXECUTING = ("EXECUTE", "execute_tool", "invoke_tool", "tool_execution")


class ContextForgeFormat:
    """See the module. ``POST /v1/contextforge``, or the lines of a file."""

    name = "contextforge"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per object: of an array, or on a line."""
        return Reading([_unit(line) for line in split_lines(body)])


def _unit(line: TextLine) -> Unit:
    if line.error:
        return Unit(line.source, error=line.error)
    record = line.value
    if not isinstance(record, dict):
        return Unit(line.source, error="got a line that is no JSON object; set LOG_FORMAT=json, or use the SIEM export")
    if "event_type" in record and "schema_version" in record:
        draft, key = _read_event(Fields(record)), record.get("event_id")
    elif "action" in record and "resource_type" in record:
        draft, key = _read_row(Fields(record)), record.get("id")
    elif "message" in record:
        draft, key = _read_log(Fields(record)), ""
    else:
        names = ", ".join(sorted(str(name)[:32] for name in record)[:8])
        return Unit(line.source, error=f"got an object with {names or 'no fields'}, expected an event, row or log line")
    extras = draft.metadata.get("extras", {})
    hidden = [gap for name, text in extras.items() for gap in find_gaps(_opened(text), pointer("extras", name))]
    if hidden:
        note_gaps(draft.metadata, hidden)
    return Unit(line.source, key if isinstance(key, str) else "", [draft])


def _opened(text: str) -> Any:
    return parse_json(text.encode("utf-8", "surrogatepass")).value


def _read_event(fields: Fields) -> Draft:
    """An event of the SIEM export."""
    actor, context = fields.part("actor"), fields.part("context")
    metadata = _actor(actor)
    metadata["operation"] = fields.take_text("event_type")
    metadata["gateway_version"] = fields.part("source").take_text("version")
    metadata["request_id_gateway"] = context.take_text("correlation_id")
    metadata["format_version"] = fields.take_text("schema_version")
    _take_time(fields, metadata)
    action = fields.peek("action_taken")
    if fields.peek("category") == "audit":
        metadata["outcome"] = _outcome(context.take_flag("success"), action)
        metadata["classification"] = context.take_text("data_classification")
        return _finish("admin", metadata, fields, fields.take_text("description"))
    if action not in _REFUSED:
        metadata["outcome"] = "ok"
        return _finish("session", metadata, fields, fields.take_text("description"))
    metadata |= {"guardrail_name": metadata["operation"], "guardrail_provider": "contextforge", "outcome": "blocked"}
    metadata["guardrail_verdict"] = metadata["guardrail_action"] = fields.take_text("action_taken")
    return _finish("guardrail", metadata, fields, fields.take_text("description"))


def _read_row(fields: Fields) -> Draft:
    """A row of the audit trail."""
    metadata = _actor(fields)
    metadata["operation"] = fields.take_text("action")
    metadata["request_id_gateway"] = fields.take_text("correlation_id")
    metadata["request_id_client"] = fields.take_text("request_id")
    metadata["team_id"] = fields.take_text("team_id")
    metadata["acting_as"] = fields.take_text("acting_as")
    chain = fields.part("delegation_chain").take_texts("chain")
    if chain:
        metadata["delegation"] = chain
    metadata["classification"] = fields.take_text("data_classification")
    metadata["error_message"] = fields.take_text("error_message")
    success = fields.take_flag("success")
    metadata["outcome"] = _outcome(success, "")
    _take_time(fields, metadata)
    if metadata["operation"] in _EXECUTING and fields.peek("resource_type") == "tool":
        metadata |= {"tool_name": fields.take_text("resource_name"), "operation": "execute_tool", "tool_kind": "mcp"}
        draft = _finish("tool_call", metadata, fields, "")
        state_gaps(draft.metadata, [Gap("/content", "not_captured")])
        return draft
    return _finish("admin", metadata, fields, "")


def _read_log(fields: Fields) -> Draft:
    """A line of the JSON log."""
    metadata: Metadata = {"trace_id": fields.take_text("trace_id"), "span_id": fields.take_text("span_id")}
    metadata["request_id_gateway"] = fields.take_text("request_id")
    metadata["session_id"] = metadata["trace_id"]
    metadata["operation"] = fields.take_text("name", "logger")
    metadata["user_id"] = fields.take_text("user_id")
    metadata["user_email"] = fields.take_text("user_email")
    metadata["assurance"] = "gateway_authenticated" if metadata["user_id"] or metadata["user_email"] else "unknown"
    level = fields.peek("levelname") or fields.peek("level")
    metadata["outcome"] = "error" if str(level).upper() in ("ERROR", "CRITICAL", "ALERT", "EMERGENCY") else "ok"
    _take_time(fields, metadata)
    return _finish("session", metadata, fields, fields.take_text("message"))


def _actor(fields: Fields) -> Metadata:
    """Who did it; the gateway authenticated them, and says how in ``auth_method``."""
    metadata: Metadata = {}
    for own, name in (("user_email", "user_email"), ("user_id", "user_id"), ("client_ip", "client_ip")):
        if fields.peek(own) not in _UNKNOWN:
            metadata[name] = fields.take_text(own)  # type: ignore[literal-required]
    metadata["user_agent"] = fields.take_text("user_agent")
    known = metadata.get("user_id") or metadata.get("user_email")
    metadata["assurance"] = "gateway_authenticated" if known else "unknown"
    if metadata.get("user_id") == "system":
        metadata["actor_type"] = "service"
    return metadata


def _outcome(success: bool | None, action: object) -> str:
    if success is None:
        return "blocked" if action in _REFUSED else ""
    return "ok" if success else "error"


def _take_time(fields: Fields, metadata: Metadata) -> None:
    for name in ("timestamp", "@timestamp", "asctime"):
        moment = from_any(fields.peek(name))
        if moment is not None:
            fields.take(name)
            metadata["occurred_at"], metadata["time_precision"] = moment
            metadata["time_role"] = "log"
            return


def _finish(kind: Kind, metadata: Metadata, fields: Fields, message: str) -> Draft:
    """The event, with what changed as its content: old and new values, and what was said about it."""
    content = {name: fields.take(name) for name in ("old_values", "new_values", "changes") if name in fields}
    if message:
        content["message"] = message
    metadata["extras"] = fields.leftovers()
    state_gaps(metadata, find_gaps(content, "/content"))
    return Draft(kind, metadata, content or None)
