"""A recorded exchange, read: who, what, when, how it ended, and what of it could not be had."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from kept_leaves import assert_kept, distinct
from provider_streams import anthropic_events, chat_chunks, responses_events, sse, until
from recorded import START, drafts_of, kinds, received, recorded

from collector.assemble import Stamp, assemble
from collector.gateways.proxy import ProxyFormat
from collector.gateways.warc import WarcRecord, format_warc, parse_warc
from collector.sealing import prepare
from schemas.errors import MalformedInput

ASKED: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 512,
    "stream": True,
    "system": [{"type": "text", "text": "You are terse."}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Weather in Paris?"}]}],
    "metadata": {"user_id": "u-17"},
}
STREAM = sse(anthropic_events())
SECRET = "sk-ant-api03-0123456789abcdefghijklmnop"


def test_a_stream_with_tools_becomes_its_events() -> None:
    answer = [("request-id", "req_011C"), ("anthropic-organization-id", "org-9"), ("ratelimit-left", "7")]
    asked = [("user-agent", "claude-cli/2.1.331"), ("anthropic-beta", "tools-1"), ("x-stainless-retry-count", "2")]
    file = recorded(ASKED, STREAM, headers=asked, answer_headers=answer, media_type="text/event-stream", pieces=9)
    drafts = drafts_of(file)
    assert kinds(drafts) == ["prompt", "response", "tool_call", "tool_call", "tool_call", "tool_result"]
    prompt, response = drafts[0].metadata, drafts[1].metadata
    assert drafts[0].content == ASKED
    assert (prompt["occurred_at"], prompt["time_role"], prompt["time_precision"]) == (START, "start", "us")
    assert (prompt["end_user_id"], prompt["assurance"]) == ("u-17", "client_asserted")
    assert (prompt["user_agent"], prompt["client_ip"], prompt["attempt"]) == ("claude-cli/2.1.331", "192.0.2.4", 3)
    assert (prompt["provider"], prompt["model_path"], prompt["operation"]) == ("anthropic", "direct", "chat")
    assert json.loads(prompt["extras"]["request_headers"])["anthropic-beta"] == "tools-1"
    assert json.loads(prompt["extras"]["response_headers"])["ratelimit-left"] == "7"
    assert drafts[1].content["content"][1]["text"] == "I look it up: ☀\u2028"
    assert (response["request_id_provider"], response["request_id_response"]) == ("req_011C", "msg_01Stream")
    assert (response["org_id"], response["model_served"], response["stream"]) == ("org-9", "claude-sonnet-5", True)
    assert (response["outcome"], response["http_status"], response["stop_reason"]) == ("ok", 200, "tool_call")
    assert response["input_tokens"] == 15 + 410 + 30112
    assert (response["output_tokens"], response["usage_semantics"]) == (61, "uncached")
    assert (response["started_at"], response["first_token_at"]) == (START, START + 3_000_000)
    assert (response["time_to_first_token_ms"], response["latency_ms"]) == (3000.0, 4000.0)
    assert response["content_state"] == "reconstructed"
    assert [draft.metadata["tool_name"] for draft in drafts[2:5]] == ["get_weather", "now", "web_search"]
    assert drafts[2].content == {"arguments": {"city": "Paris", "days": [1, 2]}}


def test_the_key_of_the_provider_is_nowhere() -> None:
    for name in ("x-api-key", "authorization", "cookie"):
        value = SECRET if name != "authorization" else f"Bearer {SECRET}"
        file = recorded(ASKED, {"id": "msg_1"}, headers=[(name, value)], answer_headers=[("set-cookie", SECRET)])
        assert SECRET.encode() not in file
        drafts = drafts_of(file)
        assert SECRET not in json.dumps([[draft.metadata, draft.content] for draft in drafts])
        assert json.loads(drafts[0].metadata["extras"]["removed_headers"]) == sorted([name, "set-cookie"])
        assert drafts[0].metadata["api_key_id"] == ""


def test_with_a_key_of_ours_the_providers_key_has_a_fingerprint() -> None:
    files = [
        recorded(ASKED, {"id": "msg_1"}, headers=[header], fingerprint_key=key)
        for key in (b"one", b"two")
        for header in (("x-api-key", SECRET), ("authorization", f"Bearer {SECRET}"))
    ]
    ids = [drafts_of(file)[0].metadata["api_key_id"] for file in files]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert ids[0].startswith("hmac:")
    assert drafts_of(files[0])[1].metadata["api_key_alias"] == "…mnop"
    assert all(SECRET.encode() not in file for file in files)


def test_keys_in_the_query_are_nowhere() -> None:
    file = recorded(ASKED, {"id": "x"}, api="", path="/v1beta/models/g:generateContent?key=AIzaSy0123456789&alt=sse")
    assert b"AIzaSy0123456789" not in file
    assert b"alt=sse" in file


@pytest.mark.parametrize(
    ("headers", "user_id", "session"),
    [
        (
            [("x-claude-code-session-id", "s-1")],
            "user_ab_account_cd_session_2f6c0f36-5f0e-4d4f-8f8e-0d7f5c0f5a11",
            "s-1",
        ),
        ([], "user_ab_account_cd_session_2f6c0f36-5f0e-4d4f-8f8e-0d7f5c0f5a11", "2f6c0f36-5f0e-4d4f-8f8e-0d7f5c0f5a11"),
        ([], '{"device_id":"d","account_uuid":"","session_id":"s-2"}', "s-2"),
        ([("x-affidavit-session", "s-3")], "u-17", "s-3"),
        ([], "u-17", ""),
        ([], '{"session_id":', ""),
    ],
)
def test_the_session_as_claude_code_or_the_caller_says_it(
    headers: list[tuple[str, str]], user_id: str, session: str
) -> None:
    drafts = drafts_of(recorded({**ASKED, "metadata": {"user_id": user_id}}, {"id": "msg_1"}, headers=headers))
    assert {draft.metadata.get("session_id", "") for draft in drafts} == {session}


def test_agents_and_traces_that_the_client_names() -> None:
    headers = [
        ("x-claude-code-agent-id", "a-2"),
        ("x-claude-code-parent-agent-id", "a-1"),
        ("x-claude-code-prompt-id", "p-1"),
        ("x-client-request-id", "c-1"),
        ("x-affidavit-user", "dana@example.com"),
        ("traceparent", "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01"),
    ]
    metadata = drafts_of(recorded(ASKED, {"id": "msg_1"}, headers=headers))[1].metadata
    assert (metadata["agent_id"], metadata["agent_parent_id"], metadata["prompt_id"]) == ("a-2", "a-1", "p-1")
    assert (metadata["request_id_client"], metadata["end_user_id"]) == ("c-1", "dana@example.com")
    assert (metadata["trace_id"], metadata["parent_span_id"]) == (
        "5b8efff798038103d269b633813fc60c",
        "eee19b7ec3c1b174",
    )
    assert metadata["assurance"] == "client_asserted"


def test_only_results_and_documents_that_are_new_become_events() -> None:
    pdf = base64.b64encode(b"%PDF-1.7 made up").decode()
    document = {"type": "document", "title": "Terms", "source": {"type": "base64", "media_type": "application/pdf"}}
    document["source"]["data"] = pdf  # type: ignore[index]
    old = {"type": "tool_result", "tool_use_id": "toolu_0", "content": "old"}
    new = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "new", "is_error": True}
    calls = [{"type": "tool_use", "id": f"toolu_{at}", "name": "look", "input": {}} for at in (0, 1)]
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": calls[:1]},
        {"role": "user", "content": [old]},
        {"role": "assistant", "content": calls[1:]},
        {"role": "user", "content": [new, document]},
    ]
    drafts = drafts_of(recorded({**ASKED, "messages": messages}, {"id": "msg_1", "content": []}))
    assert kinds(drafts) == ["prompt", "tool_result", "context", "response"]
    assert (drafts[1].metadata["call_id"], drafts[1].metadata["tool_is_error"]) == ("toolu_1", True)
    assert drafts[2].metadata["document_label"] == "Terms"
    assert drafts[2].metadata["document_sha256"] == hashlib.sha256(b"%PDF-1.7 made up").hexdigest()


@pytest.mark.parametrize(
    ("api", "path", "stream", "kind"),
    [
        ("openai", "/v1/chat/completions", sse(chat_chunks(), named=False, done=True), "chat.completion"),
        ("openai", "/v1/responses", sse(responses_events()), "response"),
        ("", "/v1/chat/completions", sse(chat_chunks(), named=False, done=True), "chat.completion"),
    ],
)
def test_streams_of_openai(api: Any, path: str, stream: bytes, kind: str) -> None:
    asked = {"model": "gpt-5", "stream": True, "messages": [{"role": "user", "content": "?"}], "user": "u-1"}
    drafts = drafts_of(recorded(asked, stream, api=api, path=path, media_type="text/event-stream; charset=utf-8"))
    assert drafts[1].content["object"] == kind
    assert drafts[1].metadata["outcome"] == "ok"
    assert [draft.metadata["tool_name"] for draft in drafts[2:]] == (
        ["now"] if kind == "response" else ["get_weather", "now"]
    )


def test_a_stream_in_anthropics_words_is_known_by_itself() -> None:
    drafts = drafts_of(recorded(ASKED, STREAM, api="", path="/llm", media_type="text/event-stream"))
    assert drafts[1].content["id"] == "msg_01Stream"


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(STREAM)),
        ("br", brotli.compress(STREAM)),
        ("zstd", zstandard.compress(STREAM)),
        ("identity", STREAM),
        ("gzip, br", brotli.compress(gzip.compress(STREAM))),
    ],
)
def test_compressed_answers_are_read(encoding: str, packed: bytes) -> None:
    headers = [("content-encoding", encoding)]
    file = recorded(ASKED, packed, answer_headers=headers, media_type="text/event-stream")
    assert drafts_of(file)[1].content["id"] == "msg_01Stream"
    assert packed in file


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_compressed_answer_that_broke_off_says_what_it_said(encoding: str) -> None:
    noise = random.Random(7).randbytes(200_000).hex()
    events = [*anthropic_events()[:6], {"type": "x", "noise": noise}, *anthropic_events()[6:]]
    packers = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.compress}
    packed = packers[encoding](sse(events))
    headers = [("content-encoding", encoding)]
    file = recorded(
        ASKED, packed[:-300], answer_headers=headers, media_type="text/event-stream", end="broken", error="broke off"
    )
    response = drafts_of(file)[1]
    assert response.content["id"] == "msg_01Stream"
    assert (response.metadata["outcome"], response.metadata["content_state"]) == ("partial", "truncated")


def test_an_encoding_that_nobody_reads_is_kept_and_said() -> None:
    file = recorded(ASKED, b"\x01\x02", answer_headers=[("content-encoding", "snappy")])
    response = drafts_of(file)[1]
    assert response.metadata["content_state"] == "by_ref"
    assert "snappy" in response.metadata["content_gaps"]
    assert response.content["sha256"] == hashlib.sha256(b"\x01\x02").hexdigest()


def test_a_bomb_costs_what_the_limit_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.gateways.wire_bodies.INFLATED_LIMIT", 1 << 20)
    bomb = gzip.compress(b" " * (64 << 20))
    response = drafts_of(recorded(ASKED, bomb, answer_headers=[("content-encoding", "gzip")]))[1]
    assert response.metadata["content_state"] == "truncated"
    assert len(response.content["text"]) < 4 << 20


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"type": "invalid_request_error", "message": "max_tokens: required"}),
        (429, {"type": "rate_limit_error", "message": "Slow down"}),
        (529, {"type": "overloaded_error", "message": "Overloaded"}),
    ],
)
def test_errors_of_the_provider(status: int, error: dict[str, str]) -> None:
    body = {"type": "error", "error": error, "request_id": "req_1"}
    response = drafts_of(recorded(ASKED, body, status=status))[1]
    assert response.content == body
    metadata = response.metadata
    assert (metadata["outcome"], metadata["http_status"], metadata["error_stage"]) == ("error", status, "provider")
    assert (metadata["error_type"], metadata["error_message"]) == (error["type"], error["message"])


def test_an_error_event_after_200_is_an_error_with_what_came_before() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    stream = sse([*until(anthropic_events(), "content_block_stop", 2), error])
    response = drafts_of(recorded(ASKED, stream, media_type="text/event-stream"))[1]
    assert (response.metadata["outcome"], response.metadata["error_type"]) == ("error", "overloaded_error")
    assert response.content["content"][0]["thinking"] == "The user asks für Paris."
    assert response.content["stream_error"] == error


def test_a_stream_that_ends_before_its_end_is_partial() -> None:
    stream = sse(until(anthropic_events(), "message_delta"))
    response = drafts_of(recorded(ASKED, stream, media_type="text/event-stream"))[1]
    assert (response.metadata["outcome"], response.metadata["content_state"]) == ("partial", "truncated")


@pytest.mark.parametrize(
    ("end", "outcome", "stage"),
    [("unreachable", "error", "transport"), ("timeout", "error", "transport"), ("cancelled", "cancelled", "")],
)
def test_without_an_answer_the_question_is_kept(end: Any, outcome: str, stage: str) -> None:
    drafts = drafts_of(recorded(ASKED, None, end=end, error="no connection"))
    assert kinds(drafts) == ["prompt", "response"]
    assert drafts[1].content is None
    metadata = drafts[1].metadata
    assert (metadata["outcome"], metadata.get("error_stage", ""), metadata["error_message"]) == (
        outcome,
        stage,
        "no connection",
    )


def test_an_exchange_that_is_still_open_is_its_prompt_with_the_same_ids() -> None:
    def ids(file: bytes) -> list[str]:
        reading = ProxyFormat().read(file, received())
        return [
            event.metadata["event_id"] for events in assemble(reading, received(), Stamp("c", 0)) for event in events
        ]

    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "new"}
    asked = {**ASKED, "messages": [{"role": "user", "content": [result]}]}
    early = recorded(asked, STREAM, media_type="text/event-stream", end="open")
    late = recorded(asked, STREAM, media_type="text/event-stream")
    assert kinds(drafts_of(early)) == ["prompt", "tool_result"]
    assert ids(late)[:2] == ids(early)


def test_requests_that_are_no_json_are_kept_by_hash() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\xff\xfe\r\n--x--'
    headers = [("content-type", "multipart/form-data; boundary=x")]
    prompt = drafts_of(recorded(body, {"id": "file-1"}, api="openai", path="/v1/files", headers=headers))[0]
    assert prompt.content["sha256"] == hashlib.sha256(body).hexdigest()
    assert prompt.metadata["content_state"] == "by_ref"


def test_operations_by_path() -> None:
    counted = drafts_of(recorded(ASKED, {"input_tokens": 9}, path="/v1/messages/count_tokens?beta=true"))
    assert [draft.metadata["operation"] for draft in counted] == ["count_tokens"] * 2
    fetched = drafts_of(recorded(b"", {"id": "resp_1"}, api="openai", path="/v1/responses/resp_1", method="GET"))
    assert [(draft.kind, draft.metadata["operation"]) for draft in fetched] == [("response", "retrieve")]
    assert fetched[0].metadata["request_id_response"] == "resp_1"


def test_a_prompt_by_reference_is_linked() -> None:
    asked = {"model": "gpt-5", "input": "and now?", "previous_response_id": "resp_0"}
    drafts = drafts_of(recorded(asked, {"id": "resp_1", "object": "response"}, api="openai", path="/v1/responses"))
    assert {draft.metadata["previous_response_id"] for draft in drafts} == {"resp_0"}


def test_no_leaf_is_lost() -> None:
    asked = distinct(ASKED, keep=("/messages/0/role", "/system/0/type", "/messages/0/content/0/type", "/stream"))
    message = json.loads(json.dumps(anthropic_events()[0]["message"]))
    message["content"] = [
        {"type": "text", "text": "hi"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
    ]
    answered = distinct(message, keep=("/type", "/role", "/content/0/type", "/content/1/type"))
    headers = [("x-one", "1-one"), ("x-two", "2-two")]
    drafts = drafts_of(recorded(asked, answered, headers=headers, answer_headers=[("x-three", "3-three")]))
    assert_kept([asked, answered, "1-one", "2-two", "3-three"], drafts)


def test_samples_of_real_bodies(samples: Path) -> None:
    for request, response, api, path in (
        ("anthropic/request-cache_control.json", "anthropic/response-tool.json", "anthropic", "/v1/messages"),
        (
            "openai/chat-request-multi-turn-tools.json",
            "openai/chat-response-tool_call.json",
            "openai",
            "/v1/chat/completions",
        ),
        ("openai/chat-request-multi-turn-tools.json", "openai/responses-tool.json", "openai", "/v1/responses"),
    ):
        asked, answered = ((samples / name).read_bytes() for name in (request, response))
        drafts = drafts_of(recorded(asked, answered, api=api, path=path))  # type: ignore[arg-type]
        assert_kept([json.loads(asked), json.loads(answered)], drafts)
        assert "tool_call" in kinds(drafts)


RECORDED = recorded(ASKED, STREAM, media_type="text/event-stream")


def test_the_file_is_warc_with_the_exact_bytes() -> None:
    records = parse_warc(RECORDED)
    assert [record.field("WARC-Type") for record in records] == ["request", "response", "metadata"]
    assert bytes(records[0].block[0]).endswith(b"\r\n\r\n" + json.dumps(ASKED).encode())
    assert bytes(records[1].block[0]).endswith(b"\r\n\r\n" + STREAM)
    assert records[1].field("WARC-Concurrent-To") == records[0].field("WARC-Record-ID")
    assert records[0].field("WARC-Date") == "2026-08-21T09:40:00.000000Z"
    assert b"".join(bytes(piece) for piece in format_warc(records)) == RECORDED


FIELD_TEXT = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=9)
RECORDS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.from_regex(r"[A-Za-z-]{1,9}", fullmatch=True), FIELD_TEXT), max_size=4),
        st.binary(max_size=30),
    ),
    max_size=4,
)


@given(records=RECORDS)
def test_warc_is_read_as_it_was_written(records: list[tuple[list[tuple[str, str]], bytes]]) -> None:
    made = [WarcRecord(tuple(fields), (block,)) for fields, block in records]
    read = parse_warc(b"".join(bytes(piece) for piece in format_warc(made)))
    assert [(record.fields, bytes(record.block[0])) for record in read] == [(one.fields, *one.block) for one in made]


@given(cut=st.integers(0, len(RECORDED)), junk=st.binary(max_size=5))
def test_a_damaged_file_is_unparsed_with_its_bytes(cut: int, junk: bytes) -> None:
    damaged = RECORDED[:cut] + junk + RECORDED[cut + 1 :]
    reading = ProxyFormat().read(damaged, received())
    assert reading.units[0].source == damaged
    events = assemble(reading, received(), Stamp("c", 0))
    prepare([event for own in events for event in own])


def test_what_is_no_warc_is_refused_with_its_place() -> None:
    for body, what in (
        (b"WARC/1.0\r\n\r\n", r"expected WARC/1\.1"),
        (b"WARC/1.1\r\nContent-Length: 000000000001\r\n\r\n", "does not end after its 1 bytes"),
        (b"WARC/1.1\r\nContent-Length: 01\r\n\r\nx\r\n\r\n", "last field is not Content-Length"),
        (b"WARC/1.1\r\nbroken\r\n\r\n", "expected name: value"),
        (b"WARC/1.1", "no end of a WARC record's fields"),
    ):
        with pytest.raises(MalformedInput, match=what):
            parse_warc(body)
    assert ProxyFormat().read(b"", received()).error == "got WARC records none, expected request and metadata"


BODIES = st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*("messages", "role", "content", "type", "input", "usage", "error", "choices", "message"),
                 *("jsonrpc", "method", "params", "id", "result", "metadata", "user_id", "source", "data", "model"),
                 "tool_calls"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())  # fmt: skip


@given(
    asked=BODIES,
    answered=BODIES,
    api=st.sampled_from(["anthropic", "openai", "mcp", ""]),
    media_type=st.sampled_from(["application/json", "text/event-stream", "image/png", ""]),
    encoding=st.sampled_from(["", "gzip", "br", "deflate", "zstd, gzip", "x"]),
)
def test_no_body_makes_it_fail(asked: bytes, answered: bytes, api: Any, media_type: str, encoding: str) -> None:
    headers = [("content-encoding", encoding)]
    file = recorded(asked, answered, api=api, media_type=media_type, headers=headers, answer_headers=headers)
    events = assemble(ProxyFormat().read(file, received()), received(), Stamp("c", 0))
    prepare([event for own in events for event in own])


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"messages":' * 20_000,
        b'{"model": ' + b"9" * 10_000 + b"}",
        b'{"model": "\\ud800", "messages": [{"role": "user", "content": "\\udfff"}]}',
        b'{"model": 1, "model": "two"}',
        b"\xff\xfe\x00",
        json.dumps({f"field{at}": at for at in range(10_000)}).encode(),
    ],
)
def test_hostile_bodies(body: bytes) -> None:
    for media_type in ("application/json", "text/event-stream"):
        file = recorded(body, b"data: " + body + b"\n\n", media_type=media_type)
        events = assemble(ProxyFormat().read(file, received()), received(), Stamp("c", 0))
        prepare([event for own in events for event in own])
        assert events[0][0].source == file
