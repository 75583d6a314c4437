"""The unsigned half of the work by a peer: rsyslog, on the same broker, with the same events, in the same run.

Both take the same JSON events over the network from the same four senders, put them on Kafka with ``acks=all``, consume
them again in a second process, and write files that are synced. rsyslog (RELP in, omkafka, imkafka, omfile) neither
seals nor signs nor orders by what it promised; Affidavit's collector and archive sink seal, and its signer signs. The
table of what each guarantees is in ``docs/benchmarks.md``; the losses and repeats after ``kill -9`` are counted here.

rsyslog is no part of the product or its tests. Without it nothing is measured, and a line says how to get it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.end_to_end import event
from bench.figures import Figure
from bench.kafka_load import Load, Sender, Traffic, p50, p99, send_for
from bench.kafka_place import Cluster, KafkaCluster, Place, archived, fresh_prefix, servers, signed, until
from bench.kafka_rsyslog import DISK, GET, MEMORY, Lines, Relp, Rsyslog, binary
from bench.kafka_usage import ARCHIVE, COLLECTOR, SIGNER, processor_seconds, resident_mb, spent
from schemas.ids import EVENTS, Offset, Shard, format_event_id
from sinks.archive import ArchiveEvidence
from stores.objects.local import LocalObjects

SHARDS = 2
BATCH = 200
PACED_BATCH = 20
KILL_RATE = 2_000.0
"""Events a second at most while something is killed; half of what the subject takes, if that is less."""
QUIET_SECONDS = 15.0
"""Nothing comes any more when nothing has come for so long: longer than the session of a killed consumer."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of full load, and of the load around a ``kill -9``."""

    seconds: float = 15.0
    kill: float = 3.0


@dataclass
class Subject:
    """What is measured: ours or theirs.

    Attributes:
        name: for the table.
        url: of the receiver.
        token: of ours; ``""``.
        sender: makes connections to it.
        receivers, consumers: names of their parts in :mod:`bench.kafka_usage`.
        arrived: events at the destination so far.
        rest: returns when nothing has arrived for so many seconds.
        ids: how often each event is at the destination.
        receiver, consumer: SIGKILL to it, and how to start another in its place.
        end: SIGKILL to all of it.
    """

    name: str
    url: Callable[[], str]
    token: str
    sender: Callable[[Traffic], Sender] | None
    receivers: tuple[str, ...]
    consumers: tuple[str, ...]
    arrived: Callable[[], int]
    rest: Callable[[float], None]
    ids: Callable[[], Counter[str]]
    receiver: tuple[Callable[[], None], Callable[[], None]]
    consumer: tuple[Callable[[], None], Callable[[], None]]
    end: Callable[[], None]


def measure(sizes: Sizes = Sizes()) -> Sequence[Figure]:
    """All of it, in about three minutes."""
    if binary() is None:
        print(f"SKIPPED kafka_peer: rsyslog with RELP and Kafka is not installed: {GET}", file=sys.stderr, flush=True)
        return []
    figures: list[Figure] = []
    with servers() as place:
        for of in (_affidavit, lambda place: _rsyslog(place, MEMORY), lambda place: _rsyslog(place, DISK)):
            figures += _one(of(place), sizes)
    return figures


def _one(subject: Subject, sizes: Sizes) -> Iterator[Figure]:
    print(f"  {subject.name} …", file=sys.stderr, flush=True)
    bodies = [_body(BATCH) for _ in range(50)]
    traffic = Traffic(subject.token, bodies, BATCH)
    warm = send_for(min(2.0, sizes.seconds / 4), traffic, [subject.url()], subject.sender)
    until(lambda: subject.arrived() >= warm.events, "the first events to arrive", look=0.1)

    before, begun = processor_seconds(), time.perf_counter()
    load = send_for(sizes.seconds, traffic, [subject.url()], subject.sender)
    until(lambda: subject.arrived() >= warm.events + load.events, "all events to arrive", look=0.1)
    seconds, used = time.perf_counter() - begun, spent(before, processor_seconds())
    memory = resident_mb()
    yield Figure(f"{subject.name}: acknowledged", load.events / load.seconds, "events/s", note=f"{BATCH} at a time")
    yield Figure(
        f"{subject.name}: network to synced files", load.events / seconds, "events/s", note="by the wall clock"
    )
    parts = (*subject.receivers, *subject.consumers)
    work = sum(used[part] for part in parts)
    each = ", ".join(f"{part} {1e6 * used[part] / load.events:.0f} µs, {memory[part]:.0f} MB" for part in parts)
    yield Figure(f"{subject.name}: per processor second", load.events / work, "events/s", note=f"an event: {each}")
    if SIGNER in parts:
        unsigned = load.events / (work - used[SIGNER])
        yield Figure(f"{subject.name}: per processor second, without the signer", unsigned, "events/s")

    rate = min(KILL_RATE, load.events / load.seconds / 2)
    paced = Traffic(subject.token, [_body(PACED_BATCH) for _ in range(100)], PACED_BATCH, rate=rate)
    times = [1000 * a.seconds for a in send_for(sizes.seconds / 3, paced, [subject.url()], subject.sender).answers]
    note = f"{PACED_BATCH} events at a time, {rate:,.0f} events/s"
    yield Figure(f"{subject.name}: acknowledgement, p50", p50(times), "ms", note=note)
    yield Figure(f"{subject.name}: acknowledgement, p99", p99(times), "ms", note=note)
    yield _killed(subject, "receiver", rate, sizes)
    yield _killed(subject, "consumer", rate, sizes)
    subject.end()


def _killed(subject: Subject, what: Literal["receiver", "consumer"], rate: float, sizes: Sizes) -> Figure:
    """Events acknowledged around a ``kill -9``, against what is at the destination afterwards. Nothing is sent again:
    a sender's repeats are not the pipeline's."""
    kill, start = subject.receiver if what == "receiver" else subject.consumer
    subject.rest(2.0)
    before = subject.ids()
    traffic = Traffic(subject.token, Fresh(), PACED_BATCH, rate=rate, places=True)
    with Load(traffic, [subject.url()], subject.sender) as load:
        time.sleep(sizes.kill)
        kill()
        if what == "receiver":
            load.stop_soon()
        start()
        time.sleep(0.0 if what == "receiver" else sizes.kill)
    subject.rest(QUIET_SECONDS)
    sent = {one for answer in load.answers for one in answer.ids}
    found = subject.ids() - before
    lost = sum(1 for one in sent if one not in found)
    again = sum(count - 1 for one, count in found.items() if one in sent)
    note = f"of {len(sent):,} acknowledged around it, at {rate:,.0f} events/s; {again:,} arrived twice"
    return Figure(f"{subject.name}: lost by kill -9 of the {what}", lost, "events", note=note)


class Fresh(Sequence[bytes]):
    """Bodies without end, each made when it is sent."""

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, at: Any) -> Any:
        return _body(PACED_BATCH)


def _body(batch: int) -> bytes:
    """Events of about 1.4 KB, each with an id of its own."""
    lines = []
    for _ in range(batch):
        number = next(_numbers)
        fields = json.loads(event(number)) | {"id": f"event-{number}"}
        lines.append(json.dumps(fields).encode().ljust(1400))
    return b"\n".join(lines)


def _affidavit(place: Place) -> Subject:
    cluster = place.deploy(SHARDS)
    token = cluster.tokens()["native"]
    cluster.start(COLLECTOR, SIGNER, ARCHIVE)

    def arrived() -> int:
        return min(archived(cluster, SHARDS), sum(signed(cluster).values()))

    def rest(seconds: float) -> None:
        last, since = arrived(), time.perf_counter()
        while time.perf_counter() - since < seconds:
            time.sleep(0.2)
            if (now := arrived()) != last:
                last, since = now, time.perf_counter()

    return Subject(
        "Affidavit",
        lambda: cluster.collectors()[0],
        token,
        None,
        (COLLECTOR, SIGNER),
        (ARCHIVE,),
        arrived,
        rest,
        lambda: _archived_ids(cluster),
        (lambda: cluster.kill(cluster.of(COLLECTOR)[0]), lambda: _start(cluster, COLLECTOR)),
        (lambda: cluster.kill(cluster.of(ARCHIVE)[0]), lambda: _start(cluster, ARCHIVE)),
        lambda: _end(cluster),
    )


def _start(cluster: Cluster, role: str) -> None:
    cluster.start(role)


def _end(cluster: Cluster) -> None:
    for node in list(cluster.nodes):
        cluster.kill(node)


def _archived_ids(cluster: Cluster) -> Counter[str]:
    objects = LocalObjects(cluster.data / "objects")
    try:
        evidence, found = ArchiveEvidence(objects), Counter[str]()
        for shard in (Shard(EVENTS, at) for at in range(SHARDS)):
            records = evidence.scan(shard, Offset(0), evidence.end(shard))
            found.update(format_event_id(one.event_id) for one in records)
        return found
    finally:
        objects.close()


def _rsyslog(place: Place, kind: str) -> Subject:
    topic = fresh_prefix() + "peer"
    asyncio.run(_create(place.kafka, topic))
    values = {"BROKER": place.kafka.bootstrap, "TOPIC": topic, "GROUP": topic}
    receiver = Rsyslog(place.folder / f"rsyslog-{kind}", kind, **values)
    consumer = Rsyslog(place.folder / f"rsyslog-{kind}-consumer", "consumer", **values)
    lines = Lines(consumer.folder)
    for process in (consumer, receiver):
        place.stack.callback(process.end)
        process.start()

    def end() -> None:
        receiver.end()
        consumer.end()

    return Subject(
        "rsyslog, queue in memory" if kind == MEMORY else "rsyslog, synced disk queue",
        lambda: receiver.url,
        "",
        Relp,
        (receiver.part,),
        (consumer.part,),
        lines.read_on,
        lines.rest,
        lines.ids,
        (receiver.end, receiver.start),
        (consumer.end, consumer.start),
        end,
    )


async def _create(kafka: KafkaCluster, topic: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, SHARDS, 1)])
    finally:
        await admin.close()
