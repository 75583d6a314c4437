"""The file of a spool: a SQLite bus from whose front messages are removed once they are on the real one.

The file's header says that it is a spool. A bus's file does not open as one, nor the other way round: what is the only
copy of the evidence offers no way to remove any of it.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.errors import InvariantError
from schemas.ids import Shard
from stores.bus import Outgoing
from stores.bus.batch import unpack
from stores.bus.headers import Foreign
from stores.bus.sqlite_file import BusFile, translated


class Rows(NamedTuple):
    """Whole rows from the front of a shard.

    Attributes:
        end: the offset behind them.
        size: their bytes.
        messages: what is in them, in order.
        next_ms: when the row behind them was written; ``None`` when there is none.
    """

    end: int
    size: int
    messages: list[Outgoing | Foreign]
    next_ms: int | None


class Census(NamedTuple):
    """What a shard holds: offsets from ``start`` to before ``end``, ``size`` bytes, the oldest of them of ``oldest_ms``
    (``None`` without any)."""

    start: int
    end: int
    size: int
    oldest_ms: int | None


class SpoolFile(BusFile):
    """One connection to the file of a spool; see :class:`stores.bus.sqlite_file.BusFile`."""

    application_id = 0x41464653
    """``AFFS``."""
    noun = "spool"

    def census(self, shard: Shard) -> Census:
        """Count a shard, from one snapshot. Does not read the messages."""
        start, end = self.bounds(shard)
        with translated(self.path):
            size, oldest = self._db.execute(
                f'SELECT coalesce(sum(length(head) + length(body)), 0), min(time_ms) FROM "{shard}"'  # noqa: S608
            ).fetchone()
        return Census(start, end, size, oldest)

    def rows(self, shard: Shard, offset: int, max_records: int, max_bytes: int) -> Rows:
        """Rows from ``offset`` on, at least one if there is any, and no more than the bounds say.

        Raises:
            InvariantError: ``offset`` is not the first of a row.
            MalformedInput: a row is damaged.
        """
        messages: list[Outgoing | Foreign] = []
        end, size, next_ms = offset, 0, None
        with translated(self.path):
            cursor = self._db.execute(
                f'SELECT first, count, time_ms, length(head) + length(body), head, body FROM "{shard}" '  # noqa: S608
                "WHERE first >= ? ORDER BY first",
                (offset,),
            )
            try:
                for first, count, time_ms, row_size, head, body in cursor:
                    if first != end:
                        raise InvariantError(f"{self.path}: {shard} has a row at {first}, expected it at {end}")
                    if messages and (len(messages) + count > max_records or size + row_size > max_bytes):
                        next_ms = time_ms
                        break
                    messages += unpack(shard.topic, count, head, body)
                    end, size = end + count, size + row_size
            finally:
                cursor.close()  # ends the read transaction, which would keep the write-ahead log from being reused
        return Rows(end, size, messages, next_ms)

    def remove_moved(self, shard: Shard, end: int) -> None:
        """Remove the rows before ``end``, which the caller has moved to the bus: records move, none is destroyed."""
        with self._transaction():
            last, time_ms = self._edge(shard)
            if end > last:
                raise InvariantError(f"{self.path}: got {shard} moved up to {end}, which ends at {last}")
            # What an empty shard begins with; without it, offsets would begin again from an older place.
            self._db.execute("UPDATE shards SET start = ?, time_ms = ? WHERE name = ?", (end, time_ms, str(shard)))
            self._db.execute(f'DELETE FROM "{shard}" WHERE first + count <= ? AND first < ?', (end, end))  # noqa: S608

    def checkpoint(self) -> None:
        """Copy the log into the file and cut it off, if no reader is in the way."""
        with translated(self.path):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def give_back(self, above: int) -> bool:
        """Give free space beyond ``above`` bytes back to the disk, when hardly anything else is in the file; true if
        that was so."""
        with translated(self.path):
            (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            (page_bytes,) = self._db.execute("PRAGMA page_size").fetchone()
            if free * page_bytes <= above or free < pages * 0.9:
                return False
            self._db.execute("VACUUM")  # costs what is left in the file, and that is next to nothing
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return True
