"""The one form of ``tstats`` that reconciliation uses, over indexed fields, strictly: anything else is an error.

| tstats count dc(offset) as records where index="main" deployment="x" (block=1 OR block=2) by block
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from fake_splunk.hec import Stored

_QUERY = re.compile(r"\| tstats (?P<aggregates>.+?) where (?P<where>.+) by (?P<by>[a-z_]+)")
_AGGREGATE = re.compile(r"count|dc\((?P<field>[a-z_]+)\) as (?P<name>[a-z_]+)")
_TERM = re.compile(r'(?P<name>[a-z_]+)=(?:"(?P<quoted>[^"]*)"|(?P<plain>[A-Za-z0-9_.:-]+))')

Condition = Callable[[Stored], bool]


def run(query: str, events: Iterable[Stored]) -> list[dict[str, str]]:
    """The rows, all values as text, as Splunk gives them.

    Raises:
        ValueError: a search of another form.
    """
    parsed = _QUERY.fullmatch(query.strip())
    if parsed is None:
        raise ValueError(f"not understood: {query}")
    matches = _where(parsed["where"])
    groups: dict[str, list[Stored]] = {}
    for event in events:
        if matches(event) and (value := _value(event, parsed["by"])) is not None:
            groups.setdefault(value, []).append(event)
    columns = _columns(parsed["aggregates"])
    return [{parsed["by"]: value, **{name: str(of(group)) for name, of in columns}} for value, group in groups.items()]


def _columns(text: str) -> list[tuple[str, Callable[[list[Stored]], int]]]:
    columns: list[tuple[str, Callable[[list[Stored]], int]]] = []
    for word in re.findall(r"dc\(\w+\) as \w+|\S+", text):
        parsed = _AGGREGATE.fullmatch(word)
        if parsed is None:
            raise ValueError(f"unknown aggregate {word}")
        if parsed["field"]:
            columns.append((parsed["name"], _distinct(parsed["field"])))
        else:
            columns.append(("count", len))
    return columns


def _distinct(field: str) -> Callable[[list[Stored]], int]:
    return lambda group: len({_value(event, field) for event in group} - {None})


def _where(text: str) -> Condition:
    """Terms that all hold; a group in parentheses holds when one of its terms does."""
    conditions: list[Condition] = []
    at = 0
    for group in re.finditer(r"\(([^()]*)\)|\S+", text):
        if text[at : group.start()].strip():
            raise ValueError(f"not understood: {text}")
        at = group.end()
        if group[1] is not None:
            conditions.append(_any([_term(part.strip()) for part in group[1].split(" OR ")]))
        else:
            conditions.append(_term(group[0]))
    return lambda event: all(condition(event) for condition in conditions)


def _any(conditions: list[Condition]) -> Condition:
    return lambda event: any(condition(event) for condition in conditions)


def _term(text: str) -> Condition:
    parsed = _TERM.fullmatch(text)
    if parsed is None:
        raise ValueError(f"unknown term {text}")
    name, wanted = parsed["name"], parsed["quoted"] if parsed["quoted"] is not None else parsed["plain"]
    return lambda event: _value(event, name) == wanted


def _value(event: Stored, name: str) -> str | None:
    found: Any = event.index if name == "index" else event.fields.get(name)
    return None if found is None else str(found)
