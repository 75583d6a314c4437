"""Documents that a request puts before the model: files, images, search results, by value or by reference. Pure.

Each turn repeats what came before it, so only what follows the last message of the assistant counts as new. Blocks of
OpenAI chat and Responses and of Anthropic Messages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from collector.gateways.gaps import Gap, pointer
from collector.gateways.messages import first_new

_BLOCKS = frozenset(
    {
        *("document", "image", "search_result", "container_upload"),
        *("image_url", "input_image", "file", "input_file", "input_audio"),
    }
)
"""``type`` of a block that is a document."""

_MAX_DEPTH = 4
"""A document in a tool's result lies two levels below its message."""


@dataclass(slots=True)
class Document:
    """One document.

    Attributes:
        pointer: to its block.
        block: as the request has it, without the bytes of base64 data, which are in the prompt.
        document_id, source, label: as far as the block names them.
        sha256: of the document's bytes, in hex; ``""`` where the request has only a reference.
        gaps: what is not in the event; pointers begin at ``/content/document``.
    """

    pointer: str
    block: dict[str, Any]
    document_id: str = ""
    source: str = ""
    label: str = ""
    sha256: str = ""
    gaps: list[Gap] = field(default_factory=list)


def new_documents(request: dict[str, Any], at: str) -> list[Document]:
    """The documents that are new in a request. ``at`` is the pointer to it."""
    found = []
    for name in ("messages", "input"):
        messages = request.get(name)
        if isinstance(messages, list):
            for index, message in enumerate(messages[first_new(messages) :], first_new(messages)):
                found += [_document(block, place) for block, place in _blocks(message, at + pointer(name, index))]
    return found


def _blocks(message: object, at: str, depth: int = 0) -> Iterator[tuple[dict[str, Any], str]]:
    """Blocks of a message that are documents, also within the result of a tool."""
    if not isinstance(message, dict) or depth > _MAX_DEPTH:
        return
    kind = message.get("type")
    if isinstance(kind, str) and kind in _BLOCKS:
        yield message, at
        return
    for name in ("content", "output"):
        inner = message.get(name)
        if isinstance(inner, list):
            for index, block in enumerate(inner):
                yield from _blocks(block, at + pointer(name, index), depth + 1)


def _document(block: dict[str, Any], at: str) -> Document:
    kept, found = dict(block), Document(at, {})
    found.block = kept
    found.label = _text(block, "title", "filename")
    for name in ("source", "file", "input_audio"):
        if isinstance(block.get(name), dict):
            kept[name] = _holder(block[name], f"/{name}", found)
    for name in ("image_url", "file_data", "file_url"):
        _data_url(kept, name, f"/{name}", found)
    if isinstance(block.get("image_url"), dict):
        kept["image_url"] = dict(block["image_url"])
        _data_url(kept["image_url"], "url", "/image_url/url", found)
    if block.get("type") == "search_result":
        found.source = _text(block, "source")
    found.document_id = found.document_id or _text(block, "file_id", "id")
    if not found.sha256 and isinstance(block.get("content"), list):
        _hash_texts(block["content"], found)
    return found


def _holder(holder: dict[str, Any], at: str, found: Document) -> dict[str, Any]:
    """``source`` of Anthropic, ``file`` and ``input_audio`` of OpenAI chat."""
    kept = dict(holder)
    found.document_id = found.document_id or _text(holder, "file_id")
    found.source = found.source or _text(holder, "url")
    found.label = found.label or _text(holder, "filename")
    if holder.get("type") == "text" and isinstance(holder.get("data"), str):
        found.sha256 = hashlib.sha256(holder["data"].encode("utf-8", "surrogatepass")).hexdigest()
    elif isinstance(holder.get("data"), str) and holder.get("type") in (None, "base64"):
        _cut_base64(kept, "data", at + "/data", holder["data"], found)
    if isinstance(holder.get("content"), list):
        _hash_texts(holder["content"], found)
    _data_url(kept, "file_data", at + "/file_data", found)
    return kept


def _data_url(kept: dict[str, Any], name: str, at: str, found: Document) -> None:
    """A ``data:`` URL is cut to its head; any other URL is where the document is."""
    text = kept.get(name)
    if not isinstance(text, str):
        return
    head, comma, data = text.partition(",")
    if text.startswith("data:") and comma and head.endswith(";base64"):
        if _cut_base64(kept, name, at, data, found):
            kept[name] = head + ","
    elif "://" in text[:16]:
        found.source = found.source or text.partition("?")[0]


def _cut_base64(kept: dict[str, Any], name: str, at: str, data: str, found: Document) -> bool:
    """False where it is not base64: it stays as it is."""
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    found.sha256 = hashlib.sha256(raw).hexdigest()
    kept.pop(name)
    found.gaps.append(
        Gap(f"/content/document{at}", "by_ref", original_size=len(raw), original_sha256=found.sha256, note="see prompt")
    )
    return True


def _hash_texts(blocks: list[Any], found: Document) -> None:
    """Text blocks hash as their texts, joined by nothing."""
    texts = [block.get("text") for block in blocks if isinstance(block, dict)]
    if texts and all(isinstance(text, str) for text in texts):
        found.sha256 = hashlib.sha256("".join(map(str, texts)).encode("utf-8", "surrogatepass")).hexdigest()


def _text(value: dict[str, Any], *names: str) -> str:
    return next((value[name] for name in names if isinstance(value.get(name), str) and value[name]), "")
