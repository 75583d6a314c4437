"""The ClickHouse sink: messages in, one row per offset in ``events`` and in ``contents``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import closing

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.earlier import Recent
from schemas.errors import ConfigurationError, Unavailable, VerificationError
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from sinks.clickhouse import ddl
from sinks.clickhouse.classify import Fault, classify, code_of, remedied, said_of
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.shard_writer import ShardWriter
from sinks.contract import Limits, Outcome, Pause, Retry
from sinks.opening import Fetch, Opening
from sinks.proof import Logs
from stores.bus import Message
from stores.keys import Keys

log = logging.getLogger(__name__)

RECENT_BYTES = 48 << 20
"""Sources that are kept to compare those that repeat them; of some hundred sessions."""


class ClickHouseSink:
    """Implements :class:`sinks.contract.Sink`.

    Args:
        engine: where the tables are.
        keys: subject keys, to open the parts.
        logs: what the ledger has opened.
        fetch: from the address of a part that is too large for the bus to its ciphertext.
        linger: seconds that the runner waits for a larger batch.
        migrates: whether missing tables are created; else they must be there.
    """

    name = "clickhouse"
    topics: tuple[str, ...] = (EVENTS, CONTROL)

    def __init__(
        self,
        engine: Engine,
        keys: Keys,
        logs: Logs,
        *,
        fetch: Fetch | None = None,
        linger: float = 0.5,
        migrates: bool = True,
    ) -> None:
        self.limits = Limits(max_records=20_000, max_bytes=32 << 20, linger=linger)
        self._engine = engine
        self._keys = keys
        self._logs = logs
        self._fetch = fetch
        self._migrates = migrates
        self._recent = {topic: Recent(RECENT_BYTES // len(self.topics)) for topic in self.topics}
        self._lock = threading.Lock()
        self._writers: dict[Shard, ShardWriter] = {}

    def open(self) -> None:
        """Create the database and the tables that are missing, or check that none is. Several processes may do so at
        the same time.

        Raises:
            ConfigurationError: ClickHouse refuses, holds tables of another release, or lacks some that are not ours to
                create.
            Unavailable: ClickHouse does not answer.
        """
        with said_of("the tables"):
            if self._migrates:
                self._engine.prepare()
            with closing(self._engine.client()) as client:
                if not self._migrates and (missing := ddl.pending(client)):
                    raise ConfigurationError(
                        f"ClickHouse lacks {', '.join(file.name for file in missing)}, and clickhouse.migrate is off: "
                        "run affidavit clickhouse migrate as a user who may create tables"
                    )
                for name in ddl.migrate(client) if self._migrates else ():
                    log.info("applied %s", name)

    def resume(self, shard: Shard, start: Offset) -> Offset:
        """See :meth:`sinks.contract.Sink.resume`.

        Raises:
            Unavailable: ClickHouse does not answer.
        """
        try:
            return self._writer(shard).resume(start)
        except ClickHouseError as error:
            raise Unavailable(f"{shard}: ClickHouse does not say where to resume: {remedied(error)}") from None

    def last(self, shard: Shard, offset: Offset) -> bytes | None:
        """The commitments that the tables hold for ``offset``, packed as in header ``c`` of the bus; of a message that
        had no valid ones, those of its entry (:func:`schemas.entry.invalid_commitments`). ``None``: no such row.

        Raises:
            Unavailable: ClickHouse does not answer.
            VerificationError: it has two rows of this offset, and they disagree.
        """
        try:
            return self._writer(shard).last(offset)
        except ClickHouseError as error:
            raise Unavailable(f"{shard} offset {offset}: ClickHouse does not answer: {remedied(error)}") from None

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        """See :meth:`sinks.contract.Sink.deliver`."""
        try:
            return self._writer(shard).deliver(batch)
        except Unavailable as error:
            return Retry(str(error), error.retry_after)
        except VerificationError as error:
            return Pause(str(error))
        except ClickHouseError as error:
            reason = f"ClickHouse: {remedied(error)}"
            return Pause(reason) if classify(code_of(error)) is Fault.PAUSE else Retry(reason)

    def close(self) -> None:
        """Close the clients; the engine belongs to whoever made it."""
        with self._lock:
            writers, self._writers = list(self._writers.values()), {}
        for writer in writers:
            writer.close()

    def _writer(self, shard: Shard) -> ShardWriter:
        """The writer of a shard. Each shard has one thread; connecting for one does not hold up the others."""
        with self._lock:
            writer = self._writers.get(shard)
        if writer is None:
            writer = ShardWriter(
                shard, self._engine, self._logs, Opening(self._keys, self._fetch, self._recent[shard.topic])
            )
            with self._lock:
                self._writers[shard] = writer
        return writer
