"""How a deployment stands: read from its stores, verified by nobody (that is ``verify``)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from affidavit.forwarders import wanted_forwarders
from affidavit.layout import Layout
from affidavit.lock import ARCHIVE, CLICKHOUSE, ROLES, Running, running, wanted_roles
from affidavit.settings import Settings
from affidavit.wiring import Wiring
from schemas.errors import AffidavitError, Unavailable
from schemas.ids import DEADLETTER, Offset, Shard
from signer.ledger import CHECKPOINT, ledger_key
from signer.origin import ANCHOR_SHARD
from signer.status import LogStatus, log_statuses
from sinks.archive.evidence import ArchiveEvidence
from stores.bus import Bounds

SINKS = (CLICKHOUSE, ARCHIVE)
"""Those that every deployment has."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this data directory: ``instance`` counts those of a role from 1."""

    role: str
    instance: int
    pid: int
    command: str
    url: str


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """How far a sink is with a shard: everything before ``position`` is there. ``None``: it has not begun."""

    sink: str
    position: int | None
    lag: int


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One shard.

    Attributes:
        start, end: of the bus; ``start`` is the first offset still there.
        signed: everything before this offset is under a checkpoint; ``unsigned`` records are not.
        checkpoint_age: seconds since the checkpoint was written; ``None`` before the first.
        last_ms: when the bus received the last record, milliseconds since 1970 UTC; ``None`` when it is empty.
    """

    shard: Shard
    start: int
    end: int
    origin: str
    signed: int
    unsigned: int
    checkpoint_age: float | None
    last_ms: int | None
    sinks: tuple[SinkStatus, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """A deployment.

    Attributes:
        roles: who runs what; ``None`` where nobody does; of several processes the first.
        processes: all processes of this data directory.
        shards: what is on the bus, and where it is; empty while the bus is away.
        bus_error: why the bus does not answer, ``""`` when it does.
        anchor_size, anchor_age: leaves of the anchor log, and seconds since its checkpoint was written.
        dead_letters: records that a sink could not deliver.
        spooled: records that collectors of this directory hold and the bus has not got.
        bytes: of each store on disk.
    """

    deployment: str
    data: Path
    roles: dict[str, Running | None]
    processes: tuple[Process, ...]
    shards: tuple[ShardStatus, ...]
    bus_error: str
    anchor_size: int
    anchor_age: float | None
    dead_letters: int
    spooled: int
    bytes: dict[str, int]


async def read_status(wiring: Wiring) -> Status:
    """Read everything once. Works beside a running process and without one."""
    layout = wiring.layout
    logs = {log.shard: log for log in log_statuses(wiring.control, wiring.objects) if not log.closed}
    anchor = logs.get(ANCHOR_SHARD)
    shards: tuple[ShardStatus, ...] = ()
    dead_letters, bus_error = 0, ""
    try:
        letters = await wiring.existing_bus.bounds(Shard(DEADLETTER, 0))
        dead_letters = letters.end - letters.start
        shards = tuple([await _shard(wiring, shard, logs.get(shard)) for shard in await wiring.shards()])
    except Unavailable as error:
        bus_error = str(error)
    return Status(
        wiring.settings.deployment.name,
        layout.root,
        _roles(layout, wiring.settings),
        _processes(layout),
        shards,
        bus_error,
        anchor.size if anchor else 0,
        _age(wiring, anchor),
        dead_letters,
        _spooled(layout),
        {name: _bytes(paths) for name, paths in layout.stores().items()},
    )


async def _shard(wiring: Wiring, shard: Shard, log: LogStatus | None) -> ShardStatus:
    bus = wiring.existing_bus
    bounds = await bus.bounds(shard)
    sinks = (*SINKS, *wanted_forwarders(wiring.settings))
    last = None
    if bounds.end > bounds.start:
        [message] = await bus.read(shard, Offset(bounds.end - 1), max_records=1, max_bytes=1, values=False)
        last = message.time_ms
    signed = log.next_offset if log else bounds.start
    return ShardStatus(
        shard,
        bounds.start,
        bounds.end,
        log.origin if log else "",
        signed,
        max(0, bounds.end - signed),
        _age(wiring, log),
        last,
        tuple([await _sink(wiring, sink, shard, bounds) for sink in sinks]),
    )


async def _sink(wiring: Wiring, sink: str, shard: Shard, bounds: Bounds) -> SinkStatus:
    """The archive says itself how far it is; the engine may be in another process, which tells the bus."""
    position: int | None = None
    if sink == ARCHIVE:
        try:
            position = await asyncio.to_thread(ArchiveEvidence(wiring.objects).end, shard)
        except AffidavitError:
            position = None
    else:
        position = await wiring.existing_bus.committed(sink, shard)
    return SinkStatus(sink, position, max(0, bounds.end - max(position or 0, bounds.start)))


def _roles(layout: Layout, settings: Settings) -> dict[str, Running | None]:
    """Who runs what, without what has nothing to do and runs nowhere."""
    found = {role: running(layout, role) for role in ROLES}
    wanted = wanted_roles(settings)
    return {role: process for role, process in found.items() if process is not None or role in wanted}


def _processes(layout: Layout) -> tuple[Process, ...]:
    found = []
    for role in ROLES:
        for path in sorted(layout.lock(role).parent.glob(f"{role}*.lock")):
            instance = int(path.stem.removeprefix(role).removeprefix("-") or 1)
            if (one := running(layout, role, instance)) is not None:
                found.append(Process(role, instance, one.pid, one.command, one.url))
    return tuple(sorted(found, key=lambda one: (ROLES.index(one.role), one.instance)))


def _spooled(layout: Layout) -> int:
    """Records in the spools of this directory, running collectors' included."""
    from stores.bus.spool.file import SpoolFile
    from stores.bus.spool.store import SHARDS

    count = 0
    for path in sorted(layout.spool(1).parent.glob("*.db")):
        file = SpoolFile(path, busy_seconds=1.0)
        try:
            bounds = [file.bounds(shard) for shard in SHARDS]
        finally:
            file.close()
        count += sum(end - start for start, end in bounds)
    return count


def _age(wiring: Wiring, log: LogStatus | None) -> float | None:
    """Seconds since the log's checkpoint was written; unknown where the object store keeps no local times."""
    if log is None or wiring.settings.objects.bucket:
        return None
    try:
        written = (wiring.objects_folder / ledger_key(log.origin, CHECKPOINT)).stat().st_mtime
    except OSError:
        return None
    return max(0.0, time.time() - written)


def _bytes(paths: Iterable[Path]) -> int:
    """Bytes on disk of files and of everything in directories. What vanishes meanwhile counts nothing."""
    total = 0
    for path in paths:
        if path.is_dir():
            total += sum(_bytes([Path(entry.path)]) for entry in os.scandir(path))
            continue
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
