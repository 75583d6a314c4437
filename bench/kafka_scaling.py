"""Signers and sinks over a topic that is full already: by shards, and by processes that share them.

The processes are in their groups and own their shards before the topic is filled, and are stopped (SIGSTOP) meanwhile:
what is measured is work, and neither start-up nor the arrangement of the group. Broker, stores and two processes share
the cores of one machine, so a second process can only use what the first leaves; processor seconds say what more
machines would give.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from affidavit.wiring import Wiring
from bench.figures import Figure
from bench.ingest import native_body
from bench.kafka_place import Cluster, Place, archived, queryable, servers, signed, until, wired
from bench.kafka_usage import ARCHIVE, BROKER, CLICKHOUSE, CLICKHOUSE_SINK, SIGNER, processor_seconds, spent
from collector.gateways import Received
from collector.gateways.native import NativeFormat
from collector.ingest import Ingest
from schemas.ids import EVENTS, Offset, Shard
from stores.bus import Outgoing, Position

SHARDS = (1, 2, 4, 8)
PROCESSES = (1, 2)
BODY = 500
APPEND = 500
LANES = 4


PROMPT = {
    "AFFIDAVIT_BUS_SESSION_SECONDS": "300",
    "AFFIDAVIT_SIGNER_LINGER_SECONDS": "0.05",
    "AFFIDAVIT_CLICKHOUSE_LINGER_SECONDS": "0.2",
    "AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS": "0.3",
    "AFFIDAVIT_ARCHIVE_SEGMENT_BYTES": str(8 << 20),
}
"""Stopped processes stay members, and no wait for more records than there are is in the figures."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done: records for signer and archive, for ClickHouse, and different ones among them; shards."""

    records: int = 100_000
    rows: int = 20_000
    pool: int = 5_000
    shards: tuple[int, ...] = SHARDS


def measure(sizes: Sizes = Sizes()) -> Sequence[Figure]:
    """All of it, in about five minutes."""
    figures: list[Figure] = []
    for shards, processes in itertools.product(sizes.shards, PROCESSES):
        if processes <= shards:
            print(f"  {shards} shards, {processes} processes …", file=sys.stderr, flush=True)
            with servers() as place:
                figures += _of(place, shards, processes, sizes)
    order = [SIGNER, ARCHIVE, CLICKHOUSE_SINK]
    return sorted(figures, key=lambda figure: next(at for at, role in enumerate(order) if role in figure.path))


def _of(place: Place, shards: int, processes: int, sizes: Sizes) -> Iterator[Figure]:
    """Every role with so many shards and processes: ClickHouse with the first records, the others with all."""
    cluster = place.deploy(shards, **PROMPT)
    roles = (SIGNER, ARCHIVE, CLICKHOUSE_SINK)
    for _ in range(processes):
        cluster.start(*roles)
    for role in roles:
        until(lambda role=role: _owned(cluster, role) >= shards, f"{role} to own all shards")  # type: ignore[misc]
    for node in cluster.nodes:
        node.pause()
    _fill(cluster, sizes.pool, sizes.rows)
    name = f"{shards} shards, {processes} processes".replace("1 shards", "1 shard").replace("1 processes", "1 process")
    yield _measured(cluster, CLICKHOUSE_SINK, sizes.rows, name, lambda: queryable(cluster))
    _fill(cluster, sizes.pool, sizes.records)
    total = sizes.rows + sizes.records
    yield _measured(cluster, SIGNER, total, name, lambda: sum(signed(cluster).values()))
    yield _measured(cluster, ARCHIVE, total, name, lambda: archived(cluster, shards))


def _measured(cluster: Cluster, role: str, records: int, name: str, done: Callable[[], int]) -> Figure:
    """Let the processes of one role go on until so many records are done, and end them."""
    before, begun = processor_seconds(), time.perf_counter()
    for node in cluster.of(role):
        node.resume()
    until(lambda: done() >= records, f"{role} to do {records} records", look=0.05)
    seconds, used = time.perf_counter() - begun, spent(before, processor_seconds())
    for node in list(cluster.of(role)):
        cluster.kill(node)
    server = CLICKHOUSE if role == CLICKHOUSE_SINK else BROKER
    note = (
        f"{records:,} records; {records / used[role]:,.0f} per second of its processor time; beside it the {server} "
        f"took {used[server]:.1f} s of {seconds:.1f} s"
    )
    return Figure(f"Kafka: {role}, {name}", records / seconds, "records/s", note=note)


def _owned(cluster: Cluster, role: str) -> int:
    """Shards of the events topic that the processes of a role own, by their metrics. With several processes each
    counts only when all of them own some: an arrangement that goes on is none."""
    series = "affidavit_signer_next_offset" if role == SIGNER else "affidavit_sink_position_offset"
    counts = [_metrics(node.urls["monitor"], series) for node in cluster.of(role)]
    return sum(counts) if all(counts) else 0


def _metrics(url: str, series: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(line.startswith(series) and f'shard="{EVENTS}/' in line for line in text.splitlines())


class Catch:
    """A bus that keeps what it is given, so that it can be put on another again and again."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        self.messages += messages
        return [Position(Shard(EVENTS, 0), Offset(0), 0)] * len(messages)


def _fill(cluster: Cluster, different: int, records: int) -> None:
    """Put sealed records of 1.4 KB on the events topic: so many different ones, over and over."""
    with wired(cluster) as wiring:
        asyncio.run(_filled(wiring, different, records))


async def _filled(wiring: Wiring, different: int, records: int) -> None:
    catch = Catch()
    ingest = Ingest(catch, wiring.keys, collector_id="bench")  # type: ignore[arg-type]
    received = Received("acme", "bench", "t-1", "http", "", "", "", time.time_ns() // 1000, "native")
    for at in range(max(1, different // BODY)):
        await ingest.accept_body(native_body(at, BODY), NativeFormat(), received)
    ingest.close()
    pool, left = catch.messages, iter(range(0, records, APPEND))

    async def lane() -> None:
        for at in left:
            start, count = at % len(pool), min(APPEND, records - at)
            await wiring.bus.append((pool + pool)[start : start + count])

    await asyncio.gather(*(lane() for _ in range(LANES)))
