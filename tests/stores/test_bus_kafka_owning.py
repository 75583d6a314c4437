"""Who owns which shards of a Kafka bus: joining, leaving, dying, growing, and ghosts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from kafka_broker import KafkaCluster
from kafka_bus import config, open_bus

from schemas.errors import Unavailable
from schemas.ids import Shard
from stores.bus.kafka import KafkaBus, KafkaConfig

ROOT = Path(__file__).resolve().parents[2]
SESSION = 6.0
TOPICS = ("events", "control")


def shards(events: int) -> set[Shard]:
    return {Shard("control", 0), *(Shard("events", partition) for partition in range(events))}


class Owning:
    """Notes what it owns, and that nothing is taken twice or given up that it does not own."""

    def __init__(self, everybody: list[Owning]) -> None:
        self.shards: set[Shard] = set()
        self.taken = self.given = 0
        self.slowness = 0.0
        self._everybody = everybody
        everybody.append(self)

    async def take(self, found: Sequence[Shard]) -> None:
        assert not self.shards & set(found)
        for other in self._everybody:
            assert not other.shards & set(found), "two own the same shard"
        self.shards |= set(found)
        self.taken += 1

    async def give_up(self, found: Sequence[Shard]) -> None:
        assert set(found) <= self.shards
        await asyncio.sleep(self.slowness)
        self.shards -= set(found)
        self.given += 1


class Member:
    """One that owns, with a bus of its own."""

    def __init__(self, settings: KafkaConfig, everybody: list[Owning]) -> None:
        self.owner, self.stop, self.bus = Owning(everybody), asyncio.Event(), KafkaBus(settings)
        self.task = asyncio.create_task(self.bus.own("sink", TOPICS, self.owner, self.stop))

    async def leave(self) -> None:
        self.stop.set()
        try:
            await self.task
        finally:
            await self.bus.close()


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def topics(bootstrap: str, partitions: int, **changes: Any) -> AsyncIterator[KafkaConfig]:
    bus = await open_bus(config(bootstrap, partitions=partitions, session_seconds=SESSION, **changes))
    try:
        yield bus.config
    finally:
        await bus.close()


@pytest.mark.slow
@pytest.mark.alone
async def test_members_share_and_take_over_from_who_leaves(kafka: str) -> None:
    everybody: list[Owning] = []
    async with topics(kafka, 5) as settings:
        one = Member(settings, everybody)
        await until(lambda: one.owner.shards == shards(5))
        two = Member(settings, everybody)
        await until(lambda: len(two.owner.shards) == 3)
        assert one.owner.shards | two.owner.shards == shards(5)
        assert one.owner.given == 1  # three were given up, three stayed as they were
        three = Member(settings, everybody)
        await until(lambda: [len(member.owner.shards) for member in (one, two, three)] == [2, 2, 2])
        begun = time.monotonic()
        await one.leave()
        assert one.owner.shards == set()
        await until(lambda: len(two.owner.shards) == len(three.owner.shards) == 3)
        assert time.monotonic() - begun < SESSION
        await two.leave()
        await until(lambda: three.owner.shards == shards(5))
        await three.leave()
        assert three.owner.shards == set()


@pytest.mark.slow
@pytest.mark.alone
async def test_nobody_begins_before_the_other_has_given_up(kafka: str) -> None:
    everybody: list[Owning] = []
    async with topics(kafka, 3) as settings:
        slow = Member(settings, everybody)
        slow.owner.slowness = SESSION + 1.0  # heartbeats go on meanwhile
        await until(lambda: slow.owner.shards == shards(3))
        other = Member(settings, everybody)
        await until(lambda: len(other.owner.shards) == 2)  # Owning asserts that nobody else has them
        assert len(slow.owner.shards) == 2
        slow.owner.slowness = 0.0
        await slow.leave()
        await other.leave()


@pytest.mark.slow
@pytest.mark.alone
async def test_new_shards_are_taken(kafka: str) -> None:
    async with topics(kafka, 1) as settings:
        member = Member(settings, [])
        await until(lambda: member.owner.shards == shards(1))
        client = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await client.start()
        await client.create_partitions({settings.topic("events"): NewPartitions(3)})
        await client.close()
        await until(lambda: member.owner.shards == shards(3))
        assert member.owner.given == 0
        await member.leave()


class Process:
    """Another process that owns; see ``kafka_member.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.shards: set[str] = set()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, settings: KafkaConfig) -> Process:
        script = ROOT / "tests" / "support" / "kafka_member.py"
        arguments = (settings.bootstrap, settings.prefix, "sink", str(SESSION))
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                str(script),
                *arguments,
                stdin=pipe,
                stdout=pipe,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        )

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word, *found = line.decode().split()
            if word == "take":
                self.shards |= set(found)
            else:
                self.shards -= set(found)


@pytest.mark.slow
@pytest.mark.alone
async def test_what_a_killed_process_owned_goes_to_others_when_its_session_ends(kafka: str) -> None:
    async with topics(kafka, 5) as settings:
        process = await Process.start(settings)
        await until(lambda: len(process.shards) == 6)
        member = Member(settings, [])
        await until(lambda: len(process.shards) == len(member.owner.shards) == 3)
        process.signal(signal.SIGKILL)
        begun = time.monotonic()
        await until(lambda: member.owner.shards == shards(5))
        assert time.monotonic() - begun < SESSION + 6.0
        await process.end()
        await member.leave()


@pytest.mark.slow
@pytest.mark.alone
async def test_a_ghost_gives_up_what_others_took_and_joins_again(kafka: str) -> None:
    async with topics(kafka, 5) as settings:
        process = await Process.start(settings)
        member = Member(settings, [])
        await until(lambda: len(process.shards) == len(member.owner.shards) == 3)
        process.signal(signal.SIGSTOP)
        await until(lambda: member.owner.shards == shards(5))
        assert len(process.shards) == 3  # it believes so still
        process.signal(signal.SIGCONT)
        await until(lambda: process.shards == set() or not process.shards & {str(one) for one in member.owner.shards})
        await until(lambda: len(process.shards) == len(member.owner.shards) == 3)
        assert process.shards.isdisjoint({str(one) for one in member.owner.shards})
        await process.end()
        await until(lambda: member.owner.shards == shards(5))
        await member.leave()


@pytest.mark.slow
@pytest.mark.alone
async def test_who_cannot_reach_the_group_gives_up_within_its_session() -> None:
    with KafkaCluster(brokers=1) as cluster:
        async with topics(cluster.bootstrap, 2, request_seconds=2.0) as settings:
            member = Member(settings, [])
            await until(lambda: member.owner.shards == shards(2))
            await asyncio.to_thread(cluster.pause, 0)
            begun = time.monotonic()
            await until(lambda: not member.owner.shards)
            assert time.monotonic() - begun < SESSION * 1.6
            with pytest.raises(Unavailable, match=r"joining the group .*\.sink\.members"):
                await member.task
            await asyncio.to_thread(cluster.resume, 0)
            again = Member(settings, [])
            await until(lambda: again.owner.shards == shards(2))
            await again.leave()
            await member.bus.close()


async def test_stop_before_there_is_anything_to_own(kafka: str) -> None:
    async with topics(kafka, 2) as settings:
        member = Member(settings, [])
        await member.leave()
        assert member.owner.shards == set()


async def test_whoever_is_cancelled_gives_up_and_leaves(kafka: str) -> None:
    async with topics(kafka, 2) as settings:
        member = Member(settings, [])
        await until(lambda: member.owner.shards == shards(2))
        member.task.cancel()
        await asyncio.wait([member.task])
        assert member.task.cancelled()
        assert member.owner.shards == set()
        begun = time.monotonic()
        another = Member(settings, [])
        await until(lambda: another.owner.shards == shards(2))
        assert time.monotonic() - begun < SESSION
        await another.leave()
        await member.bus.close()
