"""Looking into Gemini's bodies: ``generateContent`` and ``streamGenerateContent``, in snake_case or camelCase. Pure.

Vertex AI logs proto JSON with the names of the fields as they are in the protocol (``usage_metadata``), the REST API
writes them in camelCase (``usageMetadata``). Bodies are kept as they came; these functions read both.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from collector.gateways.bodies import body_text
from collector.gateways.documents import Document
from collector.gateways.gaps import Gap, pointer
from collector.gateways.messages import ToolCall, ToolResult
from collector.gateways.usage import body_usage
from schemas.metadata import Metadata

BLOCKED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"})
"""Finish reasons that are a verdict of a filter."""

_MAX_LONG = (1 << 63) - 1


def member(value: object, name: str) -> Any:
    """A member by its name in the protocol, in either spelling; ``None`` where there is none."""
    if not isinstance(value, dict):
        return None
    return value[name] if name in value else value.get(_camel(name))


def text_member(value: object, name: str) -> str:
    """A member that is text, else ``""``."""
    found = member(value, name)
    return found if isinstance(found, str) else ""


def spelling(value: object, name: str) -> str:
    """How ``value`` spells a member, for pointers."""
    return name if isinstance(value, dict) and name in value else _camel(name)


def candidates(body: object, at: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """The candidates of an answer, each with the pointer to it."""
    found = member(body, "candidates")
    for index, candidate in enumerate(found if isinstance(found, list) else []):
        if isinstance(candidate, dict):
            yield candidate, at + pointer("candidates", index)


def gemini_calls(body: object, at: str) -> list[ToolCall]:
    """What the model asked for, in order; code that the provider runs itself among it."""
    calls = []
    for candidate, place in candidates(body, at):
        for part, where in _parts(candidate.get("content"), place + "/content"):
            call, code = member(part, "function_call"), member(part, "executable_code")
            if isinstance(call, dict):
                spelt = where + pointer(spelling(part, "function_call"))
                arguments = call.get("args")
                calls.append(
                    ToolCall(text_member(call, "id"), text_member(call, "name"), "function", "", arguments, spelt)
                )
            elif isinstance(code, dict):
                spelt = where + pointer(spelling(part, "executable_code"))
                calls.append(ToolCall(text_member(code, "id"), "code_execution", "server", "", code, spelt))
    return calls


def gemini_ran(body: object, at: str) -> list[ToolResult]:
    """What came of code that the provider ran itself."""
    results = []
    for candidate, place in candidates(body, at):
        for part, where in _parts(candidate.get("content"), place + "/content"):
            found = member(part, "code_execution_result")
            if isinstance(found, dict):
                failed = text_member(found, "outcome") not in ("OUTCOME_OK", "")
                spelt = where + pointer(spelling(part, "code_execution_result"))
                name = text_member(found, "id")
                results.append(ToolResult(name, "code_execution", "server", "", found, failed, spelt))
    return results


def new_gemini_results(request: object, at: str) -> list[ToolResult]:
    """The results of tools that are new in a request: those after the last turn of the model."""
    results = []
    for part, where in _new_parts(request, at):
        found = member(part, "function_response")
        if isinstance(found, dict):
            spelt = where + pointer(spelling(part, "function_response"))
            name, call_id = text_member(found, "name"), text_member(found, "id")
            results.append(ToolResult(call_id, name, "function", "", found.get("response"), None, spelt))
    return results


def new_gemini_documents(request: object, at: str) -> list[Document]:
    """Files and images that are new in a request, by value or by reference."""
    found = []
    for part, where in _new_parts(request, at):
        for name in ("inline_data", "file_data"):
            holder = member(part, name)
            if isinstance(holder, dict):
                found.append(_document(dict(part), spelling(part, name), dict(holder), where))
    return found


def _document(block: dict[str, Any], name: str, holder: dict[str, Any], at: str) -> Document:
    block[name] = holder
    document = Document(at, block, source=text_member(holder, "file_uri"), label=text_member(holder, "display_name"))
    data = holder.get("data")
    if isinstance(data, str):
        try:
            raw = base64.b64decode(data, altchars=b"-_" if "-" in data or "_" in data else None, validate=True)
        except (binascii.Error, ValueError):
            return document
        document.sha256 = hashlib.sha256(raw).hexdigest()
        del holder["data"]
        place = "/content/document" + pointer(name, "data")
        document.gaps.append(
            Gap(place, "by_ref", original_size=len(raw), original_sha256=document.sha256, note="see prompt")
        )
    elif document.source:
        document.gaps.append(Gap("/content/document" + pointer(name), "by_ref", ref=document.source))
    return document


def grounding(body: object, at: str) -> list[Document]:
    """Documents that were retrieved for an answer, as far as its grounding metadata names them."""
    found = []
    for candidate, place in candidates(body, at):
        metadata = member(candidate, "grounding_metadata")
        chunks = member(metadata, "grounding_chunks")
        where = place + pointer(spelling(candidate, "grounding_metadata"), spelling(metadata, "grounding_chunks"))
        for index, chunk in enumerate(chunks if isinstance(chunks, list) else []):
            held = next(
                (member(chunk, name) for name in ("retrieved_context", "web", "maps") if member(chunk, name)), None
            )
            if not isinstance(held, dict):
                continue
            text = text_member(held, "text")
            document = Document(
                where + pointer(index), chunk, source=text_member(held, "uri"), label=text_member(held, "title")
            )
            if text:
                document.sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            else:
                document.gaps.append(Gap("/content/document", "not_captured", ref=document.source, note="named only"))
            found.append(document)
    return found


def finish_word(body: object) -> str:
    """Why the first candidate ended, in Gemini's word."""
    return next((text_member(candidate, "finish_reason") for candidate, _ in candidates(body)), "")


def gemini_usage(body: object) -> Metadata:
    """Token counts. Thoughts are outside of the candidates' count; what a tool put before the model is outside of the
    prompt's."""
    stated = member(body, "usage_metadata")
    if not isinstance(stated, dict) or not stated:
        return {}
    counted = body_usage({"usageMetadata": {_camel(name): value for name, value in stated.items()}})
    counted["usage_raw"] = body_text(stated)
    prompt, tools = counted.get("input_tokens"), member(stated, "tool_use_prompt_token_count")
    if prompt is not None and isinstance(tools, int) and not isinstance(tools, bool) and tools > 0:
        counted["input_tokens"] = prompt = min(prompt + tools, _MAX_LONG)
    if prompt is not None and prompt >= (counted.get("cache_read_tokens") or 0):
        counted["input_uncached_tokens"] = prompt - (counted.get("cache_read_tokens") or 0)
    elif prompt is not None:
        counted["usage_semantics"] = "unknown"
    return counted


def join_chunks(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answer that the chunks of a stream make: the parts of each candidate one behind the other, pieces of one text
    joined; of all else what the last chunk says that says it, for its counts are of the whole."""
    joined: dict[str, Any] = {}
    by_index: dict[Any, dict[str, Any]] = {}
    for chunk in chunks:
        joined |= {name: value for name, value in chunk.items() if name != "candidates"}
        for candidate, _ in candidates(chunk):
            index = candidate.get("index", 0)
            key = index if isinstance(index, int | str) else 0
            _join(by_index.setdefault(key, {}), candidate)
    if by_index:
        joined["candidates"] = list(by_index.values())
    return joined


def _join(whole: dict[str, Any], candidate: dict[str, Any]) -> None:
    for name, value in candidate.items():
        if name != "content" or not isinstance(value, dict) or not isinstance(whole.get("content", {}), dict):
            whole[name] = value
            continue
        content = whole.setdefault("content", {})
        parts = [*_list(content.get("parts")), *_list(value.get("parts"))]
        content.update(value)
        if parts:
            content["parts"] = _texts_joined(parts)


def _texts_joined(parts: Sequence[Any]) -> list[Any]:
    """Pieces of text that follow each other and differ in nothing else are one text."""
    joined: list[Any] = []
    for part in parts:
        last: Any = joined[-1] if joined else None
        if _is_text(part) and _is_text(last) and part.get("thought") == last.get("thought"):
            joined[-1] = {**last, "text": last["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str) and part.keys() <= {"text", "thought"}


def _new_parts(request: object, at: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The parts that follow the last turn of the model."""
    contents = _list(member(request, "contents"))
    first = 0
    for index, content in enumerate(contents):
        if isinstance(content, dict) and content.get("role") == "model":
            first = index + 1
    for index, content in enumerate(contents[first:], first):
        yield from _parts(content, at + pointer("contents", index))


def _parts(content: object, at: str) -> Iterator[tuple[dict[str, Any], str]]:
    parts = member(content, "parts")
    for index, part in enumerate(parts if isinstance(parts, list) else []):
        if isinstance(part, dict):
            yield part, at + pointer("parts", index)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)
