"""A process that owns shards, for tests that kill or stop it.

    python kafka_member.py BOOTSTRAP PREFIX GROUP SESSION

It prints ``take events/0 …`` and ``give events/0 …`` as it is told, and stops when its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from schemas.ids import Shard
from stores.bus.kafka import KafkaBus, KafkaConfig, KafkaTopics


class Telling:
    async def take(self, shards: Sequence[Shard]) -> None:
        print("take", *shards, flush=True)

    async def give_up(self, shards: Sequence[Shard]) -> None:
        print("give", *shards, flush=True)


async def main(bootstrap: str, prefix: str, group: str, session: str) -> None:
    topics = KafkaTopics(partitions=1, replication=1, min_insync=1)
    bus = KafkaBus(KafkaConfig(bootstrap, prefix=prefix, topics=topics, session_seconds=float(session)))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    await bus.own(group, ["events", "control"], Telling(), stop)
    await bus.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
