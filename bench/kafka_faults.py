"""What each fault costs in seconds: under a steady load, the longest acknowledgement and the longest unsigned record.

Senders repeat what was not acknowledged, and the clock of a request runs from when it was due; nothing is subtracted.
A record counts as unsigned from the moment its request was due. Each fault has a deployment of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.end_to_end import event
from bench.figures import Figure
from bench.kafka_load import Load, Traffic
from bench.kafka_place import Cluster, Place, SignedWatch, servers, until
from schemas.ids import EVENTS

SHARDS = 4
BATCH = 5
BODIES = 2000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Events a second, seconds of load before and after a fault, and for how long servers are away."""

    rate: float = 200.0
    calm: float = 4.0
    database_away: float = 5.0
    quorum_away: float = 20.0


@dataclass
class Trial:
    """One deployment under load."""

    place: Place
    cluster: Cluster
    load: Load
    watch: SignedWatch
    sizes: Sizes

    def calm(self) -> None:
        """Let the load run. Raises what the senders met that they should not have."""
        time.sleep(self.sizes.calm)
        if self.load.failures:
            raise self.load.failures[0]

    def recovered(self, since: float) -> float:
        """Seconds from ``since`` until every shard has a signed record that was acknowledged after it, in each of its
        collectors' answers: everybody works again."""

        def again() -> bool:
            answers = [answer for answer in self.load.since(since) if answer.placed]
            shards = {shard for answer in answers for shard in answer.placed}
            first = {
                shard: next(answer.placed[shard] for answer in answers if shard in answer.placed) for shard in shards
            }
            return len(first) == SHARDS and all(self.watch.covered(shard, at) for shard, at in first.items())

        until(again, "every shard to be signed again", 120)
        return time.perf_counter() - since

    def acknowledgement(self, since: float) -> float:
        """Longest of the requests that were due, or open, at the fault or after it."""
        return max(answer.seconds for answer in self.load.since(since))

    def unsigned(self, since: float) -> float:
        """Longest from when a record was due to the checkpoint that covers it."""
        ages = [0.0]
        for answer in self.load.since(since):
            for shard, offset in answer.placed.items():
                until(lambda s=shard, o=offset: self.watch.covered(s, o) is not None, "a checkpoint", 120)  # type: ignore[misc]
                ages.append((self.watch.covered(shard, offset) or answer.due) - answer.due)
        return max(ages)


def measure(sizes: Sizes = Sizes()) -> Sequence[Figure]:
    """All of it, in about five minutes."""
    figures: list[Figure] = []
    with servers() as place:
        for one in (_signer_killed, _signer_stopped, _collector_killed, _database_restarted):
            figures += _tell(one, place, sizes)
    for three in (_broker_killed, _leader_moved, _quorum_lost):
        with servers(3) as place:
            figures += _tell(three, place, sizes)
    return figures


def _tell(fault: Callable[[Place, Sizes], Iterator[Figure]], place: Place, sizes: Sizes) -> list[Figure]:
    print(f"  {fault.__name__.strip('_').replace('_', ' ')} …", file=sys.stderr, flush=True)
    return list(fault(place, sizes))


@contextmanager
def _under_load(place: Place, sizes: Sizes, *roles: str) -> Iterator[Trial]:
    cluster = place.deploy(SHARDS)
    cluster.start(*roles)
    bodies = [b"\n".join(event(BATCH * number + at) for at in range(BATCH)) for number in range(BODIES)]
    traffic = Traffic(cluster.tokens()["native"], bodies, BATCH, rate=sizes.rate, places=True)
    with SignedWatch(cluster) as watch, Load(traffic, cluster.collectors()) as load:
        trial = Trial(place, cluster, load, watch, sizes)
        trial.recovered(load.begun)
        trial.calm()
        yield trial
    for node in list(cluster.nodes):
        cluster.kill(node)


def _both(trial: Trial, name: str, since: float, note: str = "") -> Iterator[Figure]:
    yield Figure(f"{name}: longest acknowledgement", trial.acknowledgement(since), "s", note=note)
    yield Figure(f"{name}: longest from ingest to checkpoint", trial.unsigned(since), "s", note=note)


def _signer_killed(place: Place, sizes: Sizes) -> Iterator[Figure]:
    with _under_load(place, sizes, "collector", "signer", "signer") as trial:
        killed, since = trial.cluster.of("signer")[0], time.perf_counter()
        trial.cluster.kill(killed)
        seconds = trial.recovered(since)
        trial.calm()
        session = trial.cluster.environment["AFFIDAVIT_BUS_SESSION_SECONDS"]
        note = f"of two; session_seconds = {session}, {SHARDS} shards, {sizes.rate:.0f} events/s"
        yield Figure("signer killed (-9): until all shards are signed again", seconds, "s", note=note)
        yield from _both(trial, "signer killed (-9)", since)


def _signer_stopped(place: Place, sizes: Sizes) -> Iterator[Figure]:
    with _under_load(place, sizes, "collector", "signer", "signer") as trial:
        leaver, since = trial.cluster.of("signer")[0], time.perf_counter()
        leaver.end()
        trial.cluster.nodes.remove(leaver)
        seconds = trial.recovered(since)
        trial.calm()
        note = "of two; it leaves its group, so nobody waits for its session to end"
        yield Figure("signer stopped (SIGTERM): until all shards are signed again", seconds, "s", note=note)
        yield from _both(trial, "signer stopped (SIGTERM)", since)


def _collector_killed(place: Place, sizes: Sizes) -> Iterator[Figure]:
    with _under_load(place, sizes, "collector", "collector", "signer") as trial:
        since = time.perf_counter()
        trial.cluster.kill(trial.cluster.of("collector")[0])
        trial.calm()
        yield from _both(trial, "collector killed (-9), of two", since, "senders go to the other one by themselves")


def _database_restarted(place: Place, sizes: Sizes) -> Iterator[Figure]:
    with _under_load(place, sizes, "collector", "signer") as trial:
        since = time.perf_counter()
        place.postgres.kill()
        time.sleep(sizes.database_away)
        place.postgres.start()
        away = time.perf_counter() - since
        trial.recovered(time.perf_counter())
        trial.calm()
        spooled = sum(answer.spooled for answer in trial.load.since(since))
        note = f"away for {away:.1f} s; {spooled} requests were acknowledged from the spool meanwhile"
        yield from _both(trial, "PostgreSQL killed and restarted", since, note)


def _broker_killed(place: Place, sizes: Sizes) -> Iterator[Figure]:
    with _under_load(place, sizes, "collector", "signer") as trial:
        leader = asyncio.run(_leader(trial))
        since = time.perf_counter()
        place.kafka.kill(leader)
        trial.recovered(since)
        trial.calm()
        place.kafka.start(leader)
        trial.calm()
        spooled = sum(answer.spooled for answer in trial.load.since(since))
        note = f"of three, the leader of events/0, and back; the brokers notice after 3 s; {spooled} requests spooled"
        yield from _both(trial, "broker killed (-9)", since, note)


def _leader_moved(place: Place, sizes: Sizes) -> Iterator[Figure]:
    with _under_load(place, sizes, "collector", "signer") as trial:
        leader = asyncio.run(_leader(trial))
        since = time.perf_counter()
        place.kafka.brokers[leader].stop()
        trial.recovered(since)
        trial.calm()
        yield from _both(
            trial, "broker stopped (SIGTERM), leaders move first", since, "of three, the leader of events/0"
        )


def _quorum_lost(place: Place, sizes: Sizes) -> Iterator[Figure]:
    with _under_load(place, sizes, "collector", "signer") as trial:
        monitor = trial.cluster.of("collector")[0].urls["monitor"]
        since = time.perf_counter()
        place.kafka.kill(0)
        place.kafka.kill(1)
        until(lambda: any(answer.spooled for answer in trial.load.since(since)), "the spool to take an event", 60)
        time.sleep(max(0.0, sizes.quorum_away - (time.perf_counter() - since)))
        held, back = _spooled(monitor), time.perf_counter()
        for node in (0, 1):
            place.kafka.brokers[node].start()
        emptying = [(back, held)]

        def empty() -> bool:
            emptying.append((time.perf_counter(), _spooled(monitor)))
            return not emptying[-1][1]

        until(empty, "the spool to be empty", 120)
        ended, (full, most) = emptying[-1][0], max(emptying, key=lambda seen: (seen[1], seen[0]))
        spooled = [answer for answer in trial.load.since(since) if answer.spooled]
        signed = ended + trial.recovered(ended)
        note = f"two of three brokers; append_seconds = {trial.cluster.environment['AFFIDAVIT_BUS_APPEND_SECONDS']}"
        yield Figure(
            "quorum lost: until the spool took the first event",
            min(answer.ended for answer in spooled) - since,
            "s",
            note=note,
        )
        note = f"{sizes.quorum_away:.0f} s without quorum; {held:,.0f} records spooled when the brokers came back"
        yield Figure("quorum lost: longest acknowledgement", trial.acknowledgement(since), "s", note=note)
        yield Figure("quorum back: until the spool was empty", ended - back, "s", note="start of the brokers included")
        note = f"{most:,.0f} records, from when the spool was fullest, beside the load"
        yield Figure("quorum back: drain of the spool", most / (ended - full), "records/s", note=note)
        longest = signed - min(answer.due for answer in spooled)
        note = "first record in the spool, until all of the spool was signed"
        yield Figure("quorum lost: longest from ingest to checkpoint", longest, "s", note=note)


def _spooled(monitor: str) -> float:
    """Records in the collector's spool, by its metrics."""
    connection = http.client.HTTPConnection(urlsplit(monitor).netloc, timeout=10)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    return next(float(line.split()[1]) for line in lines if line.startswith("affidavit_spool_records "))


async def _leader(trial: Trial) -> int:
    """The broker that leads ``events/0``."""
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=trial.place.kafka.bootstrap)
    await admin.start()
    try:
        [topic] = await admin.describe_topics([trial.cluster.environment["AFFIDAVIT_BUS_TOPIC_PREFIX"] + EVENTS])
    finally:
        await admin.close()
    return int(next(part["leader"] for part in topic["partitions"] if part["partition"] == 0))
