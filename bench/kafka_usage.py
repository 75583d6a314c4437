"""Processor time and memory of every part of a deployment, from ``/proc``: who works, and who only shares the cores.

A part is a direct child of this process with all its descendants, named by its command line; the client is this
process itself. A child that has ended is no longer counted.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

BROKER, POSTGRES, CLICKHOUSE, CLIENT = "broker", "PostgreSQL", "ClickHouse server", "client"
COLLECTOR, SIGNER, ARCHIVE, CLICKHOUSE_SINK = "collector", "signer", "sink archive", "sink clickhouse"
ROLES = (COLLECTOR, SIGNER, ARCHIVE, CLICKHOUSE_SINK)
SERVERS = (BROKER, POSTGRES, CLICKHOUSE)

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MARKS = {"kafka.Kafka": BROKER, "clickhouse_server": CLICKHOUSE, "bin/postgres": POSTGRES}


def processor_seconds() -> dict[str, float]:
    """Seconds of user and system time of each part so far."""
    stats = dict(_stats())
    by_part: dict[str, float] = defaultdict(float)
    for part, pid in _members({pid: int(fields[1]) for pid, fields in stats.items()}):
        fields = stats[pid]
        own, ended_children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        by_part[part] += (own if part == CLIENT else own + ended_children) / _TICKS
    return by_part


def resident_mb() -> dict[str, float]:
    """Resident memory of each part now, in MB of 1024² bytes; of several processes of a part the largest."""
    stats = dict(_stats())
    held: dict[str, float] = defaultdict(float)
    for part, pid in _members({pid: int(fields[1]) for pid, fields in stats.items()}):
        held[part] = max(held[part], int(stats[pid][21]) * _PAGE / (1 << 20))
    return held


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each part between two readings."""
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Fields of ``/proc/PID/stat`` from the state on (proc(5)), by process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:  # it has ended
                continue
            yield int(folder.name), text.rpartition(")")[2].split()


def _members(parents: Mapping[int, int]) -> Iterator[tuple[str, int]]:
    """(part, process) of this process and all below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent in parents.items():
        children[parent].append(pid)
    yield CLIENT, os.getpid()
    for child in children[os.getpid()]:
        part, waiting = _part(child), [child]
        while waiting:
            pid = waiting.pop()
            yield part, pid
            waiting += children[pid]


def _part(pid: int) -> str:
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    if "run" in words and "affidavit" in words:
        role = words[words.index("run") + 1 :]
        return f"sink {role[1]}" if role[0] == "sink" else role[0]
    if "rsyslogd" in words[0]:
        return "rsyslog " + Path(words[words.index("-f") + 1]).stem.partition("_")[2]
    line = " ".join(words)
    return next((part for mark, part in _MARKS.items() if mark in line), words[0])
