"""How a runner is doing: frozen counts that anybody may read at any time, from any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from schemas.ids import Offset, Shard

State = Literal["starting", "running", "retrying", "paused", "failed", "stopped"]

NOWHERE = Offset(0)


@dataclass(frozen=True, slots=True)
class ShardSnapshot:
    """One shard of one sink, in this process. What is counted, is counted since the start of the runner, however often
    the shard came and went.

    Attributes:
        state: ``failed`` needs a person and a restart; ``paused`` needs a person and goes on by itself.
        position: everything before it is in the destination or in the dead letter.
        end: the next offset of the bus, as last seen.
        delivered, rejected: records.
        retries: calls that failed and were, or will be, repeated; of the bus too.
        paused_since: seconds since 1970, ``None`` when not paused.
        last_error: what went wrong last, by class: ``Retry``, ``Pause``, an exception's name, or ``""``.
        last_reason: the same in words. Never holds the content of a record.
        owned: whether the shard is this process's. One that is not is left, or was left behind in a call that hangs.
        batches: batches that were delivered; ``delivered + rejected`` are the records in them.
        bytes: values in these batches.
        last_records, last_bytes: the batch that was delivered last.
        deliver_seconds: spent in calls of ``deliver``, whatever came of them.
        unsettled: records behind ``position`` that the destination took and has not confirmed yet.
    """

    shard: Shard
    state: State = "starting"
    position: Offset = NOWHERE
    end: Offset = NOWHERE
    delivered: int = 0
    rejected: int = 0
    retries: int = 0
    paused_since: float | None = None
    last_error: str = ""
    last_reason: str = ""
    owned: bool = True
    batches: int = 0
    bytes: int = 0
    last_records: int = 0
    last_bytes: int = 0
    deliver_seconds: float = 0.0
    unsettled: int = 0

    @property
    def lag(self) -> int:
        """Records that wait."""
        return max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One sink. ``shards`` are those that it owns; once the runner has stopped, those that it owned then. ``former``
    are those that it gave up to others; they count in the totals, so that no total ever falls."""

    sink: str
    shards: tuple[ShardSnapshot, ...]
    former: tuple[ShardSnapshot, ...] = ()

    @property
    def delivered(self) -> int:
        return sum(shard.delivered for shard in self._all)

    @property
    def rejected(self) -> int:
        return sum(shard.rejected for shard in self._all)

    @property
    def retries(self) -> int:
        return sum(shard.retries for shard in self._all)

    @property
    def batches(self) -> int:
        return sum(shard.batches for shard in self._all)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self._all)

    @property
    def unsettled(self) -> int:
        return sum(shard.unsettled for shard in self.shards)

    @property
    def deliver_seconds(self) -> float:
        return sum(shard.deliver_seconds for shard in self._all)

    @property
    def lag(self) -> int:
        return sum(shard.lag for shard in self.shards)

    @property
    def healthy(self) -> bool:
        """Whether nothing waits for a person."""
        return all(shard.state not in ("paused", "failed") for shard in self.shards)

    @property
    def _all(self) -> Iterable[ShardSnapshot]:
        return (*self.shards, *self.former)


class Tally:
    """The counts behind a :class:`ShardSnapshot`. Tasks of one loop write them; every change makes a new snapshot, so
    that a thread that reads never sees half a change. Outlives the lanes of its shard."""

    def __init__(self, shard: Shard) -> None:
        self._now = ShardSnapshot(shard)
        self._bus_down = False

    @property
    def position(self) -> Offset:
        return self._now.position

    @property
    def end(self) -> Offset:
        return self._now.end

    def taken(self) -> None:
        """Note that the shard is this process's (again)."""
        self._bus_down = False
        self._set(owned=True, state="starting", paused_since=None, last_error="", last_reason="")

    def given_up(self) -> None:
        """Note that it is so no more."""
        self._set(owned=False)

    def moved(self, position: Offset) -> None:
        """Note where the destination stands."""
        self._set(position=position, end=max(self._now.end, position))

    def settled(self, position: Offset, accepted: Offset) -> None:
        """Note where the destination stands for good, and how far it took what it was sent."""
        self._set(position=position, end=max(self._now.end, accepted), unsettled=max(0, accepted - position))

    def saw_end(self, end: Offset) -> None:
        """Note where the bus ends."""
        self._set(end=end)

    def called(self, seconds: float) -> None:
        """Note that a call of ``deliver`` took so long."""
        self._set(deliver_seconds=self._now.deliver_seconds + seconds)

    def arrived(self, records: int, rejected: int, size: int) -> None:
        """Note that a batch is done with."""
        now = self._now
        self._set(
            delivered=now.delivered + records - rejected,
            rejected=now.rejected + rejected,
            batches=now.batches + 1,
            bytes=now.bytes + size,
            last_records=records,
            last_bytes=size,
        )

    def bus_failed(self, error: str, reason: str) -> None:
        """Note that the bus did not answer, which is no state of the destination."""
        self._bus_down = True
        self._set(retries=self._now.retries + 1, last_error=error, last_reason=reason)

    def bus_answered(self) -> None:
        self._bus_down = False

    def retried(self, error: str, reason: str) -> None:
        """Note what must be tried again."""
        self.went_wrong("retrying", error, reason)
        self._set(retries=self._now.retries + 1)

    def paused(self, since: float, reason: str) -> None:
        """Note that a person must act; ``since`` counts the first time."""
        self.went_wrong("paused", "Pause", reason)
        self._set(retries=self._now.retries + 1, paused_since=self._now.paused_since or since)

    def went_wrong(self, state: State, error: str, reason: str) -> None:
        """Note what went wrong, and what that makes of the shard."""
        self._set(state=state, last_error=error, last_reason=reason)

    def went_on(self, state: State = "running") -> None:
        """Note that the shard is fed again; what went wrong last stays readable."""
        self._set(state=state, paused_since=None)

    def snapshot(self) -> ShardSnapshot:
        """The counts now."""
        now = self._now
        return replace(now, state="retrying") if self._bus_down and now.state == "running" else now

    def _set(self, **changes: Any) -> None:
        self._now = replace(self._now, **changes)
