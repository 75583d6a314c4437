"""Offsets of groups: hints for lag metrics, kept by Kafka for a group without members."""

from __future__ import annotations

import time
from typing import Any

from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from schemas.ids import Offset, Shard
from stores.bus.kafka.cluster import Cluster
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.errors import check

NO_GENERATION = -1
KEEP_AS_CONFIGURED = -1


class Hints:
    """Used on the bus's own loop only."""

    def __init__(self, config: KafkaConfig, cluster: Cluster) -> None:
        self._config, self._cluster = config, cluster

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        """See :meth:`stores.bus.Bus.commit`. If we die before the answer, the hint is the old one or the new one;
        nobody resumes from it."""
        await self._cluster.known(shard, self._config.request_seconds)
        topics = [(self._config.topic(shard.topic), [(shard.partition, offset, "")])]
        name = self._config.offsets_group(group)
        request = OffsetCommitRequest(name, NO_GENERATION, "", KEEP_AS_CONFIGURED, topics)

        async def ask() -> None:
            response = await self._cluster.coordinated(name, request, self._config.request_seconds)
            ((_, ((_, code),)),) = response.topics
            check(code)

        await self._cluster.insist(ask, f"committing an offset of group {name}", self._deadline())

    async def committed(self, group: str, shard: Shard) -> Offset | None:
        """See :meth:`stores.bus.Bus.committed`."""
        await self._cluster.known(shard, self._config.request_seconds)
        name = self._config.offsets_group(group)
        request = OffsetFetchRequest(name, [(self._config.topic(shard.topic), [shard.partition])])

        async def ask() -> Any:
            response = await self._cluster.coordinated(name, request, self._config.request_seconds)
            check(response.error_code)
            ((_, ((_, offset, _, code),)),) = response.topics
            check(code)
            return offset

        offset = await self._cluster.insist(ask, f"asking for an offset of group {name}", self._deadline())
        return None if offset < 0 else Offset(offset)

    def _deadline(self) -> float:
        return time.monotonic() + self._config.request_seconds
