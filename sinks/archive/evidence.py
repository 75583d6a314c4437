"""The archive as evidence: every record that it holds of a shard, in offset order, for the verifier.

The plans say which objects there must be and which bytes are in them, and the ledger says which records there must be.
What follows for tampering:

* An object that is not there: its records are left out, and the verifier finds each of them missing. (It also knows
  which of them were destroyed lawfully; the archive does not.)
* An object with other bytes than planned: :class:`~schemas.errors.VerificationError` that names the object, and the
  records that are gone from it.
* An object and its plan changed alike: the records are left out or differ, and the ledger has the last word.
* Plans that overlap: :class:`~schemas.errors.VerificationError`. An object that no plan names is no evidence;
  :func:`sinks.archive.inventory.verify_listing` finds it.

Memory: the objects of one flush at a time.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from operator import attrgetter

from schemas.errors import MalformedInput, VerificationError
from schemas.evidence import Evidence
from schemas.ids import Offset, Shard
from schemas.segment import SegmentRecord, parse_segment
from sinks.archive.catalog import last_plan, plans_from
from sinks.archive.names import plan_key
from sinks.archive.plan import Plan, PlannedObject
from sinks.identity import stated_leaf
from stores.objects import Objects

STEP = "archive"
NAMED_OFFSETS = 10
"""A message names at most so many offsets, and says how many more there are."""


class ArchiveEvidence:
    """Implements :class:`schemas.evidence.EvidenceSource` over the archive sink's objects."""

    name = "archive"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        """See :meth:`schemas.evidence.EvidenceSource.scan`."""
        before: Plan | None = None
        for plan in plans_from(self._objects, shard, start):
            if before is not None and plan.first < before.end:
                raise VerificationError(
                    f"{plan_key(shard, plan.first)}: got a plan from offset {plan.first}, expected at least "
                    f"{before.end}, where the plan before it ends",
                    step=STEP,
                )
            before = plan
            if plan.first >= end:
                return
            if plan.end > start:
                yield from self._records(plan, start, end)

    def leaves(self, shard: Shard, start: Offset, end: Offset) -> Iterator[tuple[int, bytes]]:
        """Offset and ledger leaf of each record from ``start`` up to ``end``, in order, by what its segment states of
        time and commitments; an altered segment raises like in :meth:`scan`."""
        for plan in plans_from(self._objects, shard, start):
            if plan.first >= end:
                return
            if plan.end > start:
                streams = [_parse(item.key, data) for item, data in self._intact(plan)]
                for record in heapq.merge(*streams, key=attrgetter("offset")):
                    if start <= record.offset < end:
                        yield record.offset, _leaf(shard, record)

    def end(self, shard: Shard) -> Offset:
        """See :meth:`schemas.evidence.EvidenceSource.end`. What is planned counts, whether or not it is still there."""
        plan = last_plan(self._objects, shard)
        return Offset(0) if plan is None else plan.end

    def _records(self, plan: Plan, start: int, end: int) -> Iterator[Evidence]:
        streams = [_evidence(plan.shard, item.key, data) for item, data in self._intact(plan)]
        for evidence in heapq.merge(*streams, key=attrgetter("offset")):
            if start <= evidence.offset < end:
                yield evidence

    def _intact(self, plan: Plan) -> list[tuple[PlannedObject, bytes]]:
        """The objects of a plan that are there, all as planned."""
        found = [(item, data) for item in plan.objects if (data := self._get(item.key)) is not None]
        altered = [(item, data) for item, data in found if hashlib.sha256(data).hexdigest() != item.sha256]
        if altered:
            raise _altered(plan, altered[0][0], found)
        return found

    def _get(self, key: str) -> bytes | None:
        try:
            return self._objects.get(key)
        except KeyError:
            return None


def _evidence(shard: Shard, key: str, data: bytes) -> Iterator[Evidence]:
    for record in _parse(key, data):
        yield Evidence(
            shard,
            Offset(record.offset),
            record.event_id,
            record.value,
            (),
            b"",
            b"",
            key,
            record.key,
            record.headers,
            record.commitments,
        )


def _leaf(shard: Shard, record: SegmentRecord) -> bytes:
    return stated_leaf(
        shard, record.offset, record.time_ms, record.commitments, record.key, record.value, record.headers
    )


def _parse(key: str, data: bytes) -> Iterator[SegmentRecord]:
    try:
        yield from parse_segment(key, data)
    except MalformedInput as error:
        raise VerificationError(f"{key}: {error}", step=STEP) from None


def _altered(plan: Plan, item: PlannedObject, found: list[tuple[PlannedObject, bytes]]) -> VerificationError:
    """The error for an object that is not as planned. Each offset of the flush must be in one of its objects, so what
    can be read of all of them says which records are gone."""
    gone = set(range(plan.first, plan.end))
    for other, data in found:
        gone.difference_update(_readable_offsets(other.key, data))
    return VerificationError(
        f"{item.key}: got bytes that are not those archived of {plan.shard} offsets {item.first} to {item.last} "
        f"(SHA-256 {item.sha256}){_name_offsets(plan.shard, sorted(gone))}",
        step=STEP,
    )


def _readable_offsets(key: str, data: bytes) -> Iterator[int]:
    try:
        for record in parse_segment(key, data):
            yield record.offset
    except MalformedInput:
        return


def _name_offsets(shard: Shard, gone: list[int]) -> str:
    if not gone:
        return "; every record has its place, at least one was changed"
    named = ", ".join(str(offset) for offset in gone[:NAMED_OFFSETS])
    more = f" and {len(gone) - NAMED_OFFSETS} more" if len(gone) > NAMED_OFFSETS else ""
    return f"; missing: {shard} offset {named}{more}"
