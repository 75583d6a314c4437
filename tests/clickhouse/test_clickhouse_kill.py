"""kill -9 of a process in the middle of its inserts, many times: each offset is in both tables once, and verifies."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ledgered import log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.ids import EVENTS, Shard
from stores.bus import Message

ROOT = Path(__file__).resolve().parents[2]
PROCESS = ROOT / "tests" / "support" / "clickhouse_process.py"
SHARDS = (Shard(EVENTS, 0), Shard(EVENTS, 1))


def start(folder: Path, what: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROCESS.parent)))}
    return subprocess.Popen(
        [sys.executable, str(PROCESS), str(folder), what], env=environment, text=True, stdout=subprocess.PIPE
    )


def prepare(folder: Path, count: int) -> dict[Shard, list[Message]]:
    keys = MemoryKeys()
    batches = {shard: messages(keys, count, shard=shard) for shard in SHARDS}
    (folder / "messages").write_bytes(pickle.dumps((keys._keys, batches)))
    return batches


def run_and_kill(folder: Path, after: float) -> bool:
    """Deliver, and kill ``after`` seconds of delivering; whether it was done before."""
    with start(folder, "deliver") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        timer = threading.Timer(after, process.send_signal, [signal.SIGKILL])
        timer.start()
        done = process.stdout.readline() == "done\n"
        process.wait()
        timer.cancel()
    return done


def kill_until_done(folder: Path, kills: int, count: int) -> int:
    """Kill at random points as often as wanted, deliver the rest, check everything; return how often it was killed."""
    batches = prepare(folder, count)
    chance = random.Random(count)
    killed = 0
    for _ in range(kills):
        if run_and_kill(folder, chance.uniform(0.02, 0.6)):
            break
        killed += 1
    assert run_and_kill(folder, 240.0)
    with start(folder, "check") as process:
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
    assert process.returncode == 0
    assert found.pop("failures") == []
    for shard, batch in batches.items():
        offsets = [message.offset for message in batch]
        assert found[f"{shard} events"] == offsets
        assert found[f"{shard} contents"] == offsets
        assert found[f"{shard} chain"] == [proof.chain.hex() for proof in proofs(batch, log_start(shard))]
    return killed


@pytest.mark.slow
def test_kill_in_the_middle_of_inserts(tmp_path: Path) -> None:
    assert kill_until_done(tmp_path, kills=6, count=3000) >= 2


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_kill_hundreds_of_times(tmp_path: Path) -> None:
    killed = 0
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed += kill_until_done(folder, kills=12, count=4000 + number)
    assert killed >= 100
