"""The timeline: one tree out of rows in any order, with what is missing and what came twice."""

from __future__ import annotations

import dataclasses
import random

from hypothesis import given
from hypothesis import strategies as st

from affidavit.timeline import Row, Timeline, build


def row(offset: int, kind: str, exchange: str = "", **more: object) -> Row:
    made = Row(f"events/0@{offset}", ("events/0", offset), f"id-{offset}", kind, 1_000_000 * offset, exchange)
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def shape(timeline: Timeline) -> list[str]:
    return [
        "  " * depth + f"{node.row.kind} {node.row.order[1]}" for turn in timeline.turns for depth, node in turn.walk()
    ]


AGENT = [
    row(0, "prompt", "x1"),
    row(1, "guardrail", "x1"),
    row(2, "response", "x1"),
    row(3, "tool_call", "x1", call_id="c1"),
    row(4, "prompt", "x2"),
    row(5, "response", "x2"),
    row(6, "tool_result", "x2", call_id="c1"),
    row(7, "prompt", "x3"),
    row(8, "response", "x3"),
]
TREE = [
    "prompt 0",
    "  guardrail 1",
    "  response 2",
    "    tool_call 3",
    "      tool_result 6",
    "  prompt 4",
    "    response 5",
    "prompt 7",
    "  response 8",
]


def test_a_tool_result_of_a_later_exchange_joins_its_call_and_continues_the_turn() -> None:
    timeline = build("s", AGENT)
    assert shape(timeline) == TREE
    assert timeline.gaps == ()
    assert timeline.turns[0].children[2].cause == "id-3"


@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random_: random.Random) -> None:
    shuffled = AGENT.copy()
    random_.shuffle(shuffled)
    assert shape(build("s", shuffled)) == TREE


def test_kinds_of_one_exchange_follow_cause_not_clock() -> None:
    rows = [
        row(0, "response", "x", occurred_at=1),
        row(1, "prompt", "x", occurred_at=2),
        row(2, "context", "x", occurred_at=3),
    ]
    assert shape(build("s", rows)) == ["prompt 1", "  context 2", "  response 0"]


def test_repeats_are_collapsed_and_counted() -> None:
    again = dataclasses.replace(AGENT[0], address="events/0@20", order=("events/0", 20), status="MISMATCH")
    first = dataclasses.replace(AGENT[0], status="OK")
    timeline = build("s", [again, first, *AGENT[1:3]])
    top = timeline.turns[0]
    assert (top.row.address, top.repeats) == ("events/0@0", ["events/0@20"])
    assert top.notes == ["sent 2 times, also events/0@20"]
    assert top.row.status == "MISMATCH", "a repeat that does not verify must not hide behind one that does"
    assert (timeline.events, timeline.records) == (3, 4)


def test_gaps_are_named_with_their_place() -> None:
    rows = [
        row(0, "prompt", "x1"),
        row(1, "prompt", "x2"),
        row(2, "response", "x2"),
        row(3, "tool_call", "x2", call_id="lost"),
        row(4, "tool_result", "x3", call_id="unknown"),
        row(5, "prompt", "x4", outcome="blocked"),
    ]
    assert build("s", rows).gaps == (
        "prompt events/0@0: no response recorded",
        "tool call events/0@3: no result recorded",
        "tool result events/0@4: the call itself was not recorded",
        "prompt events/0@5: blocked before the model",
    )


def test_a_refused_call_is_noted_and_is_no_gap() -> None:
    rows = [
        row(0, "prompt", "x", prompt_id="p"),
        row(1, "tool_call", "x", call_id="c", decision="reject"),
        row(2, "response", "x", prompt_id="p"),
    ]
    timeline = build("s", rows)
    assert timeline.gaps == ()
    notes = [note for turn in timeline.turns for _, node in turn.walk() for note in node.notes]
    assert notes == ["call refused, so without a result"]


def test_sequence_holes_per_gateway() -> None:
    rows = [
        row(0, "prompt", "x", gateway="a", sequence=1),
        row(1, "response", "x", gateway="a", sequence=3),
        row(2, "context", "x", gateway="a", sequence=7),
        row(3, "context", "x", gateway="b", sequence=100),
    ]
    assert build("s", rows).gaps == ("a sequence 2: 1 not received", "a sequence 4 to 6: 3 not received")


def test_requests_of_one_prompt_id_are_one_turn() -> None:
    rows = [
        row(0, "prompt", "", prompt_id="p"),
        row(1, "response", "r1", prompt_id="p"),
        row(2, "response", "r2", prompt_id="p"),
        row(3, "prompt", "", prompt_id="q"),
    ]
    assert shape(build("s", rows)) == ["prompt 0", "  response 1", "  response 2", "prompt 3"]


def test_spans_nest_by_parent() -> None:
    rows = [
        row(0, "prompt", "x1", span_id="s1"),
        row(1, "response", "x1", span_id="s1"),
        row(2, "tool_call", "x1", span_id="s1", call_id="c"),
        row(3, "tool_result", "x2", span_id="s2", parent_span_id="s1", call_id="c"),
        row(4, "response", "x3", span_id="s3", parent_span_id="s1"),
    ]
    assert shape(build("s", rows)) == [
        "prompt 0",
        "  response 1",
        "    tool_call 2",
        "      tool_result 3",
        "  response 4",
    ]


def test_missing_content_is_said() -> None:
    assert build("s", [row(0, "response", "x", content_state="not_captured")]).turns[0].notes == [
        "content not captured"
    ]


kinds = st.sampled_from(["prompt", "context", "guardrail", "response", "tool_call", "tool_result", "unparsed"])
names = st.sampled_from(["", "a", "b", "c"])
any_row = st.builds(
    lambda offset, kind, exchange, call, prompt, span, parent, repeat_of: row(
        offset, kind, exchange, call_id=call, prompt_id=prompt, span_id=span, parent_span_id=parent,
        event_id=f"id-{repeat_of}",
    ),
    st.integers(0, 40), kinds, names, names, names, names, names, st.integers(0, 40),
)  # fmt: skip


@given(st.lists(any_row, max_size=30, unique_by=lambda made: made.order))
def test_every_record_is_shown_once(rows: list[Row]) -> None:
    timeline = build("s", rows)
    nodes = [node for turn in timeline.turns for _, node in turn.walk()]
    shown = [address for node in nodes for address in (node.row.address, *node.repeats)]
    assert sorted(shown) == sorted(made.address for made in rows)
    assert timeline.records == len(rows)
    assert timeline.events == len(nodes)
