"""Docker MCP Gateway's lines: which calls, how long, and how little else they say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.assemble import Stamp, assemble
from collector.gateways import Received, Unit
from collector.gateways.docker_mcp import DockerMcpFormat, milliseconds

RECEIVED = Received("acme", "docker", "t", "http", "", "text/plain", "", 1_787_305_300_000_000, "docker_mcp", "ab" * 32)
CALL = "  - Calling tool get_weather with arguments: object with 2 field(s)"
END = "  > Calling tool get_weather took: 1.5s"


def read(text: str, received: Received = RECEIVED) -> list[Unit]:
    units = DockerMcpFormat().read(text.encode(), received).units
    assert [unit.error for unit in units if unit.error] == []
    return units


def test_a_call_and_its_end() -> None:
    call, end = (unit.drafts[0] for unit in read(f"{CALL}\n{END}\n"))
    assert (call.kind, end.kind) == ("tool_call", "tool_result")
    assert call.metadata["tool_name"] == end.metadata["tool_name"] == "get_weather"
    assert call.content is end.content is None
    (gap,) = json.loads(call.metadata["content_gaps"])
    assert (gap["state"], gap["note"]) == ("omitted", "object with 2 field(s)")
    assert end.metadata["tool_duration_ms"] == 1500.0
    assert end.metadata["content_state"] == "not_captured"


def test_that_a_call_ended_does_not_say_that_it_succeeded() -> None:
    (end,) = read(END)
    assert end.drafts[0].metadata.get("tool_is_error") is None
    assert end.drafts[0].metadata["outcome"] == ""


def test_arguments_that_an_older_release_wrote_out() -> None:
    (unit,) = read('- Calling tool get_weather with arguments: {"city": "Paris"}')
    assert unit.drafts[0].content == {"arguments": {"city": "Paris"}, "arguments_text": '{"city": "Paris"}'}
    assert unit.drafts[0].metadata["content_state"] == "full"


def test_a_call_without_arguments_lacks_nothing() -> None:
    (unit,) = read("- Calling tool now with arguments: none")
    assert unit.drafts[0].metadata["content_state"] == "full"


def test_the_same_line_twice_is_two_calls_and_sent_again_the_same_two() -> None:
    first, again = read(f"{CALL}\n{CALL}"), read(f"{CALL}\n{CALL}")
    assert first[0].source_id != first[1].source_id
    assert [unit.source_id for unit in first] == [unit.source_id for unit in again]
    later = read(f"{CALL}\n{CALL}", replace(RECEIVED, body_sha256="cd" * 32))
    assert first[0].source_id != later[0].source_id


def test_a_line_with_a_time_is_known_by_its_bytes() -> None:
    (unit,) = read(f"2026-08-21T09:00:00.123456789Z {CALL}")
    assert unit.source_id == ""
    metadata = unit.drafts[0].metadata
    assert (metadata["occurred_at"], metadata["time_precision"]) == (1_787_302_800_123_456, "ns")
    assert metadata["tool_name"] == "get_weather"


@pytest.mark.parametrize("line", ["- Reading configuration...", "> Initialized in 3.2s", "- Calling tool", '{"a": 1}'])
def test_everything_else_is_kept_as_what_went_on(line: str) -> None:
    (unit,) = read(line)
    (draft,) = unit.drafts
    assert (draft.kind, draft.content) == ("session", {"line": line})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m2.5s", 62_500.0), ("120.5µs", 0.1205), ("3ms", 3.0), ("17ns", 0.000017), ("2h0m0s", 7_200_000.0)],
)
def test_durations_of_go(text: str, expected: float) -> None:
    assert milliseconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "s", "1.s", "-1s", "1s ", "1m2", "9" * 70 + "s"])
def test_what_is_no_duration(text: str) -> None:
    assert milliseconds(text) is None


PIECES = st.sampled_from(["- Calling tool ", "> Calling tool ", " took: ", " with arguments: ", "{", "1s", "x", "\n"])


@given(st.lists(PIECES | st.text(max_size=4), max_size=20).map("".join))
def test_no_text_makes_it_fail(text: str) -> None:
    reading = DockerMcpFormat().read(text.encode("utf-8", "surrogatepass"), RECEIVED)
    assert all(assemble(reading, RECEIVED, Stamp("c", 0)))
