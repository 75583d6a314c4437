"""The archive sink: every message of the bus, exactly, in write-once objects.

One flush, told as a story. What is true in the store if we die after each step:

1. **Build** the segments in memory. Nothing.
2. **Create the plan**, whose key is the shard and the first offset. The store refuses a second, other plan at that
   key, so two writers cannot both go on from one offset. From here the edges of the flush are fixed: whoever comes
   next finds the plan, asks for the same offsets (:class:`~sinks.contract.More`), and makes the same bytes.
3. **Lock the blobs** that records name (:mod:`sinks.archive.addressed`), then **create the segments.** Any of them may
   be there. Creating one again with equal bytes is no error.
4. **Read back** every object and its lock, and compare. The flush is done; the next one begins where it ends.

The same functions run after a crash and without one: ``resume`` only looks which step is next.

Two writers of one shard, one of them a ghost (a process that was paused while another took its shard): a plan is only
created at the end of one whose objects were all seen in the store, so the plans are a chain without a fork, whoever
adds to it, and all of them but the last are complete. However old a ghost's picture is, the offset from which it goes
on is an edge of that chain. If the chain has grown there, the store refuses the ghost's plan (or takes it as the
same), and the ghost looks again and falls in with what is there. If it has not, then the ghost's plan is as good as
anybody's, and the successor falls in with that. Where the chain begins is agreed on at one key too
(:data:`sinks.archive.catalog.FIRST_PLAN`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.errors import (
    InvariantError,
    LedgerContradiction,
    LimitExceeded,
    MalformedInput,
    Refused,
    Unavailable,
    VerificationError,
)
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from schemas.segment import parse_segment
from sinks.archive.addressed import lock_blobs
from sinks.archive.build import Segment, build_segments
from sinks.archive.catalog import FIRST_PLAN, last_plan, plan_covering, read_plan_at
from sinks.archive.names import Scope, plan_key, retention_date
from sinks.archive.plan import Plan, PlannedObject, format_plan
from sinks.contract import Delivered, Limits, More, Outcome, Pause, Retry
from sinks.identity import entry_commitments
from stores.bus import Message
from stores.objects import NewObject, Objects

MIB = 1 << 20

DEFAULT_LIMITS = Limits(max_records=200_000, max_bytes=64 * MIB, linger=300.0)


def no_floor(scope: Scope) -> int:
    """No regulatory minimum: objects are not locked."""
    return 0


def no_hold(scope: Scope) -> bool:
    """No hold is in force."""
    return False


@dataclass(frozen=True, slots=True)
class Locks:
    """What decides the lock of a new object, from what all its records share.

    Attributes:
        floor_days: the regulatory minimum of the retention class, in days after the day of receipt. COMPLIANCE locks
            cannot be shortened by anybody, so it must be the floor and no more.
        hold: whether a hold that is in force may match a record of the scope; in doubt, yes.
    """

    floor_days: Callable[[Scope], int] = no_floor
    hold: Callable[[Scope], bool] = no_hold


@dataclass(slots=True)
class _Progress:
    """How far a shard is: everything before ``position`` is in the archive, and ``unfinished`` begins there. ``begun``
    is false while there is no plan."""

    position: Offset
    unfinished: Plan | None = None
    begun: bool = True


class _Overtaken(Exception):
    """Another writer was faster."""


class ArchiveSink:
    """Implements :class:`sinks.contract.Sink` over any object store.

    Memory: while a batch is delivered, its records, the objects made of them, and one of these read back.
    """

    name = "archive"
    topics: tuple[str, ...] = (EVENTS, CONTROL)

    def __init__(
        self,
        objects: Objects,
        *,
        limits: Limits = DEFAULT_LIMITS,
        locks: Locks = Locks(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.limits = limits
        self._objects = objects
        self._locks = locks
        self._now = now
        self._progress: dict[Shard, _Progress] = {}

    def open(self) -> None:
        """Ask the store for anything, so that one that cannot be read is found at start-up."""
        self._objects.head("segments/_plans")

    def close(self) -> None:
        self._progress.clear()

    def resume(self, shard: Shard, start: Offset) -> Offset:
        """See :meth:`sinks.contract.Sink.resume`. A flush that a crash cut short counts as not there.

        Raises:
            VerificationError: the archive's plans contradict themselves; delivering more would hide it.
        """
        progress = self._load(shard, start)
        self._progress[shard] = progress
        return progress.position

    def last(self, shard: Shard, offset: Offset) -> bytes | None:
        """See :meth:`sinks.contract.Remembering.last`. Reads those objects of one flush that may hold the offset."""
        plan = plan_covering(self._objects, shard, offset)
        for item in plan.objects if plan is not None else ():
            if item.first <= offset <= item.last and (data := self._read(item.key)) is not None:
                if hashlib.sha256(data).hexdigest() != item.sha256:
                    raise VerificationError(f"{item.key}: got other bytes than planned", step="archive")
                for record in parse_segment(item.key, data):
                    if record.offset == offset:
                        return entry_commitments(record.commitments, record.key, record.value, record.headers)
        return None

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        """See :meth:`sinks.contract.Sink.deliver`."""
        try:
            progress = self._progress.get(shard) or self._load(shard, batch[0].offset)
            outcome = self._deliver(shard, batch, progress)
        except BaseException as error:
            self._progress.pop(shard, None)  # what arrived is unknown: ask the store before the next step
            return _classify(error)
        self._progress[shard] = progress
        return outcome

    def _deliver(self, shard: Shard, batch: Sequence[Message], progress: _Progress) -> Outcome:
        first, end = batch[0].offset, batch[-1].offset + 1
        if progress.unfinished is not None and first > progress.position:
            return Pause(
                f"{shard}: another writer planned offsets {progress.position} to {progress.unfinished.end} and has not "
                f"written them; they begin before offset {first}, where the bus began when this runner asked it; "
                "let the other writer finish, or restart this one",
                5.0,
            )
        if end - first != len(batch) or first > progress.position:
            raise InvariantError(
                f"{shard}: got {len(batch)} messages from offset {first} to {end}, "
                f"expected a batch without gaps that reaches back to offset {progress.position}"
            )
        if end <= progress.position:
            return Delivered()
        if (plan := progress.unfinished) is not None:
            if end < plan.end:
                return More(plan.end)
            self._finish(plan, batch[plan.first - first : plan.end - first])
            progress.position, progress.unfinished = plan.end, None
        if rest := batch[progress.position - first :]:
            self._flush(shard, rest, begun=progress.begun)
            progress.position, progress.begun = Offset(end), True
        return Delivered()

    def _flush(self, shard: Shard, messages: Sequence[Message], *, begun: bool) -> None:
        segments = build_segments(shard, messages)
        plan = self._plan(shard, messages, segments)
        at = plan.first if begun else FIRST_PLAN
        try:
            self._create([NewObject(plan_key(shard, at), format_plan(plan), *self._longest_lock(plan))])
        except LedgerContradiction:
            read_plan_at(self._objects, shard, at)  # or else it is no plan, and nobody can go on behind it
            raise _Overtaken(f"{plan_key(shard, at)}: another writer was faster; going on behind its plan") from None
        self._write(plan, segments, messages)

    def _plan(self, shard: Shard, messages: Sequence[Message], segments: Sequence[Segment]) -> Plan:
        planned = [
            PlannedObject(
                segment.key,
                segment.records,
                segment.first,
                segment.last,
                len(segment.data),
                segment.sha256,
                retention_date(segment.scope.day, self._locks.floor_days(segment.scope)),
                self._locks.hold(segment.scope),
            )
            for segment in segments
        ]
        return Plan(shard, messages[0].offset, Offset(messages[-1].offset + 1), tuple(planned))

    def _finish(self, plan: Plan, messages: Sequence[Message]) -> None:
        """Steps 3 and 4 of a flush that was planned before a crash."""
        segments = build_segments(plan.shard, messages)
        if [(item.key, item.sha256) for item in segments] != [(item.key, item.sha256) for item in plan.objects]:
            raise InvariantError(
                f"{plan.shard}: offsets {plan.first} to {plan.end} no longer give the bytes planned at "
                f"{plan_key(plan.shard, plan.first)}: the bus changed, or this version writes other bytes"
            )
        self._write(plan, segments, messages)

    def _write(self, plan: Plan, segments: Sequence[Segment], messages: Sequence[Message]) -> None:
        lock_blobs(self._objects, plan, messages, self._still_ahead)
        self._create(
            [
                NewObject(segment.key, segment.data, self._still_ahead(item.retain_until), item.hold)
                for segment, item in zip(segments, plan.objects, strict=True)
            ]
        )

    def _create(self, objects: Sequence[NewObject]) -> None:
        """Create, then read back and compare: a store that took an object without its bytes or its lock is found now,
        and not by the auditor."""
        self._objects.create(objects)
        for new in objects:
            info = self._objects.head(new.key)
            if info is None or not _locked_as_asked(info.retain_until, info.hold, new):
                raise VerificationError(f"{new.key}: got {info} after the write, expected lock {new.retain_until}")
            if self._read(new.key) != new.data:
                raise VerificationError(f"{new.key}: got other bytes after the write than were written")

    def _read(self, key: str) -> bytes | None:
        try:
            return self._objects.get(key)
        except KeyError:
            return None

    def _longest_lock(self, plan: Plan) -> tuple[datetime | None, bool]:
        dates = [item.retain_until for item in plan.objects if item.retain_until is not None]
        return self._still_ahead(max(dates, default=None)), any(item.hold for item in plan.objects)

    def _still_ahead(self, until: datetime | None) -> datetime | None:
        """A date that has passed already, in a backlog, locks nothing, and stores refuse it."""
        return until if until is not None and until > self._now() else None

    def _load(self, shard: Shard, start: Offset) -> _Progress:
        plan = last_plan(self._objects, shard)
        if plan is None:
            return _Progress(start, begun=False)
        there = [self._objects.head(item.key) for item in plan.objects]
        if any(info is None for info in there):
            return _Progress(plan.first, plan)
        for info, item in zip(there, plan.objects, strict=True):
            if info is not None and info.size != item.size:
                raise VerificationError(f"{item.key}: got {info.size} bytes, expected {item.size}", step="archive")
        return _Progress(plan.end)


def _locked_as_asked(retain_until: datetime | None, hold: bool, new: NewObject) -> bool:
    dated = new.retain_until is None or (retain_until is not None and retain_until >= new.retain_until)
    return dated and (hold or not new.hold)


def _classify(error: BaseException) -> Outcome:
    """What a failure of the store means for the batch. Anything that is not the store's is raised again."""
    match error:
        case Unavailable():
            return Retry(str(error), error.retry_after)
        case _Overtaken():
            return Retry(str(error), 0.0)
        case LedgerContradiction():
            return Pause(f"an object was changed: {error}")
        case Refused() | VerificationError() | MalformedInput() | LimitExceeded():
            return Pause(str(error))
        case _:
            raise error
