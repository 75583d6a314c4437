"""The sink over the embedded engine: every offset once in both tables, whatever lies there."""

from __future__ import annotations

from embedded_engine import Database
from ledgered import SHARD, log_start, messages, proofs
from memory_keys import MemoryKeys

from schemas.ids import Offset
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered


def sink_of(engine: Database, keys: MemoryKeys, start: int = 0) -> ClickHouseSink:
    sink = ClickHouseSink(engine, keys, lambda shard: [log_start(shard, start)])
    sink.open()
    return sink


def test_a_batch_arrives_with_its_proof(engine: Database, keys: MemoryKeys) -> None:
    sink = sink_of(engine, keys)
    batch = messages(keys, 20, with_strays=True)
    assert sink.resume(SHARD, Offset(0)) == 0
    assert sink.deliver(SHARD, batch) == Delivered()
    assert sink.resume(SHARD, Offset(0)) == len(batch)
    client = engine.client()
    rows = client.query(
        "SELECT offset, leaf_index, hex(leaf), hex(chain), entry_kind FROM events ORDER BY offset"
    ).result_rows
    expected = [
        (message.offset, proof.leaf_index, proof.leaf.hex().upper(), proof.chain.hex().upper(), proof.entry_kind)
        for message, proof in zip(batch, proofs(batch, log_start()), strict=True)
    ]
    assert list(rows) == expected
    client.close()
    sink.close()
