"""The real SDKs of Anthropic and OpenAI, and the real Claude Code, through the recording proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from claude_code import run_claude_code
from fake_messages_api import ANSWER, COMMAND, fake_messages_api
from provider_streams import anthropic_events, chat_chunks, responses_events, sse
from proxy_server import RunningProxy, proxy_server
from scripted_upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    Seen,
    chunk,
    scripted_upstream,
    whole,
    zipped,
)

from collector.proxy import ProxyConfig

KEY = "sk-placeholder-0123456789abcdef"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"city": "Paris"}}],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 30, "output_tokens": 9},
}
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_787_305_200,
    "model": "gpt-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Bonjour"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


async def provider(request: Seen) -> AsyncIterator[bytes]:
    """Both APIs; the model's name says what is to happen."""
    asked = request.json
    kind = asked["model"]
    if kind == "overloaded":
        body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
        yield whole(json.dumps(body).encode(), "request-id: req_1", status="529 Overloaded")
    elif kind == "bad":
        error = {"message": "no such parameter", "type": "invalid_request_error", "param": "x", "code": None}
        yield whole(json.dumps({"error": error}).encode(), "x-request-id: req_2", status="400 Bad Request")
    elif asked.get("stream"):
        yield STREAM_HEAD
        for event in _events(request.path, kind):
            yield chunk(event)
            await asyncio.sleep(0)
        if kind == "endless":
            while True:
                yield chunk(b'event: ping\ndata: {"type": "ping"}\n\n')
                await asyncio.sleep(0.005)
        yield LAST_CHUNK
    else:
        answer = {"/v1/messages": MESSAGE, "/v1/chat/completions": COMPLETION}.get(request.path)
        answer = answer or responses_events()[-1]["response"]
        yield zipped(json.dumps(answer).encode(), "request-id: req_3", "x-request-id: req_3")


def _events(path: str, kind: str) -> Iterator[bytes]:
    if path.endswith("/messages"):
        events = anthropic_events()
        if kind == "broken":
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            events = [*events[:12], error]
        if kind == "endless":
            events = events[:8]
        return (sse([event]) for event in events)
    if path.endswith("/responses"):
        return (sse([event]) for event in responses_events())
    return (piece for piece in (*(sse([one], named=False) for one in chat_chunks()), b"data: [DONE]\n\n"))


@pytest.fixture
def both() -> Iterator[tuple[ScriptedUpstream, RunningProxy]]:
    with (
        scripted_upstream(provider) as upstream,
        proxy_server({"anthropic": upstream.url, "openai": upstream.url}) as proxy,
    ):
        yield upstream, proxy


def claude(proxy: RunningProxy) -> anthropic.Anthropic:
    base = f"{proxy.url}/anthropic"
    return anthropic.Anthropic(api_key=KEY, base_url=base, default_headers=proxy.headers, max_retries=0)


def gpt(proxy: RunningProxy) -> openai.OpenAI:
    """By its base URL alone, as for tools that take no header."""
    return openai.OpenAI(api_key=KEY, base_url=f"{proxy.url}/t/{proxy.token}/openai/v1", max_retries=0)


ASKED: Any = {"max_tokens": 99, "messages": [{"role": "user", "content": "Weather in Paris?"}]}
TOOLS: Any = [{"name": "get_weather", "input_schema": WEATHER}]


def test_a_message_of_anthropic(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    upstream, proxy = both
    with claude(proxy) as client:
        message = client.messages.create(model="claude-sonnet-5", tools=TOOLS, metadata={"user_id": "u-17"}, **ASKED)
    assert message.to_dict(mode="json") == MESSAGE
    assert message._request_id == "req_3"
    carried = upstream.seen[0].header(b"x-api-key") or upstream.seen[0].header(b"authorization")
    assert carried.removeprefix(b"Bearer ") == KEY.encode()
    prompt, response, call = proxy.opened(3)
    assert prompt.content == upstream.seen[0].json
    assert response.content == MESSAGE
    assert call.content == {"arguments": {"city": "Paris"}}
    assert (prompt.metadata["end_user_id"], response.metadata["input_tokens"]) == ("u-17", 30)
    assert prompt.metadata["user_agent"].startswith("Anthropic/Python")
    assert response.metadata["request_id_provider"] == "req_3"
    assert prompt.source is not None
    assert KEY.encode() not in prompt.source


def test_a_stream_of_anthropic(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    _, proxy = both
    with claude(proxy) as client, client.messages.stream(model="claude-sonnet-5", **ASKED) as stream:
        final = stream.get_final_message().to_dict(mode="json")
    events = proxy.opened(6)
    response = events[1]
    assert [block["type"] for block in response.content["content"]] == [block["type"] for block in final["content"]]
    assert response.content["content"][2]["input"] == final["content"][2]["input"]
    assert response.content["usage"]["output_tokens"] == final["usage"]["output_tokens"]
    assert response.metadata["time_to_first_token_ms"] is not None
    assert response.metadata["started_at"] <= response.metadata["first_token_at"] <= response.metadata["ended_at"]  # type: ignore[operator]


def test_the_overload_of_anthropic(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    _, proxy = both
    with claude(proxy) as client, pytest.raises(anthropic.APIStatusError, match="Overloaded") as raised:
        client.messages.create(model="overloaded", **ASKED)
    assert (raised.value.status_code, raised.value.request_id) == (529, "req_1")
    response = proxy.opened(2)[1].metadata
    assert (response["outcome"], response["http_status"], response["error_type"]) == ("error", 529, "overloaded_error")


def test_an_error_in_the_stream_of_anthropic(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    _, proxy = both
    with (
        claude(proxy) as client,
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        client.messages.stream(model="broken", **ASKED) as stream,
    ):
        stream.until_done()
    response = next(event for event in proxy.opened(2) if event.metadata["kind"] == "response")
    assert (response.metadata["outcome"], response.metadata["http_status"]) == ("error", 200)
    assert response.content["content"][0]["type"] == "thinking"


def test_a_stream_that_its_reader_leaves(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    upstream, proxy = both
    with claude(proxy) as client, client.messages.stream(model="endless", **ASKED) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                break
    assert upstream.on_closed.wait(10)
    response = next(event for event in proxy.opened(2) if event.metadata["kind"] == "response")
    assert response.metadata["outcome"] == "cancelled"


def test_chat_of_openai(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    upstream, proxy = both
    with gpt(proxy) as client:
        completion = client.chat.completions.create(model="gpt-5", messages=ASKED["messages"], user="u-1")
    assert completion.to_dict(mode="json") == COMPLETION
    assert upstream.seen[0].header(b"authorization") == f"Bearer {KEY}".encode()
    prompt, response = proxy.opened(2)
    assert response.content == COMPLETION
    assert (prompt.metadata["end_user_id"], response.metadata["total_tokens"]) == ("u-1", 11)
    assert response.metadata["request_id_provider"] == "req_3"


def test_a_chat_stream_of_openai(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    _, proxy = both
    with gpt(proxy) as client:
        stream = client.chat.completions.create(model="gpt-5", messages=ASKED["messages"], stream=True)
        text = "".join(choice.delta.content or "" for piece in stream for choice in piece.choices if choice.index == 0)
    events = proxy.opened(4)
    assert events[1].content["choices"][0]["message"]["content"] == text == "Bonjour ☀"
    assert [event.metadata["tool_name"] for event in events[2:]] == ["get_weather", "now"]


def test_responses_of_openai(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    _, proxy = both
    with gpt(proxy) as client:
        whole_answer = client.responses.create(model="gpt-5", input="Weather?")
        with client.responses.stream(model="gpt-5", input="Weather?") as stream:
            final = stream.get_final_response()
    assert whole_answer.id == final.id == "resp_1"
    responses = [event for event in proxy.opened(6) if event.metadata["kind"] == "response"]
    assert responses[0].content == responses[1].content
    assert [event.metadata["stream"] for event in responses] == [None, True]


def test_an_error_of_openai(both: tuple[ScriptedUpstream, RunningProxy]) -> None:
    _, proxy = both
    with gpt(proxy) as client, pytest.raises(openai.BadRequestError, match="no such parameter"):
        client.chat.completions.create(model="bad", messages=ASKED["messages"])
    assert proxy.opened(2)[1].metadata["error_type"] == "invalid_request_error"


def test_our_own_refusals_are_errors_that_the_sdks_know() -> None:
    with proxy_server({"anthropic": "http://127.0.0.1:9", "openai": "http://127.0.0.1:9"}) as proxy:
        with claude(proxy) as client, pytest.raises(anthropic.InternalServerError, match="no connection to upstream"):
            client.messages.create(model="m", **ASKED)
        with gpt(proxy) as other, pytest.raises(openai.InternalServerError, match="no connection to upstream"):
            other.chat.completions.create(model="m", messages=ASKED["messages"])
        stranger = anthropic.Anthropic(api_key=KEY, base_url=f"{proxy.url}/anthropic", max_retries=0)
        with stranger, pytest.raises(anthropic.AuthenticationError, match="got no token"):
            stranger.messages.create(model="m", **ASKED)


@pytest.mark.slow
def test_claude_code(tmp_path: Path) -> None:
    with fake_messages_api() as api, proxy_server({"anthropic": api}, ProxyConfig()) as proxy:
        printed = json.loads(
            run_claude_code(
                f"{proxy.url}/anthropic",
                "http://127.0.0.1:9",
                proxy.token,
                "http/protobuf",
                tmp_path,
                ANTHROPIC_CUSTOM_HEADERS=f"x-affidavit-token: {proxy.token}",
                CLAUDE_CODE_ENABLE_TELEMETRY="0",
            )
        )
        assert printed["result"] == ANSWER
        events = proxy.opened(5)
    called = [event for event in events if event.metadata["kind"] == "tool_call"]
    assert [event.content["arguments"]["command"] for event in called] == [COMMAND]
    results = [event for event in events if event.metadata["kind"] == "tool_result"]
    assert [event.metadata["call_id"] for event in results] == [called[0].metadata["call_id"]]
    assert "affidavit-marker" in json.dumps(results[0].content)
    talked = [event.metadata for event in events if event.metadata["operation"] == "chat"]
    assert {metadata["session_id"] for metadata in talked} == {printed["session_id"]}
    assert all(metadata["user_agent"].startswith("claude-cli/") for metadata in talked)
    assert all(b"sk-ant-placeholder" not in (event.source or b"") for event in events)
