"""All roles as processes of their own over Kafka, PostgreSQL and ClickHouse, on one machine with their client.

Brokers, database, ClickHouse, client and roles share the cores, so each row by the wall clock is what is left of the
machine for all of them; processor seconds say what each part costs, and what more machines would give.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from affidavit.wiring import Wiring
from bench.end_to_end import body as chat_body
from bench.figures import Figure
from bench.ingest import litellm_body, native_body
from bench.kafka_load import Load, Post, Traffic, p50, p99, send_for
from bench.kafka_place import Cluster, Place, archived, ask, queryable, servers, signed, until, wired
from bench.kafka_usage import CLICKHOUSE_SINK, CLIENT, COLLECTOR, ROLES, SERVERS, processor_seconds, resident_mb, spent
from collector.gateways import Format, Received
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.native import NativeFormat

SHARDS = 2
BATCH = 200
"""Events a request at full load."""
PACED_BATCH = 20
"""Events a request where latency is measured: what a gateway gathers in a moment, not what it has saved up."""
LANES = 4
"""Requests in flight where the collector's part is measured inside one process."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done: seconds of load, bodies inside the process, probes."""

    seconds: float = 30.0
    bodies: int = 40
    probes: int = 40


def measure(sizes: Sizes = Sizes()) -> Sequence[Figure]:
    """All of it, in about three minutes."""
    with servers() as place:
        return [*_inside(place, sizes), *_collector(place, sizes), *_everything(place, sizes)]


def _inside(place: Place, sizes: Sizes) -> Iterator[Figure]:
    """What the collector does with a body, without HTTP: the rows of ``ingest`` over Kafka and PostgreSQL."""
    cluster = place.deploy(SHARDS)
    for name, source, bodies in (
        ("native NDJSON ingest to durable bus", NativeFormat(), [native_body(at, 500) for at in range(sizes.bodies)]),
        ("LiteLLM ingest to durable bus", LiteLLMFormat(), [litellm_body(at, 500) for at in range(sizes.bodies)]),
    ):
        with wired(cluster, COLLECTOR) as wiring:
            units, events, wall, used = asyncio.run(_accept(wiring, source, bodies))
        budget = 12_000 if isinstance(source, NativeFormat) else 8_000
        note = (
            f"{events / units:.1f} events per unit, {LANES} bodies at a time, {units / wall:,.0f}/s by the wall clock"
        )
        yield Figure(f"Kafka: {name}", units / used, "units/s per core", budget, note=note)


async def _accept(wiring: Wiring, source: Format, bodies: Sequence[bytes]) -> tuple[int, int, float, float]:
    """Units, events, seconds, and processor seconds of this process."""
    ingest, waiting, units, events = wiring.ingest(), iter(bodies[1:]), 0, 0

    async def lane() -> None:
        nonlocal units, events
        for one in waiting:
            stored = await ingest.accept_body(one, source, _received(source))
            units += len(stored.accepted)
            events += sum(len(unit.events) for unit in stored.accepted)

    await ingest.accept_body(bodies[0], source, _received(source))
    begun, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(lane() for _ in range(LANES)))
    wall, used = time.perf_counter() - begun, time.process_time() - used
    ingest.close()
    return units, events, wall, used


def _received(source: Format) -> Received:
    now = time.time_ns() // 1000
    return Received("acme", "bench", "t-1", "http", "127.0.0.1", "application/json", "", now, source.name)


def _collector(place: Place, sizes: Sizes) -> Iterator[Figure]:
    """The collector's process alone with the broker, over HTTP."""
    cluster = place.deploy(SHARDS)
    tokens = cluster.tokens()
    urls = [node.url for node in cluster.start("collector")]
    native = Traffic(tokens["native"], [chat_body(number, BATCH) for number in range(50)], BATCH)
    litellm = Traffic(tokens["litellm"], [litellm_body(at, 100) for at in range(20)], 200, "/v1/litellm")
    send_for(min(2.0, sizes.seconds / 4), native, urls)
    rates = {}
    for name, traffic in (("native NDJSON", native), ("LiteLLM", litellm)):
        before = processor_seconds()
        load = send_for(sizes.seconds / 2, traffic, urls)
        used = spent(before, processor_seconds())
        rates[name] = load.events / load.seconds
        note = (
            f"{traffic.batch} events a request, {load.events / used[COLLECTOR]:,.0f} per second of its processor time"
        )
        yield Figure(f"Kafka: {name} over HTTP, collector alone", rates[name], "events/s", note=note)
    load = send_for(sizes.seconds / 2, _paced(native, rates["native NDJSON"] / 2), urls)
    yield from _acknowledgements(load, "Kafka: ingest acknowledgement at half load", rates["native NDJSON"] / 2)
    for node in cluster.of("collector"):
        node.end()
    cluster.nodes.clear()


def _paced(traffic: Traffic, rate: float) -> Traffic:
    bodies = [chat_body(number, PACED_BATCH) for number in range(200)]
    return replace(traffic, bodies=bodies, batch=PACED_BATCH, rate=rate)


def _acknowledgements(load: Load, name: str, rate: float) -> Iterator[Figure]:
    times = [1000 * answer.seconds for answer in load.answers]
    note = f"{PACED_BATCH} events a request at {rate:,.0f} events/s"
    yield Figure(f"{name}, p50", p50(times), "ms", note=note)
    yield Figure(f"{name}, p99", p99(times), "ms", 25, True, note)


def _everything(place: Place, sizes: Sizes) -> Iterator[Figure]:
    cluster = place.deploy(SHARDS)
    traffic = Traffic(cluster.tokens()["native"], [chat_body(number, BATCH) for number in range(50)], BATCH)
    cluster.start(*ROLES)
    urls = cluster.collectors()
    warm = send_for(min(3.0, sizes.seconds / 4), traffic, urls)
    _caught_up(cluster, warm.events)

    before = processor_seconds()
    load = send_for(sizes.seconds, traffic, urls)
    begun = time.perf_counter()
    ends = _caught_up(cluster, warm.events + load.events)
    used, memory = spent(before, processor_seconds()), resident_mb()
    rate = load.events / (load.seconds + time.perf_counter() - begun)
    lags = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in ends.items())
    yield Figure(
        "Kafka: ingest over HTTP, all roles running",
        load.events / load.seconds,
        "events/s",
        note="full load, 4 senders",
    )
    yield Figure("Kafka: end to end, all roles", rate, "events/s", 5_000, note=f"after the last answer: {lags}")
    yield from _costs(load.events, used)
    yield from _latencies(cluster, traffic, warm.events + load.events, rate / 2, sizes)
    for role in ROLES:
        note = "" if role != CLICKHOUSE_SINK else "ClickHouse is a server of its own"
        yield Figure(f"Kafka: resident memory of {role}, after full load", memory[role], "MB", 300, True, note)
    cluster.stop()


def _costs(events: int, used: dict[str, float]) -> Iterator[Figure]:
    ours = sum(used[role] for role in ROLES)
    yield Figure(
        "Kafka: events per processor second, all four roles",
        events / ours,
        "events/s",
        note="what the roles alone would do with a core to share among them; brokers and stores apart",
    )
    for part in (*ROLES, *SERVERS, CLIENT):
        share = 100 * used[part] / sum(used.values())
        note = f"{events / max(used[part], 0.01):,.0f} events per second of its time, {share:.0f}% of all time spent"
        yield Figure(f"Kafka: processor time of {part}", 1e6 * used[part] / events, "µs/event", note=note)


def _latencies(cluster: Cluster, traffic: Traffic, sent: int, rate: float, sizes: Sizes) -> Iterator[Figure]:
    with Load(_paced(traffic, rate), cluster.collectors()) as load:
        until(lambda: load.answers, "the first answer")
        probes = [_probe(cluster, traffic.token, number) for number in range(sizes.probes)]
    yield from _acknowledgements(load, "Kafka: acknowledgement with all roles at half load", rate)
    note = f"{sizes.probes} probes, at half of what goes end to end"
    for at, (name, budget) in enumerate((("queryable", 2000), ("signed checkpoint", 1000))):
        times = [1000 * probe[at] for probe in probes]
        yield Figure(f"Kafka: ingest to {name} at half load, p50", p50(times), "ms", note=note)
        yield Figure(f"Kafka: ingest to {name} at half load, p99", p99(times), "ms", budget, True, note)
    _caught_up(cluster, sent + load.events + sizes.probes)


def _probe(cluster: Cluster, token: str, number: int) -> tuple[float, float]:
    """An event sent alone in the middle of the load: seconds until it can be queried, and until it is signed."""
    name = f"probe-{number}"
    line = json.dumps({"kind": "session", "session_id": name, "content": {"probe": number}}).encode()
    post, begun = Post(Traffic(token, (), 1, places=True)), time.perf_counter()
    answer = next(found for _ in itertools.count() if (found := post(cluster.collectors()[0], line, begun)))
    post.close()
    [(shard, offset)] = answer.placed.items()
    until(lambda: signed(cluster).get(shard, 0) > offset, "a checkpoint", 60)
    covered = time.perf_counter() - begun
    sql = f"SELECT count() FROM events WHERE session_id = '{name}' AND offset = {offset}"
    until(lambda: ask(cluster, sql) == "1", "a row", 60)
    return time.perf_counter() - begun, covered


def _caught_up(cluster: Cluster, events: int) -> dict[str, float]:
    """Return when everything sent is signed, queryable and archived; the seconds until each was seen to be."""
    begun, seen = time.perf_counter(), {}
    counts = {
        "signed": lambda: sum(signed(cluster).values()),
        "queryable": lambda: queryable(cluster),
        "archived": lambda: archived(cluster, SHARDS),
    }
    for what, count in counts.items():
        until(lambda count=count: count() >= events, f"{events} events to be {what}", look=0.1)  # type: ignore[misc]
        seen[what] = time.perf_counter() - begun
    return seen
