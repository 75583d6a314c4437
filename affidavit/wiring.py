"""Wiring: the only place where stores, roles and their settings become objects."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from affidavit.deployment import control_url, require_initialised
from affidavit.layout import Layout
from affidavit.lock import COLLECTOR, PROXY
from affidavit.settings import Settings
from schemas.errors import ConfigurationError, EvidenceIncomplete
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Shard
from stores.control.database import ControlDatabase

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from affidavit.identity.sync import DirectorySync
    from collector.ingest import Ingest
    from collector.internal import SelfAudit
    from signer.anchors.runner import AnchorRunner
    from signer.note import SigningKey
    from sinks.archive.sink import ArchiveSink
    from sinks.clickhouse.engine import Engine
    from sinks.clickhouse.sink import ClickHouseSink
    from sinks.proof import LogStart
    from stores.bus import Bus
    from stores.bus.spool import SpoolLimits
    from stores.bus.spool.bus import SpoolingBus
    from stores.control import Token
    from stores.keys import Keys
    from stores.keys.database import DatabaseKeys
    from stores.keys.kek import Kek
    from stores.keys.offline import OfflineKeys
    from stores.objects import Objects


class Wiring:
    """The parts of one deployment, each made when it is first asked for and closed together.

    Used as a context manager, from one thread; the parts themselves may go to others.

    Args:
        layout: of an initialised directory.
        settings: of it.
        instance: which of several processes of the same roles this one is; a collector's spool belongs to it.
        roles: what this process runs; nothing for a command.

    Raises:
        ConfigurationError: the directory is not initialised, or the settings contradict what ``init`` fixed.
        Unavailable: the control database cannot be reached.
    """

    def __init__(self, layout: Layout, settings: Settings, instance: int = 1, roles: Sequence[str] = ()) -> None:
        self.layout = require_initialised(layout)
        self.settings = settings
        self.instance, self.roles = instance, tuple(roles)
        self.watch_bus: Callable[[Bus], Bus] = lambda bus: bus
        self.left_behind = False
        """Whether a call that hangs was left behind in some thread: the process must end without waiting for it."""
        self.listening: dict[str, str] = {}
        """Servers beside those that roles announce, by name: where they can be reached."""
        self.control = ControlDatabase(control_url(layout, settings))
        fixed = (self.control.setting("deployment"), self.control.setting("shards"))
        wanted = (settings.deployment.name, str(settings.deployment.shards))
        if fixed != wanted:
            raise ConfigurationError(
                f"{layout.config} says name {wanted[0]!r} and {wanted[1]} shards, but the deployment was made with "
                f"{fixed[0]!r} and {fixed[1]}, which the ledger holds: set them back"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release everything that was made. Not from within an event loop."""
        if "engine" in self.__dict__:
            self.engine.close()
        if "intake" in self.__dict__:
            asyncio.run(self.intake.close())
        if "bus" in self.__dict__:
            asyncio.run(self.bus.close())
        if "offline_keys" in self.__dict__:
            self.offline_keys.close()
        self.control.close()

    @property
    def alone(self) -> bool:
        """Whether the stores admit this process only, so that nobody else takes over what it leaves."""
        return not self.settings.bus.kafka

    @cached_property
    def bus(self) -> Bus:
        """The bus; usable from any number of event loops."""
        return self.watch_bus(self._bus())

    def _bus(self) -> Bus:
        shards = self.settings.deployment.shards
        if self.settings.bus.kafka:
            from affidavit.servers import kafka_bus

            return kafka_bus(self.settings, shards)
        from stores.bus.sqlite import SqliteBus

        return SqliteBus(self.layout.bus, {EVENTS: shards, CONTROL: 1, DEADLETTER: 1})

    @cached_property
    def existing_bus(self) -> Bus:
        """The bus, if there is one: a reader must not make an empty one where it was lost.

        Raises:
            EvidenceIncomplete: there is none.
        """
        if not self.settings.bus.kafka and not self.layout.bus.exists():
            raise EvidenceIncomplete(f"there is no bus in {self.layout.root}")
        return self.bus

    @cached_property
    def intake(self) -> Bus:
        """Where this process puts events: the bus, in a collector over Kafka with a spool before it."""
        return self.spool or self.bus

    @cached_property
    def spool(self) -> SpoolingBus | None:
        """The spool of this process; ``None`` where the bus is a file on the same disk, or nothing is received from
        those who cannot be told to come back."""
        if not self.settings.bus.kafka or not {COLLECTOR, PROXY}.intersection(self.roles):
            return None
        from stores.bus.spool.bus import SpoolingBus
        from stores.bus.spool.store import Spool

        file = Spool(self.layout.spool(self.instance, self._spooling))
        return SpoolingBus(
            self.bus,
            file,
            self.spool_limits,
            keys=self.offline_keys,
            answer_seconds=self.settings.bus.append_seconds + 1,
        )

    @property
    def _spooling(self) -> str:
        """Which role the spool belongs to: instances are numbered within each."""
        return "" if COLLECTOR in self.roles else PROXY

    @property
    def spool_limits(self) -> SpoolLimits:
        """How much the spool may hold."""
        from affidavit.servers import spool_limits

        return spool_limits(self.settings)

    @cached_property
    def scratch(self) -> Path:
        """Where copies of large bodies lie while they pass."""
        self.layout.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.layout.scratch

    @cached_property
    def objects_folder(self) -> Path:
        """The directory of the object store, where it is one."""
        return self.settings.objects.directory or self.layout.objects

    @cached_property
    def objects(self) -> Objects:
        """Ledger, archive and large parts."""
        if self.settings.objects.bucket:
            from affidavit.servers import s3_config
            from stores.objects.s3 import S3Objects

            return S3Objects(s3_config(self.settings))
        from stores.objects.local import LocalObjects

        return LocalObjects(self.objects_folder)

    def check_objects(self) -> None:
        """Look at the bucket, if the object store is one.

        Raises:
            ConfigurationError: it lacks versioning or Object Lock, or has what it must not have; with the remedy.
            Unavailable: it cannot be reached.
        """
        if self.settings.objects.bucket:
            from stores.objects.s3 import S3Objects

            assert isinstance(self.objects, S3Objects)
            self.objects.check()

    @cached_property
    def kek(self) -> Kek:
        """Wraps subject keys."""
        from stores.keys.kek import FileKek

        return FileKek(self.layout.kek)

    @cached_property
    def keys(self) -> DatabaseKeys:
        """Subject keys."""
        from stores.keys.database import DatabaseKeys

        return DatabaseKeys(self.control, self.kek)

    @cached_property
    def offline_keys(self) -> OfflineKeys:
        """Subject keys of a collector that goes on while the control database is away."""
        from stores.keys.offline import OfflineKeys

        return OfflineKeys(self.keys, self.layout.spooled_keys(self.instance, self._spooling))

    @property
    def intake_keys(self) -> Keys:
        """Under which this process seals."""
        return self.offline_keys if self.spool is not None else self.keys

    @cached_property
    def collector_id(self) -> str:
        """Names this process as a collector: another one after every start."""
        return f"{socket.gethostname()}-{secrets.token_hex(4)}"

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key of the ledger."""
        from affidavit.custody import signing_key

        return signing_key(self.layout, self.settings)

    def anchors_outside(self) -> AnchorRunner:
        """What vouches for the anchor log."""
        from affidavit.anchoring import deployment_keys, make_anchors
        from signer.anchors.runner import AnchorRunner

        keys = deployment_keys(self.control, self.signing_key.public_key)
        return AnchorRunner(self.objects, make_anchors(self.settings, keys))

    @cached_property
    def engine(self) -> Engine:
        """ClickHouse: a server, or the embedded engine, which admits one process at a time."""
        if self.settings.clickhouse.url:
            from affidavit.servers import clickhouse_server
            from sinks.clickhouse.server import ServerEngine

            return ServerEngine(clickhouse_server(self.settings))
        from sinks.clickhouse.engine import EmbeddedEngine

        return EmbeddedEngine(self.layout.clickhouse)

    async def shards(self) -> list[Shard]:
        """The shards that are signed, as the bus has them now."""
        bus = self.existing_bus
        return [*await bus.shards(EVENTS), *await bus.shards(CONTROL)]

    def logs(self, shard: Shard) -> Sequence[LogStart]:
        """The logs of a shard that the signer has opened."""
        from signer.genesis import genesis_entry
        from sinks.proof import LogStart

        return [
            LogStart(log.origin, log.start_offset, genesis_entry(log.genesis, log.opened_ms))
            for log in self.control.logs()
            if log.shard == shard
        ]

    def audit(self) -> SelfAudit:
        """Puts what is done with the deployment on its own log; one for each event loop."""
        from collector.internal import SelfAudit

        return SelfAudit(self.intake, self.intake_keys, socket.gethostname())

    def ingest(self) -> Ingest:
        """What receives for this process."""
        from collector.ingest import Ingest
        from collector.large.blobs import Blobs
        from collector.large.spool import Spools

        spools = Spools(self.scratch, self.settings.collector.max_spooled_bytes)
        return Ingest(
            self.intake,
            self.intake_keys,
            collector_id=self.collector_id,
            max_in_flight=self.settings.collector.max_pending_bytes,
            report_gap=self.audit().report_gap,
            spools=spools,
            blobs=Blobs(self.objects, spools),
        )

    def clickhouse_sink(self) -> ClickHouseSink:
        """The sink into ClickHouse."""
        from sinks.clickhouse.sink import ClickHouseSink

        own = self.settings.clickhouse
        return ClickHouseSink(
            self.engine,
            self.keys,
            self.logs,
            fetch=self.objects.open,
            linger=own.linger_seconds,
            migrates=own.migrate,
        )

    def directory_sync(self) -> DirectorySync:
        """Brings the directory of people that is in force into the engine."""
        from affidavit.identity.sync import DirectorySync
        from sinks.clickhouse.directory import DirectoryTables

        return DirectorySync(self.control, self.objects, DirectoryTables(self.engine))

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

    def archive_sink(self) -> ArchiveSink:
        """The sink into the object store."""
        from affidavit.holds.flags import Standing
        from affidavit.holds.opening import now_ms
        from sinks.archive.sink import DEFAULT_LIMITS, ArchiveSink, Locks
        from sinks.contract import Limits

        own = self.settings.archive
        limits = Limits(DEFAULT_LIMITS.max_records, own.segment_bytes, own.segment_seconds)
        standing = Standing(self.control)
        locks = Locks(
            floor_days=lambda scope: own.retain_days,
            hold=lambda scope: standing.may_hold(scope, now_ms()),
        )
        return ArchiveSink(self.objects, limits=limits, locks=locks)
