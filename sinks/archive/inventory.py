"""What the archive holds: counts for ``affidavit status``, and whether its objects are those that were planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from schemas.errors import MalformedInput, VerificationError
from schemas.ids import Offset, Shard
from sinks.archive.catalog import plans_from, read_plan, shards_with_plans
from sinks.archive.names import PLANS, ROOT, SegmentKey, parse_segment_key
from sinks.archive.plan import Plan
from stores.objects import ObjectInfo, Objects

STEP = "archive"

PLANS_AT_HAND = 256
"""Plans kept while segments are listed: segments of one day and shard come together, and so do their plans."""


@dataclass(frozen=True, slots=True)
class ShardInventory:
    """What the plans say of one shard: offsets ``first`` to ``end`` (exclusive), in ``objects`` of ``size`` bytes
    together. ``records`` is less than ``end - first`` where a plan between them is gone."""

    shard: Shard
    first: Offset
    end: Offset
    flushes: int
    objects: int
    records: int
    size: int


def inventory(objects: Objects) -> list[ShardInventory]:
    """One line per shard that the archive holds anything of. Reads every plan, and no segment.

    Raises:
        VerificationError: a plan cannot be read.
    """
    return [_count(shard, plans_from(objects, shard, Offset(0))) for shard in shards_with_plans(objects)]


def verify_listing(objects: Objects) -> None:
    """Compare the list of objects with the plans; reads every plan, and no segment.

    1. Every object under ``segments/`` has the key of a plan or of a segment.
    2. Every segment is named in its plan, with its size.
    3. Every segment that a plan names is there.

    Raises:
        VerificationError: names the first object that is not planned, or planned and not there.
    """
    plan_of = lru_cache(PLANS_AT_HAND)(lambda shard, first: read_plan(objects, shard, first))
    listed: Counter[Shard] = Counter()
    for info, key in _segments(objects):
        sizes = {item.key: item.size for item in plan_of(key.shard, key.first).objects}
        if sizes.get(info.key) != info.size:
            raise VerificationError(
                f"{info.key}: got {info.size} bytes, expected {sizes.get(info.key, 'no such object')} by its plan",
                step=STEP,
            )
        listed[key.shard] += 1
    for line in inventory(objects):
        if line.objects != listed[line.shard]:
            raise _absent(objects, line.shard)


def _segments(objects: Objects) -> Iterator[tuple[ObjectInfo, SegmentKey]]:
    for info in objects.list(ROOT):
        if info.key.startswith(PLANS):
            continue
        try:
            yield info, parse_segment_key(info.key)
        except MalformedInput as error:
            raise VerificationError(f"an object that is no segment lies in the archive: {error}", step=STEP) from None


def _absent(objects: Objects, shard: Shard) -> VerificationError:
    for plan in plans_from(objects, shard, Offset(0)):
        for item in plan.objects:
            if objects.head(item.key) is None:
                return VerificationError(
                    f"{item.key}: not there; it held {item.records} records of {shard} from offset {item.first} "
                    f"to {item.last}",
                    step=STEP,
                )
    return VerificationError(f"{shard}: objects came or went while they were counted; verify again", step=STEP)


def _count(shard: Shard, plans: Iterator[Plan]) -> ShardInventory:
    first, end = Offset(0), Offset(0)
    flushes = objects = records = size = 0
    for plan in plans:
        first = first if flushes else plan.first
        end = plan.end
        flushes += 1
        objects += len(plan.objects)
        records += sum(item.records for item in plan.objects)
        size += sum(item.size for item in plan.objects)
    return ShardInventory(shard, first, end, flushes, objects, records, size)
