"""A bus that takes messages while the one behind it is away: it keeps them on the local disk, and moves them later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from schemas.errors import ConfigurationError, LedgerContradiction, ServerError, Unavailable
from schemas.ids import TOPICS, Offset, Shard
from stores.bus import Bounds, Bus, Message, Outgoing, Owner, Position
from stores.bus.spool import Outage, PendingKeys, SpoolLimits, SpoolSnapshot
from stores.bus.spool.backlog import RETRY_AFTER, require_deliverable, require_room
from stores.bus.spool.circuit import Pace
from stores.bus.spool.drainer import Drainer
from stores.bus.spool.loop import LoopThread
from stores.bus.spool.patience import answering
from stores.bus.spool.store import Spool
from stores.bus.sqlite_file import now_ms

ANSWER_SECONDS = 5.0
"""How long an append waits for the bus. Gateways wait longer than this and the fsync of the spool together."""


class SpoolingBus:
    """A :class:`stores.bus.Bus` over a bus that may be away and a spool that is here.

    **Durability.** :meth:`append` returns when the messages are on the bus, or fsynced in the spool: then their
    positions are :attr:`~stores.bus.Position.spooled`. Either survives the loss of this process; the spool is on one
    disk, though, and what lies in it is lost with that disk.

    **Order.** As long as the spool holds anything, everything new goes behind it, so that equal keys stay in order.

    **Repeats.** An append that the bus neither confirmed nor refused (it failed, it was silent, a process died before
    the answer) may be on the bus or come to be on it later, and goes to the spool as well. So a message can be on the
    bus twice, the second time with the same event id and bytes: delivery is at least once, and a repeat shows as one.
    The first occurrences of equal keys are in order.

    **A bus that needs a person** (credentials, settings, a topic that is another than it was) is one that is away: what
    it does not take is spooled, and the log says once what is wrong.

    **Keys.** A message sealed under a key that is not in the control database yet stays in the spool until it is.

    **Concurrency.** As any bus, for appends and reads. The spool belongs to one object of one process.

    A thread moves what is in the spool, from the moment this is made, which may be after a restart, until
    :meth:`close`. It alone tries whether the bus answers again, so that no append waits for a bus that is known to be
    away.

    Args:
        bus: where messages go; closed with this.
        spool: where they wait; closed with this.
        limits: when to take no more.
        keys: what to register before anything is moved; ``None`` when all keys are in the database always.
        answer_seconds: how long an append waits for the bus.
        pace: how often to try a bus that is away.
        clock: milliseconds since 1970 UTC, the same as the spool's.
    """

    def __init__(
        self,
        bus: Bus,
        spool: Spool,
        limits: SpoolLimits,
        *,
        keys: PendingKeys | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        pace: Pace | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._bus, self._spool, self._limits, self._keys, self._clock = bus, spool, limits, keys, clock
        self._answer_seconds = answer_seconds
        self._drainer = Drainer(bus, spool, limits, keys, pace or Pace(), clock)
        self._thread = LoopThread("spool", self._drainer.run, answer_seconds)

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        """See :meth:`stores.bus.Bus.append` and the class.

        Raises:
            Unavailable: neither the bus nor the spool took them. Each may or may not come to be on the bus.
            LimitExceeded: one is larger than the bus takes.
        """
        if not messages:
            return []
        for message in messages:
            if message.topic not in TOPICS:
                raise ConfigurationError(f"the bus has no topic {message.topic!r}, only {', '.join(TOPICS)}")
        error: Exception | None = None
        # A message that was acknowledged before this line is on the bus if ``direct`` is true: it cannot be overtaken.
        if self._drainer.direct and not self._unregistered():
            try:
                async with answering(self._answer_seconds):
                    return await self._bus.append(messages)
            except (ServerError, ConfigurationError, LedgerContradiction) as failure:
                error = failure
        # If we die here, nobody was told: the sender sends again, with the same event ids.
        return await self._thread.run(lambda: self._put(messages, error))

    def require_room(self) -> None:
        """Whether an append can be taken now, for a readiness probe. Any thread may ask.

        Raises:
            Unavailable: the bus is away, and the spool is full, too old or without a disk to write to.
        """
        if not self._drainer.direct:
            self._require_room(1)

    def snapshot(self) -> SpoolSnapshot:
        """The spool as it is now. Any thread may ask."""
        return self._drainer.snapshot

    def take_outages(self) -> list[Outage]:
        """Outages that are over since this was asked last; any thread may ask. One that is over when the process dies
        before this was asked is forgotten; its messages are not."""
        return self._drainer.take_outages()

    async def read(
        self, shard: Shard, offset: Offset, *, max_records: int, max_bytes: int, values: bool = True
    ) -> list[Message]:
        """See :meth:`stores.bus.Bus.read`. Spooled messages are not on the bus yet and cannot be read."""
        return await self._bus.read(shard, offset, max_records=max_records, max_bytes=max_bytes, values=values)

    async def wait(self, shard: Shard, offset: Offset, timeout: float) -> bool:
        """See :meth:`stores.bus.Bus.wait`."""
        return await self._bus.wait(shard, offset, timeout)

    async def bounds(self, shard: Shard) -> Bounds:
        """See :meth:`stores.bus.Bus.bounds`."""
        return await self._bus.bounds(shard)

    async def shards(self, topic: str) -> list[Shard]:
        """See :meth:`stores.bus.Bus.shards`."""
        return await self._bus.shards(topic)

    async def identity(self, topic: str) -> str:
        """See :meth:`stores.bus.Bus.identity`."""
        return await self._bus.identity(topic)

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        """See :meth:`stores.bus.Bus.own`."""
        await self._bus.own(group, topics, owner, stop)

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        """See :meth:`stores.bus.Bus.commit`."""
        await self._bus.commit(group, shard, offset)

    async def committed(self, group: str, shard: Shard) -> Offset | None:
        """See :meth:`stores.bus.Bus.committed`."""
        return await self._bus.committed(group, shard)

    async def close(self) -> None:
        """Finish pending appends and the batch that is being moved; then close the bus and the spool. What is left in
        the spool is moved after the next start. Closing twice is harmless."""
        await asyncio.to_thread(self._thread.close)
        await self._bus.close()
        await self._spool.close()

    def _unregistered(self) -> bool:
        return self._keys is not None and self._keys.unregistered() > 0

    def _require_room(self, size: int) -> None:
        require_room(self._drainer.backlog, self._limits, self._clock(), size)
        if not self._spool.reserve.whole:
            raise Unavailable(
                "the bus is away and the disk of the spool is full: what is in it can still be moved, no more is taken",
                retry_after=RETRY_AFTER,
            )

    async def _put(self, messages: Sequence[Outgoing], error: Exception | None) -> list[Position]:
        """Spool messages, on the thread's loop."""
        drainer, backlog = self._drainer, self._drainer.backlog
        drainer.divert(error)
        try:
            require_deliverable(messages, self._limits)
            packing = self._spool.pack(messages)
            self._require_room(packing.size)
            places: list[Position] = []
            backlog.begin(packing.size)
            try:
                places = await self._spool.put(packing)
            finally:
                backlog.end(packing.size, places)
            # If we die here, they are durable and nobody was told: they are moved, and sent again by the sender.
            drainer.note_put(len(places), places[0].time_ms)
        except Unavailable:
            drainer.refused += len(messages)
            raise
        finally:
            drainer.note_change()
        return [Position(Shard(place.shard.topic, -1), Offset(-1), place.time_ms) for place in places]
