"""Processes of a deployment over Kafka, killed, paused past their session, and started twice."""

from __future__ import annotations

import random
import time

import pytest
from cluster import Cluster, Deploy
from load import load, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]

HEIR_SECONDS = 180.0
"""10 to 16 s on a quiet machine. A process paused in mid-insert holds ClickHouse until the server gives the silent
request up (30 s), and one paused between joining and syncing holds its group for a rebalance: both may come in turn."""

EVERYBODY = ("collector", "signer", "sink archive", "sink clickhouse")


def kill_at_random(cluster: Cluster, kills: int, seed: int) -> None:
    """Two processes of each role under load; one after another is killed and replaced. Then everything is verified."""
    dice = random.Random(seed)
    cluster.start(*EVERYBODY, *EVERYBODY)
    with load(cluster, pause=0.02) as running:
        for at in range(kills):
            time.sleep(dice.uniform(0.05, 1.5))  # the random point: no condition is waited for
            role = EVERYBODY[at % len(EVERYBODY)]
            cluster.replace(dice.choice(cluster.of(role)))
            running.aim()
            cluster.alive()
        running.more()
    assert running.count > 20 * kills
    cluster.settle()
    cluster.verify(running.acknowledged)
    cluster.stop()


def test_kill_9_of_each_role_under_load(deploy: Deploy, kafka: str) -> None:
    kill_at_random(deploy(kafka, shards=2), 20, seed=20261126)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(20))
def test_kill_9_of_each_role_a_hundred_times(deploy: Deploy, kafka: str, seed: int) -> None:
    kill_at_random(deploy(kafka, shards=2), 100, seed)


def test_a_process_paused_past_its_session_harms_nothing(deploy: Deploy, kafka: str) -> None:
    """Zombies: each believes that it still owns what another has taken and gone on with."""
    cluster = deploy(kafka, shards=2)
    cluster.start("collector", *EVERYBODY[1:], *EVERYBODY[1:])
    with load(cluster, pause=0.02) as running:
        for role in EVERYBODY[1:]:
            running.more(100)
            ghost = cluster.of(role)[0]
            ghost.pause()
            heir_works(cluster, running.count)
            running.more(100)
            ghost.resume()
            running.more(100)
            cluster.alive()
    cluster.settle()
    cluster.verify(running.acknowledged)
    cluster.stop()


def heir_works(cluster: Cluster, count: int) -> None:
    """Return when the others have gone on past where the paused one stood: everything until now is everywhere."""
    before = {shard["shard"]: shard["end"] for shard in cluster.status()["shards"]}

    def caught_up() -> bool:
        shards = cluster.status()["shards"]
        return all(
            min(shard["signed"], *(sink["position"] or 0 for sink in shard["sinks"])) >= before[shard["shard"]]
            for shard in shards
        )

    wait_until(caught_up, HEIR_SECONDS, lambda: f"{before} not in {cluster.status()['shards']}\n{cluster.logs()}")


def test_a_signer_that_ends_hands_over_at_once(deploy: Deploy, kafka: str) -> None:
    """SIGTERM leaves the group: nobody waits for a session to pass."""
    cluster = deploy(kafka, shards=2, AFFIDAVIT_BUS_SESSION_SECONDS="60")
    cluster.start("collector", "signer", "signer")
    with load(cluster, pause=0.02) as running:
        running.more(100)
        leaver = cluster.of("signer")[0]
        assert leaver.end() == 0, leaver.log
        cluster.nodes.remove(leaver)
        ends = {shard["shard"]: shard["end"] for shard in cluster.status()["shards"]}
        wait_until(
            lambda: all(shard["signed"] >= ends[shard["shard"]] for shard in cluster.status()["shards"]),
            45,  # whoever waits for the session waits for 60
            cluster.logs,
        )
    ran = cluster.command("verify", "log")
    assert ran.returncode == 0, ran.stdout
