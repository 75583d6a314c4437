"""A process that fills a bus and archives it, to be killed: ``python archive_process.py FOLDER FIRST COUNT``.

Prints the number of each event once the bus has acknowledged it; the events are numbered from FIRST on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from memory_keys import MemoryKeys
from sealed_records import sealed

from schemas.ids import CONTROL, DEADLETTER, EVENTS
from sinks.archive import ArchiveSink
from sinks.contract import Limits
from sinks.runner import Runner
from stores.bus.sqlite import SqliteBus
from stores.objects.local import LocalObjects

PARTITIONS = {EVENTS: 2, CONTROL: 1, DEADLETTER: 1}
LIMITS = Limits(max_records=40, max_bytes=1 << 20, linger=0.01)


async def main(folder: Path, first: int, count: int) -> None:
    """Append events by the dozen while the archive sink follows; without events, archive what is there and end."""
    bus, objects = SqliteBus(folder / "bus.sqlite", PARTITIONS), LocalObjects(folder / "objects")
    runner = Runner(ArchiveSink(objects, limits=LIMITS), bus)
    archiving = asyncio.create_task(runner.run())
    keys = MemoryKeys()
    for start in range(first, first + count, 12):
        await bus.append(sealed(keys, 12, start=start))
        print(*range(start, start + 12), flush=True)
    while not _archived(runner):
        await asyncio.sleep(0.01)
    runner.stop()
    await archiving
    await bus.close()
    objects.close()


def _archived(runner: Runner) -> bool:
    """Whether each shard has found its position, and has nothing waiting."""
    shards = runner.snapshot().shards
    return bool(shards) and all(item.state == "running" and item.lag == 0 for item in shards)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
