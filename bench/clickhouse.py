"""The ClickHouse sink over the embedded engine: opening, insert with text index and fsync, SQL verification, evidence.

The events are 1.4 KB in the clear: metadata, a message, and, on every second one, the source of the unit.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench.figures import Figure
from schemas.entry import GENESIS, NO_OFFSET, pack_commitments, pack_entry
from schemas.ids import EVENTS, EventId, KeyId, Offset, Shard, event_id, format_event_id
from schemas.metadata import KIND_CODES, Kind, Metadata
from schemas.metadata_binary import encode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Sealer, SubjectKey
from schemas.record import Record, encode_record
from sinks.clickhouse.engine import EmbeddedEngine
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from sinks.proof import LogStart
from stores.bus import Message
from stores.keys import KeyScope

RECORDS = 60_000
"""Per shard."""
BATCH = 20_000
SHARDS = (Shard(EVENTS, 0), Shard(EVENTS, 1))
KINDS: tuple[Kind, ...] = ("prompt", "response", "tool_call", "tool_result")


class OneKey:
    """Implements :class:`stores.keys.Keys` with a single subject key."""

    key = SubjectKey(KeyId(bytes(16)), os.urandom(32))

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        return [self.key] * len(scopes)

    def by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        return dict.fromkeys(key_ids, self.key.secret)


def measure() -> Sequence[Figure]:
    """Deliver two shards side by side, then verify and read them back."""
    loads = {shard: messages(shard, RECORDS) for shard in SHARDS}
    total = RECORDS * len(SHARDS)
    with tempfile.TemporaryDirectory() as folder:
        engine = EmbeddedEngine(Path(folder) / "engine")
        sink = ClickHouseSink(engine, OneKey(), lambda shard: [log_of(shard)])
        sink.open()
        took, worked = timed(lambda: together(sink, loads))
        sink.close()
        client = engine.client()
        size = client.query(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
        ).result_rows[0][0]
        chain = none_fail(client, "integrity_chain")
        leaves = none_fail(client, "integrity_leaves")
        parts = none_fail(client, "integrity_parts")
        scan, _ = timed(lambda: scanned(client))
        client.close()
        engine.close()
    return [
        Figure("ClickHouse sink, text index on", total / took, "records/s", 30_000, note="2 shards, 2 cores, fsync"),
        Figure("ClickHouse sink, per second of processor time", total / worked, "records/s", note="whatever else runs"),
        Figure("chain in SQL", total / chain, "records/s", 1_000_000, note="view integrity_chain"),
        Figure("leaves in SQL", total / leaves, "records/s", note="view integrity_leaves"),
        Figure("commitments in SQL", total / parts, "records/s", 50_000, note="view integrity_parts, all parts"),
        Figure("ClickHouse, read back as evidence", total / scan, "records/s", note="columns against signed metadata"),
        Figure("ClickHouse, bytes per record of 1,400", int(size) / total, "bytes"),
    ]


def together(sink: ClickHouseSink, loads: dict[Shard, list[Message]]) -> None:
    """One thread per shard, as the runner has it."""
    failed: list[object] = []

    def deliver(shard: Shard, load: list[Message]) -> None:
        for at in range(sink.resume(shard, Offset(0)), len(load), BATCH):
            outcome = sink.deliver(shard, load[at : at + BATCH])
            if outcome != Delivered():
                failed.append(outcome)

    threads = [threading.Thread(target=deliver, args=item) for item in loads.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"got {failed[0]}, expected every batch to be delivered")


def none_fail(client: Client, view: str) -> float:
    """Seconds that a view takes to find nothing, at best of three."""
    found: list[int] = []
    took = [
        timed(lambda: found.append(int(client.query(f"SELECT count() FROM {view}").result_rows[0][0])))[0]
        for _ in range(3)
    ]
    if any(found):
        raise RuntimeError(f"got {max(found)} failures in {view}, expected none")
    return min(took)


def scanned(client: Client) -> None:
    """Read everything back as evidence."""
    source = ClickHouseEvidence(client)
    for shard in SHARDS:
        found = sum(1 for _ in source.scan(shard, Offset(0), Offset(RECORDS)))
        if found != RECORDS:
            raise RuntimeError(f"got {found} records of {shard}, expected {RECORDS}")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock and of processor."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - worked


def log_of(shard: Shard) -> LogStart:
    """A log that starts with the first record."""
    genesis = pack_entry(GENESIS, NO_OFFSET, 0, pack_commitments([(0x10, bytes(32))]))
    return LogStart(f"bench.example.com/{shard}/2026q1", 0, genesis)


def messages(shard: Shard, count: int) -> list[Message]:
    """Sealed records of conversations of forty events."""
    chance = random.Random(shard.partition)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(5000)]
    sealer = Sealer()
    return [_message(shard, number, chance, words, sealer) for number in range(count)]


def _message(shard: Shard, number: int, chance: random.Random, words: list[str], sealer: Sealer) -> Message:
    kind = KINDS[number % len(KINDS)]
    name = event_id("acme", "litellm", f"{shard}-{number}", kind, 0)
    text = " ".join(chance.choices(words, k=110))
    parts = {
        METADATA: encode_metadata(_metadata(name, kind, number)),
        CONTENT: json.dumps([{"role": "user", "content": text}]).encode(),
    }
    if number % 2 == 0:
        parts[SOURCE] = json.dumps({"messages": " ".join(chance.choices(words, k=90))}).encode()
    sealed, commitments = [], []
    for part_type, data in parts.items():
        part, commitment = sealer.seal(part_type, data, name, OneKey.key)
        sealed.append(part)
        commitments.append((part_type, commitment))
    value = encode_record(Record(name, "acme", "standard", tuple(sealed)))
    time_ms = 1_764_000_000_000 + number // 10
    return Message(shard, Offset(number), time_ms, b"", value, KIND_CODES[kind], name, pack_commitments(commitments))


def _metadata(name: EventId, kind: Kind, number: int) -> Metadata:
    return {
        "event_id": format_event_id(name),
        "kind": kind,
        "tenant": "acme",
        "exchange_id": f"exchange-{number // 4}",
        "session_id": f"session-{number // 40}",
        "source_id": f"source-{number // 2}",
        "gateway": "litellm",
        "format": "litellm",
        "receiver": "http",
        "occurred_at": 1_764_000_000_000_000 + number * 100,
        "received_at": 1_764_000_000_100_000 + number * 100,
        "user_id": f"user-{number % 50}",
        "user_email": "someone@example.com",
        "provider": "openai",
        "model_requested": "a-model",
        "model_served": "a-model-2026",
        "operation": "chat",
        "stream": True,
        "input_tokens": 100 + number % 900,
        "output_tokens": number % 300,
        "latency_ms": 12.5,
        "outcome": "ok",
        "http_status": 200,
        "content_state": "full",
        "retention_class": "standard",
        "token_id": "token-1",
        "peer_ip": "192.0.2.1",
        "client_ip": "198.51.100.7",
        "user_agent": "python-client/1.2",
        "collector_id": "collector-1",
        "collector_sequence": number,
        "tags": ["a", "b"],
        "extras": {"litellm.key": "1"},
    }


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.path}: {figure.value:,.0f} {figure.unit}")
