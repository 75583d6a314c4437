"""PostgreSQL restarted and away, a topic that grows or is replaced, a full spool, and clocks that step back."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Deploy, Node
from kafka_broker import KafkaCluster
from load import load, wait_until
from postgres_server import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]


def run(cluster: Cluster) -> None:
    cluster.start("collector", "signer", "sink archive", "sink clickhouse")


def test_postgresql_restarted_while_signing(deploy: Deploy, kafka: str, postgres: PostgresServer) -> None:
    cluster = deploy(kafka, shards=2)
    run(cluster)
    with load(cluster, pause=0.02) as running:
        for _ in range(5):
            running.more(60)
            postgres.kill()
            postgres.start()
        postgres.pause()
        time.sleep(3.0)  # for so long it hangs, no condition is waited for
        postgres.resume()
        running.more(100)
    cluster.alive()
    cluster.settle()
    cluster.verify(running.acknowledged)
    cluster.stop()


def test_postgresql_down_while_new_people_arrive(deploy: Deploy, kafka: str, postgres: PostgresServer) -> None:
    """Each event is about somebody new, so each needs a key that the database has never seen."""
    cluster = deploy(kafka, shards=2)
    run(cluster)
    cluster.start("collector")
    with load(cluster, pause=0.05, subjects=True) as running:
        running.more(100)
        postgres.kill()
        running.more(300)
        assert running.acknowledged.spooled, "sealed under keys that the bus must not see yet"
        killed = cluster.of("collector")[0]
        cluster.kill(killed)  # its spool and its keys wait on the disk
        running.senders.aim(*cluster.collectors())
        running.more(100)
        postgres.start()
        cluster.start("collector")
        running.aim()
        running.more(100)
    cluster.alive()
    cluster.settle()
    cluster.verify(running.acknowledged)
    sealed = "SELECT count() AS n FROM events WHERE content_status NOT IN ('ok', 'absent') AND kind = 'prompt'"
    assert cluster.json("query", sealed)["rows"][0]["n"] == 0, "every key was registered before its records went out"
    cluster.stop()


def test_a_topic_gets_more_partitions(deploy: Deploy, kafka: str) -> None:
    cluster = deploy(kafka, shards=2)
    run(cluster)
    cluster.start("signer", "sink clickhouse")
    with load(cluster, pause=0.02) as running:
        running.more(200)
        asyncio.run(grow(kafka, topic(cluster), 4))
        wait_until(lambda: len(cluster.status()["shards"]) == 5, 60, cluster.logs)
        running.more(400)
        wait_until(lambda: logs(cluster).keys() >= {f"events/{at}" for at in range(4)}, 60, cluster.logs)
        running.more(200)
    cluster.alive()
    cluster.settle()
    cluster.verify(running.acknowledged)
    asked = "SELECT operation, count() AS n FROM events WHERE operation LIKE 'log.%' GROUP BY 1"
    told = {row["operation"]: row["n"] for row in cluster.json("query", asked)["rows"]}
    assert told.get("log.close") == 2, "the logs of both old shards are closed on the record"
    assert told.get("log.open", 0) >= 4, "and four are opened on it"
    cluster.stop()


def test_a_topic_deleted_and_made_again_is_not_signed(deploy: Deploy, kafka: str) -> None:
    cluster = deploy(kafka, shards=1)
    run(cluster)
    with load(cluster, pause=0.02) as running:
        running.more(200)
    cluster.settle()
    cluster.verify(running.acknowledged)
    signed = logs(cluster)["events/0"]
    asyncio.run(recreate(kafka, topic(cluster)))
    signer = cluster.of("signer")[0]
    wait_until(lambda: "deleted and created again" in signer.log, 60, lambda: signer.log)
    assert "open the next" in signer.log
    for node in cluster.of("sink archive") + cluster.of("sink clickhouse"):
        wait_until(lambda node=node: "created again" in node.log or "lost records" in node.log, 60, cluster.logs)
    # A restart does not sign it either, however many messages the new topic has.
    cluster.kill(signer)
    (heir,) = cluster.start("signer")
    wait_until(lambda: "deleted and created again" in heir.log, 60, lambda: heir.log)
    assert logs(cluster)["events/0"] == signed
    # A person decides: the loss goes on record, and the log goes on.
    cluster.kill(heir)
    why = ("log", "succeed", "events/0", "--reason", "somebody deleted the topic")
    assert cluster.json(*why)["wrong"].endswith("was created again as " + cluster.json(*why)["wrong"].split()[-1])
    assert cluster.json(*why, "--yes")["opened"]
    cluster.start("signer")
    wait_until(lambda: logs(cluster)["events/0"] >= 0, 60, cluster.logs)


def test_two_signers_on_one_shard_by_mistake(deploy: Deploy, kafka: str) -> None:
    """One that does not take part in the group, as from a copy of the machine that somebody started."""
    cluster = deploy(kafka, shards=1)
    run(cluster)
    with load(cluster, pause=0.02) as running:
        running.more(100)
        stray = Stray(cluster)
        try:
            running.more(600)
            wait_until(lambda: stray.log() != "" or "another signer" in cluster.of("signer")[0].log, 60, cluster.logs)
        finally:
            stray.stop()
        running.more(100)
    if cluster.of("signer")[0].ended() is None and "halted" not in cluster.of("signer")[0].log:
        cluster.settle()
    else:  # the loud halt: two signers run for this shard; stop one
        cluster.replace(cluster.of("signer")[0])
        cluster.settle()
    cluster.verify(running.acknowledged)
    cluster.stop()


def test_a_full_disk_under_the_spool(deploy: Deploy, brokers: KafkaCluster) -> None:
    cluster = deploy(brokers.bootstrap, shards=1, replication=3, AFFIDAVIT_SPOOL_MAX_BYTES=str(1 << 30))
    run(cluster)
    with load(cluster, pause=0.02) as running:
        running.more(100)
        for node in range(3):
            brokers.kill(node)
        wait_until(lambda: running.acknowledged.spooled, 60, cluster.logs)
        limit_files(cluster.of("collector")[0], spool_bytes(cluster) + (1 << 20))
        refused = running.acknowledged.refused
        wait_until(lambda: running.acknowledged.refused > refused + 20, 120, cluster.logs)
        brokers.start_all()
        wait_until(lambda: cluster.status()["spooled"] == 0, 120, cluster.logs)
        running.more(100)
    cluster.alive()
    cluster.settle()
    cluster.verify(running.acknowledged)
    cluster.stop()


def test_the_clock_of_a_broker_steps_back(deploy: Deploy, kafka: str) -> None:
    """By thirty seconds: signed as it is, and told. By ten minutes: the shard halts, and says what to do."""
    cluster = deploy(kafka, shards=1)
    run(cluster)
    with load(cluster, pause=0.05) as running:
        running.more(50)
        asyncio.run(write_late(kafka, topic(cluster), 30_000))
        running.more(50)
    cluster.settle()
    cluster.verify(running.acknowledged)
    found = cluster.json("verify", "log")
    (events,) = [log for log in found["logs"] if "/events/" in log["origin"]]
    assert events["steps_back"] == 1
    assert 29_000 <= events["largest_step_ms"] <= 40_000
    signer = cluster.of("signer")[0]
    asyncio.run(write_late(kafka, topic(cluster), 600_000))
    wait_until(lambda: "halted" in signer.log, 60, lambda: signer.log)
    assert "clock" in signer.log
    assert "close this log and open the next" in signer.log


class Stray:
    """A signer of ``events/0`` that owns nothing, in a process of its own."""

    PROGRAM = """
import asyncio, sys
from pathlib import Path
from affidavit.layout import Layout
from affidavit.settings import load
from affidavit.wiring import Wiring
from schemas.ids import Shard
from signer.loop import Signer
layout = Layout(Path(sys.argv[1]))
with Wiring(layout, load(layout)) as wiring:
    stores = (wiring.control, wiring.objects, wiring.signing_key, wiring.settings.deployment.name)
    asyncio.run(Signer(wiring.bus, *stores, linger=0.02).sign([Shard("events", 0)], asyncio.Event()))
"""

    def __init__(self, cluster: Cluster) -> None:
        self._path = cluster.folder / "stray.txt"
        with self._path.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self.PROGRAM, str(cluster.data)], env=cluster.environment, stderr=out
            )

    def log(self) -> str:
        return self._path.read_text()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def logs(cluster: Cluster) -> dict[str, int]:
    """Signed offset of each shard that has an open log."""
    from affidavit.layout import Layout
    from affidavit.settings import load
    from affidavit.wiring import Wiring
    from signer.status import log_statuses

    layout = Layout(cluster.data)
    with Wiring(layout, load(layout, cluster.environment)) as wiring:
        statuses = log_statuses(wiring.control, wiring.objects)
    return {str(status.shard): status.next_offset for status in statuses if not status.closed}


def topic(cluster: Cluster) -> str:
    """Kafka's name of the events topic."""
    return cluster.environment["AFFIDAVIT_BUS_TOPIC_PREFIX"] + "events"


async def grow(bootstrap: str, name: str, partitions: int) -> None:
    """What kafka-topics.sh --alter --partitions does."""
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_partitions({name: NewPartitions(partitions)})
    finally:
        await admin.close()


async def recreate(bootstrap: str, name: str) -> None:
    """Delete a topic and create it with the settings that it had."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    configs = {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": "1",
        "retention.ms": "-1",
        "max.message.bytes": str(16 << 20),
    }
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([name])
        while name in await admin.list_topics():
            await asyncio.sleep(0.1)
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
    finally:
        await admin.close()


async def write_late(bootstrap: str, name: str, by_ms: int) -> None:
    """Write the first record again, with a bus time that lies in the past, as a broker with a late clock would:
    log-append time cannot be forged, so it is switched off meanwhile."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(name, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await admin.start()
    await producer.start()
    await consumer.start()
    try:
        first = await consumer.getone()
        (kept,) = [
            {entry[0]: entry[1] for entry in resource[4] if not entry[4]}
            for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            for resource in response.resources
        ]
        for kind in ("CreateTime", "LogAppendTime"):
            if kind == "LogAppendTime":
                late = int(time.time() * 1000) - by_ms
                await producer.send_and_wait(
                    name, first.value, key=first.key, timestamp_ms=late, headers=list(first.headers)
                )
            changed: dict[str, Any] = {key: value for key, value in kept.items() if value is not None}
            changed["message.timestamp.type"] = kind
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=changed)])
    finally:
        await consumer.stop()
        await producer.stop()
        await admin.close()


def limit_files(node: Node, size: int) -> None:
    """No file of the process may grow beyond ``size`` bytes any more, as on a disk that is full."""
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (size, size))


def spool_bytes(cluster: Cluster) -> int:
    """The larger of the spool's file and its log."""
    folder = Path(cluster.data) / "spool"
    return max(os.stat(path).st_size for path in folder.glob("*.db*") if not path.name.endswith("-reserve"))
