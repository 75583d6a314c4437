"""The signer: follows shards of the bus and signs what they hold, one log per shard.

It keeps no position of its own. Where to go on is the size of the log, so a signer that dies, or that lives twice,
needs nobody to clean up after it. Many signers share the shards among them (:meth:`stores.bus.Bus.own`); that spreads
the work, and the swap of the lock row protects it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

import schemas
from schemas.errors import ConfigurationError, InvariantError, LedgerContradiction, Unavailable
from schemas.ids import CONTROL, EVENTS, Shard
from signer.anchorer import Anchorer
from signer.bus_reading import KINDS
from signer.clock import wall_clock
from signer.note import SigningKey
from signer.origin import ANCHOR_SHARD, check_deployment
from signer.shard import LINGER_SECONDS, MAX_RECORDS, OnLogs, Pace, ShardSigner, Signed
from signer.startup import Stores
from signer.state import AnchorState, SignerState
from signer.succession import LogChange
from signer.waiting import pause
from stores.bus import Bus
from stores.control import Control
from stores.objects import Objects

__all__ = ["LINGER_SECONDS", "MAX_RECORDS", "LogChange", "Pace", "Signed", "Signer", "schema_fingerprints"]

logger = logging.getLogger(__name__)

GROUP = "signer"
"""In whose name shards are owned: all signers of a bus share them."""

TOPICS = (EVENTS, CONTROL)

ANCHORED_BY = Shard(CONTROL, 0)
"""Whoever owns this shard writes the anchor log."""

RECORDED_SCHEMAS = ("metadata", "record")
"""The schemas whose bytes the ledger commits to."""


def schema_fingerprints() -> tuple[tuple[str, str], ...]:
    """Name and SHA-256 of the schema files that a genesis document records. The files are never edited."""
    folder = Path(schemas.__file__).parent / "avro"
    paths = sorted(path for name in RECORDED_SCHEMAS for path in folder.glob(f"{name}.v*.avsc"))
    return tuple((path.stem, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)


async def _tell_nobody(change: LogChange) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What runs for one shard: it ends soon after ``stop`` is set."""

    task: asyncio.Task[None]
    stop: asyncio.Event


class Signer:
    """Signs the shards that it owns: a :class:`stores.bus.Owner`. One instance for a process.

    Attributes:
        halted: the shards that met a contradiction, with it, and under :data:`~signer.origin.ANCHOR_SHARD` that of the
            anchor log. They stay halted until a person has decided, or until the shard goes to another process.
    """

    def __init__(
        self,
        bus: Bus,
        control: Control,
        objects: Objects,
        key: SigningKey,
        deployment: str,
        *,
        anchorer: Anchorer | None = None,
        clock: Callable[[], int] = wall_clock,
        linger: float = LINGER_SECONDS,
        max_records: int = MAX_RECORDS,
        pace: Pace | None = None,
        on_signed: Callable[[Signed], None] = lambda signed: None,
        on_logs: OnLogs = _tell_nobody,
    ) -> None:
        """``anchorer`` runs for as long as this process owns ``control/0``. ``pace`` takes the place of ``linger`` and
        ``max_records``."""
        self._bus = bus
        self._stores = Stores(control, objects, key)
        self._deployment = check_deployment(deployment)
        self._anchorer, self._clock = anchorer, clock
        self._pace = pace or Pace(linger, max_records)
        self._on_signed, self._on_logs = on_signed, on_logs
        self._schemas = schema_fingerprints()
        self._tasks: asyncio.TaskGroup | None = None
        self._signers: dict[Shard, ShardSigner] = {}
        self._owned: dict[Shard, _Work] = {}
        self._all_halted = asyncio.Event()
        self.halted: dict[Shard, LedgerContradiction] = {}

    def snapshot(self) -> SignerState:
        """How it goes. Safe from any thread."""
        shards = [self._signers[shard].snapshot() for shard in sorted(self._owned.copy()) if shard in self._signers]
        return SignerState(tuple(shards), self._anchorer.snapshot() if self._anchorer else AnchorState())

    async def run(self, stop: asyncio.Event) -> None:
        """Own shards and sign them until ``stop`` is set, with whoever else runs in the group. A shard that halts does
        not hold up the others.

        Raises:
            LedgerContradiction: at the end, when a shard that is still ours had halted.
        """
        async with asyncio.TaskGroup() as self._tasks:
            while not stop.is_set():
                wait = 0.0
                try:
                    await self._bus.own(GROUP, TOPICS, self, stop)
                except Unavailable as error:
                    logger.warning("signer: %s; asking for shards again", error)
                    wait = error.retry_after
                await self._end(list(self._owned))  # what a bus that failed did not give up
                await pause(stop, wait)
        self._raise_halted()

    async def sign(self, shards: Sequence[Shard], stop: asyncio.Event) -> None:
        """Sign these shards until ``stop`` is set, whoever else may sign them.

        Raises:
            LedgerContradiction: at the end, when a shard had halted; at once when all had.
            ConfigurationError: a shard whose topic is not signed.
        """
        _check_topics(shards)
        async with asyncio.TaskGroup() as self._tasks:
            await self.take(shards)
            ends = [asyncio.ensure_future(event.wait()) for event in (stop, self._all_halted)]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for end in ends:
                    end.cancel()
            await self._end(shards)
        self._raise_halted()

    async def take(self, shards: Sequence[Shard]) -> None:
        """See :meth:`stores.bus.Owner.take`.

        Raises:
            ConfigurationError: a shard whose topic is not signed.
        """
        _check_topics(shards)
        for shard in shards:
            if shard not in self._owned:
                signer = self._signers.get(shard) or self._signer(shard)
                self._signers[shard] = signer
                self._start(shard, lambda stop, signer=signer: self._sign(signer, stop))  # type: ignore[misc]
        if self._anchorer is not None and ANCHORED_BY in shards and ANCHOR_SHARD not in self._owned:
            self._start(ANCHOR_SHARD, self._anchor)
        logger.info("signer: took %s", ", ".join(map(str, shards)) or "no shard")

    async def give_up(self, shards: Sequence[Shard]) -> None:
        """See :meth:`stores.bus.Owner.give_up`: each batch in flight is published or abandoned by then."""
        await self._end(shards)
        logger.info("signer: gave up %s", ", ".join(map(str, shards)) or "no shard")

    def _signer(self, shard: Shard) -> ShardSigner:
        return ShardSigner(
            self._bus,
            self._stores,
            self._deployment,
            shard,
            schemas=self._schemas,
            clock=self._clock,
            pace=self._pace,
            on_signed=self._on_signed,
            on_logs=self._on_logs,
        )

    def _start(self, shard: Shard, work: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
        if self._tasks is None:
            raise InvariantError(f"{shard}: taken by a signer that does not run")
        self.halted.pop(shard, None)
        self._all_halted.clear()
        stop = asyncio.Event()
        self._owned[shard] = _Work(self._tasks.create_task(work(stop), name=f"signer {shard}"), stop)

    async def _end(self, shards: Sequence[Shard]) -> None:
        """Stop the work on these shards. The anchor log comes last, so that what was signed last is anchored too."""
        await self._finish([shard for shard in shards if shard != ANCHOR_SHARD])
        if ANCHORED_BY in shards or ANCHOR_SHARD in shards:
            await self._finish([ANCHOR_SHARD])

    async def _finish(self, shards: Sequence[Shard]) -> None:
        working = [self._owned[shard] for shard in shards if shard in self._owned]
        for work in working:
            work.stop.set()
        if working:
            await asyncio.wait([work.task for work in working])
        for shard in shards:
            self._owned.pop(shard, None)

    async def _sign(self, signer: ShardSigner, stop: asyncio.Event) -> None:
        await signer.run(stop)
        if signer.halted is not None:
            self._halt(signer.shard, signer.halted)
            await signer.watch(stop)

    async def _anchor(self, stop: asyncio.Event) -> None:
        assert self._anchorer is not None
        try:
            await self._anchorer.run(stop)
        except LedgerContradiction as error:
            logger.critical("anchor log of %s halted: %s", self._deployment, error)
            self._halt(ANCHOR_SHARD, error)

    def _halt(self, shard: Shard, error: LedgerContradiction) -> None:
        self.halted[shard] = error
        if self.halted.keys() >= self._owned.keys():
            self._all_halted.set()

    def _raise_halted(self) -> None:
        if self.halted:
            raise LedgerContradiction("; ".join(str(error) for error in self.halted.values()))


def _check_topics(shards: Sequence[Shard]) -> None:
    unknown = [str(shard) for shard in shards if shard.topic not in KINDS]
    if unknown:
        raise ConfigurationError(f"got shards {', '.join(unknown)}, expected shards of {' or '.join(KINDS)}")
