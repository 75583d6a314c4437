"""A collector to be measured and killed: ``python large_process.py FOLDER [dies-before-append]``.

Prints port and token; ends when its input does. Bus, keys and objects lie in FOLDER, and outlive it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from collector.auth import INGEST, Tokens, mint_token
from collector.formats import http_routes
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.large.blobs import Blobs
from collector.large.spool import Spools
from collector.server import serve
from schemas.ids import CONTROL, DEADLETTER, EVENTS
from stores.bus import Outgoing, Position
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file
from stores.objects.local import LocalObjects

PARTITIONS = {EVENTS: 2, CONTROL: 1, DEADLETTER: 1}


class DyingBus(SqliteBus):
    """The process dies when it has something to append."""

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []


class Stores:
    """What lies in the folder."""

    def __init__(self, folder: Path, dies: bool = False) -> None:
        if not (folder / "kek").exists():
            create_kek_file(folder / "kek")
        self.control = ControlDatabase(f"sqlite:///{folder / 'control.db'}")
        self.control.migrate()
        self.bus = (DyingBus if dies else SqliteBus)(folder / "bus.sqlite", PARTITIONS)
        self.keys = DatabaseKeys(self.control, FileKek(folder / "kek"))
        self.objects = LocalObjects(folder / "objects")

    async def close(self) -> None:
        await self.bus.close()
        self.objects.close()
        self.control.close()


class Process:
    """A running one, for the parent."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, __file__, str(folder), *arguments]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        self._running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, text=True)
        assert self._running.stdout is not None
        told = json.loads(self._running.stdout.readline())
        self.port, self.headers = told["port"], {"authorization": f"Bearer {told['token']}"}

    def peak_mib(self) -> float:
        """The largest resident memory that it ever had."""
        status = Path(f"/proc/{self._running.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024

    def end(self) -> int:
        """Let it end; its exit status."""
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.close()
        status = self._running.wait(60)
        self._running.stdout.close()
        return status


@contextmanager
def collector_process(folder: Path, *arguments: str) -> Iterator[Process]:
    """A collector until the block ends."""
    process = Process(folder, *arguments)
    try:
        yield process
    finally:
        process.end()


async def main(folder: Path, dies: bool) -> None:
    stores, spools = Stores(folder, dies), Spools(folder / "large")
    ingest = Ingest(stores.bus, stores.keys, collector_id="c-1", spools=spools, blobs=Blobs(stores.objects, spools))
    minted = mint_token("acme", "large", [INGEST], now_ms=0)
    stores.control.add_token(minted.row)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)

    async def ready() -> None:
        """It always is."""

    app = create_app(Receiver(ingest, Tokens(stores.control), ready), http_routes())

    def started(port: int) -> None:
        print(json.dumps({"port": port, "token": minted.text}), flush=True)

    await serve(app, "127.0.0.1", 0, stop, started=started)
    ingest.close()
    await stores.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "dies-before-append" in sys.argv))
