"""A timeline as lines and as JSON."""

from __future__ import annotations

from affidavit.timeline import Row, build
from affidavit.timeline_text import as_dict, lines

ROWS = [
    Row("events/0@0", ("events/0", 0), "a", "prompt", 1_795_000_000_000_000, "x", who="dana", what="gpt-5", text="hi"),
    Row("events/0@1", ("events/0", 1), "b", "guardrail", 1_795_000_000_010_000, "x", what="pii", decision="success"),
    Row("events/0@2", ("events/0", 2), "c", "response", 1_795_000_001_000_000, "x", what="gpt-5", outcome="error"),
    Row("events/0@3", ("events/0", 3), "d", "tool_call", 1_795_000_001_000_000, "x", call_id="1", what="search"),
]


def test_lines_draw_the_tree() -> None:
    shown = list(lines(build("s", ROWS)))
    assert [line.tree + line.kind for line in shown] == [
        "prompt",
        "├─ guardrail",
        "└─ response",
        "   └─ tool call",
    ]
    assert [line.who for line in shown] == ["dana", "", "", ""]
    assert [line.what for line in shown] == ["gpt-5", "pii success", "gpt-5 error", "search"]
    assert shown[0].time == "2026-11-18 11:06:40.000"
    assert shown[3].notes == "no result recorded"


def test_json_holds_the_tree_and_its_causes() -> None:
    tree = as_dict(build("s", ROWS))
    assert tree["gaps"] == ["tool call events/0@3: no result recorded"]
    [turn] = tree["turns"]
    assert [child["cause"] for child in turn["children"]] == ["a", "a"]
    assert turn["children"][1]["children"][0]["cause"] == "c"
    assert "order" not in turn
