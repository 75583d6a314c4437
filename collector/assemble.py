"""From a reading to events: ids, order, times, and everything that only the receiver knows. Pure.

A format says what happened; this module makes it evidence that can be found again: the same event has the same id
each time it is sent, every event names the one that carries its source bytes, and nothing that could not be
normalised is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import Gap, note_gaps
from collector.gateways.times import in_range
from collector.json_units import encode_content
from collector.large.elide import leave_out
from collector.recall import SHORTEST_UNIT, Prompts, Scope
from collector.retold import SHORTEST_RESULT, Result
from collector.scrub import scrub_extras
from schemas.errors import MalformedInput
from schemas.event import Event
from schemas.ids import event_id, format_event_id
from schemas.metadata import Kind, Metadata
from schemas.metadata_binary import encode_metadata

SUBJECT_FIELDS = ("user_id", "user_email", "end_user_id", "service_account", "api_key_id", "cloud_principal")
"""Who the data subject is: the first of these that is not empty; nobody means the tenant itself."""

ACTOR_FIELDS = (*SUBJECT_FIELDS, "user_name", "api_key_alias", "acting_as")
"""Who did it. An event that says so says as well who vouches for it."""

DEFAULT_RETENTION_CLASS = "default"

MAX_NAME = 256
"""Longer subjects and sessions are replaced by their hash: they name keys and shards, and are no place for data."""


_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Stamp:
    """What one running collector puts on every event.

    Attributes:
        collector_id: names this process instance; a restart is another instance.
        sequence: the number of the first event; the others follow without gaps.
        retention_class: of events for which no rule says otherwise.
    """

    collector_id: str
    sequence: int
    retention_class: str = DEFAULT_RETENTION_CLASS


def count_events(units: Iterable[Unit], body_error: str = "") -> int:
    """How many events :func:`assemble` makes of these units."""
    return sum(1 if unit.error or body_error else len(unit.drafts) or 1 for unit in units)


def assemble(
    reading: Reading,
    received: Received,
    stamp: Stamp,
    start: int = 0,
    stop: int | None = None,
    prompts: Prompts | None = None,
) -> list[list[Event]]:
    """The events of each unit from ``start`` to ``stop``, in order: one list per unit, never empty. With ``prompts``,
    what a prompt repeats of earlier ones is left out of its content."""
    common: Metadata = {
        "tenant": received.tenant,
        "gateway": received.gateway,
        "token_id": received.token_id,
        "receiver": received.receiver,
        "peer_ip": received.peer_ip,
        "media_type": received.media_type,
        "content_encoding": received.content_encoding,
        "received_at": received.received_at,
        "body_sha256": received.body_sha256,
        "collector_id": stamp.collector_id,
        "unit_count": received.unit_count or len(reading.units),
        "retention_class": stamp.retention_class,
    }
    assembled = []
    sequence = stamp.sequence
    for index, unit in enumerate(reading.units[start:stop], start):
        common["unit_index"] = received.first_unit + index
        common["collector_sequence"] = sequence
        events = _assemble_unit(unit, reading.error, received, common, prompts)
        sequence += len(events)
        assembled.append(events)
    return assembled


def _assemble_unit(
    unit: Unit, body_error: str, received: Received, common: Metadata, prompts: Prompts | None
) -> list[Event]:
    error = unit.error or body_error or ("" if unit.drafts else "the format found nothing in these bytes")
    drafts = [_unparsed(error)] if error else unit.drafts
    source_id = _name(unit.source_id) or _digest(unit)
    ordinals: dict[Kind, int] = {}
    events: list[Event] = []
    source_event = ""
    for draft in drafts:
        ordinal = ordinals.get(draft.kind, 0)
        ordinals[draft.kind] = ordinal + 1
        identity = event_id(received.tenant, received.gateway, source_id, draft.kind, ordinal)
        text_id = format_event_id(identity)
        source_event = source_event or text_id
        metadata: Metadata = {"format": received.format, **draft.metadata, **common}
        metadata["event_id"] = text_id
        metadata["kind"] = draft.kind
        metadata["ordinal"] = ordinal
        metadata["source_id"] = source_id
        metadata["source_event_id"] = source_event
        metadata["source_pointer"] = draft.pointer
        metadata["collector_sequence"] = common["collector_sequence"] + len(events)
        _complete(metadata, source_id, received.received_at)
        tenant, retention_class = received.tenant, metadata["retention_class"]
        subject, session = _subject(metadata), _name(metadata.get("session_id", "")) or _name(metadata["exchange_id"])
        if draft.content is None:
            content = b""
        elif prompts is not None and draft.kind == "prompt" and len(unit.source) >= SHORTEST_UNIT:
            scope = Scope(tenant, subject, retention_class, received.received_at // _DAY, session)
            results = _results(drafts, received, source_id)
            content, left_out = prompts.tell(draft.content, scope, text_id, len(unit.source), results)
            if left_out:
                note_gaps(metadata, left_out)
        else:
            content = encode_content(draft.content)
            if prompts is not None and draft.kind == "response":
                scope = Scope(tenant, subject, retention_class, received.received_at // _DAY, session)
                prompts.hear(draft.content, scope, text_id)
        content = leave_out(content, metadata, unit.source)
        source, whole = (None, None) if events else (None if unit.whole else unit.source, unit.whole)
        events.append(
            Event(identity, draft.kind, tenant, subject, session, retention_class, metadata, content, source, whole)
        )
    return events


def _results(drafts: Iterable[Draft], received: Received, source_id: str) -> list[Result]:
    """The results of tools that are events of a unit, those that are long."""
    found = []
    told = [draft for draft in drafts if draft.kind == "tool_result"]
    for ordinal, draft in enumerate(told):
        value = draft.content.get("result") if isinstance(draft.content, dict) else None
        if isinstance(value, list) or (isinstance(value, str) and len(value) >= SHORTEST_RESULT):
            identity = event_id(received.tenant, received.gateway, source_id, "tool_result", ordinal)
            found.append(Result(value, format_event_id(identity)))
    return found


def _digest(unit: Unit) -> str:
    if unit.whole is None:
        return hashlib.sha256(unit.source).hexdigest()
    digest = hashlib.sha256()
    for chunk in unit.whole.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _complete(metadata: Metadata, source_id: str, received_at: int) -> None:
    if not metadata.get("exchange_id"):
        metadata["exchange_id"] = source_id
    if not in_range(metadata.get("occurred_at", 0)):
        if metadata.get("occurred_at"):
            extras = metadata.setdefault("extras", {})
            metadata["extras"] = {**extras, "occurred_at": str(metadata["occurred_at"])}
        metadata["occurred_at"] = received_at
        metadata["time_role"] = "received"
        metadata["time_precision"] = ""
    if metadata.get("extras"):
        metadata["extras"], cut = scrub_extras(metadata["extras"])
        if cut:
            note_gaps(metadata, cut)
    if not metadata.get("assurance") and any(map(metadata.get, ACTOR_FIELDS)):
        metadata["assurance"] = "unknown"


def _subject(metadata: Metadata) -> str:
    for name in SUBJECT_FIELDS:
        value = metadata.get(name)
        if value:
            return _name(str(value))
    return ""


def _name(text: str) -> str:
    """Text that may name a key scope or an ordering key: short, and valid Unicode."""
    if text.isascii() and len(text) <= MAX_NAME:
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_NAME:
        return "sha256:" + hashlib.sha256(raw).hexdigest()
    return _valid_unicode(text)


def _unparsed(error: str) -> Draft:
    return Draft("unparsed", {"outcome": "error", "error_stage": "normalise", "error_message": error[:4096]})


def fitted(metadata: Metadata) -> Metadata:
    """Metadata that :func:`~schemas.parts.encode_metadata` takes, whatever the source put in it.

    Lone surrogates in text become U+FFFD; a value that no Avro type holds (an integer beyond 64 bits) moves to extras,
    and ``content_gaps`` says so. For the rare event whose metadata did not encode at first.
    """
    fit: Metadata = {}
    moved: dict[str, str] = {}
    for name, value in metadata.items():
        repaired = _repaired(value)
        try:
            encode_metadata({name: repaired})  # type: ignore[misc]
        except MalformedInput:
            moved[name] = _valid_unicode(encode_content(repaired).decode())
        else:
            fit[name] = repaired  # type: ignore[literal-required]
    if moved:
        fit["extras"] = {**fit.get("extras", {}), **moved}
        note_gaps(
            fit, [Gap(f"/{name}", "by_ref", ref=f"/extras/{name}", note="does not fit its field") for name in moved]
        )
    return fit


def _repaired(value: object) -> object:
    if isinstance(value, str):
        return _valid_unicode(value)
    if isinstance(value, list):
        return [_repaired(item) for item in value]
    if isinstance(value, dict):
        return {_repaired(key): _repaired(item) for key, item in value.items()}
    return value


def _valid_unicode(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
