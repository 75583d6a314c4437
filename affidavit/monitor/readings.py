"""One moment of a process: the frozen snapshots of all its parts, side by side. The parts do not know the monitor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from affidavit.monitor.pulse import Phase
from affidavit.monitor.reception import ReceptionSnapshot
from affidavit.monitor.signing import ShardBatches
from collector.files.tail import TailSnapshot
from collector.poll.runner import FeedStatus
from collector.proxy.app import ProxySnapshot
from signer.state import SignerState
from sinks.snapshot import Snapshot
from stores.bus.spool import SpoolLimits, SpoolSnapshot


@dataclass(frozen=True, slots=True)
class SpoolReading:
    """A spool and its limits."""

    state: SpoolSnapshot
    limits: SpoolLimits


@dataclass(frozen=True, slots=True)
class CollectorReading:
    """What a collector received; ``in_flight`` bytes of at most ``limit``; why it cannot accept, or ``""``; bytes of
    large bodies that are on disk while they are recorded."""

    received: ReceptionSnapshot
    in_flight: int = 0
    limit: int = 0
    refuses: str = ""
    spooled: int = 0


@dataclass(frozen=True, slots=True)
class RoleReading:
    """A role's pulse: see :class:`~affidavit.monitor.pulse.Pulse`."""

    role: str
    phase: Phase
    silence: float
    ended_with: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment of the process. A part that does not run here is ``None`` or empty.

    Attributes:
        sinks: by role.
        failed: how often the snapshot of a part could not be read, by part.
        unread: the parts whose snapshot could not be read this time.
    """

    version: str
    roles: tuple[RoleReading, ...]
    collector: CollectorReading | None = None
    spool: SpoolReading | None = None
    files: Mapping[str, TailSnapshot] = field(default_factory=dict)
    feeds: tuple[FeedStatus, ...] = ()
    proxy: ProxySnapshot | None = None
    bus_errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    signer: SignerState | None = None
    batches: tuple[ShardBatches, ...] = ()
    sinks: Mapping[str, Snapshot] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
