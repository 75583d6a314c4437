"""The body of a recorded HTTP message as a value: from its bytes, its head, and where it broke off. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from collector.gateways import anthropic_stream, openai_stream
from collector.gateways.bodies import Body
from collector.gateways.gaps import Gap
from collector.gateways.sse import parse_sse
from collector.gateways.streams import Assembled
from collector.inflate_prefix import inflate_prefix
from collector.json_units import parse_json

INFLATED_LIMIT = 256 * 1024 * 1024
"""Bytes of one body after decompression; what is beyond stays in the source part."""

Assemble = Callable[[bytes], Assembled]

_ANTHROPIC = re.compile(rb"(?:^|\n)(?:event: ?message_start|data: ?\{\s*\"type\"\s*:\s*\"(?:message|content_block)_)")


def read_wire_body(data: bytes, headers: Mapping[str, str], api: str, *, cut: str = "") -> Body:
    """What a body says.

    Args:
        data: as on the wire, without chunked framing.
        headers: of its message, names in lower case.
        api: ``anthropic``, ``openai``, ``mcp``, or ``""`` when the stream itself must tell.
        cut: why the body is not all there, ``""`` where it is.
    """
    if not data:
        return Body(gaps=[Gap("/content", "truncated", note=cut)] if cut else [], broken=bool(cut))
    encoding, error = headers.get("content-encoding", ""), ""
    plain = data
    if encoding.strip().lower() not in ("", "identity"):
        plain, error = inflate_prefix(data, encoding, INFLATED_LIMIT)
    if error and not plain:
        return _unread(data, headers, f"{error}; its bytes are in the source part", cut)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "text/event-stream":
        return _rpc_stream(plain, cut) if api == "mcp" else _stream(plain, api, cut)
    unit = parse_json(plain)
    if not unit.error:
        return Body(unit.value, broken=bool(cut))
    if media_type in ("", "application/json") or media_type.startswith("text/"):
        try:
            body = Body({"text": plain.decode("utf-8", "strict" if not (cut or error) else "ignore")}, broken=bool(cut))
        except UnicodeDecodeError:
            return _unread(data, headers, "not text; its bytes are in the source part", cut)
        if cut or error:
            body.gaps = [Gap("/content/text", "truncated", note=error or cut)]
        return body
    return _unread(data, headers, "not JSON; its bytes are in the source part", cut)


def _unread(data: bytes, headers: Mapping[str, str], note: str, cut: str) -> Body:
    digest = hashlib.sha256(data).hexdigest()
    value = {"media_type": headers.get("content-type", ""), "size": len(data), "sha256": digest}
    return Body(
        value, [Gap("/content", "by_ref", original_size=len(data), original_sha256=digest, note=note)], broken=bool(cut)
    )


def _stream(plain: bytes, api: str, cut: str) -> Body:
    anthropic = api == "anthropic" or (api != "openai" and _ANTHROPIC.search(plain[:4096]) is not None)
    assemble: Assemble = anthropic_stream.assemble_text if anthropic else openai_stream.assemble_text
    found = assemble(plain)
    value: dict[str, Any] = dict(found.message) or dict(found.error or {})
    if found.error is not None and found.message:
        value["stream_error"] = found.error
    if found.notes:
        value["stream_notes"] = [note._asdict() for note in found.notes]
    if cut or not found.complete:
        gap = Gap("/content", "truncated", note=cut or "the stream ends before its end")
    else:
        gap = Gap("/content", "reconstructed", original_size=len(plain), note="put together from a stream of events")
    return Body(value, [gap], True, bool(cut) or not found.complete, found.error)


def _rpc_stream(plain: bytes, cut: str) -> Body:
    """The JSON-RPC messages of a stream, as a list; text that is none stays text."""
    messages = []
    for event in parse_sse(plain):
        unit = parse_json(event.data.encode())
        messages.append(event.data if unit.error else unit.value)
    return Body(messages, streamed=True, broken=bool(cut))
