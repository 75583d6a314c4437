"""Several processes that all believe a shard to be theirs. They are stopped and killed, and so is the server."""

from __future__ import annotations

import ast
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_server import ClickHouseServer
from ledgered import SHARD, log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.ids import Offset
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.sink import ClickHouseSink
from stores.bus import Message

ROOT = Path(__file__).resolve().parents[2]
PROCESS = ROOT / "tests" / "support" / "clickhouse_contender.py"
END_SECONDS = 240.0


class Ring:
    """A server and the processes that contend."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.server = ClickHouseServer(folder / "engine", silence=1.0)
        self.batch: list[Message] = []
        self.met: Counter[str] = Counter()
        self._folder = folder
        self._seed = seed
        self._processes: list[subprocess.Popen[str]] = []
        keys = MemoryKeys()
        self.batch = messages(keys, count)
        (folder / "messages").write_bytes(pickle.dumps((keys._keys, self.batch)))
        self.server.start()
        sink = ClickHouseSink(self.server.engine(), keys, lambda shard: [])
        sink.open()
        sink.close()

    def join(self) -> None:
        """One more contender."""
        self._seed += 1
        arguments = [str(self._folder), self.server.url, "affidavit", str(self._seed)]
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROCESS.parent)))},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        self._processes.append(process)

    def pause_one(self) -> None:
        """Stop one for a while; the others go on."""
        process = self.chance.choice(self._processes)
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.05, 1.5))
        process.send_signal(signal.SIGCONT)

    def kill_one(self) -> None:
        """Kill one, and let another join."""
        process = self._processes.pop(self.chance.randrange(len(self._processes)))
        process.kill()
        process.communicate()
        self.join()

    def kill_server(self) -> None:
        self.server.kill()
        self.server.start()

    @property
    def running(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def finish(self) -> None:
        """Wait for all of them; what they met is in ``met``."""
        for process in self._processes:
            output, _ = process.communicate(timeout=END_SECONDS)
            assert process.returncode == 0
            self.met.update(ast.literal_eval(output))

    def check(self) -> None:
        """Each offset once in both tables, the chain unbroken, everything as in the ledger."""
        with closing(self.server.engine().client()) as client:
            for table in ("events", "contents"):
                rows = client.query(f"SELECT offset FROM {table} ORDER BY offset").result_rows
                assert [int(offset) for (offset,) in rows] == list(range(len(self.batch))), table
            assert failures(client) == []
            found = list(ClickHouseEvidence(client).scan(SHARD, Offset(0), Offset(1 << 40)))
            assert [item.chain for item in found] == [proof.chain for proof in proofs(self.batch, log_start())]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self.server.kill()


@pytest.mark.slow
@pytest.mark.alone
def test_processes_that_are_stopped_and_go_on_repeat_nothing(tmp_path: Path) -> None:
    with closing(Ring(tmp_path, 2000, seed=1)) as ring:
        for _ in range(2):
            ring.join()
        for _ in range(5):
            ring.pause_one()
        ring.finish()
        ring.check()
        assert ring.met["fenced"] >= 1


@pytest.mark.slow
@pytest.mark.alone
def test_processes_and_a_server_that_are_killed_lose_and_repeat_nothing(tmp_path: Path) -> None:
    with closing(Ring(tmp_path, 2000, seed=2)) as ring:
        for _ in range(2):
            ring.join()
        for what in (ring.kill_one, ring.kill_server, ring.kill_server):
            time.sleep(ring.chance.uniform(0.1, 1.0))
            what()
        ring.finish()
        ring.check()


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(20))
def test_everything_goes_wrong_for_a_long_time(tmp_path: Path, seed: int) -> None:
    with closing(Ring(tmp_path, 20_000, seed=100 * seed)) as ring:
        for _ in range(3):
            ring.join()
        while ring.running:
            ring.chance.choice((ring.pause_one, ring.pause_one, ring.kill_one, ring.kill_server))()
            time.sleep(ring.chance.uniform(0.0, 1.0))
        ring.finish()
        ring.check()
