"""Checking tables that a sink is writing to: what is on its way is no finding, what stays is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from affidavit.query import Answer, QueryClient
from affidavit.sql_check import SHARDS, SqlFinding, check_sql

ON_ITS_WAY = ("offset", "control", 0, 27, "in contents and not in events")
FLIPPED = ("leaf", "events", 0, 4, "the leaf does not match")
FINAL = ("offset", "events", 0, 9, "in events and not in contents")


class Looks(QueryClient):
    """Answers each look at the failures with the next of ``looks``, and the last of them from then on."""

    def __init__(self, *looks: tuple[tuple[Any, ...], ...]) -> None:
        self._looks = itertools.chain(looks, itertools.repeat(looks[-1]))

    def ask(self, sql: str, parameters: Mapping[str, str] | None = None) -> Answer:
        if sql == SHARDS:
            return Answer((), (("audit.example/events/0/2026q4", 20, 21, "ab"),), 0.0, 0)
        rows = next(self._looks)
        if "failed_check = 'offset'" in sql:
            rows = tuple(row for row in rows if row[0] == "offset")
        return Answer((), rows, 0.0, 0)


def findings(client: QueryClient, patience: float = 5.0) -> list[SqlFinding]:
    return list(check_sql(client, {}, patience=patience).findings)


def test_a_row_that_is_on_its_way_to_the_other_table_is_no_finding() -> None:
    assert findings(Looks((ON_ITS_WAY,), (ON_ITS_WAY,), ())) == []


def test_another_row_on_its_way_does_not_stand_in_for_the_first() -> None:
    later = ("offset", "control", 0, 31, "in contents and not in events")
    assert findings(Looks((ON_ITS_WAY,), (later,))) == []


def test_a_row_that_stays_alone_is_found_and_other_checks_are_not_asked_twice() -> None:
    found = findings(Looks((FLIPPED, FINAL, ON_ITS_WAY), (FINAL,)), patience=0.5)
    assert [(one.check, one.place, one.exit_code) for one in found] == [
        ("leaf", "events/0@4", 1),
        ("offset", "events/0@9", 1),
    ]
