"""A process that delivers messages to ClickHouse, to be killed: ``python clickhouse_process.py FOLDER deliver|check``.

``FOLDER/messages`` holds pickled messages of two shards and their keys. ``deliver`` prints ``ready`` before its first
insert and ``done`` when everything is delivered; ``check`` prints what the tables hold, as JSON.
"""

from __future__ import annotations

import json
import pickle
import sys
import threading
from pathlib import Path

from ledgered import log_start
from memory_keys import MemoryKeys

from schemas.ids import Offset, Shard
from sinks.clickhouse.engine import EmbeddedEngine
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from stores.bus import Message

BATCH = 60


def deliver(sink: ClickHouseSink, shard: Shard, messages: list[Message]) -> None:
    """Go on where ClickHouse says, to the end."""
    at = sink.resume(shard, Offset(0))
    while at < len(messages):
        outcome = sink.deliver(shard, messages[at : at + BATCH])
        assert outcome == Delivered(), outcome
        at = Offset(min(at + BATCH, len(messages)))


def held(engine: EmbeddedEngine, shards: list[Shard]) -> dict[str, object]:
    """Offsets of each table and shard, what fails, and the proofs as evidence."""
    client = engine.client()
    evidence = ClickHouseEvidence(client)
    found: dict[str, object] = {"failures": [list(map(str, failure)) for failure in failures(client)]}
    for shard in shards:
        for table in ("events", "contents"):
            where = f"topic = '{shard.topic}' AND partition = {shard.partition}"
            rows = client.query(f"SELECT offset FROM {table} WHERE {where} ORDER BY offset").result_rows
            found[f"{shard} {table}"] = [int(offset) for (offset,) in rows]
        scanned = evidence.scan(shard, Offset(0), Offset(1 << 40))
        found[f"{shard} chain"] = [item.chain.hex() for item in scanned]
    client.close()
    return found


def main(folder: Path, what: str) -> None:
    keys, shards = pickle.loads((folder / "messages").read_bytes())
    engine = EmbeddedEngine(folder / "engine")
    held_keys = MemoryKeys()
    held_keys._keys = keys
    sink = ClickHouseSink(engine, held_keys, lambda shard: [log_start(shard)])
    sink.open()
    if what == "deliver":
        print("ready", flush=True)
        threads = [threading.Thread(target=deliver, args=(sink, shard, own)) for shard, own in shards.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("done", flush=True)
    else:
        print(json.dumps(held(engine, list(shards))))
    sink.close()
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
