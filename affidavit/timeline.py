"""The timeline of a session: rows in, one causal tree and its gaps out. Pure.

A session is a list of *turns*. A turn begins with the prompt of a person or a job, and holds everything that followed
from it::

    prompt                      what was asked
    ├─ context                  documents put before the model
    ├─ guardrail                verdicts on the way in and out
    ├─ response                 what the model said
    │  └─ tool_call             what it asked for
    │     └─ tool_result        what came back, also where a later exchange brought it
    └─ prompt (continues)       the agent's next request in the same turn, with the same shape

An agent that calls tools makes one exchange per step; nesting each step under the last would indent without end, so the
steps of a turn stand side by side under its first prompt, and each names the event that caused it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

RANK = {
    "session": 0,
    "prompt": 1,
    "context": 2,
    "guardrail": 3,
    "response": 4,
    "tool_call": 5,
    "tool_result": 6,
}
"""Causal order of kinds within one exchange; it beats the clock, because gateways stamp a whole exchange at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event of the session as a store returned it. Times are microseconds since 1970 UTC.

    Attributes:
        address: ``<shard>@<offset>``, where the record lies.
        order: ``(shard, offset)``, which sorts as the bus did.
        who: the actor, ``""`` when unknown.
        what: model or tool.
        text: a short excerpt of the content, ``""`` when there is none or it may not be read.
        outcome: of the event: ``ok``, ``error``, ``blocked`` …
        content_state: how much of the content we were given.
        status: what verification found, e.g. ``OK``.
    """

    address: str
    order: tuple[str, int]
    event_id: str
    kind: str
    occurred_at: int
    exchange_id: str = ""
    prompt_id: str = ""
    call_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    parent_event_id: str = ""
    sequence: int | None = None
    gateway: str = ""
    who: str = ""
    what: str = ""
    text: str = ""
    outcome: str = ""
    decision: str = ""
    content_state: str = ""
    status: str = ""


@dataclass(slots=True)
class Node:
    """An event in the tree.

    Attributes:
        row: the first record of the event.
        repeats: addresses of further records with the same event id: the gateway sent it again.
        cause: event id of what led to it, ``""`` for the first of a turn.
        notes: what a reader must know: gaps, repeats, missing content.
    """

    row: Row
    repeats: list[str] = field(default_factory=list)
    cause: str = ""
    notes: list[str] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """This node and everything below it, with depths, in reading order."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The tree of one session.

    Attributes:
        turns: in order.
        gaps: sentences on what is missing, each with its place.
        events: distinct events; ``records`` counts repeats too.
    """

    session: str
    turns: tuple[Node, ...]
    gaps: tuple[str, ...]
    events: int
    records: int


def build(session: str, rows: Iterable[Row]) -> Timeline:
    """Arrange the rows of one session, in any order, as a timeline."""
    ordered = sorted(rows, key=lambda row: row.order)
    nodes = _collapse(ordered)
    exchanges = _exchanges(nodes)
    turns = _turns(exchanges)
    _answer_calls(nodes, turns)
    gaps = [*_unfinished(nodes), *_sequence_holes(node.row for node in nodes)]
    for node in nodes:
        if node.row.content_state not in ("", "full"):
            node.notes.append(f"content {node.row.content_state.replace('_', ' ')}")
        if node.repeats:
            node.notes.append(f"sent {len(node.repeats) + 1} times, also {', '.join(node.repeats)}")
    return Timeline(session, tuple(turns), tuple(gaps), len(nodes), len(ordered))


def _collapse(rows: Sequence[Row]) -> list[Node]:
    """One node per event id; further records of it become repeats."""
    nodes: dict[str, Node] = {}
    for row in rows:
        if row.event_id in nodes:
            node = nodes[row.event_id]
            node.repeats.append(row.address)
            if node.row.status == "OK" != row.status:
                node.row = replace(node.row, status=row.status)
        else:
            nodes[row.event_id] = Node(row)
    return list(nodes.values())


def _exchanges(nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes grouped by exchange, each group in causal order, groups by their first moment."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.row.exchange_id or node.row.prompt_id or node.row.event_id, []).append(node)
    for group in groups.values():
        group.sort(key=lambda node: (RANK.get(node.row.kind, 7), _moment(node)))
    return sorted(groups.values(), key=lambda group: min(_moment(node) for node in group))


def _moment(node: Node) -> tuple[int, int, tuple[str, int]]:
    row = node.row
    return row.occurred_at, row.sequence if row.sequence is not None else -1, row.order


def _turns(exchanges: Sequence[list[Node]]) -> list[Node]:
    """Hang each exchange together, then hang exchanges that continue a turn under that turn."""
    turns: list[Node] = []
    turn_of_event: dict[str, Node] = {}
    turn_of_prompt: dict[str, Node] = {}
    turn_of_span: dict[str, Node] = {}
    caller: dict[str, Node] = {}
    for group in exchanges:
        head = _hang(group)
        cause = _cause(group, caller)
        turn = (
            (turn_of_event.get(cause.row.event_id) if cause else None)
            or turn_of_event.get(head.row.parent_event_id)
            or turn_of_prompt.get(head.row.prompt_id)
            or turn_of_span.get(head.row.parent_span_id)
        )
        if turn is None:
            turn = head
            turns.append(head)
        else:
            head.cause = head.row.parent_event_id or (cause or turn).row.event_id
            _insert(turn.children, head)
        for node in group:
            turn_of_event[node.row.event_id] = turn
            if node.row.prompt_id:
                turn_of_prompt.setdefault(node.row.prompt_id, turn)
            if node.row.span_id:
                turn_of_span.setdefault(node.row.span_id, turn)
            if node.row.kind == "tool_call" and node.row.call_id:
                caller.setdefault(node.row.call_id, node)
    return turns


def _insert(siblings: list[Node], head: Node) -> None:
    """Put an exchange where its time says, but never between events of one exchange that cause put out of order."""
    at = len(siblings)
    while at and _moment(siblings[at - 1]) > _moment(head):
        at -= 1
    siblings.insert(at, head)


def _hang(group: Sequence[Node]) -> Node:
    """Make one exchange a tree: its first event on top, calls under the response, and return the top."""
    head, *rest = group
    response: Node | None = head if head.row.kind == "response" else None
    for node in rest:
        above = response if response is not None and node.row.kind in ("tool_call", "tool_result") else head
        node.cause = node.row.parent_event_id or above.row.event_id
        above.children.append(node)
        if node.row.kind == "response":
            response = node
    return head


def _cause(group: Sequence[Node], caller: dict[str, Node]) -> Node | None:
    """The earlier tool call that this exchange answers, if it does: then it continues that turn."""
    calls = [caller[node.row.call_id] for node in group if node.row.call_id in caller]
    return calls[-1] if calls else None


def _answer_calls(nodes: Sequence[Node], turns: list[Node]) -> None:
    """Move results, decisions and executions under the call they belong to, whichever exchange brought them."""
    parents = {id(child): node for node in nodes for child in node.children}
    calls: dict[str, Node] = {}
    seen: set[tuple[str, str]] = set()
    for node in sorted(nodes, key=lambda node: (RANK.get(node.row.kind, 7), _moment(node))):
        if not node.row.call_id:
            continue
        call = calls.get(node.row.call_id)
        kind = node.row.kind
        if (kind, node.row.call_id) in seen and kind in ("tool_call", "tool_result"):
            node.notes.append("the same again, by another report")
        seen.add((kind, node.row.call_id))
        if kind == "tool_call" and call is None:
            calls[node.row.call_id] = node
        elif call is not None and not _under(call, node):
            _move(node, call, parents, turns)


def _under(call: Node, node: Node) -> bool:
    """Whether moving ``node`` under ``call`` changes nothing, or would make a circle."""
    return any(below is node for _, below in call.walk()) or any(below is call for _, below in node.walk())


def _move(node: Node, call: Node, parents: dict[int, Node], turns: list[Node]) -> None:
    old = parents.get(id(node))
    siblings = old.children if old is not None else turns
    at = next(at for at, sibling in enumerate(siblings) if sibling is node)
    orphans, node.children = node.children, []
    siblings[at : at + 1] = orphans
    for orphan in orphans:
        if old is not None:
            parents[id(orphan)] = old
        else:
            parents.pop(id(orphan), None)
    node.cause = call.row.event_id
    call.children.append(node)
    if not node.row.what:
        node.row = replace(node.row, what=call.row.what)
    parents[id(node)] = call


def _unfinished(nodes: Sequence[Node]) -> Iterator[str]:
    """Calls without a result, results without a call, prompts without a response."""
    calls = {node.row.call_id for node in nodes if node.row.kind == "tool_call"}
    results = {node.row.call_id for node in nodes if node.row.kind == "tool_result"}
    refused = {node.row.call_id for node in nodes if node.row.decision in ("reject", "deny")}
    answered = {node.row.exchange_id for node in nodes if node.row.kind == "response"}
    asked_again = {node.row.prompt_id for node in nodes if node.row.kind == "response"} - {""}
    seen: set[str] = set()
    for node in nodes:
        row = node.row
        gap = ""
        if row.kind == "tool_call" and row.call_id not in results and row.call_id not in seen:
            seen.add(row.call_id)
            gap = "call refused, so without a result" if row.call_id in refused else "no result recorded"
        elif row.kind == "tool_result" and row.call_id not in calls:
            gap = "the call itself was not recorded"
        elif row.kind == "prompt" and row.exchange_id not in answered and row.prompt_id not in asked_again:
            gap = "blocked before the model" if row.outcome == "blocked" else "no response recorded"
        if gap:
            node.notes.append(gap)
            if row.call_id not in refused:
                yield f"{row.kind.replace('_', ' ')} {row.address}: {gap}"


def _sequence_holes(rows: Iterable[Row]) -> Iterator[str]:
    """Numbers that a source counted and we did not get, between the lowest and highest seen."""
    by_gateway: dict[str, set[int]] = {}
    for row in rows:
        if row.sequence is not None:
            by_gateway.setdefault(row.gateway, set()).add(row.sequence)
    for gateway, numbers in sorted(by_gateway.items()):
        known = sorted(numbers)
        for before, after in itertools.pairwise(known):
            if after - before > 1:
                missing = f"{before + 1}" if after - before == 2 else f"{before + 1} to {after - 1}"
                yield f"{gateway} sequence {missing}: {after - before - 1} not received"
