"""Docker MCP Gateway: the lines that ``--log-calls`` writes to standard error.

Source: docker/mcp-gateway 2bd20fe8, ``pkg/interceptors/log_calls.go``. Traps that shape this file:

- A line has no time, no session, no id and no person; two calls of the same tool with the same arguments are the same
  line twice. So a line without a time in front of it, which ``docker logs --timestamps`` adds, is known by its place.
- Arguments are a summary (``object with 2 field(s)``); older releases wrote them out.
- A call that failed has no second line, and one whose result says ``isError`` has one like any other.
"""

from __future__ import annotations

import re

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.json_texts import argument_content, parsed
from collector.gateways.text_lines import TextLine, split_lines
from collector.gateways.times import Time, from_text
from collector.json_units import encode_content
from schemas.metadata import Metadata

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\S{1,40})\s+")
_CALL = re.compile(r"\s*- Calling tool (\S+) with (?:arguments|method): (.*)", re.DOTALL)
_END = re.compile(r"\s*> Calling tool (\S+) took: (\S+)\s*")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s|µs|us|ns)")
_MILLIS = {"h": 3_600_000.0, "m": 60_000.0, "s": 1000.0, "ms": 1.0, "µs": 0.001, "us": 0.001, "ns": 0.000_001}
_NONE = "none"


class DockerMcpFormat:
    """See the module. ``POST /v1/docker-mcp``, or the lines of a file."""

    name = "docker_mcp"

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per line."""
        lines = split_lines(body)
        return Reading([_unit(line, index, received) for index, line in enumerate(lines)])


def _unit(line: TextLine, index: int, received: Received) -> Unit:
    if line.error:
        return Unit(line.source, error=line.error)
    text = line.text or line.source.decode("utf-8")
    stamp = _STAMP.match(text)
    moment = from_text(stamp[1]) if stamp else None
    words = text[stamp.end() :] if stamp and moment else text
    place = "" if moment else encode_content([received.name, received.body_sha256, index]).decode()
    return Unit(line.source, place, [_draft(words, moment)])


def _draft(words: str, moment: Time | None) -> Draft:
    shared: Metadata = {"assurance": "unknown"}
    if moment:
        shared |= {"occurred_at": moment.micros, "time_precision": moment.precision, "time_role": "log"}
    call, end = _CALL.fullmatch(words), _END.fullmatch(words)
    if call:
        return _call(call, shared)
    if end and (duration := milliseconds(end[2])) is not None:
        tool: Metadata = {**shared, "tool_name": end[1], "tool_kind": "mcp", "operation": "execute_tool"}
        tool |= {"tool_duration_ms": duration, "latency_ms": duration, "outcome": ""}
        tool["extras"] = {"took": encode_content(end[2]).decode()}
        state_gaps(tool, [Gap("/content", "not_captured")])
        return Draft("tool_result", tool)
    state_gaps(shared, [])
    return Draft("session", {**shared, "operation": "log"}, {"line": words})


def _call(call: re.Match[str], shared: Metadata) -> Draft:
    summary = call[2].strip()
    metadata: Metadata = {**shared, "tool_kind": "mcp", "operation": "execute_tool"}
    if call[1] != "(unknown)":
        metadata["tool_name"] = call[1]
    written_out = parsed(summary) is not summary
    state_gaps(metadata, [] if written_out or summary == _NONE else [Gap("/content", "omitted", note=summary[:128])])
    if written_out:
        return Draft("tool_call", metadata, argument_content(summary))
    metadata["extras"] = {"arguments": encode_content(summary).decode()}
    return Draft("tool_call", metadata)


def milliseconds(duration: str) -> float | None:
    """A duration as Go writes it, ``1m2.5s`` or ``120.5µs``, in milliseconds."""
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration or len(duration) > 64:
        return None
    return sum(float(number) * _MILLIS[unit] for number, unit in parts)
