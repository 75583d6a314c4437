"""Membership of a consumer group, for the sake of its assignment: join, sync, heartbeat, leave.

The classic group protocol, spoken directly: a consumer would also fetch, and would go on believing in its assignment
for as long as no broker contradicts it. Here a member that could not say for the length of its session that it is
alive gives up what it owns, for the group has done without it.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from schemas.ids import Shard
from stores.bus.kafka.assignment import Member, TopicPartition, assign
from stores.bus.kafka.cluster import BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, Cluster
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.connections import Address, Connections
from stores.bus.kafka.errors import Answered, Means, Unreached, check, translate
from stores.bus.kafka.protocol import Assignment, Subscription

logger = logging.getLogger(__name__)

ASSIGNOR = "affidavit"
"""The name of our way to assign: a stranger with another cannot join."""

HEARTBEATS_PER_SESSION = 5
ANSWER_SECONDS = 5.0
LEAVE_SECONDS = 2.0

_GENERATION = struct.Struct(">i")


class Membership:
    """One member; used on the bus's own loop only."""

    def __init__(
        self, group: str, topics: Sequence[str], config: KafkaConfig, cluster: Cluster, connections: Connections
    ) -> None:
        self._group = config.members_group(group)
        self._topics = {config.topic(name): name for name in topics}
        self._config, self._cluster, self._connections = config, cluster, connections
        self._member, self._generation = "", -1
        self._coordinator: Address | None = None
        self._alive_at = time.monotonic()
        self._counts: dict[str, int] = {}

    async def join(self, owned: Sequence[Shard]) -> set[Shard] | None:
        """Join, or join again with what we own; return our share, or ``None`` when the group has expelled us: then
        what we own is ours no longer.

        Raises:
            Unavailable: the group's coordinator could not be reached for the length of a session.
            ConfigurationError: it refuses us.
        """
        if owned and not self._member:
            return None
        deadline = (self._alive_at if owned else time.monotonic()) + self._config.session_seconds
        backoff = BACKOFF_SECONDS
        doing = f"joining the group {self._group}"
        while True:
            try:
                share = await self._join(owned)
            except Unreached as error:
                self._coordinator = None
                if time.monotonic() + backoff >= deadline:
                    raise translate(error, doing) from error
            except Answered as error:
                match error.means:
                    case Means.MEMBER_ID | Means.REJOIN:
                        continue
                    case Means.EXPELLED:
                        self._member, self._generation = "", -1
                        if owned:
                            return None
                    case Means.MOVED if time.monotonic() + backoff < deadline:
                        self._coordinator = None
                    case _:
                        raise translate(error, doing) from error
            else:
                self._alive_at = time.monotonic()
                return share
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def changed(self) -> bool:
        """Say that we are alive until the group is rearranged, then return true: join again. Return false when we are
        out of the group: give up everything at once.

        Raises:
            ConfigurationError: the coordinator refuses us.
        """
        session = self._config.session_seconds
        pause = session / HEARTBEATS_PER_SESSION
        while True:
            await asyncio.sleep(pause)
            if time.monotonic() - self._alive_at > session:
                self._member, self._generation = "", -1
                return False
            try:
                await self._heartbeat(min(pause, ANSWER_SECONDS))
                self._alive_at = time.monotonic()
                if await self._grown(pause):
                    return True
            except Unreached as error:
                logger.warning("member of %s: no heartbeat: %s", self._group, error)
                self._coordinator = None
            except Answered as error:
                match error.means:
                    case Means.REJOIN:
                        return True
                    case Means.EXPELLED:
                        self._member, self._generation = "", -1
                        return False
                    case Means.MOVED | Means.ODD:
                        logger.warning("member of %s: no heartbeat: %s", self._group, error)
                        self._coordinator = None
                    case _:
                        raise translate(error, f"staying in the group {self._group}") from error

    async def leave(self) -> None:
        """Tell the group that we are gone, so that it does not wait for our session to end."""
        if not self._member:
            return
        with suppress(Answered, Unreached):
            await self._ask(LeaveGroupRequest(self._group, self._member), LEAVE_SECONDS)
        self._member, self._generation = "", -1

    async def _join(self, owned: Sequence[Shard]) -> set[Shard]:
        subscription = Subscription(1, sorted(self._topics), _GENERATION.pack(self._generation), self._packed(owned))
        request = JoinGroupRequest(
            self._group,
            int(self._config.session_seconds * 1000),
            int(self._config.rebalance_seconds * 1000),
            self._member,
            None,
            "consumer",
            [(ASSIGNOR, subscription.encode())],
        )
        response = await self._ask(request, self._config.rebalance_seconds + ANSWER_SECONDS, checked=False)
        if response.error_code and Answered(response.error_code).means is Means.MEMBER_ID:
            self._member = response.member_id
        check(response.error_code)
        self._member, self._generation = response.member_id, response.generation_id
        shares: list[tuple[str, bytes]] = []
        view = await self._cluster.fresh(ANSWER_SECONDS)
        self._counts = {name: len(view.topics[name].leaders) for name in self._topics if name in view.topics}
        if response.leader_id == response.member_id:
            shares = self._shares(response.members)
        sync = SyncGroupRequest(self._group, self._generation, self._member, None, shares)
        answer = await self._ask(sync, self._config.rebalance_seconds + ANSWER_SECONDS)
        return self._unpacked(Assignment.decode(answer.member_assignment).assigned if answer.member_assignment else [])

    def _shares(self, joined: Sequence[tuple[Any, ...]]) -> list[tuple[str, bytes]]:
        """We lead: decide for all."""
        members = {}
        for name, *_, metadata in joined:
            said = Subscription.decode(metadata)
            owned = frozenset((topic, number) for topic, numbers in said.owned for number in numbers)
            generation = _GENERATION.unpack(said.user_data)[0] if said.user_data else -1
            members[name] = Member(frozenset(said.topics), owned, generation)
        shares = assign(members, {name: len(topic.leaders) for name, topic in self._cluster.view.topics.items()})
        return [(name, Assignment(0, _by_topic(share), b"").encode()) for name, share in shares.items()]

    async def _grown(self, seconds: float) -> bool:
        """Whether a topic has more shards than when we joined: then the group is to be arranged anew."""
        with suppress(Unreached):
            await self._cluster.fresh(seconds)
        topics = self._cluster.view.topics
        return any(name in topics and len(topics[name].leaders) > count for name, count in self._counts.items())

    async def _heartbeat(self, seconds: float) -> None:
        await self._ask(HeartbeatRequest(self._group, self._generation, self._member), seconds)

    async def _ask(self, request: Any, seconds: float, *, checked: bool = True) -> Any:
        if self._coordinator is None:
            self._coordinator = await self._cluster.coordinator(self._group, ANSWER_SECONDS)
        response = await self._connections.exchange(self._coordinator, request, seconds)
        if checked:
            check(response.error_code)
        return response

    def _packed(self, shards: Sequence[Shard]) -> list[tuple[str, list[int]]]:
        return _by_topic({(self._config.topic(shard.topic), shard.partition) for shard in shards})

    def _unpacked(self, assigned: Sequence[tuple[str, list[int]]]) -> set[Shard]:
        return {
            Shard(self._topics[topic], number)
            for topic, numbers in assigned
            if topic in self._topics
            for number in numbers
        }


def _by_topic(partitions: set[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        topics.setdefault(topic, []).append(number)
    return list(topics.items())
