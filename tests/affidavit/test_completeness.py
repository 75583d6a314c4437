"""What is judged missing, from rows as ClickHouse gives them."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.completeness import (
    Finding,
    Report,
    judge_collectors,
    judge_feeds,
    judge_gateways,
    judge_routes,
    judge_silence,
)
from affidavit.silence import HOUR, WEEK, silences

NOW = 1_787_305_200_000
MINUTE = 60_000


def row(**fields: Any) -> dict[str, Any]:
    return {"collector_id": "c-1", "first": 0, "last": 9, "from_ms": NOW, "to_ms": NOW + MINUTE, **fields}


def beat(**fields: Any) -> dict[str, Any]:
    return {
        "collector": "c-1", "role": "collector", "from_ms": NOW, "to_ms": NOW + MINUTE, "interval_seconds": 60.0,
        "settled": 10, "lost": 0, "spooled": 0, "final": True, "started_ms": NOW, **fields,
    }  # fmt: skip


def told(found: list[Finding]) -> list[tuple[bool, Any]]:
    return [(one.missing, one.facts.get("kind"), one.facts.get("first"), one.facts.get("last")) for one in found]  # type: ignore[misc]


def collectors(
    window: list[dict[str, Any]],
    gaps: list[dict[str, Any]],
    beats: list[dict[str, Any]],
    explained: dict[str, list[tuple[int, int]]] | None = None,
    last: int = 9,
    until: int = NOW + 2 * MINUTE,
) -> list[tuple[bool, Any]]:
    return told(list(judge_collectors(window, gaps, {"c-1": last}, beats, explained or {}, until)))


def test_a_collector_whose_numbers_are_all_there() -> None:
    assert collectors([row()], [], [beat()]) == []


def test_a_gap_is_missing_but_for_what_was_not_acknowledged() -> None:
    gap = [{"collector_id": "c-1", "first": 3, "last": 7}]
    assert collectors([row()], gap, [beat()]) == [(True, "gap", 3, 7)]
    assert collectors([row()], gap, [beat()], {"c-1": [(4, 5)]}) == [
        (False, "explained", 3, 7),
        (True, "gap", 3, 3),
        (True, "gap", 6, 7),
    ]
    assert collectors([row()], gap, [beat()], {"c-1": [(0, 4), (5, 8)]}) == [(False, "explained", 3, 7)]


def test_a_gap_outside_of_the_window_is_not_of_it() -> None:
    gap = [{"collector_id": "c-1", "first": 12, "last": 13}]
    assert collectors([row()], gap, [beat()]) == []


def test_the_end_is_missing_when_a_heartbeat_says_that_there_was_more() -> None:
    assert collectors([row(last=6)], [], [beat()], last=6) == [(True, "gap", 7, 9)]
    assert collectors([], [], [beat()], last=-1) == [(True, "gap", 0, 9)]
    assert collectors([], [], [beat(settled=0)], last=-1) == []


def test_the_beginning_is_missing_when_the_collector_began_in_the_window() -> None:
    assert collectors([row(first=2)], [], [beat()]) == [(True, "gap", 0, 1)]
    assert collectors([row(first=2)], [], [beat(started_ms=NOW - 10 * MINUTE)]) == []


def test_a_collector_that_died_is_told_of_and_one_that_is_late_is_not() -> None:
    dead = beat(final=False)
    assert collectors([row()], [], [dead], until=NOW + 10 * MINUTE) == [(False, "died", None, None)]
    assert collectors([row()], [], [dead], until=NOW + 3 * MINUTE) == []


def test_gateways_are_held_against_what_they_count() -> None:
    gateways = [{"gateway": "kong", "numbered": 0}, {"gateway": "claude-code", "numbered": 5}]
    batch = {"gateway": "kong", "stated": 3, "stored": 2, "body_sha256": "ab" * 32, "at_ms": NOW}
    jump = {"gateway": "claude-code", "session_id": "s", "first": 4, "last": 4, "at_ms": NOW}
    found = list(judge_gateways(gateways, [batch], [jump]))
    assert told(found) == [(True, "batch", None, None), (True, "sequence", 4, 4), (False, "no_counter", None, None)]
    assert found[1].detail == "session s: number 4 of its own never came"


def hours_of(weeks: int, per_hour: int, until: int) -> dict[int, int]:
    return dict.fromkeys(range(until - weeks * WEEK, until, HOUR), per_hour)


def test_an_hour_that_is_always_busy_and_now_empty_is_silence() -> None:
    end = NOW // 1000 // HOUR * HOUR
    hours = hours_of(5, 20, end)
    for hour in (end - 2 * HOUR, end - HOUR):
        del hours[hour]
    (found,) = silences(hours, (end - 2 * HOUR) * 1000 - 1, (end - 24 * HOUR) * 1000, end * 1000) or []
    assert (found.from_ms, found.to_ms) == ((end - 2 * HOUR) * 1000, end * 1000)
    assert found.usual == "20 to 20 in that hour of the weeks before"


def test_an_hour_that_was_empty_in_one_of_the_weeks_before_is_none() -> None:
    end = NOW // 1000 // HOUR * HOUR
    hours = hours_of(5, 20, end)
    del hours[end - HOUR], hours[end - HOUR - WEEK]
    assert silences(hours, (end - HOUR) * 1000, (end - 24 * HOUR) * 1000, end * 1000) == []


def test_a_gateway_without_hours_is_silent_when_it_was_never_so_long() -> None:
    end = NOW // 1000 // HOUR * HOUR
    hours = dict.fromkeys(range(end - 5 * WEEK, end - 30 * HOUR, 6 * HOUR), 1)
    last = max(hours) * 1000
    found = silences(hours, last, (end - 24 * HOUR) * 1000, end * 1000)
    assert found is not None
    assert [(one.from_ms, one.to_ms) for one in found] == [(last, end * 1000)]


def test_a_gateway_that_is_new_has_no_rhythm() -> None:
    rows = [{"tenant": "acme", "gateway": "kong", "hour": NOW // 1000 - WEEK, "records": 9, "last_ms": NOW}]
    (found,) = judge_silence(rows, NOW - 24 * 3600 * 1000, NOW)
    assert (found.missing, found.facts["kind"]) == (False, "no_rhythm")


def exchange(
    event: str, at: int = NOW, tokens: tuple[int | None, int | None] = (10, 20), **fields: Any
) -> dict[str, Any]:
    return {
        "tenant": "acme", "gateway": "litellm", "format": "bedrock", "event_id": event, "request_id": f"r-{event}",
        "model": "claude", "who": "dana", "at_ms": at, "input_tokens": tokens[0], "output_tokens": tokens[1], **fields,
    }  # fmt: skip


def test_a_route_around_the_gateways_shows() -> None:
    spans = [{"format": "bedrock", "from_ms": NOW - MINUTE, "to_ms": NOW + MINUTE}]
    found, probable = judge_routes(spans, [exchange("a"), exchange("b", tokens=(1, 2))], [])
    assert ([one.facts["event_id"] for one in found], probable) == (["a", "b"], 0)
    assert found[0].detail.startswith("claude answered dana (request r-a), and no gateway sent it")


def test_exchanges_without_a_common_id_are_paired_once_by_tokens_and_time() -> None:
    spans = [{"format": "bedrock", "from_ms": NOW - MINUTE, "to_ms": NOW + MINUTE}]
    sides = [exchange("p1"), exchange("p2")], [exchange("g1", NOW + 1000), exchange("g2", NOW + 60_000)]
    found, probable = judge_routes(spans, *sides)
    assert probable == 1
    assert [(one.facts["kind"], one.facts["event_id"]) for one in found] == [
        ("only_provider", "p2"),
        ("only_gateway", "g2"),
    ]
    unknown = judge_routes(spans, [exchange("p", tokens=(None, None))], [exchange("g", tokens=(None, None))])
    assert unknown[1] == 0


def test_what_the_provider_does_not_know_counts_only_where_its_record_reaches() -> None:
    spans = [{"format": "bedrock", "from_ms": NOW - MINUTE, "to_ms": NOW}]
    found, _ = judge_routes(spans, [], [exchange("early", NOW - 2 * MINUTE), exchange("in", NOW)])
    assert [(one.facts["event_id"], one.missing) for one in found] == [("in", False)]


def test_a_feed_that_was_not_read_to_the_end() -> None:
    def span(low: int, high: int) -> dict[str, Any]:
        return {"feed": "f", "from_us": low * 1000, "to_us": high * 1000, "records": 1}

    hour = 3_600_000
    whole = [span(NOW, NOW + 2 * hour), span(NOW + 2 * hour, NOW + 4 * hour)]
    assert list(judge_feeds(whole, NOW, NOW + 4 * hour)) == []
    (gap,) = judge_feeds([whole[0], span(NOW + 3 * hour, NOW + 4 * hour)], NOW, NOW + 4 * hour)
    assert (gap.from_ms, gap.to_ms) == (NOW + 2 * hour, NOW + 3 * hour)
    (lag,) = judge_feeds(whole[:1], NOW, NOW + 4 * hour)
    assert (lag.from_ms, lag.to_ms) == (NOW + 2 * hour, NOW + 4 * hour)


@pytest.mark.parametrize(("records", "missing", "code"), [(0, False, 2), (1, False, 0), (1, True, 2)])
def test_the_exit_code(records: int, missing: bool, code: int) -> None:
    finding = Finding("collectors", "c-1", "…", missing)
    assert Report(0, 1, {}, records, (finding,)).exit_code == code
