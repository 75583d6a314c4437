"""Request and response bodies in Bedrock's log: whole, as the chunks of a stream, or in an object of their own. Pure.

The chunks of Anthropic, Amazon Nova and OpenAI models are put together into the body that the same call would have had
without streaming. Those of other models are kept as they came, with their text beside them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from collector.gateways import Attachment, anthropic_stream, openai_stream
from collector.gateways.bedrock_converse import assemble_converse
from collector.gateways.gaps import Gap
from collector.gateways.leftovers import Fields
from collector.gateways.streams import DONE, Assembled
from collector.inflate import inflate
from collector.json_units import parse_json
from schemas.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of a body in an object of its own, inflated."""

AMAZON = "amazon-bedrock-"
"""Begins the names of what Bedrock adds to a model's own chunks: metrics, guardrail action and trace."""

METRICS = AMAZON + "invocationMetrics"


@dataclass(slots=True)
class LoggedBody:
    """One side of an invocation.

    Attributes:
        value: the body as content of an event; ``None`` where there is none, or it was not captured.
        gaps: what is not in it; pointers begin at ``/content``.
        at: JSON pointer to it within the record.
        ref: where it lies, if not in the record.
        partial: whether it is a stream that broke off.
        error: the error body that a stream carried.
    """

    value: Any = None
    gaps: list[Gap] = field(default_factory=list)
    at: str = ""
    ref: str = ""
    partial: bool = False
    error: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The body as an object; empty where it is none."""
        return self.value if isinstance(self.value, dict) else {}


def take_body(side: Fields, name: str, attachments: dict[str, Attachment], *, streamed: bool) -> LoggedBody:
    """Take the body out of ``input`` or ``output``; ``name`` is which."""
    found = LoggedBody(at=f"/{name}/{name}BodyJson")
    value = side.take(f"{name}BodyJson")
    stated = side.peek(f"{name}BodyS3Path")
    if isinstance(stated, str) and stated:
        found.ref = stated
        side.take(f"{name}BodyS3Path")
        if value in (None, "", [], {}):
            value = _take_attached(found, attachments.get(stated))
    if isinstance(value, list) and streamed:
        _assemble(value, found)
    elif value not in (None, "", [], {}):
        found.value = value
    return found


def opened(attachment: Attachment) -> tuple[Any, str]:
    """The JSON value of a body in an object of its own, and what is wrong with it."""
    data = attachment.data
    if data[:2] == GZIP_MAGIC:
        try:
            data = inflate(data, ["gzip"], MAX_BODY_BYTES)
        except InputError as error:
            return None, str(error)
    unit = parse_json(data)
    return unit.value, unit.error


def _take_attached(found: LoggedBody, attachment: Attachment | None) -> Any:
    if attachment is None or attachment.problem:
        why = attachment.problem if attachment is not None else "it lies in an object of its own, which nobody fetched"
        found.gaps.append(Gap("/content", "not_captured", ref=found.ref, note=why))
        return None
    value, problem = opened(attachment)
    digest = hashlib.sha256(attachment.data).hexdigest()
    note = f"its bytes are in the event behind: {problem}" if problem else "its bytes are in the event behind"
    size = len(attachment.data)
    found.gaps.append(Gap("/content", "by_ref", original_size=size, original_sha256=digest, ref=found.ref, note=note))
    return value


def _assemble(chunks: list[Any], found: LoggedBody) -> None:
    """Put the chunks of a stream together. ``"[DONE]"`` at the end is a text among objects."""
    events = [chunk for chunk in chunks if isinstance(chunk, dict)]
    done = DONE in [chunk for chunk in chunks if isinstance(chunk, str)]
    others = [chunk for chunk in chunks if not isinstance(chunk, dict) and chunk != DONE]
    added: dict[str, list[Any]] = {}
    for event in events:
        for name, value in event.items():
            if name.startswith(AMAZON) and value not in added.setdefault(name, [])[-1:]:
                added[name].append(value)
    named = {name: values[0] if len(values) == 1 else values for name, values in added.items()}
    if _is_anthropic(events):
        _keep(anthropic_stream.assemble(events), found, done)
    elif any("contentBlockDelta" in event or "messageStart" in event for event in events):
        body, complete = assemble_converse(events)
        _keep(Assembled(body, complete), found, done)
    elif any(event.get("object") == "chat.completion.chunk" for event in events):
        _keep(openai_stream.assemble(events), found, done)
    else:
        text = "".join(_texts(events))
        found.value = {"text": text, "chunks": chunks} if text else {"chunks": chunks}
        found.value |= _last_word(events)
        named, others = {name: value for name, value in named.items() if name == METRICS or _is_verdict(name)}, []
    if isinstance(found.value, dict):
        found.value |= named
        if others:
            found.value["stream_rest"] = others


def _is_anthropic(events: list[dict[str, Any]]) -> bool:
    return any(str(event.get("type", "")).startswith(("message_", "content_block_")) for event in events)


def _is_verdict(name: str) -> bool:
    return name in (AMAZON + "guardrailAction", AMAZON + "trace")


def _keep(assembled: Assembled, found: LoggedBody, done: bool) -> None:
    value = dict(assembled.message)
    if assembled.error is not None:
        value["stream_error"] = assembled.error
    if assembled.notes:
        value["stream_notes"] = [note._asdict() for note in assembled.notes]
    found.value, found.error = value, assembled.error
    found.partial = not (assembled.complete or done)
    if found.partial:
        found.gaps.append(Gap("/content", "truncated", note="the stream ends before its end"))
    else:
        found.gaps.append(Gap("/content", "reconstructed", note="put together from the chunks of a stream"))


def _texts(events: list[dict[str, Any]]) -> list[str]:
    """Pieces of text: Titan, Llama, Mistral, Cohere."""
    found = []
    for event in events:
        outputs = event.get("outputs")
        places = [event, *(one for one in outputs if isinstance(one, dict))] if isinstance(outputs, list) else [event]
        for place in places:
            text = next((place[name] for name in ("outputText", "generation", "text") if name in place), None)
            if isinstance(text, str):
                found.append(text)
    return found


def _last_word(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Why it ended, of the last chunk that says so."""
    for event in reversed(events):
        outputs = event.get("outputs")
        inner = outputs[0] if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict) else {}
        for name in ("completionReason", "stop_reason", "finish_reason"):
            word = event.get(name) or inner.get(name)
            if isinstance(word, str) and word:
                return {name: word}
    return {}
