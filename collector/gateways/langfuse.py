"""Langfuse's ingestion API: a batch of envelopes, each the creation or the update of one trace, observation or score.

A creation and its updates arrive one by one and in any order. Each stays the evidence that it is: nothing is merged
here, and what belongs together has the same exchange id (the id of the observation). Source: Langfuse's API definition,
``ingestion.yml``, and what its SDKs send (collector/pages/langfuse.md).
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import pointer, state_gaps
from collector.gateways.langfuse_fields import take_failure, take_ids, take_times, take_usage
from collector.gateways.langfuse_observations import (
    model_drafts,
    retrieval_drafts,
    score_drafts,
    span_drafts,
    tool_drafts,
)
from collector.gateways.leftovers import Fields
from collector.gateways.lists import split_list
from collector.json_units import JsonUnit
from schemas.metadata import Metadata

_WRAPPED = ("observation-create", "observation-update")
"""The observation says itself what it is, in ``body.type``."""

_MAKERS = {
    "generation": model_drafts,
    "embedding": model_drafts,
    "tool": tool_drafts,
    "retriever": retrieval_drafts,
    "score": score_drafts,
}
"""What becomes of an observation, by its type; of every other (trace, span, event, agent …) comes a ``session``."""


class LangfuseFormat:
    """See the module. ``POST /api/public/ingestion``."""

    name = "langfuse"
    light = True

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per envelope. What the batch says of itself goes to the extras of the first, as ``batch.…``."""
        page = split_list(body, "batch")
        if page is None:
            error = 'got no JSON object with a list "batch"'
            return Reading([Unit(body, error=error)], error)
        units = [_unit(found, pointer("batch", at)) for at, found in enumerate(page.records)]
        beside = {f"batch.{name}": value for name, value in page.beside.items()}
        kept = next((unit for unit in units if unit.drafts), None)
        if beside and kept is not None:
            metadata = kept.drafts[0].metadata
            metadata["extras"] = {**metadata.get("extras", {}), **Fields(beside).leftovers()}
        return Reading(units)


def _unit(found: JsonUnit, at: str) -> Unit:
    envelope, error = found.value, found.error
    if not error and not isinstance(envelope, dict):
        error = f"got {type(envelope).__name__}, expected an object with id, type, timestamp and body"
    elif not error and not isinstance(envelope.get("type"), str):
        error = "got an event without type"
    elif not error and not isinstance(envelope.get("body"), dict):
        error = f"got an event {envelope['type'][:64]!r} whose body is no object"
    source_id = envelope.get("id") if isinstance(envelope, dict) else None
    key = source_id if isinstance(source_id, str) else ""
    return Unit(found.source, key, [] if error else _drafts(envelope), error, at)


def _drafts(envelope: dict[str, Any]) -> list[Draft]:
    outer = Fields(envelope)
    kind = outer.take_text("type")
    outer.take_text("id")
    fields = outer.part("body")
    what = kind.partition("-")[0]
    if kind in _WRAPPED:
        what = (fields.take_text("type") or "observation").lower()
    shared: Metadata = {"api": kind}
    take_ids(fields, shared, what)
    base: Metadata = {**shared}
    take_times(fields, outer.take_text("timestamp"), base)
    take_usage(fields, base)
    take_failure(fields, base)
    drafts = _MAKERS.get(what, span_drafts)(what, fields, base)
    for draft in drafts:
        draft.pointer = draft.pointer and f"/body{draft.pointer}"
        if "content_state" not in draft.metadata:
            state_gaps(draft.metadata, [])
    first = drafts[0].metadata
    first["extras"] = {**outer.leftovers(), **first.get("extras", {})}
    return drafts
