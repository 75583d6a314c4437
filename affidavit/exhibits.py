"""Exhibits: what a verifier has at hand of a data directory, running, stopped, or copied. Reads; changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from affidavit.anchoring import copy_stores
from affidavit.layout import Layout
from affidavit.lock import CLICKHOUSE, Running, hold, running
from affidavit.settings import Settings, load
from affidavit.wiring import Wiring
from schemas.errors import ConfigurationError, EvidenceIncomplete, Unavailable
from schemas.evidence import EvidenceSource
from schemas.ids import Shard
from signer.policy import Policy, parse_policy
from signer.trust import Trust, parse_trust
from signer.verify_anchors import FRESHNESS_MS
from signer.verify_ledger import Scope
from signer.verify_records import DELAY_MS
from sinks.bus_evidence import BusEvidence
from stores.objects import Objects
from stores.objects.local import LocalObjects

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from stores.objects.s3_config import S3Config

SourceName = Literal["archive", "clickhouse", "bus"]

SILENT_INTERVALS = 3
"""Anchor intervals without a checkpoint set, after which a log counts as stale."""

SLACK_MS = 60_000
"""Added to the time that the archive gathers, before a record counts as not delivered."""


@dataclass(frozen=True, slots=True)
class StoreOpener:
    """Where an object store is, for a process that is to open it itself."""

    folder: Path | None
    bucket: S3Config | None

    def __call__(self) -> Objects:
        if self.folder is not None:
            return LocalObjects(self.folder)
        from stores.objects.s3 import S3Objects

        assert self.bucket is not None
        return S3Objects(self.bucket)


class Exhibits:
    """The ledger of a directory, the keys that are trusted, and the destinations to compare. A context manager.

    Args:
        layout: of the directory; its ``objects`` alone suffice to verify the ledger, when ``pinned`` is given.
        pinned: a policy from elsewhere, or a file with verifier keys, one a line; without it the directory vouches for
            itself, and whoever can replace its key can replace its ledger.
        settings: of the directory; read from it when left out.
    """

    def __init__(self, layout: Layout, pinned: Path | None, settings: Settings | None = None) -> None:
        self.layout = layout
        self.pinned = pinned
        self._settings = settings or load(layout)
        own = self._settings.objects
        self._folder = None if own.bucket else own.directory or layout.objects
        if self._folder is not None and not self._folder.is_dir():
            raise EvidenceIncomplete(f"there is no ledger in {layout.root}: no folder {self._folder.name}")
        own_policy = layout.policy if layout.policy.is_file() else layout.verifier_key
        self.policy: Policy = read_policy(pinned or own_policy)
        self._stack = ExitStack()

    @property
    def trust(self) -> Trust:
        """Whose signatures count."""
        return self.policy.trust

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def objects(self) -> Objects:
        """The object store."""
        if self._folder is None:
            from affidavit.servers import s3_config
            from stores.objects.s3 import S3Objects

            return S3Objects(s3_config(self._settings))
        store = LocalObjects(self._folder)
        self._stack.callback(store.close)
        return store

    @property
    def opener(self) -> StoreOpener:
        """Opens the object store in another process."""
        from affidavit.servers import s3_config

        return StoreOpener(self._folder, s3_config(self._settings) if self._folder is None else None)

    @cached_property
    def wiring(self) -> Wiring | None:
        """The other stores; ``None`` when there is only a ledger."""
        has_control = self._settings.control.url is not None or self.layout.control.is_file()
        if not has_control or not self.layout.config.is_file():
            return None
        return self._stack.enter_context(Wiring(self.layout, self._settings))

    def shards(self) -> list[Shard]:
        """The shards of the bus that are signed."""
        assert self.wiring is not None
        loop = self._stack.enter_context(_loop())
        return asyncio.run_coroutine_threadsafe(self.wiring.shards(), loop).result()

    def scope(self, source: SourceName | None = None) -> Scope:
        """What there is to compare; ``source`` in addition to the ledger."""
        wiring = self.wiring
        if wiring is None and source is not None:
            raise EvidenceIncomplete(f"{self.layout.root} holds no control database, so no keys to read records with")
        if wiring is None:
            return Scope(policy=self.policy, copies=copy_stores(self._settings))
        silence_ms = int(SILENT_INTERVALS * wiring.settings.signer.anchor_seconds * 1000)
        ledger = Scope(
            control=wiring.control,
            freshness_ms=max(FRESHNESS_MS, silence_ms),
            policy=self.policy,
            copies=copy_stores(wiring.settings),
        )
        if source is None:
            return ledger
        delay_ms = DELAY_MS
        if source == "archive":
            delay_ms = int(wiring.settings.archive.segment_seconds * 1000) + SLACK_MS
        held = self.source(source)
        return replace(ledger, source=held, keys=wiring.keys, fetch=self.objects.open, delay_ms=delay_ms)

    def source(self, name: SourceName) -> EvidenceSource:
        """A destination, as evidence."""
        wiring = self.wiring
        if wiring is None:
            raise EvidenceIncomplete(f"{self.layout.root} holds no control database, so it has no {name} to compare")
        match name:
            case "archive":
                from sinks.archive.evidence import ArchiveEvidence

                return ArchiveEvidence(self.objects)
            case "bus":
                return BusEvidence(wiring.existing_bus, self._stack.enter_context(_loop()))
            case "clickhouse":
                return self._clickhouse(wiring)

    def _clickhouse(self, wiring: Wiring) -> EvidenceSource:
        from sinks.clickhouse.engine import DATABASE
        from sinks.clickhouse.evidence import ClickHouseEvidence

        other = None if self._settings.clickhouse.url else running(self.layout, CLICKHOUSE)
        if self._settings.clickhouse.url:
            client = wiring.engine.client()
        elif other is not None:
            client = self._remote_client(other, DATABASE)
        else:
            if not self.layout.clickhouse.is_dir():
                raise EvidenceIncomplete(f"there is no ClickHouse in {self.layout.root}")
            database = self.layout.clickhouse / "metadata" / DATABASE
            if database.is_dir() and not database.is_symlink():
                raise ConfigurationError(
                    f"{self.layout.clickhouse} was copied without its symbolic links, and no engine opens it: cp -a"
                )
            self._stack.enter_context(hold(self.layout, [CLICKHOUSE], "verify"))
            client = wiring.engine.client()
        self._stack.callback(client.close)
        return ClickHouseEvidence(client)

    def _remote_client(self, other: Running, database: str) -> Client:
        """A client of the running process, over its read-only interface."""
        from clickhouse_connect.driver import create_client
        from clickhouse_connect.driver.exceptions import ClickHouseError

        from affidavit.engine import reader_token

        if not other.url:
            raise Unavailable(f"process {other.pid} (affidavit {other.command}) is still starting: try again")
        address = urlsplit(other.url)
        try:
            return create_client(
                host=address.hostname,
                port=address.port,
                username="affidavit",
                password=reader_token(self.layout),
                database=database,
                autogenerate_session_id=False,
            )
        except ClickHouseError as error:
            raise Unavailable(f"{other.url}: {str(error).partition(chr(10))[0]}") from None


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="verify", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def read_policy(path: Path) -> Policy:
    """A policy, or verifier keys, one a line, which ask for nothing from outside.

    Raises:
        ConfigurationError: the file cannot be read.
        MalformedInput: it is neither.
    """
    try:
        data = path.read_bytes()
        lines = [line.strip() for line in data.decode("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot read the policy {path} ({type(error).__name__}): name it with --policy; affidavit keys show and "
            "affidavit anchors policy print what may stand there"
        ) from None
    if any(line.split(maxsplit=1)[0] in ("log", "quorum") for line in lines if line):
        return parse_policy(data)
    trust = parse_trust([line for line in lines if line and not line.startswith("#")])
    return Policy(trust, digest=hashlib.sha256(data).digest())
