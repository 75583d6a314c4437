"""Asking ClickHouse what ``affidavit completeness`` judges."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from affidavit import completeness_sql as sql
from affidavit.completeness import (
    Finding,
    Report,
    Section,
    judge_collectors,
    judge_feeds,
    judge_gateways,
    judge_routes,
    judge_silence,
)
from affidavit.progress import Told, silent
from affidavit.query import QueryClient

DAY_MS = 86_400_000

MARGIN_MS = 2 * DAY_MS
"""How far beyond the window is looked for what belongs to it: longer than a collector may spool."""

PATIENCE = 10.0
"""Seconds in which the sink of a running deployment may catch up with what a heartbeat speaks of."""

SECTIONS: tuple[Section, ...] = ("collectors", "gateways", "silence", "routes", "feeds")


def check(
    client: QueryClient,
    since_ms: int,
    until_ms: int,
    *,
    tenant: str = "",
    gateway: str = "",
    told: Told = silent,
    patience: float = PATIENCE,
) -> Report:
    """Ask and judge.

    Args:
        client: may read metadata.
        since_ms, until_ms: the window, in milliseconds since 1970.
        tenant, gateway: only theirs; the collectors are everybody's.
        told: how far it is.
        patience: seconds to wait for rows that are still on their way.
    """
    asking = _Asking(client, since_ms, until_ms, tenant, gateway)
    findings: list[Finding] = []
    checked: dict[Section, list[str]] = {}
    gateways = asking.rows(sql.GATEWAYS)
    for at, section in enumerate(SECTIONS):
        told(at, len(SECTIONS), section)
        found, words = _SECTIONS[section](asking, gateways, patience)
        findings += found
        checked[section] = words
    return Report(since_ms, until_ms, checked, sum(row["records"] for row in gateways), tuple(findings))


class _Asking:
    def __init__(self, client: QueryClient, since_ms: int, until_ms: int, tenant: str, gateway: str) -> None:
        self._client = client
        self.since_ms, self.until_ms = since_ms, until_ms
        self._parameters = {
            "since": _moment(since_ms),
            "until": _moment(until_ms),
            "margin_since": _moment(max(0, since_ms - MARGIN_MS)),
            "margin_until": _moment(until_ms + MARGIN_MS),
            "tenant": tenant,
            "gateway": gateway,
        }

    def rows(self, text: str, **more: str) -> list[dict[str, Any]]:
        wanted = {name: value for name, value in (self._parameters | more).items() if f"{{{name}:" in text}
        return self._client.ask(text, wanted).records()


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _array(names: Sequence[str]) -> str:
    """Names as one query parameter."""
    return json.dumps(list(names))


Answered = tuple[list[Finding], list[str]]


def _collectors(asking: _Asking, gateways: Sequence[dict[str, Any]], patience: float) -> Answered:
    deadline = time.monotonic() + patience
    while True:
        window, heartbeats = asking.rows(sql.COLLECTORS), asking.rows(sql.HEARTBEATS)
        found = list(_judged(asking, window, heartbeats))
        if not any(one.missing for one in found) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    ended = sum(bool(row["final"]) for row in heartbeats)
    return found, [
        f"{len(window)} collector instances, {sum(row['numbers'] for row in window):,} numbers",
        f"{len(heartbeats)} with heartbeats, {ended} of them stopped",
    ]


def _judged(
    asking: _Asking, window: Sequence[dict[str, Any]], heartbeats: Sequence[dict[str, Any]]
) -> Iterator[Finding]:
    doubtful = [row["collector_id"] for row in window if row["last"] - row["first"] + 1 != row["numbers"]]
    gaps = asking.rows(sql.GAPS, ids=_array(doubtful)) if doubtful else []
    names = [row["collector"] for row in heartbeats]
    last = asking.rows(sql.LAST_NUMBERS, ids=_array(names)) if names else []
    explained: dict[str, list[tuple[int, int]]] = {}
    for row in asking.rows(sql.EXPLAINED):
        explained.setdefault(row["collector"], []).extend((low, high) for low, high in row["ranges"])
    greatest = {row["collector_id"]: row["last"] for row in last}
    yield from judge_collectors(window, gaps, greatest, heartbeats, explained, asking.until_ms)


def _gateways(asking: _Asking, gateways: Sequence[dict[str, Any]], patience: float) -> Answered:
    found = list(judge_gateways(gateways, asking.rows(sql.BATCHES), asking.rows(sql.SEQUENCES)))
    words = [
        f"{row['gateway']} of {row['tenant']} ({row['format']}): {row['records']:,} records, "
        f"{row['exchanges']:,} exchanges" + (f", {row['unparsed']:,} unparsed" if row["unparsed"] else "")
        for row in gateways
    ]
    return found, words


def _silence(asking: _Asking, gateways: Sequence[dict[str, Any]], patience: float) -> Answered:
    rhythm = asking.rows(sql.RHYTHM)
    names = {(row["tenant"], row["gateway"]) for row in rhythm}
    found = list(judge_silence(rhythm, asking.since_ms, asking.until_ms))
    return found, [f"{len(names)} gateways against the five weeks before"]


def _routes(asking: _Asking, gateways: Sequence[dict[str, Any]], patience: float) -> Answered:
    spans = asking.rows(sql.PROVIDER_SPANS)
    if not spans:
        return [], ["no provider's own record in the window: nothing to compare the gateways with"]
    paths = _array([row["format"] for row in spans])
    found, probable = judge_routes(spans, asking.rows(sql.ONLY_PROVIDER), asking.rows(sql.ONLY_GATEWAY, paths=paths))
    words = [f"{row['format']}: {row['exchanges']:,} exchanges in the provider's own record" for row in spans]
    if probable:
        words.append(f"{probable:,} match by tokens and time only, without a common id")
    return found, words


def _feeds(asking: _Asking, gateways: Sequence[dict[str, Any]], patience: float) -> Answered:
    feeds = asking.rows(sql.FEEDS)
    names = sorted({row["feed"] for row in feeds})
    found = list(judge_feeds(feeds, asking.since_ms, asking.until_ms))
    return found, [f"{len(names)} feeds" + (f": {', '.join(names)}" if names else "")]


_SECTIONS: dict[Section, Callable[[_Asking, Sequence[dict[str, Any]], float], Answered]] = {
    "collectors": _collectors,
    "gateways": _gateways,
    "silence": _silence,
    "routes": _routes,
    "feeds": _feeds,
}
