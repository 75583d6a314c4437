"""A spool on disk: a SQLite bus of one shard per topic, with a front that moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.errors import InvariantError, Unavailable
from schemas.ids import CONTROL, DEADLETTER, EVENTS, TOPICS, Offset, Shard
from stores.bus import Outgoing, Position
from stores.bus.batch import Packed
from stores.bus.headers import Foreign
from stores.bus.spool.file import Census, Rows, SpoolFile
from stores.bus.spool.reserve import Reserve
from stores.bus.sqlite import SqliteBus
from stores.bus.sqlite_file import LOG_BYTES, BusFile, now_ms
from stores.bus.sqlite_writer import GROUP_BYTES

SHARDS = tuple(Shard(topic, 0) for topic in (CONTROL, EVENTS, DEADLETTER))
"""In the order in which they are moved: what people and components did is little, and is not to wait."""

RESERVE_BYTES = LOG_BYTES + GROUP_BYTES
"""As much as the log can hold, because emptying the log takes as much room in the file (96 MB)."""

KEPT_BYTES = 16 * 1024 * 1024
"""Free space that an empty spool's file may keep: it will be needed again."""


class Packing(NamedTuple):
    """Messages as they will lie in the file, and the bytes they will take there."""

    messages: list[tuple[Shard, Packed]]
    size: int


class Spool(SqliteBus):
    """A :class:`~stores.bus.sqlite.SqliteBus` that a :class:`~stores.bus.spool.bus.SpoolingBus` fills and empties.

    It belongs to one process at a time. It holds what is on the bus: ciphertext and commitments.

    Args:
        path: the file; ``…-reserve`` lies beside it.
        reserve_bytes: disk space kept back for emptying a spool on a full disk.
        clock: milliseconds since 1970 UTC.

    Raises:
        ConfigurationError: the file is no spool, or another process has it.
    """

    def __init__(
        self, path: Path | str, *, reserve_bytes: int = RESERVE_BYTES, clock: Callable[[], int] = now_ms
    ) -> None:
        super().__init__(path, dict.fromkeys(TOPICS, 1), clock=clock)
        self.reserve = Reserve(self._path.with_name(self._path.name + "-reserve"), reserve_bytes)

    def census(self) -> dict[Shard, Census]:
        """What lies in the file. Blocks."""
        file = self._open_file()
        try:
            return {shard: file.census(shard) for shard in SHARDS}
        finally:
            file.close()

    async def rows(self, shard: Shard, offset: Offset, max_records: int, max_bytes: int) -> Rows:
        """Whole rows from ``offset`` on, for moving. See :meth:`stores.bus.spool.file.SpoolFile.rows`."""
        return await self._reading(lambda file: _spool(file).rows(shard, offset, max_records, max_bytes))

    def pack(self, messages: Sequence[Outgoing | Foreign]) -> Packing:
        """Messages as they will lie in the file.

        Raises:
            ConfigurationError: there is no such topic.
        """
        return Packing(*self._pack(messages))

    async def put(self, packing: Packing) -> list[Position]:
        """Append what :meth:`pack` made, durably, all of it or nothing; the positions are those in the spool."""
        return await self._append(packing.messages, packing.size)

    async def remove_moved(self, shard: Shard, end: int) -> None:
        """Remove messages before ``end`` from the front of ``shard``: the bus has acknowledged them. For the drainer
        alone. On a full disk the reserve is used up for it.

        Raises:
            Unavailable: they are still in the file.
        """

        def remove(file: BusFile) -> None:
            try:
                _spool(file).remove_moved(shard, end)
            except Unavailable:
                if not self.reserve.release():
                    raise
                _spool(file).checkpoint()
                _spool(file).remove_moved(shard, end)

        await self._writing(remove)

    async def give_back(self) -> bool:
        """Give the space of an emptied file back to the disk, and take the reserve again; false if that is missing.

        Raises:
            Unavailable: the file could not be made smaller now.
        """
        await self._writing(lambda file: _spool(file).give_back(KEPT_BYTES))
        return await asyncio.to_thread(self.reserve.restore)

    def _close(self) -> None:
        super()._close()
        self.reserve.close()

    def _open_file(self) -> SpoolFile:
        return SpoolFile(self._path, busy_seconds=self._busy_seconds)


def _spool(file: BusFile) -> SpoolFile:
    if not isinstance(file, SpoolFile):
        raise InvariantError(f"{file.path} was not opened as a spool")
    return file
