"""What a hold would hold: counted before it is placed. Asks ClickHouse; the objects are found by their plans."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from affidavit.progress import Told, silent
from affidavit.query import QueryClient
from retention.scope import Scope, encode_scope
from retention.selection import any_of
from schemas.errors import MalformedInput
from schemas.ids import Offset, parse_shard
from sinks.archive.catalog import plans_from, shards_with_plans
from sinks.archive.names import parse_segment_key
from sinks.archive.plan import PlannedObject
from sinks.clickhouse.quoting import quote
from stores.objects import Objects

SAMPLES = 5
SHOWN = 1000
"""Rows of a breakdown that are read."""

MAX_GROUPS = 400
"""Days, shards and classes for which it is looked which objects are touched; beyond, only how many days there are."""


@dataclass(frozen=True, slots=True)
class Touched:
    """One object of the archive with records in it that would be held."""

    key: str
    held: int
    records: int
    bytes: int
    flagged: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What a scope would hold now.

    Attributes:
        records, events: rows, and distinct event ids.
        bytes: on the bus, sealed.
        first_ms, last_ms: receipt of the first and last, ``None`` when there is none.
        unreadable: of the records, those that are held because it cannot be read what they are.
        by: breakdowns: ``custodian``, ``day``, ``class``, ``kind``; name and records of each.
        samples: addresses and event ids of some.
        objects: touched objects; ``None`` when there are too many to look.
        unindexed: records by shard that ClickHouse does not have yet, which nobody has looked at.
    """

    records: int
    events: int
    bytes: int
    first_ms: int | None
    last_ms: int | None
    unreadable: int
    by: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    samples: list[tuple[str, str]] = field(default_factory=list)
    objects: list[Touched] | None = None
    unindexed: dict[str, int] = field(default_factory=dict)

    @property
    def collateral(self) -> int:
        """Records in the touched objects that the hold is not about."""
        return sum(one.records - one.held for one in self.objects or ())

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "records": self.records,
            "events": self.events,
            "bytes": self.bytes,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "unreadable": self.unreadable,
            "by": {name: [{"name": one, "records": count} for one, count in rows] for name, rows in self.by.items()},
            "samples": [{"address": address, "event_id": event_id} for address, event_id in self.samples],
            "objects": None if self.objects is None else len(self.objects),
            "objects_flagged": None if self.objects is None else sum(one.flagged for one in self.objects),
            "collateral": None if self.objects is None else self.collateral,
            "unindexed": self.unindexed,
        }


def plan_hash(matter: str, kind: str, scope: Scope, lapses_ms: int | None) -> str:
    """What was previewed, in 16 characters: matter, kind, and the scope with every alias that it names. Another
    directory of people, or another option, gives another one."""
    said = {"matter": matter, "kind": kind, "scope": encode_scope(scope), "lapses_ms": lapses_ms}
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def check_plan(given: str, real: str) -> None:
    """Return if a plan was previewed as it is now.

    Raises:
        MalformedInput: it was not.
    """
    if given and given != real:
        raise MalformedInput(
            f"got plan {given}, and with these options and the directory of people as it is now the plan is {real}: "
            "look at hold preview again"
        )


def preview(
    client: QueryClient, objects: Objects, scope: Scope, placed_ms: int, unindexed: dict[str, int], told: Told = silent
) -> Preview:
    """Count what a scope would hold if it were placed now.

    Raises:
        Unavailable: ClickHouse or the object store does not answer.
    """
    condition = any_of([(scope, placed_ms)])
    (total,) = client.ask(
        "SELECT count() AS records, uniqExact(event_id) AS events, sum(sealed_bytes) AS bytes, "  # noqa: S608
        "toUnixTimestamp64Milli(min(bus_time)) AS first, toUnixTimestamp64Milli(max(bus_time)) AS last, "
        "countIf(metadata_status != 'ok' OR content_status NOT IN ('ok', 'absent')) AS unreadable "
        f"FROM events WHERE {condition}"
    ).records()
    some = total["records"] > 0
    by = {
        name: _breakdown(client, column, condition)
        for name, column in (
            ("custodian", "multiIf(user_email != '', user_email, user_id != '', user_id, end_user_id != '', "
             "end_user_id, service_account != '', service_account, api_key_id != '', api_key_id, cloud_principal)"),
            ("day", "toString(toDate(bus_time))"),
            ("class", "toString(retention_class)"),
            ("kind", "toString(kind)"),
        )
    }  # fmt: skip
    samples = client.ask(
        f"SELECT address, event_id FROM events WHERE {condition} ORDER BY bus_time DESC LIMIT {SAMPLES}"  # noqa: S608
    ).rows
    return Preview(
        total["records"],
        total["events"],
        total["bytes"],
        total["first"] if some else None,
        total["last"] if some else None,
        total["unreadable"],
        by,
        [(str(address), str(event_id)) for address, event_id in samples],
        touched(client, objects, condition, told) if some else [],
        unindexed,
    )


def _breakdown(client: QueryClient, column: str, condition: str) -> list[tuple[str, int]]:
    asked = client.ask(
        f"SELECT {column} AS name, count() AS records FROM events WHERE {condition} GROUP BY name "  # noqa: S608
        f"ORDER BY records DESC, name LIMIT {SHOWN}"
    )
    return [(str(name), int(records)) for name, records in asked.rows]


def touched(client: QueryClient, objects: Objects, condition: str, told: Told = silent) -> list[Touched] | None:
    """The objects of the archive that have records of a condition in them; ``None`` when they are too many to look."""
    groups = client.ask(
        "SELECT topic, partition, tenant, retention_class, toString(toDate(bus_time)) AS day, "  # noqa: S608
        f"min(offset), max(offset), count() FROM events WHERE {condition} GROUP BY ALL ORDER BY ALL "
        f"LIMIT {MAX_GROUPS + 1}"
    ).rows
    if len(groups) > MAX_GROUPS:
        return None
    there = set(shards_with_plans(objects))
    spans: dict[str, tuple[int, int]] = {}
    for topic, partition, _, _, _, first, last, _ in groups:
        shard = f"{topic}/{partition}"
        low, high = spans.get(shard, (first, last))
        spans[shard] = min(low, first), max(high, last)
    by_scope: dict[tuple[str, str, str, date], list[PlannedObject]] = defaultdict(list)
    for name, (low, high) in spans.items():
        shard_ids = parse_shard(name)
        if shard_ids not in there:
            continue
        for plan in plans_from(objects, shard_ids, Offset(low)):
            if plan.first > high:
                break
            for one in plan.objects:
                own = parse_segment_key(one.key).scope
                by_scope[name, own.tenant, own.retention_class, own.day].append(one)
    found: list[Touched] = []
    for number, (topic, partition, tenant, retention_class, day, first, last, _) in enumerate(groups):
        told(number, len(groups), "objects")
        place = f"{topic}/{partition}", tenant, retention_class, date.fromisoformat(day)
        inside = [one for one in by_scope.get(place, ()) if one.last >= first and one.first <= last]
        if inside:
            where = (
                f"topic = {quote(topic)} AND partition = {partition} AND tenant = {quote(tenant)} AND "
                f"retention_class = {quote(retention_class)} AND toDate(bus_time) = {quote(day)}"
            )
            found += _count(client, objects, f"{where} AND {condition}", inside)
    return found


def _count(client: QueryClient, objects: Objects, condition: str, inside: Sequence[PlannedObject]) -> list[Touched]:
    firsts = ", ".join(f"toUInt64({one.first})" for one in sorted(inside, key=lambda one: one.first))
    asked = client.ask(
        f"SELECT roundDown(offset, [{firsts}]) AS first, count() FROM events WHERE {condition} GROUP BY first"  # noqa: S608
    )
    held = {int(first): int(count) for first, count in asked.rows}
    found = []
    for one in inside:
        if count := held.get(one.first, 0):
            info = objects.head(one.key)
            found.append(Touched(one.key, count, one.records, one.size, info is not None and info.hold))
    return found
