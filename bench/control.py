"""The control database on PostgreSQL, on the same machine: client and server share the processor.

By the wall clock, for the server's part counts; commits reach the disk (``fsync`` is on).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bench.figures import Figure
from schemas.errors import Unavailable
from schemas.ids import Shard
from stores.control import Lock, Log
from stores.control.database import ControlDatabase
from stores.keys import KeyScope
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file
from stores.keys.offline import OfflineKeys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

BATCH = 500
BATCHES = 24
SWAPS = 400

LOG = Log("example/events/0/2026q1", Shard("events", 0), "2026q1", 0, b"{}", 5)
LOCK = Lock(LOG.origin, 1, bytes(32), bytes(32), b"note")


def measure() -> Sequence[Figure]:
    """All of it, in about half a minute."""
    from postgres_server import PostgresServer

    with tempfile.TemporaryDirectory() as name, PostgresServer({"fsync": "on"}) as server:
        folder, url = Path(name), server.create()
        create_kek_file(folder / "kek")
        with closing(ControlDatabase(url)) as control:
            control.migrate()
            figures = [*_keys(control, folder), _together(url, folder), *_swaps(control)]
            with closing(OfflineKeys(DatabaseKeys(control, FileKek(folder / "kek")), folder / "local.db")) as offline:
                server.stop()
                made = _rate(lambda turn: offline.for_scopes(_scopes("away", turn)), BATCHES)
                server.start()
                registered = _rate(lambda _: _register(offline), 1, BATCH * BATCHES)
    return [
        *figures,
        Figure("keys: made while the database is away", made, "keys/s", 5_000, note=f"{BATCH} a call, one fsync"),
        Figure("keys: registered afterwards", registered, "keys/s", 5_000, note=f"{BATCH} in a transaction"),
    ]


def _keys(control: ControlDatabase, folder: Path) -> list[Figure]:
    keys = DatabaseKeys(control, FileKek(folder / "kek"))
    creating = _rate(lambda turn: keys.for_scopes(_scopes("one", turn)), BATCHES)
    others = DatabaseKeys(control, FileKek(folder / "kek"))
    finding = _rate(lambda turn: others.for_scopes(_scopes("one", turn)), BATCHES)
    return [
        Figure("keys on PostgreSQL: create", creating, "keys/s", 5_000, note=f"{BATCH} a call, one transaction"),
        Figure("keys on PostgreSQL: find", finding, "keys/s", note=f"{BATCH} a call, not cached"),
    ]


_CHILD = """
import sys
from bench.control import BATCHES, _scopes
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek
control = ControlDatabase(sys.argv[1])
keys = DatabaseKeys(control, FileKek(sys.argv[2]))
keys.check()
print("ready", flush=True)
sys.stdin.readline()
for turn in range(BATCHES):
    keys.for_scopes(_scopes("both", turn)[::int(sys.argv[3])])
control.close()
"""


def _together(url: str, folder: Path) -> Figure:
    """Two processes that ask for the same new scopes at once, in opposite order."""
    command = [sys.executable, "-c", _CHILD, url, str(folder / "kek")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [subprocess.Popen([*command, step], text=True, **pipes) for step in ("1", "-1")]  # type: ignore[call-overload]
    for child in children:
        child.stdout.readline()
    begun = time.perf_counter()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
    rate = BATCH * BATCHES / (time.perf_counter() - begun)
    if any(child.returncode for child in children):
        raise RuntimeError("a process that creates keys failed")
    note = f"both ask for the same {BATCH * BATCHES:,} scopes; {2 * rate:,.0f}/s served"
    return Figure("keys on PostgreSQL: create, two processes", rate, "keys/s", 5_000, note=note)


def _swaps(control: ControlDatabase) -> list[Figure]:
    control.open_log(LOG, LOCK)
    lock, times = LOCK, []
    for number in range(SWAPS):
        new = replace(lock, size=lock.size + 1, note=b"note %d" % number)
        begun = time.perf_counter()
        control.replace_lock(lock, new)
        times.append(time.perf_counter() - begun)
        lock = new
    times.sort()
    return [
        Figure("lock row on PostgreSQL: swap, p50", times[SWAPS // 2] * 1000, "ms", note="one fsync"),
        Figure("lock row on PostgreSQL: swap, p99", times[SWAPS * 99 // 100] * 1000, "ms"),
    ]


def _register(keys: OfflineKeys) -> None:
    while keys.unregistered():
        try:
            keys.register()
        except Unavailable:
            continue


def _scopes(name: str, turn: int) -> list[KeyScope]:
    numbers = range(turn * BATCH, turn * BATCH + BATCH)
    return [KeyScope("acme", f"{name} {number // 3}", "standard", 1 + number % 3, "2026-03") for number in numbers]


def _rate(work: Callable[[int], object], turns: int, items: int = BATCH) -> float:
    """Items per second of ``turns`` calls that do ``items`` each."""
    begun = time.perf_counter()
    for turn in range(turns):
        work(turn)
    return items * turns / (time.perf_counter() - begun)
