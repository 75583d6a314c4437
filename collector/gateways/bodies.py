"""The body of a provider's request or answer, however a gateway wrote it into its log. Pure, total.

Gateways log a body as JSON, as text that is JSON, as the text of a stream of server-sent events, or as other text.
What comes of it is the value that the same call would have had as JSON without streaming, and what was lost on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from collector.gateways import anthropic_stream, openai_stream
from collector.gateways.gaps import Gap
from collector.gateways.json_texts import parsed
from collector.gateways.streams import Assembled
from collector.json_units import encode_content, split_json

_STREAM = re.compile(r"\s*(?:(?:data|event|id|retry):|:)")
"""How the text of a stream begins; a comment (``: ping``) may be the first line."""

_ANTHROPIC = re.compile(r"(?:^|\n)(?:event: ?message_start|data: ?\{\s*\"type\"\s*:\s*\"(?:message|content_block)_)")


@dataclass(slots=True)
class Body:
    """A body as the content of an event.

    Attributes:
        value: a JSON value, ``{"text": …}`` for text that is none, ``None`` where there is no body.
        gaps: what the log did not have of it; pointers begin at ``/content``.
        streamed: whether it is the text of a stream.
        broken: whether that stream ended before the provider said so.
        error: the provider's error body, when the stream carried one.
    """

    value: Any = None
    gaps: list[Gap] = field(default_factory=list)
    streamed: bool = False
    broken: bool = False
    error: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The body as an object; empty where it is none."""
        return self.value if isinstance(self.value, dict) else {}


def read_body(value: object) -> Body:
    """What a logged body says. Empty text, lists and objects are no body: Lua writes ``{}`` for what it lacks."""
    if value in (None, "", [], {}):
        return Body()
    if not isinstance(value, str):
        return Body(value)
    opened = parsed(value)
    if opened is not value:
        return Body(opened)
    if _STREAM.match(value):
        return _read_stream(value)
    return _read_chunks(value) or Body({"text": value})


def absent(note: str) -> Body:
    """A body that the source has withheld, and why."""
    return Body(gaps=[Gap("/content", "not_captured", note=note)])


def _read_stream(text: str) -> Body:
    raw = text.encode("utf-8", "surrogatepass")
    reader = anthropic_stream.assemble_text if _ANTHROPIC.search(text) else openai_stream.assemble_text
    found = reader(raw)
    if not found.message and found.error is None:
        return Body({"text": text}, streamed=True)
    return Body(_content(found), [_gap(found, len(raw))], True, not found.complete, found.error)


def _read_chunks(text: str) -> Body | None:
    """Lines of JSON that are the pieces of a stream, without the framing of one."""
    if not text.lstrip().startswith("{") or "\n" not in text:
        return None
    raw = text.encode("utf-8", "surrogatepass")
    units = split_json(raw)
    chunks = [unit.value for unit in units if isinstance(unit.value, dict)]
    if len(chunks) != len(units) or len(chunks) < 2:
        return None
    if chunks[0].get("type") == "message_start":
        found = anthropic_stream.assemble(chunks)
    elif chunks[0].get("object") == "chat.completion.chunk" or str(chunks[0].get("type")).startswith("response."):
        found = openai_stream.assemble(chunks)
    else:
        return None
    return Body(_content(found), [_gap(found, len(raw))], True, not found.complete, found.error)


def _content(found: Assembled) -> dict[str, Any]:
    """The message; beside it, what of the stream is not in it."""
    value = dict(found.message) or dict(found.error or {})
    if found.error is not None and found.message:
        value["stream_error"] = found.error
    details = [note._asdict() for note in found.notes]
    return value | {"stream_notes": details} if details else value


def _gap(found: Assembled, size: int) -> Gap:
    if not found.complete:
        return Gap("/content", "truncated", original_size=None, note="the stream ends before its end")
    return Gap("/content", "reconstructed", original_size=size, note="put together from a stream of events")


def body_text(value: object) -> str:
    """JSON text of a value, for the ``…_raw`` fields; ``""`` for nothing."""
    return "" if value in (None, "", [], {}) else encode_content(value).decode("utf-8", "replace")
