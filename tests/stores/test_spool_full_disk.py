"""A spool on a full disk: it takes no more, loses nothing, and can be emptied."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, resource, signal, sys
from pathlib import Path
from ailing_bus import AilingBus, Illness
from bus_messages import message
from fake_clock import eventually
from memory_bus import MemoryBus
from schemas.errors import Unavailable
from spools import spooling
from stores.bus.spool.reserve import Reserve

LIMIT, RESERVE, SIZE = 6_000_000, 3_000_000, 20_000

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

# A limit on the size of files fails writes as a full disk does. What the reserve gives back, the limit gives too.
release = Reserve.release
def released(self):
    given = release(self)
    if given:
        print("released", flush=True)
        limit(LIMIT + RESERVE)
    return given
Reserve.release = released

async def main(path):
    inner = AilingBus(MemoryBus())
    bus = spooling(inner, Path(path), reserve_bytes=RESERVE)
    inner.ill = Illness.DOWN
    limit(LIMIT)
    accepted, refused = [], 0
    for number in range(1000):
        try:
            await bus.append([message(number, value=b"x" * SIZE)])
            accepted.append(number)
        except Unavailable as error:
            assert "disk" in str(error), error
            refused += 1
            if refused == 20:
                break
    assert refused == 20 and len(accepted) > 100, (refused, len(accepted))
    inner.ill = Illness.NONE
    await eventually(lambda: bus.snapshot().records == 0)
    assert [int.from_bytes(one.event_id, "big") for one in inner.taken] == accepted
    await eventually(lambda: bus.snapshot().bytes == 0)
    limit(resource.RLIM_INFINITY)
    inner.ill = Illness.DOWN
    async def takes():
        try:
            await bus.append([message(5000)])
        except Unavailable:
            return False
        return True
    async with asyncio.timeout(30):
        while not await takes():
            await asyncio.sleep(0.01)
    inner.ill = Illness.NONE
    await eventually(lambda: bus.snapshot().records == 0)
    assert inner.taken[-1] == message(5000)
    await bus.close()
    print("accepted", len(accepted))

asyncio.run(main(sys.argv[1]))
"""


async def test_a_spool_on_a_full_disk_refuses_and_can_be_emptied(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "spool.db")]
    done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.startswith("released\n")  # without what was kept back it could not have been emptied
    assert "accepted" in done.stdout
    assert (tmp_path / "spool.db-reserve").stat().st_size == 3_000_000
