"""Whether everything is there that should be: what is known of a window, judged. Pure.

A *finding* is something that is missing, or cannot be shown to be there. What is explained (numbers of events that were
never acknowledged, a repeat that completed a batch) is a *note*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from affidavit.silence import silences

Section = Literal["collectors", "gateways", "silence", "routes", "feeds"]

BEATS_MISSED = 3
"""Heartbeats that may be late before a collector counts as gone."""

PROBABLE_MS = 5000
"""How far two clocks may be apart for one exchange that two sources tell without a common id."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know.

    Attributes:
        section: which question found it.
        subject: the collector, gateway, session or feed.
        detail: what is missing, and what that means.
        missing: whether it counts as missing; a note otherwise.
        from_ms, to_ms: when, in milliseconds since 1970; 0 where that is not known.
        facts: the same for programs.
    """

    section: Section
    subject: str
    detail: str
    missing: bool = True
    from_ms: int = 0
    to_ms: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked and found.

    Attributes:
        since_ms, until_ms: the window.
        checked: per section, what was looked at, in words.
        records: in the window, the deployment's own left out.
        findings: in the order of the sections.
    """

    since_ms: int
    until_ms: int
    checked: Mapping[Section, Sequence[str]]
    records: int
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0: nothing is missing. 2: something is, or there is nothing at all."""
        return 2 if not self.records or any(one.missing for one in self.findings) else 0

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "exit_code": self.exit_code}


def judge_collectors(
    window: Sequence[Row],
    gaps: Sequence[Row],
    last: Mapping[str, int],
    heartbeats: Sequence[Row],
    explained: Mapping[str, Sequence[tuple[int, int]]],
    until_ms: int,
) -> Iterator[Finding]:
    """Numbers that are missing in the middle or at the end, and collectors that fell silent.

    Args:
        window: collectors with records in the window: ``collector_id``, ``first``, ``last``, ``from_ms``, ``to_ms``.
        gaps: ``collector_id``, ``first``, ``last``: numbers missing between others.
        last: collector → greatest number that is there, also beyond the window.
        heartbeats: one row per collector, as the query gives them.
        explained: collector → numbers of events that were not acknowledged.
        until_ms: end of the window.
    """
    known = {row["collector_id"]: row for row in window}
    for gap in gaps:
        row = known.get(gap["collector_id"])
        if row is not None and gap["first"] <= row["last"] and gap["last"] >= row["first"]:
            yield from _missing(gap["collector_id"], gap["first"], gap["last"], explained, row["from_ms"], row["to_ms"])
    for beat in heartbeats:
        name = beat["collector"]
        row = known.get(name)
        if row is not None and beat["started_ms"] >= beat["from_ms"] - 60_000 and row["first"] > 0:
            yield from _missing(name, 0, row["first"] - 1, explained, beat["from_ms"], row["from_ms"])
        greatest = last.get(name, -1)
        if beat["settled"] > greatest + 1:
            spooled = f"; {beat['spooled']} were in its spool then" if beat["spooled"] else ""
            yield from _missing(
                name,
                greatest + 1,
                beat["settled"] - 1,
                explained,
                beat["to_ms"],
                beat["to_ms"],
                f" at the end{spooled}",
            )
        if not beat["final"] and until_ms - beat["to_ms"] > BEATS_MISSED * beat["interval_seconds"] * 1000:
            yield Finding(
                "collectors",
                name,
                f"no heartbeat since, and none said that it stops: the {beat['role']} died or hangs; what it had not "
                "acknowledged, its senders were not told to be safe",
                False,
                beat["to_ms"],
                min(until_ms, beat["to_ms"] + int(beat["interval_seconds"] * 1000)),
                {"kind": "died", "settled": beat["settled"]},
            )


def _missing(
    collector: str,
    first: int,
    last: int,
    explained: Mapping[str, Sequence[tuple[int, int]]],
    from_ms: int,
    to_ms: int,
    where: str = "",
) -> Iterator[Finding]:
    """The numbers from ``first`` to ``last``, without those that are explained."""
    rest = _without(first, last, explained.get(collector, ()))
    told = last - first + 1 - sum(high - low + 1 for low, high in rest)
    if told:
        yield Finding(
            "collectors",
            collector,
            f"{_numbers(first, last)}: {told:,} went to events that were not acknowledged; their senders were told to "
            "send again",
            False,
            from_ms,
            to_ms,
            {"kind": "explained", "first": first, "last": last},
        )
    for low, high in rest:
        yield Finding(
            "collectors",
            collector,
            f"{_numbers(low, high)} {'is' if low == high else 'are'} missing{where}: acknowledged, or never sent out, "
            "and not here",
            True,
            from_ms,
            to_ms,
            {"kind": "gap", "first": low, "last": high},
        )


def _without(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """``first`` to ``last``, less ``ranges``; all of them inclusive."""
    rest, at = [], first
    for low, high in sorted(ranges):
        if high < at or low > last:
            continue
        if low > at:
            rest.append((at, low - 1))
        at = max(at, high + 1)
    if at <= last:
        rest.append((at, last))
    return rest


def _numbers(first: int, last: int) -> str:
    return f"number {first:,}" if first == last else f"numbers {first:,} to {last:,}"


def judge_gateways(gateways: Sequence[Row], batches: Sequence[Row], sequences: Sequence[Row]) -> Iterator[Finding]:
    """What the gateways count themselves, and what they have no counter for."""
    for row in batches:
        yield Finding(
            "gateways",
            row["gateway"],
            f"{row['stored']} of {row['stated']} records of one body are here (SHA-256 {row['body_sha256'][:16]}…), "
            "and it was not sent again in full",
            True,
            row["at_ms"],
            row["at_ms"],
            {"kind": "batch", "body_sha256": row["body_sha256"], "stated": row["stated"], "stored": row["stored"]},
        )
    for row in sequences:
        yield Finding(
            "gateways",
            row["gateway"],
            f"session {row['session_id']}: {_numbers(row['first'], row['last'])} of its own never came",
            True,
            row["at_ms"],
            row["at_ms"],
            {"kind": "sequence", "session_id": row["session_id"], "first": row["first"], "last": row["last"]},
        )
    uncounted = sorted({row["gateway"] for row in gateways} - {row["gateway"] for row in gateways if row["numbered"]})
    for name in uncounted:
        yield Finding(
            "gateways",
            name,
            "has no counter of its own: a record that it never sent leaves no trace in its stream",
            False,
            facts={"kind": "no_counter"},
        )


def judge_silence(rhythm: Sequence[Row], since_ms: int, until_ms: int) -> Iterator[Finding]:
    """Gateways that are silent when they usually are not."""
    hours: dict[tuple[str, str], dict[int, int]] = {}
    last: dict[tuple[str, str], int] = {}
    for row in rhythm:
        name = row["tenant"], row["gateway"]
        hours.setdefault(name, {})[row["hour"]] = row["records"]
        last[name] = max(last.get(name, 0), row["last_ms"])
    for (tenant, gateway), own in hours.items():
        found = silences(own, last[tenant, gateway], since_ms, until_ms)
        if found is None:
            detail = "is known for less than three weeks before the window: it has no rhythm yet to compare with"
            yield Finding("silence", gateway, detail, False, facts={"kind": "no_rhythm", "tenant": tenant})
        for one in found or ():
            detail = f"silent for {(one.to_ms - one.from_ms) // 60_000} min; usual: {one.usual}"
            yield Finding(
                "silence", gateway, detail, True, one.from_ms, one.to_ms, {"kind": "silent", "tenant": tenant}
            )


def judge_routes(
    spans: Sequence[Row], only_provider: Sequence[Row], only_gateway: Sequence[Row]
) -> tuple[list[Finding], int]:
    """Exchanges that one side knows and the other does not; and how many more match without a common id."""
    unmatched, left, probable = _probable(only_provider, only_gateway)
    found = [
        Finding(
            "routes",
            row["format"],
            f"{row['model'] or 'a model'} answered {row['who'] or 'somebody'} "
            f"(request {row['request_id'] or 'unknown'}), and no gateway sent it: it went around them, or was lost",
            True,
            row["at_ms"],
            row["at_ms"],
            {"kind": "only_provider", "event_id": row["event_id"], "tenant": row["tenant"]},
        )
        for row in unmatched
    ]
    covered = {"bedrock" if row["format"] == "bedrock" else "vertex": row for row in spans}
    inside = [row for row in left if any(one["from_ms"] <= row["at_ms"] <= one["to_ms"] for one in covered.values())]
    found += [
        Finding(
            "routes",
            row["gateway"],
            f"says that {row['model'] or 'a model'} answered (request {row['request_id'] or 'unknown'}), and the "
            "provider's own record does not know it",
            False,
            row["at_ms"],
            row["at_ms"],
            {"kind": "only_gateway", "event_id": row["event_id"], "tenant": row["tenant"]},
        )
        for row in inside
    ]
    return found, probable


def _probable(only_provider: Sequence[Row], only_gateway: Sequence[Row]) -> tuple[list[Row], list[Row], int]:
    """Pair exchanges that agree in their token counts and nearly in time, each once; what is left on both sides."""
    by_counts: dict[tuple[Any, Any], list[Row]] = {}
    for row in only_gateway:
        if row["output_tokens"] is not None:
            by_counts.setdefault((row["input_tokens"], row["output_tokens"]), []).append(row)
    left_provider, used = [], set()
    for row in only_provider:
        near = [
            one
            for one in by_counts.get((row["input_tokens"], row["output_tokens"]), ())
            if abs(one["at_ms"] - row["at_ms"]) <= PROBABLE_MS and one["event_id"] not in used
        ]
        if near:
            used.add(min(near, key=lambda one: abs(one["at_ms"] - row["at_ms"]))["event_id"])
        else:
            left_provider.append(row)
    return left_provider, [row for row in only_gateway if row["event_id"] not in used], len(used)


def judge_feeds(feeds: Sequence[Row], since_ms: int, until_ms: int, lag_ms: int = 3_600_000) -> Iterator[Finding]:
    """Stretches of the window for which a feed was not read to the end."""
    by_feed: dict[str, list[tuple[int, int]]] = {}
    for row in feeds:
        by_feed.setdefault(row["feed"], []).append((row["from_us"] // 1000, row["to_us"] // 1000))
    for name, spans in sorted(by_feed.items()):
        spans.sort()
        at = max(since_ms, spans[0][0])
        for low, high in spans:
            if low > at:
                yield _unread(name, at, low)
            at = max(at, high)
            if at >= until_ms:
                break
        if until_ms - at > lag_ms:
            yield _unread(name, at, until_ms)


def _unread(feed: str, from_ms: int, to_ms: int) -> Finding:
    detail = f"was not read to the end for {(to_ms - from_ms) // 60_000} min of this time"
    return Finding("feeds", feed, detail, True, from_ms, to_ms, {"kind": "not_covered"})
