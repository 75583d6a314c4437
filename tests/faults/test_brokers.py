"""Brokers that die, hang, are slow, and lead no more: three of them, two copies needed, one deployment after all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cluster import Cluster, Deploy
from kafka_broker import KafkaCluster
from load import Load, load, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]


def run(deploy: Deploy, brokers: KafkaCluster) -> Cluster:
    """A deployment with one process of each role."""
    cluster = deploy(brokers.bootstrap, shards=2, replication=3)
    cluster.start("collector", "signer", "sink archive", "sink clickhouse")
    return cluster


def end(cluster: Cluster, running: Load) -> None:
    """Everything is everywhere, verified, and every process ends well."""
    cluster.alive()
    cluster.settle()
    cluster.verify(running.acknowledged)


def test_brokers_killed_led_away_hanging_and_slow(deploy: Deploy, brokers: KafkaCluster) -> None:
    cluster = run(deploy, brokers)
    with load(cluster, pause=0.02) as running:
        running.more(200)
        for node in range(3):  # each leads some shard, one of them the group's coordinator
            brokers.kill(node)
            running.more(200)
            brokers.start(node)
            whole(brokers)
        brokers.brokers[1].stop()  # SIGTERM: leaders move away first
        running.more(200)
        brokers.start(1)
        whole(brokers)
        brokers.pause(2)
        running.more(200)
        brokers.resume(2)
        whole(brokers)
        with slow(brokers, 0):
            running.more(200)
    end(cluster, running)
    cluster.stop()


def test_two_of_three_brokers_down_the_collector_spools(deploy: Deploy, brokers: KafkaCluster) -> None:
    cluster = run(deploy, brokers)
    with load(cluster, pause=0.05) as running:
        running.more(100)
        brokers.kill(0)
        brokers.kill(1)
        wait_until(lambda: running.acknowledged.spooled, 60, cluster.logs)
        running.more(300)
        # The collector dies as well: what it acknowledged is on its disk.
        cluster.replace(cluster.of("collector")[0])
        running.aim()
        running.more(100)
        spooled = cluster.status()["spooled"]
        assert spooled >= 400, f"{spooled} records in the spool"
        brokers.start(0)
        brokers.start(1)
        whole(brokers)
        wait_until(lambda: cluster.status()["spooled"] == 0, 120, cluster.logs)
        placed = len(running.acknowledged.placed)
        wait_until(lambda: len(running.acknowledged.placed) > placed, 60, cluster.logs)  # straight to the bus again
    end(cluster, running)
    told = cluster.json("query", "SELECT count() AS n FROM events WHERE operation = 'collector.spool'")["rows"]
    assert told[0]["n"] >= 1, "the outage is on the log"
    cluster.stop()


def test_every_broker_hangs(deploy: Deploy, brokers: KafkaCluster) -> None:
    """Connections stay open and nothing answers: the collector must notice by itself."""
    cluster = run(deploy, brokers)
    with load(cluster, pause=0.05) as running:
        running.more(100)
        for node in range(3):
            brokers.pause(node)
        wait_until(lambda: running.acknowledged.spooled, 60, cluster.logs)
        running.more(100)
        for node in range(3):
            brokers.resume(node)
        whole(brokers)
        wait_until(lambda: cluster.status()["spooled"] == 0, 120, cluster.logs)
    end(cluster, running)
    cluster.stop()


def whole(brokers: KafkaCluster) -> None:
    """Return when every copy is in sync again, so that the next fault hits a cluster that can stand it."""
    wait_until(lambda: asyncio.run(_in_sync(brokers.bootstrap)), 90, lambda: brokers.brokers[0].log()[-3000:])


async def _in_sync(bootstrap: str) -> bool:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3000)
    try:
        await admin.start()
        topics = await admin.describe_topics()
    except (KafkaError, OSError, AssertionError):
        return False
    finally:
        await admin.close()
    return all(
        partition["leader"] >= 0 and len(partition["isr"]) == len(partition["replicas"])
        for topic in topics
        for partition in topic["partitions"]
    )


@contextmanager
def slow(brokers: KafkaCluster, node: int) -> Iterator[None]:
    """A broker that runs for a tenth of the time."""
    over = threading.Event()

    def stutter() -> None:
        while not over.is_set():
            brokers.pause(node)
            time.sleep(0.18)  # what a slow machine does to it, no condition is waited for
            brokers.resume(node)
            time.sleep(0.02)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
