"""The event bus: ordered, gapless, durable shards. The Protocol and its contract; implementations beside it.

A shard *is* the log: leaf ``i ≥ 1`` of the ledger is offset ``start + i − 1``. Everything hangs on two promises:
offsets have no gaps, and what was read once reads the same for ever (until retention removes it from the front).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from schemas.ids import Offset, Shard


class Outgoing(NamedTuple):
    """A message to append.

    Attributes:
        topic: one of :data:`schemas.ids.TOPICS`.
        key: chooses the shard: equal keys of a topic stay in order on one shard.
        value: Avro ``Record`` v1 (:func:`schemas.record.encode_record`).
        kind: the code of header ``k`` (:data:`schemas.metadata.KIND_CODES`).
        event_id: 16 bytes, header ``id``.
        commitments: header ``c`` (:func:`schemas.entry.pack_commitments`).
        fingerprint: header ``s``: CRC-64-AVRO of the value's schema, 8 bytes little-endian.
    """

    topic: str
    key: bytes
    value: bytes
    kind: int
    event_id: bytes
    commitments: bytes
    fingerprint: bytes


class Message(NamedTuple):
    """A message as read back.

    A message that some other producer wrote may lack our headers: the field is then ``b""`` (``kind``: −1), and
    ``headers`` holds all headers as they are on the bus, as it does when header ``s`` names a schema that this version
    does not know. For our own messages ``headers`` is empty.
    """

    shard: Shard
    offset: Offset
    time_ms: int
    key: bytes
    value: bytes
    kind: int
    event_id: bytes
    commitments: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Position(NamedTuple):
    """Where an appended message came to lie.

    A message that is durable in the collector's spool, and not on the bus yet, has no place there: its ``shard`` is
    (topic, −1), its ``offset`` −1, and ``time_ms`` when it was spooled.
    """

    shard: Shard
    offset: Offset
    time_ms: int

    @property
    def spooled(self) -> bool:
        """Whether the bus has yet to give the message its place."""
        return self.offset < 0


class Bounds(NamedTuple):
    """``start`` is the first offset still readable, ``end`` the next to be written; equal when the shard is empty.

    ``end`` counts only what is as durable as the bus makes it (Kafka: the high watermark): the signer reads no further,
    for it must never sign what may be lost.
    """

    start: Offset
    end: Offset


class Owner(Protocol):
    """Who works on shards, as :meth:`Bus.own` tells it. Both methods are called from the task that owns, one at a
    time."""

    async def take(self, shards: Sequence[Shard]) -> None:
        """Begin to work on these shards; return soon, without waiting for the work."""
        ...

    async def give_up(self, shards: Sequence[Shard]) -> None:
        """Return when nothing is in flight for these shards any more: somebody else begins right after. The group
        waits for a bounded time only (Kafka: the rebalance timeout)."""
        ...


class Bus(Protocol):
    """What collector, signer and sinks need of a bus.

    **Durability.** :meth:`append` returns when the messages survive a power cut (SQLite: fsync; Kafka: acks=all). If it
    raises :class:`~schemas.errors.Unavailable`, each message may or may not have been written; the caller answers its
    client 503, the client sends again, and the repeat has the same event id.

    **Order and gaps.** Offsets of a shard are 0, 1, 2 … without gaps. ``time_ms`` is the bus's clock; SQLite never lets
    it decrease along a shard, Kafka's brokers have a clock each, so that it may step back by what they differ. Messages
    of one ``append`` with the same key keep their order.

    **Concurrency.** Any number of tasks, threads and (SQLite) processes append and read. Readers never block writers.

    **Retry.** The bus does not retry: the caller does.
    """

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        """Append all messages durably; return their positions in the order given."""
        ...

    async def read(
        self, shard: Shard, offset: Offset, *, max_records: int, max_bytes: int, values: bool = True
    ) -> list[Message]:
        """Messages of ``shard`` from ``offset`` on, possibly none, at least one if there is any (even if it alone is
        larger than ``max_bytes``). ``values=False`` may leave ``value`` and ``key`` empty where ``commitments`` are
        valid, for a reader that needs only headers (the signer); a message whose commitments are not valid always
        comes whole.

        Raises:
            EvidenceIncomplete: ``offset`` lies before ``Bounds.start``: those messages are gone.
            LedgerContradiction: the shard goes on behind ``offset`` without a message at it: there is a gap.
        """
        ...

    async def wait(self, shard: Shard, offset: Offset, timeout: float) -> bool:
        """Return true as soon as ``offset`` is readable, false after ``timeout`` seconds."""
        ...

    async def bounds(self, shard: Shard) -> Bounds:
        """First and next offset of the shard."""
        ...

    async def shards(self, topic: str) -> list[Shard]:
        """The shards of a topic, sorted."""
        ...

    async def identity(self, topic: str) -> str:
        """An id that changes when the topic is deleted and created again (Kafka: topic id)."""
        ...

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        """Share the shards of ``topics`` with everybody else who owns in the name of ``group``, each shard with one of
        them, until ``stop`` is set; then give up all of them and return.

        Shards come and go while this runs: when a process joins or leaves, and when a topic gets more of them. A bus
        that belongs to one process at a time (SQLite) gives all shards at once.

        This spreads work, it protects nothing: a process that was paused for longer than its session believes that it
        still owns what another has taken. Whoever writes must be safe from its own ghost (the signer by its swap of
        the lock row, a sink by what its destination says).

        Raises:
            Unavailable: the bus cannot be reached, and nothing is owned any more; try again.
        """
        ...

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        """Remember, as a hint for lag metrics, that ``group`` has dealt with everything before ``offset``. Nobody
        resumes from this: the destination says where to resume."""
        ...

    async def committed(self, group: str, shard: Shard) -> Offset | None:
        """What :meth:`commit` remembered last."""
        ...

    async def close(self) -> None:
        """Finish pending appends, then release everything."""
        ...
