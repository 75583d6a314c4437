"""How a signer is doing, for metrics and for people: frozen, and safe to take from any thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.ids import Shard
from signer.anchors import AnchorKind

State = Literal["opening", "signing", "halted", "lost"]
"""``opening``: the log is being opened, or could not be yet. ``signing``: it follows the shard. ``halted``: a
contradiction, which a person must decide. ``lost``: another signer swapped the lock row; it looks again soon."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """One shard that this process owns.

    Attributes:
        shard: which; ``state`` how it goes.
        origin: its log, ``""`` before it was opened.
        size: leaves signed, genesis included.
        next_offset: bus offset of the next leaf; ``bus_end`` the bus's end as last seen. Lag is their difference.
        unsigned_age_seconds: age of the oldest unsigned record that was seen, by the bus's time; 0 when there is none.
        last_batch: records of the last batch; ``batches`` and ``records`` count all since the process began.
        steps_back: records whose bus time lay below the highest before them, likewise.
        swap_losses: lock rows that another signer swapped first, likewise.
        last_error: class of the last error, ``""`` when there was none; ``last_message`` its text.
    """

    shard: Shard
    state: State = "opening"
    origin: str = ""
    size: int = 0
    next_offset: int = 0
    bus_end: int = 0
    unsigned_age_seconds: float = 0.0
    last_batch: int = 0
    batches: int = 0
    records: int = 0
    steps_back: int = 0
    swap_losses: int = 0
    last_error: str = ""
    last_message: str = ""


@dataclass(frozen=True, slots=True)
class OutsideState:
    """How one anchor does, for metrics and for people.

    Attributes:
        kind, name: which.
        interval_seconds: how often it is asked, at most.
        attestations: how many it gave to this process; ``last_size`` the leaves of the last head, ``last_ms`` when it
            was kept, milliseconds since 1970 UTC; 0 before the first.
        failures: times it could not be reached; ``refusals`` times it said no, or what it said did not verify.
        in_a_row: failures and refusals since the last success.
        last_error, last_message: class and text of the last of them, ``""`` when there was none since the last success.
    """

    kind: AnchorKind
    name: str
    interval_seconds: float
    attestations: int = 0
    last_size: int = 0
    last_ms: int = 0
    failures: int = 0
    refusals: int = 0
    in_a_row: int = 0
    last_error: str = ""
    last_message: str = ""


@dataclass(frozen=True, slots=True)
class AnchorState:
    """The anchor log, as seen by one process.

    Attributes:
        owned: whether this process is to anchor; ``state`` how it goes if it is.
        origin: the anchor log, ``""`` before it was opened; ``size`` its leaves.
        logs: how many logs the last set listed.
        sets: sets that this process took.
        last_ms: time of the last set, milliseconds since 1970 UTC, 0 before the first; ``age_seconds`` since then.
        swap_losses, last_error, last_message: as in :class:`ShardState`.
        outside: how the anchors do that vouch for it.
    """

    owned: bool = False
    state: State = "opening"
    origin: str = ""
    size: int = 0
    logs: int = 0
    sets: int = 0
    last_ms: int = 0
    age_seconds: float = 0.0
    swap_losses: int = 0
    last_error: str = ""
    last_message: str = ""
    outside: tuple[OutsideState, ...] = ()


@dataclass(frozen=True, slots=True)
class SignerState:
    """A signer: the shards that it owns, sorted, and the anchor log."""

    shards: tuple[ShardState, ...]
    anchors: AnchorState
