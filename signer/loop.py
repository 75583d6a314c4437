"""The signer: follows shards of the bus and signs what they hold, one log per shard.

It keeps no position of its own. Where to go on is the size of the log, so a signer that dies, or that lives twice,
needs nobody to clean up after it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import schemas
from schemas import entry as kinds
from schemas.errors import ConfigurationError, EvidenceIncomplete, LedgerContradiction, Unavailable
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from signer.batch import entries_of
from signer.clock import wall_clock
from signer.note import SigningKey
from signer.origin import check_deployment
from signer.startup import OpenLog, Stores, check_bus, first_genesis, open_shard_log
from stores.bus import Bounds, Bus, Message
from stores.control import Control, Lock
from stores.objects import Objects

logger = logging.getLogger(__name__)

LINGER_SECONDS = 0.25
"""A shard is signed at most once in this time: a checkpoint costs fsyncs, and a second is what we promise."""

MAX_RECORDS = 32_768
"""Largest batch, when the signer is behind: 5 MB of tiles, a tenth of a second of hashing."""

MAX_BYTES = 64 * 1024 * 1024
POLL_SECONDS = 5.0
"""A wait for messages is renewed after this time."""

RECORDED_SCHEMAS = ("metadata", "record")
"""The schemas whose bytes the ledger commits to."""

KINDS = {EVENTS: kinds.EVENT, CONTROL: kinds.CONTROL}


@dataclass(frozen=True, slots=True)
class Signed:
    """Told after each batch: ``records`` more are signed and published, up to time ``last_ms``; the log has ``size``
    leaves. ``seconds`` is how long hashing, signing and publishing took."""

    shard: Shard
    origin: str
    size: int
    records: int
    last_ms: int
    seconds: float


def schema_fingerprints() -> tuple[tuple[str, str], ...]:
    """Name and SHA-256 of the schema files that a genesis document records. The files are never edited."""
    folder = Path(schemas.__file__).parent / "avro"
    paths = sorted(path for name in RECORDED_SCHEMAS for path in folder.glob(f"{name}.v*.avsc"))
    return tuple((path.stem, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths)


class Signer:
    """Signs shards. One instance for a process; the same shard in two processes is harmless: one of them stops.

    Attributes:
        halted: the shards that met a contradiction, with it. They stay halted until a person has decided.
    """

    def __init__(
        self,
        bus: Bus,
        control: Control,
        objects: Objects,
        key: SigningKey,
        deployment: str,
        *,
        clock: Callable[[], int] = wall_clock,
        linger: float = LINGER_SECONDS,
        max_records: int = MAX_RECORDS,
        on_signed: Callable[[Signed], None] = lambda signed: None,
    ) -> None:
        self._bus = bus
        self._stores = Stores(control, objects, key)
        self._deployment = check_deployment(deployment)
        self._clock, self._linger, self._max_records = clock, linger, max_records
        self._on_signed = on_signed
        self.halted: dict[Shard, LedgerContradiction] = {}

    async def run(self, shards: Sequence[Shard], stop: asyncio.Event) -> None:
        """Sign until ``stop`` is set. A shard that halts does not hold up the others.

        Raises:
            LedgerContradiction: at the end, when a shard had halted; at once when all had.
            ConfigurationError: a shard whose topic is not signed.
        """
        unknown = [str(shard) for shard in shards if shard.topic not in KINDS]
        if unknown:
            raise ConfigurationError(f"got shards {', '.join(unknown)}, expected shards of {' or '.join(KINDS)}")
        async with asyncio.TaskGroup() as tasks:
            for shard in shards:
                tasks.create_task(self._sign(shard, stop), name=f"signer {shard}")
        if self.halted:
            raise LedgerContradiction("; ".join(str(error) for error in self.halted.values()))

    async def _sign(self, shard: Shard, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._follow(await self._open(shard), stop)
            except Unavailable as error:
                logger.warning("signer of %s: %s; opening the log again", shard, error)
                await pause(stop, error.retry_after)
            except (LedgerContradiction, EvidenceIncomplete) as error:
                logger.critical("signer of %s halted: %s", shard, error)
                self.halted[shard] = LedgerContradiction(str(error))
                return

    async def _open(self, shard: Shard) -> OpenLog:
        """Open the shard's log, and compare it with the bus."""
        topic_id = await self._bus.identity(shard.topic)
        bounds = await self._bus.bounds(shard)
        now = self._clock()
        first = first_genesis(
            self._stores.key,
            self._deployment,
            shard,
            min(now, await self._first_ms(shard, bounds, now)),
            topic_id=topic_id,
            start_offset=bounds.start,
            schemas=schema_fingerprints(),
        )
        opened = await asyncio.to_thread(open_shard_log, self._stores, self._deployment, shard, first, now)
        bounds = await self._bus.bounds(shard)
        check_bus(opened, topic_id, bounds, await self._last_on_bus(opened, bounds.start, bounds.end))
        logger.info("signer of %s goes on at offset %d of %s", shard, opened.next_offset, opened.log.origin)
        return opened

    async def _first_ms(self, shard: Shard, bounds: Bounds, now: int) -> int:
        """When the shard's first message arrived, ``now`` when it is empty: a log that is opened over messages which
        are there already was opened with the first of them, for along a log time does not go back."""
        if bounds.end == bounds.start:
            return now
        messages = await self._bus.read(shard, bounds.start, max_records=1, max_bytes=1, values=False)
        return messages[0].time_ms

    async def _last_on_bus(self, opened: OpenLog, start: int, end: int) -> list[bytes] | None:
        last = opened.next_offset - 1
        if not max(start, opened.genesis.start_offset) <= last < end:
            return None
        messages = await self._bus.read(
            opened.log.shard, Offset(last), max_records=1, max_bytes=MAX_BYTES, values=False
        )
        return entries_of(messages, KINDS[opened.log.shard.topic], last, 0)

    async def _follow(self, opened: OpenLog, stop: asyncio.Event) -> None:
        """Read, sign, publish; at most once per linger, unless there is more than a batch to do."""
        shard, last_ms, not_before = opened.log.shard, opened.last_ms, 0.0
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            offset = Offset(opened.next_offset)
            if not await self._readable(shard, offset, stop):
                continue
            await pause(stop, not_before - loop.time())
            messages = await self._bus.read(
                shard, offset, max_records=self._max_records, max_bytes=MAX_BYTES, values=False
            )
            # A  If we die here: nothing happened yet.
            started = loop.time()
            lock = await asyncio.to_thread(_append, opened, messages, last_ms)
            # If we die here (H): it is signed and published; only the telling is lost.
            last_ms = messages[-1].time_ms
            self._on_signed(Signed(shard, lock.origin, lock.size, len(messages), last_ms, loop.time() - started))
            not_before = 0.0 if len(messages) >= self._max_records else started + self._linger

    async def _readable(self, shard: Shard, offset: Offset, stop: asyncio.Event) -> bool:
        """Wait for a message, but no longer than until ``stop`` is set."""
        message = asyncio.ensure_future(self._bus.wait(shard, offset, POLL_SECONDS))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((message, stopped), return_when=asyncio.FIRST_COMPLETED)
            return message.done() and message.result()
        finally:
            message.cancel()
            stopped.cancel()
            await asyncio.gather(message, stopped, return_exceptions=True)


def _append(opened: OpenLog, messages: Sequence[Message], last_ms: int) -> Lock:
    """B to I, in a thread."""
    entries = entries_of(messages, KINDS[opened.log.shard.topic], opened.next_offset, last_ms)
    return opened.writer.append(entries)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but no longer than until ``stop`` is set."""
    if seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
