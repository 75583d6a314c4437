"""Streams of OpenAI's APIs, put together; what OpenAI's own SDK accumulates is the oracle. And what vendors deviate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from provider_streams import call, chat_chunk, chat_chunks, delta, responses_events, sse, until

from collector.gateways.openai_stream import assemble, assemble_text
from collector.gateways.streams import Assembled


def what(assembled: Assembled) -> list[str]:
    return [note.what for note in assembled.notes]


def answering(body: bytes) -> openai.OpenAI:
    """The SDK, with these bytes for every answer."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="placeholder", base_url="http://unused", http_client=http)


def chat_by_the_sdk(body: bytes) -> dict[str, Any]:
    state = ChatCompletionStreamState()
    with answering(body) as client:
        chunks = client.chat.completions.create(model="m", messages=[], stream=True)
        for chunk in chunks:
            assert isinstance(chunk, ChatCompletionChunk)
            state.handle_chunk(chunk)
    return state.current_completion_snapshot.to_dict(mode="json")


def responses_by_the_sdk(body: bytes) -> dict[str, Any]:
    with answering(body) as client, client.responses.stream(model="m", input="?") as stream:
        return stream.get_final_response().to_dict(mode="json")


def plain(value: Any) -> Any:
    """Without nulls, without what the SDK parses on top, and without the index that only fragments have."""
    if isinstance(value, dict):
        own = ("parsed", "parsed_arguments", "output_parsed", *(("index",) if "function" in value else ()))
        return {name: plain(item) for name, item in value.items() if item is not None and name not in own}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_a_completion_is_what_the_sdk_accumulates() -> None:
    body = sse(chat_chunks(), named=False, done=True)
    assembled = assemble_text(body)
    assert plain(assembled.message) == plain(chat_by_the_sdk(body))
    assert (assembled.complete, assembled.error, assembled.notes) == (True, None, [])
    calls = assembled.message["choices"][0]["message"]["tool_calls"]
    assert [one["function"]["arguments"] for one in calls] == ['{"city":"Paris"}', "{}"]


def test_the_sample_is_what_the_sdk_accumulates(samples: Path) -> None:
    body = json.loads((samples / "openai/sse-chat-stream_tool_empty_content.json").read_text())["sse"].encode()
    assembled = assemble_text(body)
    assert plain(assembled.message) == plain(chat_by_the_sdk(body))
    message = assembled.message["choices"][0]["message"]
    assert message["content"] == ""
    assert message["tool_calls"][0]["function"] == {"name": "Bash", "arguments": '{"command":"pwd"}'}
    assert assembled.message["usage"]["total_tokens"] == 20
    assert (assembled.complete, assembled.notes) == (True, [])


def test_a_response_is_what_the_sdk_accumulates() -> None:
    body = sse(responses_events())
    assembled = assemble_text(body)
    assert plain(assembled.message) == plain(responses_by_the_sdk(body))
    assert (assembled.complete, assembled.notes) == (True, [])


def test_an_empty_output_at_the_end_is_filled_with_the_items_of_the_stream() -> None:
    assembled = assemble(responses_events(keep_output=False))
    assert assembled.message == assemble(responses_events()).message
    assert (assembled.complete, what(assembled)) == (True, ["output_filled"])


@pytest.mark.parametrize("number", range(3, 22))
def test_a_response_that_breaks_off_is_put_together_from_deltas(number: int) -> None:
    whole, cut = assemble(responses_events()), assemble(responses_events()[:number])
    assert cut.complete is False
    assert cut.message["id"] == "resp_1"
    unfinished = [index for note in cut.notes for index in note.detail]
    assert unfinished in ([], [len(cut.message["output"]) - 1])
    done = cut.message["output"][:-1] if unfinished else cut.message["output"]
    assert done == whole.message["output"][: len(done)]


def test_the_texts_of_unfinished_items_are_those_of_the_deltas() -> None:
    events = responses_events()
    reasoning = assemble(until(events, "response.reasoning_summary_text.done")).message["output"][0]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "Think first."}]
    message = assemble(until(events, "response.output_text.done")).message["output"][1]
    assert message["content"] == [{"type": "output_text", "text": "Sunny, 24 °C.", "annotations": []}]
    called = assemble(until(events, "response.function_call_arguments.done")).message["output"][2]
    assert (called["name"], called["arguments"]) == ("now", '{"zone":"CET"}')


def test_a_response_that_failed_has_its_error() -> None:
    error = {"code": "server_error", "message": "The model failed"}
    events = [
        *responses_events()[:4],
        {"type": "response.failed", "response": {"id": "resp_1", "status": "failed", "error": error}},
    ]
    assembled = assemble(events)
    assert (assembled.complete, assembled.error) == (True, {"error": error})


def test_an_incomplete_response_is_all_there_is() -> None:
    details = {"reason": "max_output_tokens"}
    end = {"id": "resp_1", "object": "response", "status": "incomplete", "incomplete_details": details, "output": []}
    assembled = assemble([*responses_events()[:16], {"type": "response.incomplete", "response": end}])
    assert assembled.complete is True
    assert assembled.message["incomplete_details"] == details
    assert assembled.message["output"][1]["content"][0]["text"] == "Sunny, 24 °C."


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (
            {"type": "error", "code": "rate_limit", "message": "Slow down", "param": None, "sequence_number": 4},
            {"code": "rate_limit", "message": "Slow down", "param": None},
        ),
        (
            {"type": "error", "error": {"type": "server_error", "message": "x"}},
            {"type": "server_error", "message": "x"},
        ),
    ],
)
def test_an_error_event_of_a_response(event: dict[str, Any], error: dict[str, Any]) -> None:
    assembled = assemble([*responses_events()[:4], event])
    assert (assembled.complete, assembled.error) == (False, {"error": error})


def test_events_that_are_missing_or_unknown_are_noted() -> None:
    events = responses_events()
    strange = {"type": "response.hologram.delta", "output_index": 1, "sequence_number": 22}
    assembled = assemble([*events[:5], *events[6:], strange])
    assert [(note.what, note.detail) for note in assembled.notes] == [
        ("unknown_event", strange),
        ("sequence_gap", [[5, 5]]),
    ]


def test_deltas_of_an_item_that_did_not_begin() -> None:
    events = [event for event in responses_events() if event["type"].endswith(".delta")]
    assembled = assemble(events)
    assert [item["type"] for item in assembled.message["output"]] == ["reasoning", "message", "function_call"]
    assert [name for name in what(assembled) if name == "no_item"] == ["no_item"] * 3


def test_usage_on_every_chunk_is_not_added_up() -> None:
    chunks = [
        chat_chunk(delta(content="a"), usage={"total_tokens": 10}),
        chat_chunk(delta(content="b", finish="stop"), usage={"total_tokens": 11}),
    ]
    assert assemble(chunks).message["usage"] == {"total_tokens": 11}


def test_a_call_without_an_index() -> None:
    chunks = [
        chat_chunk(delta(**call(None, '{"a":', call_id="call_1", name="one"))),
        chat_chunk(delta(**call(None, "1}"))),
        chat_chunk(delta(**call(None, "{}", call_id="call_2", name="two"))),
        chat_chunk(delta(finish="tool_calls")),
    ]
    assembled = assemble(chunks)
    calls = assembled.message["choices"][0]["message"]["tool_calls"]
    assert [(one["id"], one["function"]["arguments"]) for one in calls] == [("call_1", '{"a":1}'), ("call_2", "{}")]
    assert what(assembled) == ["no_tool_index", "no_tool_index"]


def test_several_whole_calls_with_the_same_index() -> None:
    chunks = [
        chat_chunk(delta(**call(0, '{"a":1}', call_id="call_1", name="one"))),
        chat_chunk(delta(**call(0, '{"b":2}', call_id="call_2", name="one"))),
        chat_chunk(delta(finish="stop")),
    ]
    assembled = assemble(chunks)
    calls = assembled.message["choices"][0]["message"]["tool_calls"]
    assert [one["function"]["arguments"] for one in calls] == ['{"a":1}', '{"b":2}']
    assert what(assembled) == ["shared_tool_index"]


def test_an_id_and_name_that_are_repeated_with_every_fragment() -> None:
    pieces = [call(0, text, call_id="call_1", name="one") for text in ('{"a', '":1}')]
    calls = assemble([chat_chunk(delta(**piece)) for piece in pieces]).message["choices"][0]["message"]["tool_calls"]
    assert calls == [{"id": "call_1", "type": "function", "function": {"arguments": '{"a":1}', "name": "one"}}]


def test_arguments_that_broke_off_are_noted() -> None:
    assembled = assemble([chat_chunk(delta(**call(0, '{"a', call_id="call_1", name="one")))])
    assert what(assembled) == ["unfinished_choice", "unparsable_arguments"]
    assert assembled.complete is False


def test_arguments_sent_as_an_object_are_kept() -> None:
    fragment = {"index": 0, "id": "call_1", "function": {"name": "one", "arguments": {"a": 1}}}
    message = assemble([chat_chunk(delta(tool_calls=[fragment]))]).message["choices"][0]["message"]
    assert message["tool_calls"] == [{"id": "call_1", "function": {"name": "one", "arguments": {"a": 1}}}]


def test_custom_tools_and_the_function_call_of_older_models() -> None:
    first = {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select "}}
    chunks = [
        chat_chunk(delta(tool_calls=[first], function_call={"name": "old", "arguments": "{"})),
        chat_chunk(delta(tool_calls=[{"index": 0, "custom": {"input": "1"}}], function_call={"arguments": "}"})),
    ]
    message = assemble(chunks).message["choices"][0]["message"]
    assert message["tool_calls"][0]["custom"] == {"name": "sql", "input": "select 1"}
    assert message["function_call"] == {"name": "old", "arguments": "{}"}


def test_reasoning_of_other_vendors_grows_like_text() -> None:
    chunks = [
        chat_chunk(delta(role="assistant", content=None, reasoning_content="Let ")),
        chat_chunk(delta(role="assistant", reasoning_content="me see", reasoning_details=[{"type": "a"}])),
        chat_chunk(delta(content="Done", reasoning_details=[{"type": "b"}], finish="stop")),
    ]
    assert assemble(chunks).message["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Done",
        "reasoning_content": "Let me see",
        "reasoning_details": [{"type": "a"}, {"type": "b"}],
    }


def test_content_in_parts_is_kept_piece_by_piece() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    chunks = [chat_chunk(delta(content=[thinking])), chat_chunk(delta(content="Done", finish="stop"))]
    assembled = assemble(chunks)
    assert assembled.message["choices"][0]["message"]["content"] == [thinking, "Done"]
    assert [(note.what, note.detail) for note in assembled.notes] == [("content_parts", "/choices/0/message/content")]


def test_audio_and_log_probabilities_grow() -> None:
    chunks = [
        chat_chunk({**delta(audio={"id": "audio_1", "data": "UklG"}), "logprobs": {"content": [{"token": "a"}]}}),
        chat_chunk({**delta(audio={"data": "Rg==", "transcript": "hi"}), "logprobs": {"content": [{"token": "b"}]}}),
        chat_chunk(delta(audio={"expires_at": 1_787_305_200}, finish="stop")),
    ]
    choice = assemble(chunks).message["choices"][0]
    assert choice["message"]["audio"] == {
        "id": "audio_1",
        "expires_at": 1_787_305_200,
        "data": "UklGRg==",
        "transcript": "hi",
    }
    assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}


def test_the_first_chunk_of_azure_has_no_id() -> None:
    filters = [{"prompt_index": 0, "content_filter_results": {}}]
    first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": filters}
    message = assemble([first, chat_chunk(delta(content="a", finish="stop"))]).message
    assert (message["id"], message["object"], message["created"]) == ("chatcmpl-1", "chat.completion", 1_787_305_200)
    assert message["prompt_filter_results"] == filters


def test_older_completions_stream_text() -> None:
    chunks: list[dict[str, Any]] = [
        {"id": "cmpl-1", "object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": end}]}
        for text, end in (("Bon", None), ("jour", "stop"))
    ]
    assembled = assemble(chunks)
    assert assembled.message["choices"] == [{"index": 0, "text": "Bonjour", "finish_reason": "stop"}]
    assert assembled.complete is True


def test_an_error_as_a_line_of_data() -> None:
    error = {"error": {"message": "The server had an error", "type": "server_error", "code": None}}
    assembled = assemble_text(sse([*chat_chunks()[:3], error], named=False))
    assert (assembled.complete, assembled.error) == (False, error)
    assert assembled.message["choices"][0]["message"]["content"] == "Bonjour ☀"


def test_the_end_is_done_or_the_end_of_every_choice() -> None:
    chunks = chat_chunks()
    assert assemble_text(sse(chunks[:4], named=False, done=True)).complete is True
    assert (
        what(assemble_text(sse(chunks[:4], named=False, done=True)))
        == [
            "unfinished_choice",
            "unparsable_arguments",
        ][:1]
    )
    without = assemble_text(sse(chunks, named=False))
    assert (without.complete, what(without)) == (True, ["no_done"])
    assert assemble_text(sse(chunks[:4], named=False)).complete is False


def test_another_completion_in_the_stream_is_noted_once() -> None:
    chunks = [chat_chunk(delta(content="a")), *[{**chat_chunk(delta(content="b")), "id": "chatcmpl-2"}] * 3]
    assert what(assemble(chunks)) == ["other_id", "unfinished_choice"]


def test_an_empty_stream_says_nothing() -> None:
    for body in (b"", b": ping\n\n", b"data: [DONE]\n\n"):
        assembled = assemble_text(body)
        assert (assembled.message, assembled.error) == ({}, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "delta", "index", "content", "tool_calls", "function", "custom", "arguments", "id"),
                    *("name", "audio", "data", "logprobs", "function_call", "text", "message", "error", "usage"),
                    *("response", "item", "output_index", "part", "content_index", "summary_index", "output"),
                    *("annotation", "sequence_number", "finish_reason", "object", "refusal"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=16,
)
RESPONSE_TYPES = st.sampled_from(sorted({event["type"] for event in responses_events()} | {"error", "response.x"}))


@given(chunks=st.lists(JSON.filter(lambda value: isinstance(value, dict)), max_size=6))
def test_no_chunk_makes_it_fail(chunks: list[dict[str, Any]]) -> None:
    json.dumps(assemble(chunks).message)


@given(events=st.lists(st.tuples(RESPONSE_TYPES, JSON.filter(lambda value: isinstance(value, dict))), max_size=8))
def test_no_event_makes_it_fail(events: list[tuple[str, dict[str, Any]]]) -> None:
    json.dumps(assemble([{**event, "type": kind} for kind, event in events]).message)


@given(cut=st.integers(0, len(sse(responses_events()))))
def test_wherever_a_response_breaks_off_it_is_only_complete_at_the_end(cut: int) -> None:
    body = sse(responses_events())
    assert assemble_text(body[:cut]).complete == (cut >= len(body) - 2)


@pytest.mark.parametrize("size", [20_000, 80_000])
def test_long_streams_are_put_together_in_one_pass(size: int) -> None:
    piece = chat_chunk(delta(**call(0, "1", call_id="call_1", name="one"), content="x"))
    message = assemble([piece] * size).message["choices"][0]["message"]
    assert len(message["content"]) == len(message["tool_calls"][0]["function"]["arguments"]) == size
