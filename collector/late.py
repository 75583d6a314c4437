"""Answers to senders that cannot wait: in time, whatever the bus does; storing goes on behind them.

What holds when the process dies: before the answer, nothing was promised, and the sender does as it does when nobody
answers. After an answer that came before the body was durable, the body is in memory alone until it is stored; that
window opens only while the bus hangs or refuses, and closes with ``patience_seconds``. A body whose window closes with
nothing stored is a :class:`~collector.losses.Loss`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from collector.losses import Loss, Losses
from collector.routes import Answer, Failed, Late, Outcome, Route, Stored, Webhook
from schemas.errors import MalformedInput, Unavailable

log = logging.getLogger(__name__)

MESSAGE_ID = "webhook-id"
"""The header of Standard Webhooks that names a message."""

MIN_PAUSE = 0.05
"""Seconds between two tries to store, also where the bus says that it may be tried at once."""


class Attempt:
    """One body of a route with ``late``, on its way.

    Args:
        late: of the route.
        losses: told if the body is lost, or refused and stored all the same.
        now_micros: microseconds since 1970 UTC.
        clock: seconds, for patience.
    """

    def __init__(
        self,
        late: Late,
        losses: Losses,
        now_micros: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.late = late
        self.webhook: Webhook | None = None
        self.ready = asyncio.Event()
        self.failing = asyncio.Event()
        self._losses, self._now_micros, self._clock = losses, now_micros, clock
        self._loss: Loss | None = None

    def at_hand(self, webhook: Webhook, headers: Mapping[str, str], wire: bytes) -> None:
        """The body is read to its end, and its signature is good: an early answer costs none of it now."""
        self.webhook = webhook
        name, digest = headers.get(MESSAGE_ID, "")[:256], hashlib.sha256(wire).hexdigest()
        self._loss = Loss(name, digest, len(wire), self._now_micros(), webhook.fail_closed)
        self.ready.set()

    async def store(self, store: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Store the body; try again while patience lasts, for its sender will not."""
        began = self._clock()
        while True:
            try:
                return await store()
            except Unavailable as error:
                self.failing.set()
                pause = max(error.retry_after, MIN_PAUSE)
                if self._clock() - began + pause > self.late.patience_seconds:
                    raise
                await asyncio.sleep(pause)

    def settle(self, outcome: Outcome | None, *, answered: bool) -> Outcome | None:
        """The last word: note what was lost. ``answered``: the sender was, before this; ``None``: cut off."""
        stored = isinstance(outcome, Stored)
        # What does not inflate is recorded as unparsed before it is refused.
        unrecorded = not stored and not (isinstance(outcome, Failed) and isinstance(outcome.error, MalformedInput))
        if self.webhook is not None and self._loss is not None:
            refused = answered and stored and self.webhook.fail_closed
            if unrecorded or refused:
                loss = replace(self._loss, stored=stored)
                self._losses.note(self.webhook.tenant, self.webhook.gateway, self.webhook.name, loss)
        return replace(outcome, webhook=self.webhook) if isinstance(outcome, Failed) else outcome


class Latecomers:
    """Bodies that are still being stored, their senders long gone. For one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Outcome]] = set()

    async def answer(self, attempt: Attempt, working: asyncio.Task[Outcome], route: Route, media_type: str) -> Answer:
        """The route's answer if storing ends in time, and the early one if not."""
        await _first(working, attempt.failing, attempt.late.seconds)
        if not working.done() and not attempt.failing.is_set():
            await _first(working, attempt.ready)
        if working.done():
            outcome = attempt.settle(working.result(), answered=False)
            assert outcome is not None
            return route.answer(outcome, media_type)
        assert attempt.webhook is not None
        self._tasks.add(working)
        working.add_done_callback(lambda task: self._ended(attempt, task, route, media_type))
        return attempt.late.answer(attempt.webhook)

    async def finish(self, seconds: float) -> None:
        """Wait for all of them, at the end of the process, but no longer than ``seconds``; the rest are noted as
        losses."""
        if self._tasks:
            _, rest = await asyncio.wait(self._tasks, timeout=seconds)
            for task in rest:
                task.cancel()
            if rest:
                await asyncio.wait(rest)

    def _ended(self, attempt: Attempt, task: asyncio.Task[Outcome], route: Route, media_type: str) -> None:
        """The sender went on without us: what became of its body is counted all the same, and told if it is lost."""
        self._tasks.discard(task)
        outcome = attempt.settle(None if task.cancelled() else task.result(), answered=True)
        if outcome is None:
            log.error("a body for %s was still being stored when the process stopped, and may be lost", route.paths[0])
            return
        route.answer(outcome, media_type)
        if isinstance(outcome, Failed):
            log.error("a body for %s could not be stored after its sender went on: %s", route.paths[0], outcome.error)


async def _first(working: asyncio.Task[Outcome], event: asyncio.Event, seconds: float | None = None) -> None:
    """Return when the task has ended, the event is set, or the time is up."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({working, waiting}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
