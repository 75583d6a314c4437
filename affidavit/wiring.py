"""Wiring: the only place where stores, roles and their settings become objects."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from affidavit.deployment import require_initialised
from affidavit.layout import Layout
from affidavit.settings import Settings
from schemas.errors import ConfigurationError, EvidenceIncomplete
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Shard
from stores.control.database import ControlDatabase

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from collector.ingest import Ingest
    from collector.internal import SelfAudit
    from signer.note import SigningKey
    from sinks.archive.sink import ArchiveSink
    from sinks.clickhouse.engine import EmbeddedEngine
    from sinks.clickhouse.proof import LogStart
    from sinks.clickhouse.sink import ClickHouseSink
    from stores.bus.sqlite import SqliteBus
    from stores.control import Token
    from stores.keys import Keys
    from stores.objects.local import LocalObjects


class Wiring:
    """The parts of one data directory, each made when it is first asked for and closed together.

    Used as a context manager, from one thread; the parts themselves may go to others.

    Args:
        layout: of an initialised directory.
        settings: of it.

    Raises:
        ConfigurationError: the directory is not initialised, or the settings contradict what ``init`` fixed.
    """

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self.layout = require_initialised(layout)
        self.settings = settings
        self.control = ControlDatabase(f"sqlite:///{layout.control}")
        fixed = (self.control.setting("deployment"), self.control.setting("shards"))
        wanted = (settings.deployment.name, str(settings.deployment.shards))
        if fixed != wanted:
            raise ConfigurationError(
                f"{layout.config} says name {wanted[0]!r} and {wanted[1]} shards, but the directory was made with "
                f"{fixed[0]!r} and {fixed[1]}, which the ledger holds: set them back"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release everything that was made."""
        if "engine" in self.__dict__:
            self.engine.close()
        if "bus" in self.__dict__:
            asyncio.run(self.bus.close())
        self.control.close()

    @cached_property
    def bus(self) -> SqliteBus:
        """The bus; usable from any number of event loops."""
        from stores.bus.sqlite import SqliteBus

        partitions = {EVENTS: self.settings.deployment.shards, CONTROL: 1, DEADLETTER: 1}
        return SqliteBus(self.layout.bus, partitions)

    @cached_property
    def existing_bus(self) -> SqliteBus:
        """The bus, if there is one: a reader must not make an empty one where it was lost.

        Raises:
            EvidenceIncomplete: there is none.
        """
        if not self.layout.bus.exists():
            raise EvidenceIncomplete(f"there is no bus in {self.layout.root}")
        return self.bus

    @cached_property
    def objects(self) -> LocalObjects:
        """Ledger, archive and large parts."""
        from stores.objects.local import LocalObjects

        return LocalObjects(self.layout.objects)

    @cached_property
    def keys(self) -> Keys:
        """Subject keys."""
        from stores.keys.database import DatabaseKeys
        from stores.keys.kek import FileKek

        return DatabaseKeys(self.control, FileKek(self.layout.kek))

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key of the ledger."""
        from signer.keyfile import load_key

        return load_key(self.layout.signing_key)

    @cached_property
    def engine(self) -> EmbeddedEngine:
        """The embedded ClickHouse. One process at a time."""
        from sinks.clickhouse.engine import EmbeddedEngine

        return EmbeddedEngine(self.layout.clickhouse)

    def shards(self) -> list[Shard]:
        """The shards that are signed."""
        return [*(Shard(EVENTS, at) for at in range(self.settings.deployment.shards)), Shard(CONTROL, 0)]

    def logs(self, shard: Shard) -> Sequence[LogStart]:
        """The logs of a shard that the signer has opened."""
        from signer.genesis import genesis_entry
        from sinks.clickhouse.proof import LogStart

        return [
            LogStart(log.origin, log.start_offset, genesis_entry(log.genesis, log.opened_ms))
            for log in self.control.logs()
            if log.shard == shard
        ]

    def audit(self) -> SelfAudit:
        """Puts what is done with the deployment on its own log; one for each event loop."""
        from collector.internal import SelfAudit

        return SelfAudit(self.bus, self.keys, socket.gethostname())

    def ingest(self) -> Ingest:
        """What receives for this process; each call is another collector instance."""
        from collector.ingest import Ingest

        return Ingest(
            self.bus,
            self.keys,
            collector_id=f"{socket.gethostname()}-{secrets.token_hex(4)}",
            max_in_flight=self.settings.collector.max_pending_bytes,
            report_gap=self.audit().report_gap,
        )

    def clickhouse_sink(self, linger: float | None = None) -> ClickHouseSink:
        """The sink into the embedded engine; ``linger`` in place of the configured one."""
        from sinks.clickhouse.sink import ClickHouseSink

        linger = self.settings.clickhouse.linger_seconds if linger is None else linger
        return ClickHouseSink(self.engine, self.keys, self.logs, fetch=self.objects.get, linger=linger)

    def interface(self, *, audited: bool = True) -> Starlette:
        """The read-only HTTP interface of the embedded engine. The tables must exist; run it inside its lifespan.

        Args:
            audited: whether reads of content go on the log.
        """
        from affidavit.acts import recorded_access
        from collector.auth import Tokens
        from sinks.clickhouse.interface import Access, create_interface

        tokens, audit = Tokens(self.control), self.audit()

        async def authenticate(user: str, secret: str) -> Token:
            return await tokens.admit(f"Bearer {secret}")

        async def record(access: Access) -> None:
            if audited and (act := recorded_access(access)) is not None:
                await audit.record(act)

        own = self.settings.query
        return create_interface(
            self.engine, authenticate, record, max_seconds=own.max_seconds, max_result_bytes=own.max_result_bytes
        )

    def archive_sink(self, linger: float | None = None) -> ArchiveSink:
        """The sink into the object store; ``linger`` in place of the configured one."""
        from sinks.archive.sink import DEFAULT_LIMITS, ArchiveSink, Locks
        from sinks.contract import Limits

        own = self.settings.archive
        limits = Limits(
            DEFAULT_LIMITS.max_records, own.segment_bytes, own.segment_seconds if linger is None else linger
        )
        return ArchiveSink(self.objects, limits=limits, locks=Locks(floor_days=lambda scope: own.retain_days))
