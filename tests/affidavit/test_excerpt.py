"""Excerpts: what a line of a timeline says of an event's content."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.excerpt import WIDTH, excerpt

CALL = {"function": {"name": "get_weather", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("kind", "content", "shown"),
    [
        ("prompt", {"messages": [{"role": "system", "content": "be terse"}, {"role": "user", "content": "hi"}]}, "hi"),
        ("prompt", {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}]}]}, "look"),
        ("prompt", {"messages": [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]}, "hello"),
        ("prompt", "plain", "plain"),
        ("prompt", {"messages": [{"role": "tool", "content": "urn:uuid:61095dd1-33aa-5f68-ab48-2a412f84da5f"}]}, ""),
        ("response", {"choices": [{"message": {"role": "assistant", "content": "yes"}}]}, "yes"),
        ("response", {"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]}, "calls get_weather"),
        ("response", {"messages": [{"parts": [{"type": "tool_call", "name": "f", "arguments": {}}]}]}, "calls f"),
        ("tool_call", {"arguments": {"city": "Paris"}}, '{"city": "Paris"}'),
        ("tool_result", {"result": {"temp": 14}}, '{"temp": 14}'),
        ("tool_result", {"result": "done"}, "done"),
        ("context", {"text": "a document"}, "a document"),
        ("guardrail", {"masked_entity_count": {}}, ""),
        ("unparsed", {}, ""),
        ("prompt", {"messages": []}, ""),
    ],
)
def test_the_words_a_reader_wants(kind: str, content: object, shown: str) -> None:
    assert excerpt(kind, json.dumps(content)) == shown


def test_a_document_cut_short_is_shown_as_it_is() -> None:
    assert excerpt("prompt", '{"messages": [{"ro') == '{"messages": [{"ro'


def test_long_text_is_cut_and_control_characters_are_not_printed() -> None:
    assert excerpt("tool_result", json.dumps({"result": "a\x1b[2J\nb" + "c" * 500})).startswith("a\ufffd[2J bcc")
    assert len(excerpt("tool_result", json.dumps({"result": "c" * 500}))) == WIDTH


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["messages", "content", "role", "parts", "tool_calls", "function", "name", "type", "result", "arguments"]
    ), inner, max_size=4),
)  # fmt: skip


@given(st.sampled_from(["prompt", "response", "tool_call", "tool_result", "context", "admin"]), json_values)
def test_any_content_gives_one_printable_line(kind: str, value: object) -> None:
    shown = excerpt(kind, json.dumps(value))
    assert len(shown) <= WIDTH
    assert shown == "" or shown.isprintable()


@given(st.text())
def test_any_text_gives_one_printable_line(text: str) -> None:
    shown = excerpt("prompt", text)
    assert shown == "" or shown.isprintable()
