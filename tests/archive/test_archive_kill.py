"""``kill -9`` of a process that archives under load: each acknowledged event is in the archive once, as on the bus."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from archive_process import PARTITIONS
from sealed_records import events

from schemas.ids import EVENTS, Offset, Shard
from sinks.archive import ArchiveEvidence, verify_listing
from stores.bus import Message
from stores.bus.sqlite import SqliteBus
from stores.objects.local import LocalObjects

ROOT = Path(__file__).resolve().parents[2]
SHARDS = (Shard(EVENTS, 0), Shard(EVENTS, 1))
ENDLESS = 1_000_000


def start(folder: Path, first: int, count: int) -> subprocess.Popen[str]:
    program = ROOT / "tests" / "support" / "archive_process.py"
    paths = os.pathsep.join([str(ROOT), str(program.parent)])
    return subprocess.Popen(
        [sys.executable, str(program), str(folder), str(first), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


def kill_after(process: subprocess.Popen[str], lines: int) -> list[int]:
    """Kill the process when it has acknowledged ``lines`` batches, wherever it then is; return what it acknowledged."""
    acknowledged: list[int] = []
    with process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout, 1):
            acknowledged += map(int, line.split())
            if number == lines:
                process.send_signal(signal.SIGKILL)  # what it has printed since is read to the end
    assert process.returncode == -signal.SIGKILL
    return acknowledged


async def on_the_bus(folder: Path) -> dict[Shard, list[Message]]:
    bus = SqliteBus(folder / "bus.sqlite", PARTITIONS)
    try:
        return {shard: await bus.read(shard, Offset(0), max_records=1_000_000, max_bytes=1 << 40) for shard in SHARDS}
    finally:
        await bus.close()


def survive(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    acknowledged: list[int] = []
    for _ in range(kills):
        first = max(acknowledged, default=-1) + 1000  # events that were never acknowledged may be there all the same
        acknowledged += kill_after(start(folder, first, ENDLESS), rng.randint(1, 60))
    with start(folder, 0, 0) as last:
        assert last.wait(120) == 0
    there = asyncio.run(on_the_bus(folder))
    objects = LocalObjects(folder / "objects")
    try:
        found = {shard: list(ArchiveEvidence(objects).scan(shard, Offset(0), Offset(1 << 40))) for shard in SHARDS}
        verify_listing(objects)
    finally:
        objects.close()
    for shard in SHARDS:
        assert [(item.offset, item.event_id, item.record) for item in found[shard]] == [
            (message.offset, message.event_id, message.value) for message in there[shard]
        ]
    once = Counter(item.event_id for shard in SHARDS for item in found[shard])
    assert set(once.values()) == {1}
    for number in acknowledged:
        (event,) = events(1, start=number)
        assert event.event_id in once


@pytest.mark.slow
def test_a_killed_archive_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    survive(tmp_path, kills=5, seed=1)


@pytest.mark.soak
def test_an_archive_that_is_killed_hundreds_of_times(tmp_path: Path) -> None:
    for seed in range(40):
        survive(tmp_path / str(seed), kills=10, seed=seed)
