"""How a runner is doing: frozen counts that anybody may read at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.ids import Offset, Shard

State = Literal["starting", "running", "retrying", "paused", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class ShardSnapshot:
    """One shard of one sink.

    Attributes:
        state: ``failed`` needs a person and a restart; ``paused`` needs a person and goes on by itself.
        position: everything before it is in the destination or in the dead letter.
        end: the next offset of the bus, as last seen.
        delivered, rejected: records since the start of the runner.
        retries: calls that failed and were, or will be, repeated; of the bus too.
        paused_since: seconds since 1970, ``None`` when not paused.
        last_error: what went wrong last, by class: ``Retry``, ``Pause``, an exception's name, or ``""``.
        last_reason: the same in words. Never holds the content of a record.
    """

    shard: Shard
    state: State
    position: Offset
    end: Offset
    delivered: int
    rejected: int
    retries: int
    paused_since: float | None
    last_error: str
    last_reason: str

    @property
    def lag(self) -> int:
        """Records that wait."""
        return max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One sink, all shards."""

    sink: str
    shards: tuple[ShardSnapshot, ...]

    @property
    def delivered(self) -> int:
        return sum(shard.delivered for shard in self.shards)

    @property
    def rejected(self) -> int:
        return sum(shard.rejected for shard in self.shards)

    @property
    def retries(self) -> int:
        return sum(shard.retries for shard in self.shards)

    @property
    def lag(self) -> int:
        return sum(shard.lag for shard in self.shards)

    @property
    def healthy(self) -> bool:
        """Whether nothing waits for a person."""
        return all(shard.state not in ("paused", "failed") for shard in self.shards)


class Tally:
    """The counts behind a :class:`ShardSnapshot`, written by the one task that feeds the shard."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self.state: State = "starting"
        self.position = self.end = Offset(0)
        self.delivered = self.rejected = self.retries = 0
        self.paused_since: float | None = None
        self._last_error = self._last_reason = ""
        self._bus_down = False

    def bus_failed(self, error: str, reason: str) -> None:
        """Note that the bus did not answer, which is no state of the destination."""
        self.retries += 1
        self._bus_down = True
        self._last_error, self._last_reason = error, reason

    def bus_answered(self) -> None:
        self._bus_down = False

    def went_wrong(self, state: State, error: str, reason: str) -> None:
        """Note what went wrong, and what that makes of the shard."""
        self.state, self._last_error, self._last_reason = state, error, reason

    def went_on(self, state: State = "running") -> None:
        """Note that the shard is fed again; what went wrong last stays readable."""
        self.state, self.paused_since = state, None

    def snapshot(self) -> ShardSnapshot:
        """The counts now."""
        return ShardSnapshot(
            self._shard,
            "retrying" if self._bus_down and self.state == "running" else self.state,
            self.position,
            self.end,
            self.delivered,
            self.rejected,
            self.retries,
            self.paused_since,
            self._last_error,
            self._last_reason,
        )
