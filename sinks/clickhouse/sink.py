"""The ClickHouse sink: messages in, one row per offset in ``events`` and in ``contents``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import ConfigurationError, Unavailable, VerificationError
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from sinks.clickhouse import ddl
from sinks.clickhouse.classify import Fault, classify, code_of
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.opening import Fetch, Opening
from sinks.clickhouse.proof import Logs
from sinks.clickhouse.shard_writer import ShardWriter
from sinks.contract import Limits, Outcome, Pause, Retry
from stores.bus import Message
from stores.keys import Keys

log = logging.getLogger(__name__)


class ClickHouseSink:
    """Implements :class:`sinks.contract.Sink`.

    Args:
        engine: where the tables are.
        keys: subject keys, to open the parts.
        logs: what the ledger has opened.
        fetch: from the address of a part that is too large for the bus to its ciphertext.
        linger: seconds that the runner waits for a larger batch.
    """

    name = "clickhouse"
    topics: tuple[str, ...] = (EVENTS, CONTROL)

    def __init__(
        self, engine: Engine, keys: Keys, logs: Logs, *, fetch: Fetch | None = None, linger: float = 0.5
    ) -> None:
        self.limits = Limits(max_records=20_000, max_bytes=32 << 20, linger=linger)
        self._engine = engine
        self._keys = keys
        self._logs = logs
        self._fetch = fetch
        self._lock = threading.Lock()
        self._writers: dict[Shard, ShardWriter] = {}

    def open(self) -> None:
        """Create the tables that are missing.

        Raises:
            ConfigurationError: ClickHouse refuses, or holds tables of another release.
        """
        client = self._engine.client()
        try:
            for name in ddl.migrate(client):
                log.info("applied %s", name)
        except ClickHouseError as error:
            raise ConfigurationError(f"ClickHouse refuses the tables: {_line(error)}") from None
        finally:
            client.close()

    def resume(self, shard: Shard, start: Offset) -> Offset:
        """See :meth:`sinks.contract.Sink.resume`.

        Raises:
            Unavailable: ClickHouse does not answer.
        """
        try:
            return self._writer(shard).resume(start)
        except ClickHouseError as error:
            raise Unavailable(f"{shard}: ClickHouse does not say where to resume: {_line(error)}") from None

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        """See :meth:`sinks.contract.Sink.deliver`."""
        try:
            return self._writer(shard).deliver(batch)
        except Unavailable as error:
            return Retry(str(error), error.retry_after)
        except VerificationError as error:
            return Pause(str(error))
        except ClickHouseError as error:
            reason = f"ClickHouse: {_line(error)}"
            return Pause(reason) if classify(code_of(error)) is Fault.PAUSE else Retry(reason)

    def close(self) -> None:
        """Close the clients; the engine belongs to whoever made it."""
        with self._lock:
            writers, self._writers = list(self._writers.values()), {}
        for writer in writers:
            writer.close()

    def _writer(self, shard: Shard) -> ShardWriter:
        with self._lock:
            writer = self._writers.get(shard)
            if writer is None:
                opening = Opening(self._keys, self._fetch)
                writer = self._writers[shard] = ShardWriter(shard, self._engine, self._logs, opening)
            return writer


def _line(error: ClickHouseError) -> str:
    return str(error).partition("\n")[0][:500]
