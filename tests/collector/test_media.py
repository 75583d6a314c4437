"""Documents in prompts of formats that do not tell them: one event each, once in a conversation."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from collector.gateways import Draft, Received
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.media import with_documents
from collector.gateways.native import NativeFormat
from collector.reading import read_body

DATA = b"%PDF-1.7 and so on"
TEXT = base64.b64encode(DATA).decode()
DIGEST = hashlib.sha256(DATA).hexdigest()
RECEIVED = Received("acme", "x", "t-1", "http", "", "application/json", "", 1_787_305_200_125_000, "x")

BLOCKS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "Anthropic, by value": (
        {
            "type": "document",
            "title": "Contract",
            "source": {"type": "base64", "media_type": "application/pdf", "data": TEXT},
        },
        {"document_sha256": DIGEST, "document_label": "Contract"},
    ),
    "Anthropic, by file": (
        {"type": "image", "source": {"type": "file", "file_id": "file_011"}},
        {"document_id": "file_011", "document_sha256": ""},
    ),
    "OpenAI chat, by value": (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{TEXT}"}},
        {"document_sha256": DIGEST},
    ),
    "OpenAI chat, by URL": (
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png?signature=secret"}},
        {"document_source": "https://example.com/a.png", "document_sha256": ""},
    ),
    "OpenAI Responses, by value": (
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{TEXT}"},
        {"document_sha256": DIGEST, "document_label": "a.pdf"},
    ),
}


def contexts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    drafts = with_documents([Draft("prompt", {"session_id": "s", "user_id": "u"}, {"messages": messages})])
    return [dict(draft.metadata) for draft in drafts if draft.kind == "context"]


@pytest.mark.parametrize("way", BLOCKS)
def test_a_document_is_an_event(way: str) -> None:
    block, told = BLOCKS[way]
    (found,) = contexts([{"role": "user", "content": [{"type": "text", "text": "read this"}, block]}])
    assert {name: found[name] for name in told} == told
    assert (found["session_id"], found["user_id"]) == ("s", "u")


def test_what_was_there_before_the_last_answer_is_not_new() -> None:
    block, _ = BLOCKS["Anthropic, by value"]
    asked = {"role": "user", "content": [block]}
    assert len(contexts([asked])) == 1
    assert contexts([asked, {"role": "assistant", "content": "read"}, {"role": "user", "content": "and now?"}]) == []


def test_what_a_format_tells_itself_is_not_told_again() -> None:
    prompt = Draft("prompt", {}, {"messages": [{"role": "user", "content": [BLOCKS["OpenAI chat, by value"][0]]}]})
    once = with_documents([prompt])
    assert [draft.kind for draft in once] == ["prompt", "context"]
    assert with_documents(once) == once


def test_native_events_and_those_of_litellm_have_them() -> None:
    messages = [{"role": "user", "content": [BLOCKS["Anthropic, by value"][0]]}]
    native = {"kind": "prompt", "content": {"messages": messages}}
    litellm = {"id": "a", "call_type": "acompletion", "status": "success", "messages": messages, "response": {}}
    for record, source in ((native, NativeFormat()), (litellm, LiteLLMFormat())):
        reading, _ = read_body(json.dumps(record).encode(), source, RECEIVED)
        digests = [draft.metadata.get("document_sha256") for draft in reading.units[0].drafts]
        assert DIGEST in digests


@pytest.mark.parametrize(
    "content", [None, "text", 1, [], {}, {"messages": "x"}, {"messages": [None, 1, {"content": 1}]}]
)
def test_any_content_will_do(content: object) -> None:
    drafts = [Draft("prompt", {}, content)]
    assert with_documents(drafts) == drafts
