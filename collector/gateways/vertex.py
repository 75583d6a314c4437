"""Google Vertex AI: rows of request-response logging, and entries of Cloud Audit Logs, wrapped by Pub/Sub or not."""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.cloud_audit import entry_id, is_log_entry, read_entry
from collector.gateways.lists import page_reading, split_list
from collector.gateways.pubsub import is_wrapper, unwrap
from collector.gateways.vertex_rows import is_row, read_row, row_id
from collector.json_units import JsonUnit, split_json


class VertexFormat:
    """See the module. ``POST /v1/vertex``; what a bucket holds; and the pages that the APIs give: of Cloud Logging
    ``{"entries": […]}``, of BigQuery rows, one a line."""

    name = "vertex"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per row or entry."""
        page = split_list(body, "entries") if b'"entries"' in body else None
        if page is not None and not (is_row(page.beside) or is_log_entry(page.beside) or is_wrapper(page.beside)):
            return page_reading(page, _units(page.records))
        return Reading(_units(split_json(body)))


def _units(records: list[JsonUnit]) -> list[Unit]:
    units: list[Unit] = []
    for found in records:
        units += _unwrapped(found) if is_wrapper(found.value) else [_unit(found, {})]
    return units


def _unwrapped(found: JsonUnit) -> list[Unit]:
    inside = unwrap(found.value)
    if inside is None:
        return [Unit(found.source, error="got a push of Pub/Sub whose data is not base64 of anything")]
    return [_unit(record, inside.extras) for record in inside.records]


def _unit(found: JsonUnit, wrapping: dict[str, str]) -> Unit:
    if found.error:
        return Unit(found.source, error=found.error)
    if is_row(found.value):
        return _made(found, row_id(found.value), read_row(found.value), wrapping)
    if is_log_entry(found.value):
        return _made(found, entry_id(found.value), read_entry(found.value), wrapping)
    return Unit(found.source, error=f"got {_kind(found.value)}, expected a row with logging_time, or a LogEntry")


def _made(found: JsonUnit, source_id: str, drafts: list[Draft], wrapping: dict[str, str]) -> Unit:
    first = drafts[0].metadata
    first["extras"] = {**first.get("extras", {}), **wrapping}
    return Unit(found.source, source_id, drafts)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object with " + (", ".join(sorted(str(name)[:32] for name in value)[:8]) or "no fields")
    return type(value).__name__
