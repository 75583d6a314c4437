"""A ClickHouse engine whose inserts go wrong on purpose: lost, or written and reported as failed, or half written.

engine = FaultyEngine(database, [Fault.REPORTED, None, Fault.HALF])     # of the first inserts, in order
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from embedded_engine import Database


class Fault(Enum):
    """How an insert goes wrong."""

    LOST = "lost"
    REPORTED = "written, but reported as failed"
    EVENTS_ONLY = "written to events, and not to contents"
    CONTENTS_ONLY = "written to contents, and not to events"
    SWALLOWED = "not written, and reported as done"


class FaultyEngine:
    """Implements :class:`sinks.clickhouse.engine.Engine`."""

    def __init__(
        self,
        inner: Database,
        plan: Iterable[Fault | None] = (),
        poison: Callable[[bytes], int | None] = lambda body: None,
        code: int = 210,
    ) -> None:
        self.database = inner.database
        self.inner = inner
        self.plan = list(plan)
        self.poison = poison
        self.code = code
        self.inserts = 0

    def client(self, settings: Mapping[str, str | int] | None = None, database: str | None = None) -> Client:
        return self.inner.client(settings, database)

    def prepare(self) -> None:
        self.inner.prepare()

    def insert(
        self, client: Client, table: str, body: bytes, settings: Mapping[str, str | int], condition: str = "1"
    ) -> None:
        self.inserts += 1
        fault = self.plan.pop(0) if self.plan else None
        code = self.poison(body)
        if code is not None:
            raise DatabaseError(f"Code: {code}. DB::Exception: poison", code=code)
        if fault is Fault.SWALLOWED:
            return
        if fault in (Fault.EVENTS_ONLY, Fault.CONTENTS_ONLY):
            without = "ingest_contents" if fault is Fault.EVENTS_ONLY else "ingest_events"
            self._half(client, body, settings, condition, without)
        elif fault is not Fault.LOST:
            self.inner.insert(client, table, body, settings, condition)
        if fault is not None:
            raise DatabaseError(f"Code: {self.code}. DB::Exception: {fault.value}", code=self.code)

    def _half(
        self, client: Client, body: bytes, settings: Mapping[str, str | int], condition: str, without: str
    ) -> None:
        """Insert while one of the two views is away, as a crash between them leaves it."""
        client.command(f"DETACH TABLE {without}")
        try:
            self.inner.insert(client, "ingest", body, settings, condition)
        finally:
            client.command(f"ATTACH TABLE {without}")

    def close(self) -> None:
        self.inner.close()
