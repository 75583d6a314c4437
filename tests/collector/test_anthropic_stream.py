"""Streams of the Messages API, put together; what Anthropic's own SDK accumulates is the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_streams import anthropic_events, sse, until

from collector.gateways.anthropic_stream import assemble, assemble_text
from collector.gateways.streams import Assembled


def what(assembled: Assembled) -> list[str]:
    return [note.what for note in assembled.notes]


def by_the_sdk(body: bytes) -> dict[str, Any]:
    """What the SDK's stream helper makes of these bytes."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = anthropic.Anthropic(api_key="placeholder", base_url="http://unused", http_client=http)
        asked = [{"role": "user", "content": "?"}]
        with client.messages.stream(model="m", max_tokens=9, messages=asked) as stream:  # type: ignore[arg-type]
            return stream.get_final_message().to_dict(mode="json")


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_the_message_is_what_the_sdk_accumulates() -> None:
    body = sse(anthropic_events())
    assembled = assemble_text(body)
    assert without_nulls(assembled.message) == without_nulls(by_the_sdk(body))
    assert (assembled.complete, assembled.error, assembled.notes) == (True, None, [])


def test_the_sample_is_what_the_sdk_accumulates(samples: Path) -> None:
    body = json.loads((samples / "anthropic/sse-stream_tool.json").read_text())["sse"].encode()
    assembled = assemble_text(body)
    assert without_nulls(assembled.message) == without_nulls(by_the_sdk(body))
    assert assembled.message["content"][0]["input"] == {"location": "San Francisco"}
    assert assembled.message["usage"] == {"input_tokens": 15, "output_tokens": 12}
    assert (assembled.complete, assembled.notes) == (True, [])


def test_usage_is_overwritten_by_what_is_not_null() -> None:
    usage = assemble(anthropic_events()).message["usage"]
    assert usage["input_tokens"] == 15, "restated, so authoritative"
    assert usage["output_tokens"] == 61, "cumulative: never added up"
    assert usage["cache_read_input_tokens"] == 30112, "null says nothing"
    assert usage["service_tier"] == "standard"


def test_an_empty_buffer_of_arguments_means_no_arguments() -> None:
    assert assemble(anthropic_events()).message["content"][3]["input"] == {}


def test_signatures_and_encrypted_content_stay_exact() -> None:
    content = assemble(anthropic_events()).message["content"]
    assert content[0]["signature"] == "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
    assert content[5]["content"][0]["encrypted_content"] == "EqgfCioIARgBIiQ3YTAw"


def test_arguments_that_broke_off_are_kept_as_text() -> None:
    cut = assemble(until(anthropic_events(), "content_block_stop", 3)[:-1])
    assert cut.message["content"][2]["input"] == '{"city": "Paris", "days'
    assert cut.complete is False
    assert what(cut) == ["unparsable_arguments"]
    assert cut.notes[0].detail["pointer"] == "/content/2/input"


def test_a_stream_that_breaks_off_gives_what_came() -> None:
    body = sse(anthropic_events())
    cut = assemble_text(body[: body.index("für".encode())])
    assert cut.complete is False
    assert cut.message["content"][0]["thinking"] == "The user asks "
    assert cut.message["stop_reason"] is None


def test_the_last_event_counts_without_its_empty_line_if_it_is_whole() -> None:
    body = sse(anthropic_events())
    assembled = assemble_text(body.rstrip(b"\n"))
    assert assembled.complete is True
    assert what(assembled) == ["unfinished_event"]
    torn = assemble_text(body.rstrip(b"}\n"))
    assert torn.complete is False
    assert [(note.what, note.detail) for note in torn.notes] == [("unfinished_event", '{"type": "message_stop"')]


def test_an_error_after_200_keeps_what_came_before_it() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    broken = assemble_text(sse([*until(anthropic_events(), "content_block_stop", 2), error]))
    assert broken.error == error
    assert broken.complete is False
    assert broken.message["content"][1]["text"] == "I look it up: ☀\u2028"


def test_blocks_that_are_open_at_the_same_time_are_kept_apart() -> None:
    start, stop = {"type": "text", "text": ""}, "content_block_stop"
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_start", "index": 2, "content_block": start},
        *({"type": "content_block_delta", "index": at, "delta": {"type": "text_delta", "text": text}}
          for at, text in ((0, "a"), (2, "x"), (0, "b"), (2, "y"))),
        {"type": stop, "index": 2},
        {"type": stop, "index": 0},
        {"type": "message_stop"},
    ]  # fmt: skip
    assembled = assemble(events)
    assert [block["text"] for block in assembled.message["content"]] == ["ab", "xy"]
    assert [(note.what, note.detail) for note in assembled.notes] == [
        ("index_gap", [[1, 1]]),
        ("interleaved_blocks", None),
    ]


def test_what_is_not_known_is_kept_as_it_came() -> None:
    events = anthropic_events()
    strange = {"type": "hologram", "depth": 3}
    odd = {"type": "content_block_delta", "index": 1, "delta": {"type": "smell_delta", "smell": "rose"}}
    assembled = assemble([*events[:8], strange, odd, *events[8:], {"type": "late"}])
    assert [(note.what, note.detail) for note in assembled.notes] == [
        ("unknown_event", strange),
        ("unknown_delta", odd),
        ("after_the_end", {"type": "late"}),
    ]
    assert assembled.message == assemble(events).message


def test_deltas_without_a_start_are_kept() -> None:
    assembled = assemble([{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}])
    assert assembled.message == {"content": [{"type": "text", "text": "hi"}]}
    assert what(assembled) == ["no_block_start", "no_message_start"]


def test_compaction_and_fallback() -> None:
    to = {"model": "claude-haiku-5"}
    fallback = {"type": "fallback", "from": {"model": "claude-sonnet-5"}, "to": to, "trigger": {"type": "refusal"}}
    compacted = {"type": "compaction_delta", "content": "In short: …", "encrypted_content": "Eq=="}
    assembled = assemble(
        [
            anthropic_events()[0],
            {"type": "content_block_start", "index": 0, "content_block": fallback},
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "compaction", "content": None}},
            {"type": "content_block_delta", "index": 1, "delta": compacted},
            {"type": "message_stop"},
        ]
    )
    assert assembled.message["model"] == "claude-haiku-5"
    assert assembled.message["content"][0] == fallback
    assert assembled.message["content"][1] == {**compacted, "type": "compaction"}


def test_an_event_without_a_type_takes_the_name_of_the_event() -> None:
    body = b'event: message_start\ndata: {"message":{"id":"msg_1"}}\n\nevent:message_stop\ndata:{}\n\n'
    assembled = assemble_text(body)
    assert (assembled.message, assembled.complete) == ({"id": "msg_1", "content": []}, True)


@given(cut=st.integers(0, len(sse(anthropic_events()))))
def test_wherever_it_breaks_off_it_is_only_complete_at_the_end(cut: int) -> None:
    body = sse(anthropic_events())
    assembled = assemble_text(body[:cut])
    assert assembled.complete == (cut >= len(body) - 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["message", "index", "content_block", "delta", "usage", "content", "error", "text", "partial_json", "input"]
TYPES = [
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "error", "ping", "text", "tool_use", "text_delta", "input_json_delta", "citations_delta"),
]
OBJECTS = st.recursive(
    JSON | st.sampled_from(TYPES) | st.integers(0, 2),
    lambda inner: st.dictionaries(st.sampled_from(["type", *FIELDS]), inner, max_size=5),
    max_leaves=12,
).filter(lambda value: isinstance(value, dict))


@given(events=st.lists(OBJECTS, max_size=8))
def test_no_event_makes_it_fail(events: list[dict[str, Any]]) -> None:
    json.dumps(assemble(events).message)


@given(body=st.binary(max_size=200))
def test_no_bytes_make_it_fail(body: bytes) -> None:
    assemble_text(b"data: " + body + b"\n\n")


@pytest.mark.parametrize("size", [20_000, 80_000])
def test_long_streams_are_put_together_in_one_pass(size: int) -> None:
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "1,"}}
    cited = {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": {}}}
    assembled = assemble([piece, cited] * size)
    assert len(assembled.message["content"][0]["input"]) == 2 * size
    assert len(assembled.message["content"][1]["citations"]) == size
