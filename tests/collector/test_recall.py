"""A prompt's content tells what is new, says what it leaves out, and loses nothing."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest

from collector.gateways.gaps import Gap
from collector.json_units import encode_content
from collector.recall import LISTS, Prompts, Recall, Scope
from collector.retold import Result

SCOPE = Scope("acme", "u-1", "default", 20_000, "session-1")
TOOLS = [{"name": f"tool-{number}", "description": "what it does " * 9} for number in range(12)]
LARGE = 1 << 20


def message(number: int) -> dict[str, Any]:
    role = "assistant" if number % 2 else "user"
    return {"role": role, "content": [{"type": "text", "text": f"message {number} " * 30}]}


def prompt(messages: int, **more: Any) -> dict[str, Any]:
    return {"messages": [message(number) for number in range(messages)], "tools": TOOLS, **more}


class Teller:
    """One prompt after the other, each durable before the next."""

    def __init__(self, recall: Recall | None = None) -> None:
        self.recall = recall or Recall()

    def tell(self, content: Any, event_id: str, *, scope: Scope = SCOPE, unit_bytes: int = LARGE) -> Any:
        prompts = Prompts(self.recall)
        told, gaps = prompts.tell(content, scope, event_id, unit_bytes)
        self.recall.learn(prompts)
        value = orjson.loads(told)
        assert bool(gaps) == (isinstance(value, dict) and "history" in value)
        return value


@pytest.fixture
def teller() -> Teller:
    return Teller()


def test_the_first_prompt_is_told_whole(teller: Teller) -> None:
    assert teller.tell(prompt(9), "e-1") == prompt(9)


def test_the_next_one_tells_what_is_new(teller: Teller) -> None:
    teller.tell(prompt(9), "e-1")
    told = teller.tell(prompt(11, model="m"), "e-2")
    left_out = encode_content(prompt(9)["messages"])
    assert told == {
        "history": {
            "of": "e-1",
            "messages": 9,
            "sha256": hashlib.sha256(left_out).hexdigest(),
            "unchanged": {"/tools": hashlib.sha256(encode_content(TOOLS)).hexdigest()},
        },
        "messages": [message(9), message(10)],
        "model": "m",
    }


@pytest.mark.parametrize("name", LISTS)
def test_every_name_of_the_list(teller: Teller, name: str) -> None:
    teller.tell({name: prompt(9)["messages"]}, "e-1")
    told = teller.tell({name: prompt(10)["messages"]}, "e-2")
    assert told["history"]["messages"] == 9
    assert told[name] == [message(9)]


def test_values_one_level_down_are_left_out_too(teller: Teller) -> None:
    teller.tell({"messages": [message(0)], "parameters": {"tools": TOOLS, "top_p": 1}}, "e-1")
    told = teller.tell({"messages": [message(1)], "parameters": {"tools": TOOLS, "top_p": 2}}, "e-2")
    assert told["history"]["messages"] == 0
    assert list(told["history"]["unchanged"]) == ["/parameters/tools"]
    assert told["parameters"] == {"top_p": 2}
    assert told["messages"] == [message(1)]


def test_a_value_that_changed_is_told(teller: Teller) -> None:
    teller.tell(prompt(9), "e-1")
    told = teller.tell(prompt(9) | {"tools": TOOLS[1:]}, "e-2")
    assert told["tools"] == TOOLS[1:]


def test_history_ends_where_a_message_differs(teller: Teller) -> None:
    teller.tell(prompt(9), "e-1")
    changed = prompt(11)
    changed["messages"][4] = message(99)
    told = teller.tell(changed, "e-2")
    assert told["history"]["messages"] == 4
    assert told["messages"][0] == message(99)


def test_marks_of_the_cache_do_not_make_a_message_another(teller: Teller) -> None:
    def marked(count: int) -> dict[str, Any]:
        made = prompt(count)
        made["messages"][-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        return made

    teller.tell(marked(9), "e-1")
    told = teller.tell(marked(11), "e-2")
    assert told["history"]["messages"] == 9
    assert told["history"]["sha256"] == hashlib.sha256(encode_content(prompt(9)["messages"])).hexdigest()
    assert told["messages"] == marked(11)["messages"][9:]


def test_one_message_is_always_told(teller: Teller) -> None:
    teller.tell(prompt(9), "e-1")
    told = teller.tell(prompt(9), "e-2")
    assert told["messages"] == [message(8)]


def test_a_repeat_of_an_event_does_not_refer_to_itself(teller: Teller) -> None:
    teller.tell(prompt(9), "e-1")
    assert teller.tell(prompt(9), "e-1") == prompt(9)


def test_those_before_in_the_batch_count_and_those_of_a_batch_that_failed_do_not() -> None:
    recall = Recall()
    prompts = Prompts(recall)
    prompts.tell(prompt(9), SCOPE, "e-1", LARGE)
    told, shortened = prompts.tell(prompt(10), SCOPE, "e-2", LARGE)
    assert shortened
    assert orjson.loads(told)["history"]["of"] == "e-1"
    assert Teller(recall).tell(prompt(11), "e-3") == prompt(11)


@pytest.mark.parametrize(
    "other",
    [SCOPE._replace(**{name: value}) for name, value in zip(Scope._fields, ("b", "b", "b", 1, "b"), strict=True)],
)
def test_nobody_is_told_of_others(teller: Teller, other: Scope) -> None:
    teller.tell(prompt(9), "e-1")
    assert teller.tell(prompt(9), "e-2", scope=other) == prompt(9)


def test_agents_that_share_a_session_each_have_their_history(teller: Teller) -> None:
    def other(count: int) -> dict[str, Any]:
        return {
            "messages": [{"role": "user", "content": f"of the other agent {number} " * 20} for number in range(count)]
        }

    for turn in range(5):
        told = teller.tell(prompt(9 + turn), f"a-{turn}")
        assert turn == 0 or told["history"]["of"] == f"a-{turn - 1}"
        told = teller.tell(other(9 + turn), f"b-{turn}")
        assert turn == 0 or told["history"]["of"] == f"b-{turn - 1}"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "text",
        [message(0)],
        {"messages": []},
        {"messages": "text" * 2000},
        {"messages": {"role": "user"}},
        {"history": "ours", "messages": [message(0), message(1)] * 20},
        {"messages": [None, 1, "x", [2]] * 900},
        {"messages": ["\ud800" * 900, 2**70, message(0)]},
        {"messages": [message(0)], "a/b": "x" * 2000, "a": {"b": "y" * 2000, "c~d": "z" * 900}, "": {"": "q" * 900}},
    ],
)
def test_whatever_comes_is_told_once_whole_and_then_again_without_loss(teller: Teller, content: Any) -> None:
    first = Prompts(teller.recall)
    told, _ = first.tell(content, SCOPE, "e-1", LARGE)
    assert told == encode_content(content)
    teller.recall.learn(first)
    again, shortened = Prompts(teller.recall).tell(content, SCOPE, "e-2", LARGE)
    if not shortened:
        assert again == encode_content(content)
        return
    value = orjson.loads(again)
    history = value.pop("history")
    value["messages"] = content["messages"][: history["messages"]] + value["messages"]
    for pointer in history.get("unchanged", ()):
        _, key, *below = pointer.split("/")
        if below:
            value[key][below[0]] = content[key][below[0]]
        else:
            value[key] = content[key]
    assert value == content


def test_a_unit_that_cannot_hold_what_is_left_out_keeps_it(teller: Teller) -> None:
    teller.tell(prompt(9), "e-1")
    assert teller.tell(prompt(10), "e-2", unit_bytes=5000) == prompt(10)


def test_results_that_are_events_are_told_there(teller: Teller) -> None:
    found = "what the tool found " * 40
    blocks = [{"type": "text", "text": found}]
    results = [
        {"role": "tool", "tool_call_id": "c-1", "content": found},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c-2", "content": blocks}]},
    ]
    teller.tell(prompt(9), "e-1")
    content = prompt(9)
    content["messages"] += results
    prompts = Prompts(teller.recall)
    told, gaps = prompts.tell(content, SCOPE, "e-2", LARGE, [Result(found, "r-1"), Result(blocks, "r-2")])
    value = orjson.loads(told)
    assert value["messages"] == [
        {"role": "tool", "tool_call_id": "c-1", "content": "urn:uuid:r-1"},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c-2", "content": "urn:uuid:r-2"}]},
    ]
    assert gaps == [
        Gap("/content/history", "by_ref", ref="source"),
        Gap("/content/messages/0/content", "by_ref", ref="r-1"),
        Gap("/content/messages/1/content/0/content", "by_ref", ref="r-2"),
    ]
    assert content["messages"][9:] == results


def test_texts_that_responses_told_are_told_there(teller: Teller) -> None:
    text = "what the model said " * 20
    teller.tell(prompt(9), "e-1")
    prompts = Prompts(teller.recall)
    prompts.hear({"choices": [{"message": {"content": text, "refusal": None}}]}, SCOPE, "r-1")
    prompts.hear({"choices": [{"message": {"content": "short"}}]}, SCOPE, "r-2")
    teller.recall.learn(prompts)
    content = prompt(9)
    content["messages"] += [{"role": "assistant", "content": [{"type": "text", "text": text}]}, message(20)]
    prompts = Prompts(teller.recall)
    told, gaps = prompts.tell(content, SCOPE, "e-2", LARGE)
    assert orjson.loads(told)["messages"][0]["content"] == [{"type": "text", "text": "urn:uuid:r-1"}]
    assert gaps[1:] == [Gap("/content/messages/0/content/0/text", "by_ref", ref="r-1")]


def test_a_response_in_a_session_without_long_prompts_is_not_remembered(teller: Teller) -> None:
    prompts = Prompts(teller.recall)
    prompts.hear({"text": "what the model said " * 20}, SCOPE, "r-1")
    assert prompts.pending == []


def test_memory_is_bounded() -> None:
    teller = Teller(Recall(memory=20_000))
    for number in range(100):
        teller.tell(prompt(9), f"e-{number}", scope=SCOPE._replace(session=f"s-{number}"))
    assert "history" in teller.tell(prompt(9), "again", scope=SCOPE._replace(session="s-99"))
    assert "history" not in teller.tell(prompt(9), "again", scope=SCOPE._replace(session="s-1"))
