"""The bus in one SQLite file: the embedded default, and the collector's spool when Kafka is away."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from schemas.errors import ConfigurationError
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from stores.bus import Bounds, Message, Outgoing, Owner, Position
from stores.bus.batch import Packed, pack
from stores.bus.headers import Foreign
from stores.bus.sqlite_file import BusFile, now_ms
from stores.bus.sqlite_writer import Append, Hint, Task, Waiter, Writer
from stores.private_file import create_private_file

PARTITIONS: Mapping[str, int] = {EVENTS: 2, CONTROL: 1, DEADLETTER: 1}

READERS = 4
"""Threads that read; beyond about the number of cores more would only queue for the interpreter lock."""

T = TypeVar("T")


class SqliteBus:
    """A :class:`stores.bus.Bus` in one file, for any number of event loops, threads and processes.

    Args:
        path: the file; created, with its folder, if absent.
        partitions: shards per topic, fixed at creation.
        busy_seconds: how long to wait for another process's write lock before ``Unavailable``.
        queue_records, queue_bytes: how much may wait for the writer before appends get ``Unavailable``.
        clock: milliseconds since 1970 UTC.

    Raises:
        ConfigurationError: the file is not a bus, or has other partition counts.
    """

    def __init__(
        self,
        path: Path | str,
        partitions: Mapping[str, int] = PARTITIONS,
        *,
        busy_seconds: float = 5.0,
        queue_records: int = 50_000,
        queue_bytes: int = 128 * 1024 * 1024,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._path, self._busy_seconds = Path(path), busy_seconds
        create_private_file(self._path)
        file = self._open_file()
        try:
            file.create(partitions)
            topics = file.topics()
        finally:
            file.close()
        self._identities = {name: identity for name, _, identity in topics}
        self._shards = {
            name: [Shard(name, partition) for partition in range(partitions[name])] for name in sorted(partitions)
        }
        self._writer = Writer(
            self._open_file,
            [shard for shards in self._shards.values() for shard in shards],
            clock,
            queue_records=queue_records,
            queue_bytes=queue_bytes,
        )
        self._readers = ThreadPoolExecutor(READERS, "bus-reader")
        self._here = threading.local()
        self._files: list[BusFile] = []

    async def append(self, messages: Sequence[Outgoing | Foreign]) -> list[Position]:
        """See :meth:`stores.bus.Bus.append`. A call is written whole or not at all."""
        if not messages:
            return []
        return await self._append(*self._pack(messages))

    def _pack(self, messages: Sequence[Outgoing | Foreign]) -> tuple[list[tuple[Shard, Packed]], int]:
        """The messages as they will lie in the file, and their size in bytes."""
        packed = [(self._shard_of(message), pack(message)) for message in messages]
        return packed, sum([len(one.sizes) + len(one.head) + len(one.body) for _, one in packed])

    async def _append(self, packed: Sequence[tuple[Shard, Packed]], size: int) -> list[Position]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Position]] = loop.create_future()
        self._writer.submit(Append(packed, size, loop, future))
        return await future

    async def read(
        self, shard: Shard, offset: Offset, *, max_records: int, max_bytes: int, values: bool = True
    ) -> list[Message]:
        """See :meth:`stores.bus.Bus.read`."""
        self._known(shard)
        return await self._reading(lambda file: file.read(shard, offset, max_records, max_bytes, values))

    async def wait(self, shard: Shard, offset: Offset, timeout: float) -> bool:
        """See :meth:`stores.bus.Bus.wait`. Appends of this object wake at once, those of others within 20 ms."""
        self._known(shard)
        loop = asyncio.get_running_loop()
        waiter = Waiter(shard, offset, loop, loop.create_future())
        if self._writer.watch(waiter):
            return True
        try:
            async with asyncio.timeout(timeout):
                await waiter.future
        except TimeoutError:
            return False
        finally:
            self._writer.forget(waiter)
        return True

    async def bounds(self, shard: Shard) -> Bounds:
        """See :meth:`stores.bus.Bus.bounds`."""
        self._known(shard)
        return await self._reading(lambda file: file.bounds(shard))

    async def shards(self, topic: str) -> list[Shard]:
        """See :meth:`stores.bus.Bus.shards`."""
        self._known(Shard(topic, 0))
        return list(self._shards[topic])

    async def identity(self, topic: str) -> str:
        """See :meth:`stores.bus.Bus.identity`: drawn at random when the file was created."""
        self._known(Shard(topic, 0))
        return self._identities[topic]

    async def own(self, group: str, topics: Sequence[str], owner: Owner, stop: asyncio.Event) -> None:
        """See :meth:`stores.bus.Bus.own`: all shards at once; the data directory's locks keep others out."""
        shards = [shard for topic in topics for shard in await self.shards(topic)]
        await owner.take(shards)
        await stop.wait()
        await owner.give_up(shards)

    async def commit(self, group: str, shard: Shard, offset: Offset) -> None:
        """See :meth:`stores.bus.Bus.commit`. Shares the transaction of whatever is being appended."""
        self._known(shard)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._writer.submit(Hint(group, shard, offset, loop, future))
        await future

    async def committed(self, group: str, shard: Shard) -> Offset | None:
        """See :meth:`stores.bus.Bus.committed`."""
        offset = await self._reading(lambda file: file.committed(group, shard))
        return None if offset is None else Offset(offset)

    async def close(self) -> None:
        """See :meth:`stores.bus.Bus.close`. Closing twice is harmless."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        while self._files:
            self._files.pop().close()

    async def _reading(self, ask: Callable[[BusFile], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: ask(self._reader()))

    async def _writing(self, work: Callable[[BusFile], T]) -> T:
        """What ``work`` returns, done by the writer between two groups."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._writer.submit(Task(work, loop, future))
        return await future

    def _reader(self) -> BusFile:
        """The connection of this reader thread."""
        file: BusFile | None = getattr(self._here, "file", None)
        if file is None:
            file = self._here.file = self._open_file()
            self._files.append(file)
        return file

    def _open_file(self) -> BusFile:
        return BusFile(self._path, busy_seconds=self._busy_seconds)

    def _shard_of(self, message: Outgoing | Foreign) -> Shard:
        shards = self._shards.get(message.topic)
        if shards is None:
            raise ConfigurationError(f"{self._path} has no topic {message.topic!r}, only {', '.join(self._shards)}")
        return shards[zlib.crc32(message.key) % len(shards)]

    def _known(self, shard: Shard) -> None:
        if shard not in self._shards.get(shard.topic, ()):
            raise ConfigurationError(f"{self._path} has no shard {shard}")
