"""agentgateway: its access log, as JSON or as text, and the attributes that its spans share with it.

Source: agentgateway 75b4e6ce, ``crates/agentgateway/src/telemetry/log.rs`` and ``crates/core/src/telemetry.rs``. Traps
that shape this file:

- Text is ``time⇥level⇥scope key=value key=value``, and values are not quoted, but for ``error`` and
  ``mcp.error.message``. A value with a space and ``key=`` in it, which a client can choose (a path, the subject of a
  token, the name of a tool), looks like another field. So a key that occurs twice is believed in neither place, and
  the gateway does not vouch for a person whom text names.
- ``duration`` is text, ``12ms``; times to the first token are seconds; the line is written at the end.
- ``request.id`` and ``connection.id`` count from one again when the process starts: they are no keys.
- Prompt and completion are there only where the operator added them, under names of the operator's choice.
"""

from __future__ import annotations

import re
from typing import Any

from collector.gateways import Reading, Received, Unit
from collector.gateways.access_log import ABSENT, Line, line_drafts
from collector.gateways.agentgateway_fields import adopt
from collector.gateways.gaps import Gap, note_gaps
from collector.gateways.genai_attributes import number
from collector.gateways.json_texts import parsed
from collector.gateways.otlp_telemetry import add_attribute, hex_id
from collector.gateways.text_lines import TextLine, split_lines
from collector.gateways.times import Time, from_text

_HEAD = re.compile(r"(?P<time>\S+)[\t ]+(?P<level>[a-z]+)[\t ]+(?P<scope>\S+)(?= |$)")
_KEY = re.compile(r"(?:^| )([A-Za-z_][\w.-]*)=")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"(?= |$)')


class AgentgatewayFormat:
    """See the module. ``POST /v1/agentgateway``, or the lines of a file."""

    name = "agentgateway"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per line, or per element of an array."""
        return Reading([_unit(line) for line in split_lines(body)])


def _unit(line: TextLine) -> Unit:
    if line.error:
        return Unit(line.source, error=line.error)
    ambiguous: list[str] = []
    if isinstance(line.value, dict):
        record = dict(line.value)
    elif line.text:
        record, ambiguous = _read_text(line.text)
    else:
        return Unit(line.source, error="got JSON that is no object, expected a line of agentgateway's log")
    if not record:
        return Unit(line.source, error="got a line without time, level and scope, expected one of agentgateway's log")
    line_read = _line(record)
    if line.text and line_read.known.get("user_id"):
        line_read.known["assurance"] = "client_asserted"
    drafts = line_drafts(line_read)
    if ambiguous:
        note_gaps(drafts[0].metadata, [Gap(f"/extras/{key}", "client_asserted", note=_TWICE) for key in ambiguous])
    return Unit(line.source, "", drafts)


_TWICE = "the line has this key twice, and values are not quoted: log as JSON to tell a field from a value"


def _line(record: dict[str, Any]) -> Line:
    failed = any(record.get(name) not in ABSENT for name in ("error", "mcp.error.code", "mcp.error.message"))
    known = adopt(record)
    ended = _time(record, "time") or _time(record, "timestamp")
    duration = _duration(record.get("duration"))
    started = None
    if ended and duration is not None:
        started = Time(ended.micros - round(duration * 1000), "ms")
        del record["duration"]
    trace_id, span_id = _id(record, "trace.id", 16), _id(record, "span.id", 8)
    path = record.get("http.path")
    if isinstance(path, str) and "?" not in path:
        known["api"] = record.pop("http.path")
    return Line(record, known, started or ended, ended.micros if ended else 0, trace_id, span_id, failed)


def _id(record: dict[str, Any], name: str, size: int) -> str:
    found = hex_id(record.get(name), size)
    if found:
        del record[name]
    return found


def _time(record: dict[str, Any], name: str) -> Time | None:
    value = record.get(name)
    moment = from_text(value) if isinstance(value, str) else None
    if moment:
        del record[name]
    return moment


def _duration(value: Any) -> float | None:
    """``1526ms`` in milliseconds."""
    if isinstance(value, str) and value.endswith("ms"):
        return number(value.removesuffix("ms"))
    return None


def _read_text(text: str) -> tuple[dict[str, Any], list[str]]:
    """The fields of a line of text, and the keys that it has twice."""
    head = _HEAD.match(text)
    if not head or not from_text(head["time"]):
        return {}, []
    record: dict[str, Any] = {"time": head["time"], "level": head["level"], "scope": head["scope"]}
    message, fields = _split_fields(text[head.end() :])
    if message:
        record["message"] = message
    values: dict[str, list[str]] = {}
    for key, value in fields:
        values.setdefault(key, []).append(value)
    ambiguous = [key for key, all_of_it in values.items() if len(all_of_it) > 1 or key in record]
    for key, all_of_it in values.items():
        for value in all_of_it:
            add_attribute(record, f"text.{key}" if key in ambiguous else key, _unquoted(value))
    return record, [f"text.{key}" for key in ambiguous]


def _split_fields(rest: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands before the first key, and each key with its text, in one pass. A quote that is not closed as the
    gateway closes them is none, and neither is any that follows."""
    found: list[tuple[str, int, int]] = []
    at, quotes = 0, True
    while (key := _KEY.search(rest, at)) is not None:
        at = key.end()
        found.append((key[1], key.start(), at))
        if quotes and rest[at : at + 1] == '"':
            quoted = _QUOTED.match(rest, at)
            at, quotes = (quoted.end(), True) if quoted else (at, False)
    ends = [start for _, start, _ in found[1:]] + [len(rest)]
    fields = [(name, rest[begin:end]) for (name, _, begin), end in zip(found, ends, strict=True)] if found else []
    return rest[: found[0][1] if found else len(rest)].strip(), fields


def _unquoted(value: str) -> Any:
    if value[:1] == '"' and value[-1:] == '"' and len(value) > 1:
        opened = parsed(f"[{value}]")
        return opened[0] if isinstance(opened, list) else value
    return value
