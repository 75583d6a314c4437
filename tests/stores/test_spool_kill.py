"""``kill -9`` of a process that spools and drains: what was acknowledged is on the bus at the end, in order."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ailing_bus import AilingBus
from fake_clock import eventually
from spools import spooling

from schemas.ids import Offset, Shard
from stores.bus.sqlite import SqliteBus

# Appends in four lanes, each with a key of its own, while the bus behind the spool falls ill and recovers.
SENDER = """
import asyncio, random, sys
from pathlib import Path
from ailing_bus import AilingBus, Illness
from bus_messages import message
from spools import spooling
from stores.bus.sqlite import SqliteBus

async def main(folder, life, seed):
    chance = random.Random(seed)
    inner = AilingBus(SqliteBus(folder / "bus.db", {"events": 1, "control": 1, "deadletter": 1}))
    bus = spooling(inner, folder / "spool.db", answer_seconds=0.02)

    async def ail():
        while True:
            inner.ill = chance.choice([Illness.DOWN, Illness.REPORTED, Illness.HANGS, Illness.SILENT, Illness.HALF])
            await asyncio.sleep(chance.random() * 0.03)
            inner.ill = Illness.NONE
            await asyncio.sleep(chance.random() * 0.03)

    async def send(lane):
        number = 0
        while True:
            size = chance.randrange(1, 5)
            key = b"%d/%d" % (life, lane)
            await bus.append([message(number + at, key, value=b"%d" % (number + at) * 200) for at in range(size)])
            print("".join(f"{life}/{lane} {number + at}\\n" for at in range(size)), end="", flush=True)
            number += size

    await asyncio.gather(ail(), *[send(lane) for lane in range(4)])

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


async def kill_and_check(folder: Path, kills: int, chance: random.Random) -> None:
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    acknowledged: dict[str, int] = {}
    for life in range(kills):
        command = [sys.executable, "-c", SENDER, str(folder), str(life), str(chance.randrange(1 << 30))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
            assert child.stdout is not None
            lines = chance.randrange(1, 1500)
            output = await asyncio.to_thread("".join, (child.stdout.readline() for _ in range(lines)))
            child.send_signal(signal.SIGKILL)
            output += await asyncio.to_thread(child.stdout.read)
        for line in output[: output.rfind("\n") + 1].splitlines():
            key, number = line.split()
            assert int(number) == acknowledged.get(key, -1) + 1
            acknowledged[key] = int(number)
    inner = AilingBus(SqliteBus(folder / "bus.db", {"events": 1, "control": 1, "deadletter": 1}))
    bus = spooling(inner, folder / "spool.db")
    await eventually(lambda: bus.snapshot().bytes == 0)
    found: dict[str, dict[int, bytes]] = {}
    offset = 0
    while batch := await bus.read(Shard("events", 0), Offset(offset), max_records=5000, max_bytes=1 << 26):
        offset += len(batch)
        for one in batch:
            number = int.from_bytes(one.event_id, "big")
            assert one.value == b"%d" % number * 200
            found.setdefault(one.key.decode(), {}).setdefault(number, one.value)
    await bus.close()
    for key, last in acknowledged.items():
        first_occurrences = list(found[key])
        assert first_occurrences == list(range(len(first_occurrences)))
        assert len(first_occurrences) > last


@pytest.mark.slow
async def test_killed_at_any_point_all_that_was_acknowledged_reaches_the_bus(tmp_path: Path) -> None:
    await kill_and_check(tmp_path, 8, random.Random(1))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
async def test_killed_at_any_point_many_times_all_that_was_acknowledged_reaches_the_bus(
    tmp_path: Path, seed: int
) -> None:
    await kill_and_check(tmp_path, 40, random.Random(seed))
