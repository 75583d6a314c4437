"""A process that polls a source, to be killed: ``python poll_process.py FOLDER URL BEGIN``. Ends in order on SIGTERM.

Bus, keys and cursors lie in FOLDER, and outlive it. Prints a line once it polls.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from fake_lists import KEY

from collector.ingest import Ingest
from collector.internal import SelfAudit
from collector.poll import coverage
from collector.poll.anthropic_compliance import compliance_feed
from collector.poll.runner import Pollers
from schemas.ids import CONTROL, DEADLETTER, EVENTS
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek

PARTITIONS = {EVENTS: 2, CONTROL: 1, DEADLETTER: 1}


async def main(folder: Path, url: str, begin: int) -> None:
    coverage.BUSY_SECONDS = 0  # an act after every stretch, so that kills meet acts
    control = ControlDatabase(f"sqlite:///{folder}/control.db")
    bus, keys = SqliteBus(folder / "bus.sqlite", PARTITIONS), DatabaseKeys(control, FileKek(folder / "kek"))
    owner = f"poller-{os.getpid()}"
    ingest = Ingest(bus, keys, collector_id=owner)
    few: Any = {"interval": 0.2, "lag": 1, "overlap": 1, "page": 2, "per_minute": 6e6}
    feed = compliance_feed("activities", "acme", key=KEY, begin=begin, base_url=url, **few)
    audit = SelfAudit(bus, keys, owner)
    pollers = Pollers([feed], ingest, control, owner=owner, report=audit.record, lease_seconds=0.3)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("polling", flush=True)
    await pollers.run(stop)
    ingest.close()
    await bus.close()
    control.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
