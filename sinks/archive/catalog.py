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


def last_plan(objects: Objects, shard: Shard, *, below: int | None = None) -> Plan | None:
    """The plan with the highest first offset (under ``below``, if given), or ``None``.

    Raises:
        VerificationError: an object where plans lie is none, or not the one that its key says.
        Unavailable: the store does not answer.
    """
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
    return read_plan(objects, shard, found)


def plans_from(objects: Objects, shard: Shard, offset: Offset) -> Iterator[Plan]:
    """The plan that covers ``offset`` and all behind it, ascending; all plans when none begins at or before it."""
    begin = last_plan(objects, shard, below=offset + 1)
    start_after = ""
    if begin is not None:
        yield begin
        start_after = plan_key(shard, begin.first)
    for info in objects.list(plan_prefix(shard), start_after=start_after):
        yield read_plan(objects, shard, _offset_of(info.key))


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
    key = plan_key(shard, first)
    try:
        plan = parse_plan(objects.get(key))
    except KeyError:
        raise VerificationError(f"{key}: the plan is not there", step="archive") from None
    except MalformedInput as error:
        raise VerificationError(f"{key}: {error}", step="archive") from None
    if (plan.shard, plan.first) != (shard, first):
        raise VerificationError(f"{key}: got the plan of {plan.shard} offset {plan.first}", step="archive")
    return plan


def _first_from(objects: Objects, shard: Shard, offset: int, below: int | None) -> Offset | None:
    """The lowest first offset of a plan at or behind ``offset`` and under ``below``."""
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
