"""A bus that counts its failures."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from affidavit.monitor.tally import Tally
from schemas.ids import Offset, Shard
from stores.bus import Bounds, Bus, Message, Outgoing, Owner, Position


class CountedBus:
    """A :class:`~stores.bus.Bus` in front of another. It changes nothing; every error of the bus goes on to the caller.

    Attributes:
        errors: by (call, class of the error).
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.errors: Tally[tuple[str, str]] = Tally([(call, "Unavailable") for call in ("append", "read", "wait")])

    async def append(self, messages: Sequence[Outgoing]) -> list[Position]:
        """See :meth:`stores.bus.Bus.append`."""
        with self._counted("append"):
            return await self._bus.append(messages)

    async def read(
        self, shard: Shard, offset: Offset, *, max_records: int, max_bytes: int, values: bool = True
    ) -> list[Message]:
        """See :meth:`stores.bus.Bus.read`."""
        with self._counted("read"):
            return await self._bus.read(shard, offset, max_records=max_records, max_bytes=max_bytes, values=values)

    async def wait(self, shard: Shard, offset: Offset, timeout: float) -> bool:
        """See :meth:`stores.bus.Bus.wait`."""
        with self._counted("wait"):
            return await self._bus.wait(shard, offset, timeout)

    async def bounds(self, shard: Shard) -> Bounds:
        """See :meth:`stores.bus.Bus.bounds`."""
        with self._counted("bounds"):
            return await self._bus.bounds(shard)

    async def shards(self, topic: str) -> list[Shard]:
        """See :meth:`stores.bus.Bus.shards`."""
        with self._counted("shards"):
            return await self._bus.shards(topic)

    async def identity(self, topic: str) -> str:
        """See :meth:`stores.bus.Bus.identity`."""
        with self._counted("identity"):
            return await self._bus.identity(topic)

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        """See :meth:`stores.bus.Bus.own`."""
        with self._counted("own"):
            await self._bus.own(group, topics, owner, stop)

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        """See :meth:`stores.bus.Bus.commit`."""
        with self._counted("commit"):
            await self._bus.commit(group, shard, offset)

    async def committed(self, group: str, shard: Shard) -> Offset | None:
        """See :meth:`stores.bus.Bus.committed`."""
        with self._counted("committed"):
            return await self._bus.committed(group, shard)

    async def close(self) -> None:
        """See :meth:`stores.bus.Bus.close`."""
        with self._counted("close"):
            await self._bus.close()

    @contextmanager
    def _counted(self, call: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.errors.add((call, type(error).__name__))
            raise
