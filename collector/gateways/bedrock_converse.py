"""Bodies of Bedrock's Converse API, which Amazon Nova's own bodies share: calls, results, documents, streams. Pure.

A block is an object with one key that says what it is: ``{"text": …}``, ``{"toolUse": {…}}``. Documents and images that
Bedrock delivered to S3 have ``source.s3Uri``; ``source.s3Location`` is where the caller had them, and never fetched.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import Any

from collector.gateways.documents import Document
from collector.gateways.gaps import Gap, pointer
from collector.gateways.messages import ToolCall, ToolResult
from collector.json_units import parse_json

MEDIA = ("document", "image", "video", "audio")
"""Blocks that are documents."""


def is_converse(body: object) -> bool:
    """Whether a response is ``{"output": {"message": …}}``."""
    return isinstance(body, dict) and isinstance(body.get("output"), dict) and "message" in body["output"]


def converse_calls(body: object, at: str) -> list[ToolCall]:
    """The tool calls of a response."""
    if not isinstance(body, dict) or not isinstance(body.get("output"), dict):
        return []
    found = []
    for place, block in _blocks(body["output"].get("message"), at + "/output/message"):
        call = block.get("toolUse")
        if isinstance(call, dict):
            kind = "server" if call.get("type") == "server_tool_use" else "function"
            name, call_id = _text(call.get("name")), _text(call.get("toolUseId"))
            found.append(ToolCall(call_id, name, kind, "", call.get("input"), place + "/toolUse"))
    return found


def converse_results(body: object, at: str) -> list[ToolResult]:
    """The tool results that are new in a request."""
    found = []
    for place, block in _new_blocks(body, at):
        result = block.get("toolResult")
        if isinstance(result, dict):
            failed = {"error": True, "success": False}.get(_text(result.get("status")))
            call_id = _text(result.get("toolUseId"))
            answer = result.get("content")
            found.append(ToolResult(call_id, "", "function", "", answer, failed, place + "/toolResult"))
    return found


def converse_documents(body: object, at: str) -> list[Document]:
    """The documents that are new in a request, also within the results of tools and guarded content."""
    found: list[Document] = []
    for place, block in _new_blocks(body, at):
        found += _documents(block, place)
        result = block.get("toolResult")
        if isinstance(result, dict):
            for inner, part in _blocks(result, place + "/toolResult"):
                found += _documents(part, inner)
        if isinstance(block.get("guardContent"), dict):
            found += _documents(block["guardContent"], place + "/guardContent")
    return found


def assemble_converse(events: list[dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """The response of a stream of Converse events, which Nova streams too, and whether it came to its end. What has no
    place in it is kept as ``stream_rest``."""
    message: dict[str, Any] = {}
    body: dict[str, Any] = {}
    blocks: dict[Any, dict[str, Any]] = {}
    rest: list[dict[str, Any]] = []
    complete = False
    for event in events:
        kind = next((name for name in _EVENTS if isinstance(event.get(name), dict)), "")
        stated: dict[str, Any] = event[kind] if kind else {}
        index = stated.get("contentBlockIndex")
        grown = stated.get("start" if kind == "contentBlockStart" else "delta")
        if kind == "messageStart":
            message |= stated
        elif kind in ("messageStop", "metadata"):
            complete = complete or kind == "messageStop"
            body |= stated
        elif kind in ("contentBlockStart", "contentBlockDelta") and isinstance(grown, dict) and _is_place(index):
            _add(blocks.setdefault(index, {}), grown)
        elif kind != "contentBlockStop":
            rest.append(event)
    message["content"] = [_finished(block) for block in blocks.values()]
    return {"output": {"message": message}, **body, **({"stream_rest": rest} if rest else {})}, complete


_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")


def _is_place(index: object) -> bool:
    return index is None or isinstance(index, int)


def _add(block: dict[str, Any], delta: dict[str, Any], *, deep: bool = True) -> None:
    """Add a delta: texts grow, also one level down (``toolUse.input``); anything else replaces. Pieces are joined at
    the end, so that it stays linear."""
    for name, value in delta.items():
        inner = block.get(name)
        if isinstance(value, dict) and deep:
            if not isinstance(inner, _Nested):
                inner = block[name] = _Nested()
            _add(inner, value, deep=False)
        elif isinstance(value, str) and isinstance(inner, _Pieces):
            inner.append(value)
        else:
            block[name] = _Pieces([value]) if isinstance(value, str) else value


class _Pieces(list[str]):
    """A text that grows."""


class _Nested(dict[str, Any]):
    """An object whose texts grow."""


def _finished(block: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for name, value in block.items():
        if isinstance(value, _Nested):
            done[name] = _finished(value)
        elif isinstance(value, _Pieces):
            text = "".join(value)
            unit = parse_json(text.encode("utf-8", "surrogatepass")) if name == "input" else None
            done[name] = text if unit is None or unit.error else unit.value
        else:
            done[name] = value
    return done


def _new_blocks(body: object, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The blocks behind the last message of the assistant: each turn repeats what came before."""
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list):
        return
    first = 0
    for index, message in enumerate(messages):
        if isinstance(message, dict) and message.get("role") == "assistant":
            first = index + 1
    for index, message in enumerate(messages[first:], first):
        yield from _blocks(message, at + pointer("messages", index))


def _blocks(message: object, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        for index, block in enumerate(content):
            if isinstance(block, dict):
                yield at + pointer("content", index), block


def _documents(block: dict[str, Any], at: str) -> Iterator[Document]:
    for kind in MEDIA:
        stated = block.get(kind)
        if not isinstance(stated, dict) or not isinstance(stated.get("source"), dict):
            continue
        holder = stated["source"]
        kept = {**stated, "source": dict(holder)}
        found = Document(at + pointer(kind), {kind: kept}, label=_text(stated.get("name")))
        found.source = _text(holder.get("s3Uri"))
        location = holder.get("s3Location")
        if isinstance(location, dict):
            found.source = _text(location.get("uri"))
            found.gaps.append(Gap(f"/content/document/{kind}/source", "by_ref", ref=found.source, note="the caller's"))
        if isinstance(holder.get("bytes"), str):
            _cut(kept["source"], found, kind)
        elif isinstance(holder.get("text"), str):
            found.sha256 = hashlib.sha256(holder["text"].encode("utf-8", "surrogatepass")).hexdigest()
        yield found


def _cut(source: dict[str, Any], found: Document, kind: str) -> None:
    """Bytes within the request are in the prompt; the event has their hash."""
    try:
        raw = base64.b64decode(source["bytes"], validate=True)
    except (binascii.Error, ValueError):
        return
    del source["bytes"]
    found.sha256 = hashlib.sha256(raw).hexdigest()
    at = f"/content/document/{kind}/source/bytes"
    found.gaps.append(Gap(at, "by_ref", original_size=len(raw), original_sha256=found.sha256, note="see prompt"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
