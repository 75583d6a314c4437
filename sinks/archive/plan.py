"""The write-ahead plan of one flush: which offsets, into which objects, with which bytes. Pure.

A plan is durable before the first of its objects. So after any crash the archive says by itself what is unfinished:
the last plan names objects that are not there yet, and the same offsets of the bus give the same bytes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from schemas.errors import MalformedInput
from schemas.ids import Offset, Shard, parse_shard
from sinks.archive.names import SegmentKey, parse_segment_key

VERSION = 1


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """One object of a flush.

    Attributes:
        key: see :mod:`sinks.archive.names`.
        records: how many.
        first, last: lowest and highest offset in it (both inclusive).
        size: bytes.
        sha256: of its bytes, hex.
        retain_until: UTC, whole seconds; ``None`` for no lock.
        hold: whether it is written with its hold flag set.
    """

    key: str
    records: int
    first: Offset
    last: Offset
    size: int
    sha256: str
    retain_until: datetime | None
    hold: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """One flush: offsets ``first`` to ``end`` (exclusive) of ``shard``, each in exactly one of ``objects``."""

    shard: Shard
    first: Offset
    end: Offset
    objects: tuple[PlannedObject, ...]


def format_plan(plan: Plan) -> bytes:
    """The plan as JSON with sorted keys, one object per line, and a newline at its end."""
    lines = b",\n".join(orjson.dumps(_object(item), option=orjson.OPT_SORT_KEYS) for item in plan.objects)
    head = orjson.dumps({"end": plan.end, "first": plan.first})[:-1]
    tail = orjson.dumps({"shard": str(plan.shard), "version": VERSION})[1:]
    return head + b',"objects":[\n' + lines + b"\n]," + tail + b"\n"


def parse_plan(data: bytes) -> Plan:
    """Read what :func:`format_plan` wrote.

    Raises:
        MalformedInput: other bytes, or a plan that contradicts itself.
    """
    try:
        raw = orjson.loads(data)
        objects = tuple(_read_object(item) for item in raw["objects"])
        plan = Plan(parse_shard(raw["shard"]), Offset(raw["first"]), Offset(raw["end"]), objects)
        same = raw["version"] == VERSION and format_plan(plan) == data
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedInput(f"got {len(data)} bytes that are not a plan: {error or type(error).__name__}") from None
    if not same:
        raise MalformedInput(f"got {len(data)} bytes that are not a plan of version {VERSION} as it is written")
    if sum(item.records for item in objects) != plan.end - plan.first or not 0 <= plan.first < plan.end:
        raise MalformedInput(f"got a plan of offsets {plan.first} to {plan.end} whose objects hold another number")
    if any(not _belongs(item, parse_segment_key(item.key), plan) for item in objects):
        raise MalformedInput(f"got a plan of offsets {plan.first} to {plan.end} with an object of another flush")
    return plan


def _belongs(item: PlannedObject, key: SegmentKey, plan: Plan) -> bool:
    here = (key.shard, key.first, key.end) == (plan.shard, plan.first, plan.end)
    return here and plan.first <= item.first <= item.last < plan.end and 1 <= item.records <= item.last - item.first + 1


def _object(item: PlannedObject) -> dict[str, object]:
    return {
        "first": item.first,
        "hold": item.hold,
        "key": item.key,
        "last": item.last,
        "records": item.records,
        "retain_until": item.retain_until.strftime("%Y-%m-%dT%H:%M:%SZ") if item.retain_until else None,
        "sha256": item.sha256,
        "size": item.size,
    }


def _read_object(raw: dict[str, object]) -> PlannedObject:
    until = raw["retain_until"]
    return PlannedObject(
        str(raw["key"]),
        int(str(raw["records"])),
        Offset(int(str(raw["first"]))),
        Offset(int(str(raw["last"]))),
        int(str(raw["size"])),
        str(raw["sha256"]),
        datetime.strptime(str(until), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if until is not None else None,
        bool(raw["hold"]),
    )
