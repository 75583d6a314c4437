"""Frames of Anthropic's inference hooks: what becomes of each block, and that nothing is lost or can make them fail."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct

from collector.gateways import Draft, Received, Unit
from collector.gateways.anthropic_hooks import AnthropicHooksFormat

SIGNED_AT = 1_787_305_200

ASKED: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Fix the test"},
            {"type": "attachment", "file_name": "old.txt", "media_type": "text/plain", "size_bytes": 3, "text": "old"},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I read it"},
            {"type": "tool_use", "id": "toolu_01A", "tool_name": "Read", "input": {"file_path": "a.py"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "toolu_01A",
                "tool_name": "Read",
                "content": "def a(): ...",
                "is_error": False,
            },
            {
                "type": "attachment",
                "file_name": "q2.pdf",
                "media_type": "application/pdf",
                "size_bytes": 48213,
                "text": "Q2 revenue grew",
            },
            {"type": "attachment", "file_name": "photo.png", "media_type": "image/png", "size_bytes": 99},
            {"type": "hologram", "angle": 45.5},
        ],
    },
]

FRAME: dict[str, Any] = {
    "type": "prompt",
    "request_id": "req_abc123",
    "tenant_id": "11111111-1111-1111-1111-111111111111",
    "actor": {"type": "user", "id": "user_01AbCd", "email_address": "dana@example.com", "device": "laptop"},
    "source": {"application": "claude-code"},
    "session_id": "22222222-2222-2222-2222-222222222222",
    "model": "claude-sonnet-5",
    "messages": ASKED,
    "metadata": {"shift": "night"},
    "organization_uuid": "a legacy alias",
}


def received() -> Received:
    headers = {"webhook-id": "req_abc123", "webhook-timestamp": str(SIGNED_AT)}
    return Received(
        "acme", "claude", "webhook:prod", "http", "", "application/json", "", 1, "anthropic-hooks", headers=headers
    )


def unit_of(frame: object) -> Unit:
    (unit,) = AnthropicHooksFormat().read(json.dumps(frame).encode(), received()).units
    return unit


def drafts_of(frame: object, kind: str) -> list[Draft]:
    return [draft for draft in unit_of(frame).drafts if draft.kind == kind]


def test_a_prompt_is_the_conversation_and_what_is_new_in_it() -> None:
    assert [draft.kind for draft in unit_of(FRAME).drafts] == ["prompt", "tool_result", "context", "context"]
    (prompt,) = drafts_of(FRAME, "prompt")
    assert prompt.content == {"messages": ASKED}
    assert prompt.metadata["content_state"] == "omitted"
    assert "system prompts" in prompt.metadata["content_gaps"]


def test_no_leaf_of_a_frame_is_lost() -> None:
    kept = [f"/messages/{at}/role" for at in range(3)]
    kept += [f"/messages/{at}/content/{place}/type" for at in range(3) for place in range(4)]
    record = distinct(FRAME, keep=["/type", *kept])
    assert_kept(record, unit_of(record).drafts, dropped=["/type"])


def test_no_leaf_is_lost_when_a_field_is_of_another_type_than_ever_before() -> None:
    for name in FRAME:
        for strange in ({"x": "a lone value"}, ["a lone value"], 424_242):
            if name != "type":
                record = copy.deepcopy(FRAME) | {name: strange}
                assert_kept(record, unit_of(record).drafts, dropped=["/type"])


def test_who_asked_is_vouched_for_by_anthropic() -> None:
    for draft in unit_of(FRAME).drafts:
        metadata = draft.metadata
        assert (metadata["user_id"], metadata["user_email"]) == ("user_01AbCd", "dana@example.com")
        assert (metadata["org_id"], metadata["assurance"]) == (FRAME["tenant_id"], "provider_authenticated")
        assert metadata["session_id"] == FRAME["session_id"]
        assert metadata["exchange_id"] == metadata["request_id_provider"] == "req_abc123"
        assert metadata["occurred_at"] == SIGNED_AT * 1_000_000
    nobody = drafts_of(FRAME | {"actor": {"type": "robot"}, "session_id": None, "tenant_id": None}, "prompt")[0]
    assert (nobody.metadata["actor_type"], nobody.metadata["user_id"], nobody.metadata["session_id"]) == (
        "robot",
        "",
        "",
    )


def test_the_key_is_the_delivery() -> None:
    assert unit_of(FRAME).source_id == "req_abc123"
    assert unit_of({"type": "prompt", "messages": []}).source_id == "req_abc123"
    assert unit_of(FRAME | {"type": "tool_call"}).source_id == "tool_call:req_abc123"


def test_tools_are_named_as_the_hooks_name_them() -> None:
    (result,) = drafts_of(FRAME, "tool_result")
    assert (result.metadata["call_id"], result.metadata["tool_name"]) == ("toolu_01A", "Read")
    assert result.metadata["tool_is_error"] is False
    assert result.content == {"result": "def a(): ..."}
    assert result.pointer == "/messages/2/content/0"


def test_only_what_follows_the_last_answer_is_new() -> None:
    later = [*ASKED, {"role": "assistant", "content": [{"type": "text", "text": "Done"}]}, ASKED[0]]
    kinds = [draft.kind for draft in unit_of(FRAME | {"messages": later}).drafts]
    assert kinds == ["prompt", "context"]


def test_attachments_are_documents_of_which_only_the_text_is_sent() -> None:
    report, photo = drafts_of(FRAME, "context")
    assert report.metadata["document_label"] == "q2.pdf"
    assert report.metadata["document_sha256"] == hashlib.sha256(b"Q2 revenue grew").hexdigest()
    assert report.metadata["content_state"] == "omitted"
    assert '"original_size":48213' in report.metadata["content_gaps"]
    assert (photo.metadata["content_state"], photo.metadata.get("document_sha256")) == ("not_captured", None)


def test_tools_about_to_run_are_calls_of_the_last_message() -> None:
    frame = FRAME | {"type": "tool_call", "messages": ASKED[:2]}
    response, call = unit_of(frame).drafts
    assert (response.kind, call.kind) == ("response", "tool_call")
    assert response.content == {"message": ASKED[1], "messages": ASKED[:1]}
    assert (call.metadata["call_id"], call.metadata["tool_name"]) == ("toolu_01A", "Read")
    assert (call.content, call.pointer) == ({"arguments": {"file_path": "a.py"}}, "/messages/1/content/1")


@pytest.mark.parametrize("kind", ["memory", "tool_call"])
def test_a_frame_of_another_type_is_kept_whole(kind: str) -> None:
    record = FRAME | {"type": kind, "messages": None, "verdict_for": {"what": "a new thing"}}
    (draft,) = unit_of(record).drafts
    assert (draft.kind, draft.metadata["operation"]) == ("session", kind)
    assert_kept(record, [draft])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"type": 1}', b'{"request_id": "r"}', b"{", b'{"type":"prompt"} x']
)
def test_what_is_no_frame_is_kept_byte_for_byte(body: bytes) -> None:
    reading = AnthropicHooksFormat().read(body, received())
    assert reading.error
    assert [(unit.source, unit.source_id) for unit in reading.units] == [(body, "req_abc123")]


BLOCKS = st.dictionaries(
    st.sampled_from(["type", "text", "id", "tool_name", "input", "content", "file_name", "size_bytes", "tool_use_id"]),
    st.sampled_from(["text", "tool_use", "tool_result", "attachment", "\ud800"])
    | st.integers()
    | st.none()
    | st.lists(st.none()),
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", 3]), "content": st.lists(BLOCKS) | st.text()})
    | st.none()
)


@given(messages=MESSAGES, kind=st.sampled_from(["prompt", "tool_call", "other"]))
def test_no_transcript_makes_it_fail(messages: Any, kind: str) -> None:
    unit = unit_of({"type": kind, "request_id": "r", "messages": messages, "actor": messages})
    assert unit.drafts
    assert not unit.error
