"""The file of the SQLite bus: its tables, how it is opened, and the three statements that matter.

::

    topics(name, partitions, identity)
    shards(name, start, time_ms)            where an empty shard begins, and the time it may not go behind
    groups(name, shard, offset)             hints
    "events/0"(first, count, whole, time_ms, head, body)      one table per shard, one row per packed batch

Offsets and times of an append come from the last row of the shard inside the writing transaction, so any number of
processes may append. Rows are never changed; ``first`` is the rowid, so a table only grows at its right edge.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from schemas.errors import ConfigurationError, EvidenceIncomplete, Unavailable
from schemas.ids import TOPICS, Offset, Shard
from stores.bus import Bounds, Message
from stores.bus.batch import Batch, split

APPLICATION_ID = 0x41464642
"""``AFFB`` in the file's header, so that another SQLite file is not taken for a bus."""

FORMAT = 1

PAGE_BYTES = 8192
WAL_PAGES = 4096
"""The write-ahead log is copied into the file after this many pages (32 MB): seldom enough that its fsyncs do not show
in the latency of an append, often enough that a restart has little to do."""

LOG_BYTES = 2 * WAL_PAGES * PAGE_BYTES
"""The log begins again from its start only at a moment when nobody reads from it. Where readers leave no such moment it
grows; beyond this (64 MB) the writer makes one."""

SHORTEN_MS = 200
"""How long it waits for readers to finish, once; if they do not, it tries again when the log is twice as long."""


class BusFile:
    """One connection to the file. Not for two threads at once; any thread may be the one.

    Every ``sqlite3.Error`` leaves here as :class:`~schemas.errors.Unavailable`: full disk, locked or broken file.
    """

    application_id = APPLICATION_ID
    noun = "bus"

    def __init__(self, path: Path, *, busy_seconds: float) -> None:
        self.path, self._busy_ms = path, round(busy_seconds * 1000)
        self._log, self._log_limit = path.with_name(path.name + "-wal"), LOG_BYTES
        with translated(path):
            # isolation_level=None: transactions begin where this module says BEGIN, and nowhere else.
            self._db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute(f"PRAGMA page_size={PAGE_BYTES}")
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")  # fsync at every commit
                self._db.execute("PRAGMA fullfsync=ON")  # where fsync alone stops at the drive's cache (macOS)
                self._db.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
                self._db.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
            except sqlite3.Error:
                self._db.close()
                raise

    def create(self, partitions: Mapping[str, int]) -> None:
        """Create the tables, or check that they are those of ``partitions``; safe in two processes at once.

        Raises:
            ConfigurationError: not a bus, another format, or other partition counts.
        """
        with self._transaction():
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if tables == 0:
                self._create_tables(partitions)
            elif application != self.application_id or version != FORMAT:
                raise ConfigurationError(
                    f"{self.path} is not an affidavit {self.noun} of format {FORMAT}: name another file or move it"
                )
            found = {name: count for name, count, _ in self.topics()}
        if found != dict(partitions):
            raise ConfigurationError(
                f"{self.path} has partitions {found}, the settings say {dict(partitions)}: partition counts are fixed "
                "when the bus is created, because they decide which shard a session is on; set them back"
            )

    def _create_tables(self, partitions: Mapping[str, int]) -> None:
        db = self._db
        db.execute("CREATE TABLE topics (name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, identity TEXT NOT NULL)")
        db.execute("CREATE TABLE shards (name TEXT PRIMARY KEY, start INTEGER NOT NULL, time_ms INTEGER NOT NULL)")
        db.execute("CREATE TABLE groups (name TEXT, shard TEXT, offset INTEGER NOT NULL, PRIMARY KEY (name, shard))")
        for topic, count in partitions.items():
            if topic not in TOPICS or count < 1:
                raise ConfigurationError(
                    f"got {count} partitions of topic {topic!r}, expected 1 or more of {', '.join(TOPICS)}"
                )
            db.execute("INSERT INTO topics VALUES (?, ?, ?)", (topic, count, str(uuid4())))
            for shard in (Shard(topic, partition) for partition in range(count)):
                db.execute("INSERT INTO shards VALUES (?, 0, 0)", (str(shard),))
                db.execute(
                    f'CREATE TABLE "{shard}" (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, '
                    "whole INTEGER NOT NULL, time_ms INTEGER NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL)"
                )
        db.execute(f"PRAGMA application_id={self.application_id}")
        db.execute(f"PRAGMA user_version={FORMAT}")

    def topics(self) -> list[tuple[str, int, str]]:
        """Name, partition count and identity of each topic."""
        with translated(self.path):
            return self._db.execute("SELECT name, partitions, identity FROM topics").fetchall()

    def append(
        self, rows: Mapping[Shard, Sequence[Batch]], hints: Mapping[tuple[str, Shard], int], now_ms: int
    ) -> dict[Shard, tuple[int, int]]:
        """Write all rows and hints in one transaction with one fsync; return ``first offset, time_ms`` per shard.

        If it raises, none or (when the failure came after the commit reached the disk) all of it was written.
        """
        placed: dict[Shard, tuple[int, int]] = {}
        with self._transaction():
            for shard, batches in rows.items():
                end, last_ms = self._edge(shard)
                time_ms = max(now_ms, last_ms)
                placed[shard] = end, time_ms
                values = []
                for batch in batches:
                    values.append((end, batch.records, batch.whole, time_ms, batch.head, batch.body))
                    end += batch.records
                self._db.executemany(f'INSERT INTO "{shard}" VALUES (?, ?, ?, ?, ?, ?)', values)  # noqa: S608
            for (group, shard), offset in hints.items():
                self._db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?)", (group, str(shard), offset))
        return placed

    def _edge(self, shard: Shard) -> tuple[int, int]:
        row: tuple[int, int] | None = self._db.execute(
            f'SELECT first + count, time_ms FROM "{shard}" ORDER BY first DESC LIMIT 1'  # noqa: S608
        ).fetchone()
        if row is None:
            row = self._db.execute("SELECT start, time_ms FROM shards WHERE name = ?", (str(shard),)).fetchone()
        if row is None:
            raise ConfigurationError(f"{self.path} has no shard {shard}")
        return row

    def read(self, shard: Shard, offset: int, max_records: int, max_bytes: int, values: bool) -> list[Message]:
        """See :meth:`stores.bus.Bus.read`."""
        messages: list[Message] = []
        room = max_bytes
        with translated(self.path):
            newest = f'SELECT max(first) FROM "{shard}" WHERE first <= ?'  # noqa: S608
            found = self._db.execute(newest, (offset,)).fetchone()[0]
            if found is None:
                self._refuse_before_start(shard, offset)
                return []
            # The body is the last column: SQLite does not touch its pages when it is not asked for.
            body = "body" if values else "CASE WHEN whole THEN body END"
            cursor = self._db.execute(
                f'SELECT first, time_ms, count, head, {body} FROM "{shard}" WHERE first >= ? ORDER BY first',  # noqa: S608
                (found,),
            )
            try:
                for row in cursor:
                    for message in split(shard, *row, skip=offset - row[0], values=values):
                        room -= len(message.value) + len(message.key) if values else len(message.commitments)
                        if messages and (room < 0 or len(messages) == max_records):
                            return messages
                        messages.append(message)
            finally:
                cursor.close()  # ends the read transaction, which would keep the write-ahead log from being reused
        return messages

    def _refuse_before_start(self, shard: Shard, offset: int) -> None:
        start = self.bounds(shard).start
        if offset < start:
            raise EvidenceIncomplete(f"{shard} offset {offset}: no longer on the bus, which begins at {start}")

    def bounds(self, shard: Shard) -> Bounds:
        """First and next offset, from one snapshot."""
        with self._transaction("DEFERRED"):
            end, _ = self._edge(shard)
            first = self._db.execute(f'SELECT min(first) FROM "{shard}"').fetchone()[0]  # noqa: S608
        return Bounds(Offset(end if first is None else first), Offset(end))

    def ends(self, shards: Sequence[Shard]) -> dict[Shard, int]:
        """The next offset of each shard."""
        with translated(self.path):
            return {shard: self._edge(shard)[0] for shard in shards}

    def committed(self, group: str, shard: Shard) -> int | None:
        """The hint of ``group``."""
        with translated(self.path):
            row = self._db.execute(
                "SELECT offset FROM groups WHERE name = ? AND shard = ?", (group, str(shard))
            ).fetchone()
        return row[0] if row else None

    def version(self) -> int:
        """A number that changes when another connection has committed (``PRAGMA data_version``)."""
        with translated(self.path):
            value: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return value

    def shorten_log(self) -> None:
        """Begin the write-ahead log again when it has grown long, waiting for readers to let go of it; new ones come
        in meanwhile."""
        size = self._log.stat().st_size
        if size <= self._log_limit:
            return
        with translated(self.path):
            self._db.execute(f"PRAGMA busy_timeout={SHORTEN_MS}")
            try:
                busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._db.execute(f"PRAGMA busy_timeout={self._busy_ms}")
        self._log_limit = 2 * size if busy else LOG_BYTES

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def _transaction(self, mode: str = "IMMEDIATE") -> Iterator[None]:
        with translated(self.path):
            self._db.execute(f"BEGIN {mode}")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite rolls back by itself on some errors
                    self._db.execute("ROLLBACK")
                raise


def now_ms() -> int:
    """The bus's clock."""
    return time.time_ns() // 1_000_000


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Every error of SQLite as :class:`~schemas.errors.Unavailable`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise Unavailable(f"bus {path}: {error}") from error
