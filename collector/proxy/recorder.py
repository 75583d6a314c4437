"""Recording beside the traffic: exchanges that ended wait in a bounded line, and nobody who talks waits for them.

What holds when the process dies: an exchange of a tenant that fails closed has its prompt on record before anything
went upstream; of any other, what waits in the line or is still open is lost, but for prompts of exchanges older than
``early_seconds``, which are on record. What this process gives up is counted, and handed to ``lose``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from collector.auth import INGEST, Tokens, require_scope
from collector.gateways import Received
from collector.gateways.proxy import ProxyFormat
from collector.ingest import SPOOL_BYTES, Ingest
from collector.large.lighten import AtHand
from collector.proxy import ProxyConfig
from collector.proxy.reading import fill, read_recorded
from collector.proxy.recording import Recording, Sender
from schemas.errors import AffidavitError, Unavailable

log = logging.getLogger(__name__)

WORKERS = 2
"""At a time; each holds one exchange in memory, several times over while it is read and sealed."""

LARGE_BYTES = 4 * 1024 * 1024
"""Exchanges beyond it are read and sealed one at a time."""

MAX_WAITING = 10_000
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Loss:
    """An exchange that was passed on and not recorded. ``sha256`` and ``size`` are of its WARC file, ``at`` is when it
    was given up, in microseconds since 1970 UTC."""

    sender: Sender | None
    upstream: str
    exchange_id: str
    sha256: str
    size: int
    at: int
    reason: str


Lose = Callable[[Loss], None]


@dataclass(frozen=True, slots=True)
class RecorderSnapshot:
    """Counts since the start of the process, and what is under way now."""

    recorded: int
    early: int
    lost: int
    open: int
    waiting: int


class Recorder:
    """Makes exchanges durable. For one event loop.

    Args:
        ingest, tokens: where to, and by whom.
        config: see :class:`~collector.proxy.ProxyConfig`.
        lose: told of every exchange that is given up.
        now_micros: microseconds since 1970 UTC.
        clock: seconds, for patience and age.
    """

    def __init__(
        self,
        ingest: Ingest,
        tokens: Tokens,
        config: ProxyConfig,
        lose: Lose,
        *,
        now_micros: Callable[[], int] = lambda: time.time_ns() // 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ingest, self._tokens, self._config = ingest, tokens, config
        self._lose, self._now_micros, self._clock = lose, now_micros, clock
        self._format = ProxyFormat()
        self._open: dict[Recording, float] = {}
        self._line: deque[Recording] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0
        self._large = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._recorded = self._early = self._lost = 0

    def start(self) -> None:
        """Begin to work, on the running loop."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(WORKERS)]
        self._tasks.append(asyncio.create_task(self._watch()))

    async def stop(self, seconds: float) -> None:
        """Record what waits, but no longer than ``seconds``; the rest is lost, and counted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._line:
            self._give_up(self._line.popleft(), "the process stopped")

    def begun(self, recording: Recording) -> None:
        """An exchange began; it is looked after until :meth:`ended`."""
        self._open[recording] = self._clock()

    def ended(self, recording: Recording) -> None:
        """An exchange ended, and is to be recorded. Does not wait."""
        self._open.pop(recording, None)
        if len(self._line) >= MAX_WAITING:
            self._give_up(recording, f"{MAX_WAITING} exchanges are waiting to be recorded")
            return
        self._line.append(recording)
        self._idle.clear()
        self._more.set()

    async def record_now(self, recording: Recording) -> None:
        """Make what is known of an exchange durable; for tenants that fail closed.

        Raises:
            AffidavitError: it is not.
            TimeoutError: it may be, but not within ``store_seconds``.
        """
        async with asyncio.timeout(self._config.store_seconds):
            await self._store(recording)
        recording.recorded_early = True

    def snapshot(self) -> RecorderSnapshot:
        """The counts now."""
        waiting = len(self._line) + self._busy
        return RecorderSnapshot(self._recorded, self._early, self._lost, len(self._open), waiting)

    async def _work(self) -> None:
        while True:
            while not self._line:
                self._more.clear()
                await self._more.wait()
            recording = self._line.popleft()
            self._busy += 1
            try:
                await self._record(recording)
            finally:
                self._busy -= 1
                if not self._line and not self._busy:
                    self._idle.set()

    async def _record(self, recording: Recording) -> None:
        """Record an exchange that ended; try again while patience lasts."""
        began = self._clock()
        try:
            while True:
                try:
                    await self._store(recording)
                    recording.close()
                    self._recorded += 1
                    return
                except Unavailable as error:
                    pause = max(error.retry_after, 0.05)
                    if self._clock() - began + pause > self._config.patience_seconds:
                        self._give_up(recording, str(error))
                        return
                    await asyncio.sleep(pause)
        except asyncio.CancelledError:
            self._give_up(recording, "the process stopped")
            raise
        except AffidavitError as error:
            self._give_up(recording, str(error))
        except Exception as error:
            log.exception("exchange %s could not be recorded", recording.exchange_id)
            self._give_up(recording, f"internal error: {type(error).__name__}")

    async def _store(self, recording: Recording, *, early: bool = False) -> None:
        sender = recording.sender or await self._admitted(recording)
        received = Received(
            tenant=sender.tenant,
            gateway=sender.gateway,
            token_id=sender.token_id,
            receiver="proxy",
            peer_ip=recording.peer_ip,
            media_type="application/warc",
            content_encoding="",
            received_at=self._now_micros(),
            format=self._format.name,
            name=recording.exchange_id,
        )
        if recording.size < LARGE_BYTES:
            await self._accept(recording, received)
            return
        async with self._large:
            if early and recording.end != "open":
                return  # it ended while this waited, and is recorded whole
            await self._accept(recording, received)

    async def _accept(self, recording: Recording, received: Received) -> None:
        """Read on a thread, however small it is: the loop passes bytes that somebody waits for."""
        if recording.size < SPOOL_BYTES:
            file = await self._ingest.in_thread(lambda: AtHand(recording.warc()))
            reading, known = await self._ingest.in_thread(lambda: read_recorded(file, self._format, received))
            await self._ingest.accept(reading, known)
            return
        with self._ingest.spools.open() as spool:
            await self._ingest.beside(lambda: fill(spool, recording))
            reading, known = await self._ingest.beside(lambda: read_recorded(spool, self._format, received))
            await self._ingest.accept(reading, known)

    async def _admitted(self, recording: Recording) -> Sender:
        """The sender of an exchange that was passed on while its token could not be checked."""
        token = await self._tokens.admit(recording.authorization)
        require_scope(token, INGEST)
        recording.sender = Sender(token.tenant, token.gateway, token.token_id)
        return recording.sender

    async def _watch(self) -> None:
        """Record prompts of exchanges that take long, each once."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._config.early_seconds / 4))
            due = self._clock() - self._config.early_seconds
            for recording in [one for one, since in self._open.items() if since <= due]:
                if recording.recorded_early or not recording.request_complete:
                    continue
                recording.recorded_early = True
                try:
                    await self._store(recording, early=True)
                    self._early += 1
                except (AffidavitError, OSError, ValueError) as error:
                    log.warning("prompt of exchange %s is not on record yet: %s", recording.exchange_id, error)

    def _give_up(self, recording: Recording, reason: str) -> None:
        self._lost += 1
        log.error("exchange %s was passed on and not recorded: %s", recording.exchange_id, reason)
        try:
            body = recording.warc()
            digest, size = hashlib.sha256(body).hexdigest(), len(body)
        except (OSError, ValueError):
            digest, size = "", recording.size
        sender, upstream = recording.sender, recording.upstream
        recording.close()
        self._lose(Loss(sender, upstream, recording.exchange_id, digest, size, self._now_micros(), reason))
