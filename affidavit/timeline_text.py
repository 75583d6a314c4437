"""A timeline as lines of text, and as JSON types. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from affidavit.timeline import Node, Timeline

PERSON = ("prompt",)


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its columns, so that the printer can align and colour them."""

    time: str
    tree: str
    kind: str
    who: str
    what: str
    text: str
    address: str
    status: str
    notes: str


def lines(timeline: Timeline) -> Iterator[Line]:
    """The tree, turn by turn, depth first."""
    day = ""
    for turn in timeline.turns:
        for line in _below(turn, "", ""):
            shown = line.time
            if shown[:10] != day:
                day = shown[:10]
            yield line


def as_dict(timeline: Timeline) -> dict[str, Any]:
    """The timeline as JSON types."""
    return {
        "session": timeline.session,
        "events": timeline.events,
        "records": timeline.records,
        "gaps": list(timeline.gaps),
        "turns": [_node(turn) for turn in timeline.turns],
    }


def _below(node: Node, lead: str, rest: str) -> Iterator[Line]:
    row = node.row
    yield Line(
        _time(row.occurred_at),
        lead,
        row.kind.replace("_", " "),
        row.who if row.kind in PERSON else "",
        _what(node),
        row.text,
        row.address,
        row.status,
        "; ".join(node.notes),
    )
    for at, child in enumerate(node.children):
        last = at == len(node.children) - 1
        yield from _below(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _what(node: Node) -> str:
    row = node.row
    told = row.decision if row.kind != "response" else ""
    outcome = row.outcome if row.outcome not in ("", "ok") else ""
    return " ".join(part for part in (row.what, told, outcome) if part)


def _node(node: Node) -> dict[str, Any]:
    row = asdict(node.row)
    del row["order"]
    return {
        **row,
        "cause": node.cause,
        "repeats": list(node.repeats),
        "notes": list(node.notes),
        "children": [_node(child) for child in node.children],
    }


def _time(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
