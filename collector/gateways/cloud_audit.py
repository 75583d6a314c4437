"""Entries of Google Cloud's audit logs about Vertex AI (``google.cloud.audit.AuditLog`` in a LogEntry). Pure.

An entry of a model call says who called which model from where, and whether that was allowed; it has neither prompt nor
answer. A call is one ``response`` event without content; of a long call there are two entries, joined by
``operation.id``: the first is a ``prompt`` event, the last the ``response``. Everything else is an ``admin`` event.
"""

from __future__ import annotations

import re
from typing import Any

from collector.gateways import Draft
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.source_ids import joined_id
from collector.gateways.times import from_any
from collector.gateways.vocabulary import VERTEX
from schemas.metadata import Metadata

_CALLS = ("PredictionService.", "LlmBidiService.")
_NO_CALLS = ("CountTokens",)
_MODEL = re.compile(r"publishers/([^/]+)/models/([^/:]+)")
_PLACE = re.compile(r"projects/([^/]+)/locations/([^/]+)")
_STREAMS = ("Stream", "Bidi")


def is_log_entry(value: object) -> bool:
    """Whether a JSON value is a LogEntry."""
    return isinstance(value, dict) and isinstance(value.get("logName"), str) and "insertId" in value


def entry_id(entry: dict[str, Any]) -> str:
    """``logName``, ``timestamp``, ``insertId``: what Cloud Logging itself removes duplicates by."""
    return joined_id(entry.get("insertId"), entry.get("logName"), entry.get("timestamp"))


def read_entry(entry: dict[str, Any]) -> list[Draft]:
    """One event per entry."""
    fields = Fields(entry)
    payload = fields.part("protoPayload")
    method = payload.take_text("methodName")
    metadata: Metadata = {"api": method}
    is_call = any(name in method for name in _CALLS) and not method.endswith(_NO_CALLS)
    _take_times(fields, payload, metadata)
    _take_actor(payload.part("authenticationInfo"), payload.part("requestMetadata"), metadata)
    _take_resource(fields, payload, metadata)
    _take_status(payload, metadata)
    trace = fields.take_text("trace")
    metadata["trace_id"], metadata["span_id"] = trace.rpartition("/")[2], fields.take_text("spanId")
    kind = _take_operation(fields.part("operation"), metadata) if is_call else "admin"
    content = {
        name: payload.take(name) for name in ("request", "response", "metadata") if _says_more(payload.peek(name))
    }
    content |= {name: fields.take(name) for name in ("jsonPayload", "textPayload") if name in fields}
    if is_call:
        metadata["operation"] = "chat"
        metadata["stream"] = any(word in method.rpartition(".")[2] for word in _STREAMS)
        metadata["provider_raw"] = metadata.get("provider_raw") or "aiplatform.googleapis.com"
        metadata["provider"], metadata["model_path"] = VERTEX, "vertex"
    else:
        metadata["operation"] = method.rpartition(".")[2] or metadata.get("operation", "")
    metadata["extras"] = {**fields.leftovers(), **({"trace": f'"{trace}"'} if "/" in trace else {})}
    state_gaps(
        metadata,
        [Gap("/content", "not_captured", note="audit logs have neither prompt nor answer")] if is_call else [],
    )
    draft = Draft("admin", metadata, content or None)
    if kind != "admin":
        draft.kind = "prompt" if kind == "prompt" else "response"
    return [draft]


def _take_times(fields: Fields, payload: Fields, metadata: Metadata) -> None:
    moment = from_any(fields.peek("timestamp"))
    if moment is not None and moment.precision != "ns":
        fields.take("timestamp")
    if moment is not None:
        metadata["occurred_at"], metadata["time_precision"] = moment
        metadata["time_role"] = "log"
    attributes = payload.part("requestMetadata").part("requestAttributes")
    began = from_any(attributes.peek("time"))
    if began is not None:
        if began.precision != "ns":
            attributes.take("time")
        metadata["started_at"] = began.micros


def _take_actor(who: Fields, request: Fields, metadata: Metadata) -> None:
    """Google vouches for the principal; the user agent is what the caller says."""
    email = who.take_text("principalEmail")
    metadata["cloud_principal"] = who.take_text("principalSubject")
    if email.endswith("gserviceaccount.com") or metadata["cloud_principal"].startswith("serviceAccount:"):
        metadata["service_account"], metadata["actor_type"] = email, "service"
    elif email:
        metadata["user_email"], metadata["actor_type"] = email, "user"
    metadata["api_key_id"] = who.take_text("serviceAccountKeyName")
    delegated = who.peek("serviceAccountDelegationInfo")
    metadata["delegation"] = (
        [name for one in delegated for name in _principals(one)] if isinstance(delegated, list) else []
    )
    known = email or metadata["cloud_principal"]
    metadata["assurance"] = "provider_authenticated" if known else "unknown"
    metadata["client_ip"] = request.take_text("callerIp")
    metadata["user_agent"] = request.take_text("callerSuppliedUserAgent")


def _principals(one: object) -> list[str]:
    """Who stands behind a service account: a step of a delegation."""
    step = Fields(one)
    name = step.take_text("principalSubject") or step.part("firstPartyPrincipal").take_text("principalEmail")
    return [name] if name else []


def _take_resource(fields: Fields, payload: Fields, metadata: Metadata) -> None:
    resource = payload.take_text("resourceName")
    metadata["endpoint"] = resource
    if model := _MODEL.search(resource):
        metadata["provider_raw"], metadata["model_requested"] = model[1], model[2]
    if place := _PLACE.search(resource):
        metadata["region"] = place[2]
    labels = fields.part("resource").part("labels")
    metadata["project_id"] = labels.take_text("project_id")
    labels.drop_same("method", metadata.get("api", ""))


def _take_status(payload: Fields, metadata: Metadata) -> None:
    """An empty status is a call that went well; one that is missing says nothing."""
    status = payload.peek("status")
    if not isinstance(status, dict):
        return
    stated = payload.part("status")
    code = stated.take_count("code")
    metadata["error_message"] = stated.take_text("message")
    metadata["outcome"] = "error" if code or metadata["error_message"] else "ok"
    if code:
        metadata["error_code"], metadata["error_stage"] = str(code), "provider"


def _take_operation(operation: Fields, metadata: Metadata) -> str:
    """The kind of event; a call that has one entry is a response."""
    name = operation.take_text("id")
    if name:
        metadata["exchange_id"] = name
    return "prompt" if operation.peek("first") is True and operation.peek("last") is not True else "response"


def _says_more(value: object) -> bool:
    """Whether a message holds more than its type."""
    return isinstance(value, dict) and any(
        name != "@type" and held not in (None, "", [], {}) for name, held in value.items()
    )
