"""Whether each role lives and can do its work, decided from one reading. Pure.

*Stuck* is about the process: its event loop does not turn, and only a restart helps. *Unready* is about the work:
something that is needed is away, or a person must decide. A paused sink is ready: it goes on by itself, its lag shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from affidavit.lock import COLLECTOR, POLLER, SIGNER
from affidavit.monitor.pulse import STUCK_SECONDS
from affidavit.monitor.readings import Reading, RoleReading
from schemas.ids import CONTROL, Shard
from signer.state import SignerState
from sinks.snapshot import Snapshot

ANCHORED_BY = Shard(CONTROL, 0)
"""Whoever owns this shard writes the anchor log."""

MAX_REASON = 300
"""Characters of one reason; it goes into a line of a log or a page."""


class Finding(NamedTuple):
    """A role that is not well. ``role`` may be told to anybody; ``reason`` may hold an address or a path."""

    role: str
    reason: str


def stuck(reading: Reading, bound: float = STUCK_SECONDS) -> list[Finding]:
    """The roles whose event loop has been silent for longer than ``bound`` seconds."""
    return [
        Finding(role.role, f"its event loop has not answered for {role.silence:.0f} s")
        for role in reading.roles
        if role.silence > bound
    ]


def unready(reading: Reading, bound: float = STUCK_SECONDS) -> list[Finding]:
    """The roles that cannot do their work, each with everything that keeps it from it."""
    silent = {finding.role: finding.reason for finding in stuck(reading, bound)}
    found = []
    for role in reading.roles:
        reasons = [silent[role.role]] if role.role in silent else list(_reasons(reading, role))
        if reasons:
            found.append(Finding(role.role, "; ".join(_one_line(reason) for reason in reasons)))
    return found


def _reasons(reading: Reading, role: RoleReading) -> Iterator[str]:
    match role.phase:
        case "starting":
            yield "it is starting"
        case "stopping":
            yield "it is stopping"
        case "ended":
            yield f"it has ended: {role.ended_with}" if role.ended_with else "it has ended"
        case "running":
            yield from _hindrances(reading, role.role)


def _hindrances(reading: Reading, role: str) -> Iterator[str]:
    if role in reading.unread:
        yield "its state cannot be read"
    if role == COLLECTOR and reading.collector is not None and reading.collector.refuses:
        yield reading.collector.refuses
    if role == POLLER:
        yield from (f"feed {one.name}: {one.error}" for one in reading.feeds if one.state == "refused")
    if role == SIGNER and reading.signer is not None:
        yield from _signer(reading.signer)
    if role in reading.sinks:
        yield from _sink(reading.sinks[role])


def _signer(signer: SignerState) -> Iterator[str]:
    for shard in signer.shards:
        if shard.state == "halted":
            yield f"{shard.shard} has halted: {shard.last_message}"
        elif shard.state == "opening":
            yield f"{shard.shard}: its log is not open" + (f": {shard.last_message}" if shard.last_message else "")
    if anchors_here(signer) and signer.anchors.state == "halted":
        yield f"the anchor log has halted: {signer.anchors.last_message}"


def anchors_here(signer: SignerState) -> bool:
    """Whether it is for this process to anchor; an anchorer that has halted lets go, and is still the one to ask."""
    return signer.anchors.owned or any(shard.shard == ANCHORED_BY for shard in signer.shards)


def _sink(sink: Snapshot) -> Iterator[str]:
    for shard in sink.shards:
        if shard.state == "failed":
            yield f"{shard.shard} has failed: {shard.last_reason}"


def _one_line(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"
