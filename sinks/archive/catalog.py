"""The plans of a shard in the object store: the last one, the one that covers an offset, all of them in order.

A store lists keys in ascending order only, and a shard may have millions of plans. So the last one is found by asking
"is there a plan at or behind offset n?" about forty times, not by listing them all.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.errors import MalformedInput, VerificationError
from schemas.ids import Offset, Shard
from sinks.archive.names import PLANS, parse_plan_key, plan_key, plan_prefix
from sinks.archive.plan import Plan, parse_plan
from stores.objects import Objects

FIRST_PLAN = Offset(0)
"""The offset in the key of a shard's first plan, wherever that begins. Every later plan begins where one before it
ends, so writers that know different plans still meet at the same key; the first alone has none before it, and two
writers to whom the bus began at different offsets would never meet. (Archives begun by an earlier version may have
their first plan at the key of its own offset.)"""


def last_plan(objects: Objects, shard: Shard, *, below: int | None = None) -> Plan | None:
    """The plan with the highest first offset (under ``below``, if given), or ``None``.

    Raises:
        VerificationError: an object where plans lie is none, or not the one that its key says.
        Unavailable: the store does not answer.
    """
    at = _last_key(objects, shard, below)
    return None if at is None else read_plan_at(objects, shard, at)


def plans_from(objects: Objects, shard: Shard, offset: Offset) -> Iterator[Plan]:
    """The plan that covers ``offset`` and all behind it, ascending; all plans when none begins at or before it."""
    begin = _last_key(objects, shard, offset + 1)
    start_after = ""
    if begin is not None:
        yield read_plan_at(objects, shard, begin)
        start_after = plan_key(shard, begin)
    for info in objects.list(plan_prefix(shard), start_after=start_after):
        yield read_plan_at(objects, shard, _offset_of(info.key))


def shards_with_plans(objects: Objects) -> list[Shard]:
    """The shards of which the archive holds anything, sorted. Skips from shard to shard without listing their plans."""
    shards: list[Shard] = []
    start_after = ""
    while (info := next(iter(objects.list(PLANS, start_after=start_after)), None)) is not None:
        shard = _parse_key(info.key)[0]
        shards.append(shard)
        start_after = plan_prefix(shard)[:-1] + "0"  # "0" is the character behind "/"
    return sorted(shards)


def read_plan(objects: Objects, shard: Shard, first: Offset) -> Plan:
    """The plan of the flush that begins at ``first``.

    Raises:
        VerificationError: it is not there, or not a plan, or not this one.
    """
    if objects.head(plan_key(shard, first)) is None and objects.head(plan_key(shard, FIRST_PLAN)) is not None:
        plan = read_plan_at(objects, shard, FIRST_PLAN)
        if plan.first == first:
            return plan
    return read_plan_at(objects, shard, first)


def read_plan_at(objects: Objects, shard: Shard, at: Offset) -> Plan:
    """The plan at the key of offset ``at``.

    Raises:
        VerificationError: it is not there, or not a plan, or not this one.
    """
    key = plan_key(shard, at)
    try:
        plan = parse_plan(objects.get(key))
    except KeyError:
        raise VerificationError(f"{key}: the plan is not there", step="archive") from None
    except MalformedInput as error:
        raise VerificationError(f"{key}: {error}", step="archive") from None
    if plan.shard != shard or at not in (plan.first, FIRST_PLAN):
        raise VerificationError(f"{key}: got the plan of {plan.shard} offset {plan.first}", step="archive")
    return plan


def plan_covering(objects: Objects, shard: Shard, offset: Offset) -> Plan | None:
    """The plan of the flush that ``offset`` is in, or ``None``."""
    plan = last_plan(objects, shard, below=offset + 1)
    return plan if plan is not None and plan.first <= offset < plan.end else None


def _last_key(objects: Objects, shard: Shard, below: int | None) -> Offset | None:
    """The offset in the key of the last plan (under ``below``)."""
    found = _first_from(objects, shard, 0, below)
    if found is None:
        return None
    step = 1
    while (further := _first_from(objects, shard, found + step, below)) is not None:
        found, step = further, step * 2
    beyond = found + step
    while found + 1 < beyond:
        middle = (found + beyond) // 2
        further = _first_from(objects, shard, middle, below)
        if further is None:
            beyond = middle
        else:
            found = further
    return found


def _first_from(objects: Objects, shard: Shard, offset: int, below: int | None) -> Offset | None:
    """The lowest offset in the key of a plan at or behind ``offset`` and under ``below``."""
    behind = plan_key(shard, Offset(offset)).removesuffix(".json")
    info = next(iter(objects.list(plan_prefix(shard), start_after=behind)), None)
    if info is None:
        return None
    found = _offset_of(info.key)
    return found if below is None or found < below else None


def _offset_of(key: str) -> Offset:
    return _parse_key(key)[1]


def _parse_key(key: str) -> tuple[Shard, Offset]:
    try:
        return parse_plan_key(key)
    except MalformedInput as error:
        raise VerificationError(f"an object that is no plan lies among the plans: {error}", step="archive") from None
