"""A process that believes a shard is its own, whatever others believe.

``python clickhouse_contender.py FOLDER URL DATABASE SEED``: ``FOLDER/messages`` holds pickled messages of one shard and
their keys. It takes the shard, delivers batches of random sizes, and takes it again a while after it was refused, until
ClickHouse says that everything is there. Whatever goes wrong is tried again, but an outcome that calls a person ends
it. The last line on standard output counts what it met.
"""

from __future__ import annotations

import logging
import pickle
import random
import sys
import time
from collections import Counter
from pathlib import Path

from clickhouse_server import PASSWORD, USER
from ledgered import SHARD, log_start
from memory_keys import MemoryKeys

from schemas.errors import Unavailable
from schemas.ids import Offset
from sinks.clickhouse.server import Server, ServerEngine
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered, Retry
from stores.bus import Message


def contend(sink: ClickHouseSink, messages: list[Message], chance: random.Random) -> Counter[str]:
    """Deliver everything, with or against the others."""
    met: Counter[str] = Counter()
    at = len(messages) + 1
    while True:
        try:
            if at > len(messages):
                at = sink.resume(SHARD, Offset(0))
                met["taken"] += 1
                if at == len(messages):
                    return met
                at = max(0, at - chance.choice((0, 0, 40)))
        except Unavailable as error:
            waited = "still running" in str(error)
            met["waited" if waited else "unavailable"] += 1
            time.sleep(chance.uniform(0.05, 0.2) if waited else chance.uniform(0.5, 2.0))
            continue
        end = min(len(messages), at + chance.choice((1, 60, 200, 300)))
        outcome = sink.deliver(SHARD, messages[at:end])
        if outcome == Delivered():
            met["delivered"] += 1
            at = Offset(end) if end < len(messages) else Offset(len(messages) + 1)
            continue
        assert isinstance(outcome, Retry), outcome
        if "another process has taken" in outcome.reason:
            met["fenced"] += 1
            time.sleep(chance.uniform(0.5, 4.0))
            at = len(messages) + 1
        else:
            met["retried"] += 1
            time.sleep(0.1)


def main(folder: Path, url: str, database: str, seed: int) -> None:
    logging.disable(logging.CRITICAL)
    held, messages = pickle.loads((folder / "messages").read_bytes())
    keys = MemoryKeys()
    keys._keys = held
    engine = ServerEngine(Server(url, USER, PASSWORD, database, receive_seconds=10))
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard)])
    while True:
        try:
            sink.open()
            break
        except Unavailable:
            time.sleep(0.2)
    print("ready", flush=True)
    met = contend(sink, messages, random.Random(seed))
    print(dict(met), flush=True)
    sink.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
