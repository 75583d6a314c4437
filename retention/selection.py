"""The records of a scope as a condition of SQL over ``events``, and ``contents`` where it asks for words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from retention.scope import ACTORS, LISTS, SKEW_MS, WHITE, Custodian, Scope, comparable
from retention.words import Term, tokens
from sinks.clickhouse.quoting import quote


def any_of(scopes: Sequence[tuple[Scope, int]]) -> str:
    """The condition for records of any of these scopes, each with the time at which it was placed (milliseconds)."""
    return "(" + (" OR ".join(condition(scope, placed_ms) for scope, placed_ms in merged(scopes)) or "0") + ")"


def merged(scopes: Iterable[tuple[Scope, int]]) -> list[tuple[Scope, int]]:
    """The same records in fewer scopes: those that differ in nothing but their custodians are one. The engine takes
    50,000 nodes in a query; a list of names is one of them, however long."""
    people: dict[tuple[Scope, int, bool], dict[Custodian, None]] = {}
    for scope, placed_ms in scopes:
        rest = replace(scope, custodians=(), groups=())
        key = rest, 0 if scope.prospective else placed_ms, bool(scope.custodians)  # nobody named means anybody
        people.setdefault(key, {}).update(dict.fromkeys(scope.custodians))
    return [(replace(rest, custodians=tuple(found)), placed_ms) for (rest, placed_ms, _), found in people.items()]


def condition(scope: Scope, placed_ms: int) -> str:
    """The condition for the records that belong, or may belong, to a scope: :func:`retention.scope.matches`."""
    always = [f"tenant IN ('', {quote(scope.tenant)})"]
    if not scope.prospective:
        always.append(f"bus_time <= {_moment(placed_ms + SKEW_MS)}")
    readable = [_times(scope)]
    if scope.custodians:
        names = dict.fromkeys(name for one in scope.custodians for name in one.names)
        readable.append(_fit(list(names), ACTORS))
    for name, keys in LISTS.items():
        if wanted := getattr(scope, name):
            readable.append(_fit(wanted, keys))
    if scope.terms:
        readable.append(_with_words(scope, always))
    inner = " AND ".join(one for one in readable if one) or "1"
    return f"({' AND '.join(always)} AND (metadata_status != 'ok' OR ({inner})))"


def _times(scope: Scope) -> str:
    def between(column: str) -> str:
        bounds = []
        if scope.from_ms is not None:
            bounds.append(f"{column} >= {_moment(scope.from_ms)}")
        if scope.until_ms is not None:
            bounds.append(f"{column} < {_moment(scope.until_ms)}")
        return " AND ".join(bounds)

    if scope.from_ms is None and scope.until_ms is None:
        return ""
    return f"(({between('occurred_at')}) OR ({between('bus_time')}))"


def _fit(wanted: Sequence[str], columns: Sequence[str]) -> str:
    """Whether one of the columns is one of the values, or like one with a ``*``."""
    plain = [comparable(one) for one in wanted]
    said = f"arrayMap(said -> {_comparable('said')}, [{', '.join(columns)}])"
    exact = [one for one in plain if "*" not in one]
    found = [f"hasAny({said}, {_quoted(exact)})"] if exact else []
    for one in plain:
        if "*" in one:
            like = quote("%".join(_like(part) for part in one.split("*")))
            found.append(f"arrayExists(said -> said != '' AND said LIKE {like}, {said})")
    return "(" + (" OR ".join(found) or "0") + ")"


def _with_words(scope: Scope, always: Sequence[str]) -> str:
    there = " AND ".join(_term(term) for term in scope.terms)
    inside = f"SELECT topic, partition, offset FROM contents WHERE {' AND '.join(always)} AND {there}"  # noqa: S608
    return f"(content_status NOT IN ('ok', 'absent') OR (topic, partition, offset) IN ({inside}))"


def _term(term: Term) -> str:
    text = quote(term.text)
    if not term.text.isascii():
        return f"position(lowerUTF8(content_text), {text}) > 0"
    if term.kind == "part":
        return f"position(content_text, {text}) > 0"
    words = f"hasAllTokens(content_text, {_quoted(tokens(term.text))})"
    return words if term.kind == "word" else f"({words} AND position(content_text, {text}) > 0)"


def _comparable(column: str) -> str:
    """:func:`retention.scope.comparable` of a column."""
    return f"lowerUTF8(normalizeUTF8NFC(toValidUTF8(trimBoth({column}, {quote(WHITE)}))))"


def _like(text: str) -> str:
    """A text in which nothing stands for something else in LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _quoted(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(quote, values)) + "]"


def _moment(ms: int) -> str:
    return f"fromUnixTimestamp64Milli({ms})"
