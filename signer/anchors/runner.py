"""Has outside anchors vouch for the anchor log, beside the anchorer. What cannot be reached never holds the log up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from schemas.entry import ZERO
from schemas.errors import (
    AffidavitError,
    LedgerContradiction,
    MalformedInput,
    Refused,
    Unavailable,
    VerificationError,
)
from signer.anchors import Anchor, AnchoredHead, store, token_of
from signer.clock import wall_clock
from signer.ledger import Ledger
from signer.merkle import consistency_ranges
from signer.state import OutsideState
from signer.waiting import pause
from stores.objects import Objects

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
"""Pause after the first failure in a row; it doubles up to the anchor's own interval."""

STOP_SECONDS = 2.0
"""How long a stop waits for an answer that is under way; what it would have vouched for is vouched for later."""


class AnchorRunner:
    """Runs any number of anchors. One instance for an anchorer, on its event loop.

    Attributes:
        contradiction: what an anchor has *proven* against the log, with a head that our key signed and that is another
            or a longer one than ours: the anchor log must not go on.
        token: SHA-256 of the newest evidence that was kept, zero before the first.
    """

    def __init__(self, objects: Objects, anchors: Sequence[Anchor], *, clock: Callable[[], int] = wall_clock) -> None:
        self._objects, self._anchors, self._clock = objects, tuple(anchors), clock
        self._states = [OutsideState(one.kind, one.name, one.interval_seconds) for one in self._anchors]
        self._head: AnchoredHead | None = None
        self._news = asyncio.Event()
        self.contradiction: LedgerContradiction | None = None
        self.token = ZERO
        self.busy = False
        """Whether a call was left under way when :meth:`run` returned."""

    def snapshot(self) -> tuple[OutsideState, ...]:
        """How each does. Safe from any thread."""
        return tuple(self._states)

    def saw(self, head: AnchoredHead) -> None:
        """A new head was published."""
        self._head = head
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Anchor until ``stop`` is set. Raises nothing that an anchor or a store does."""
        if not self._anchors:
            return
        pool = ThreadPoolExecutor(len(self._anchors), thread_name_prefix="anchor")
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(len(self._anchors)):
                    group.create_task(self._follow(number, pool, stop))
        finally:
            pool.shutdown(wait=not self.busy, cancel_futures=True)

    async def _follow(self, number: int, pool: ThreadPoolExecutor, stop: asyncio.Event) -> None:
        interval = self._anchors[number].interval_seconds
        done, backoff = ("", 0), FIRST_BACKOFF_SECONDS
        while not stop.is_set():
            head = await self._newer(done, stop)
            if head is None:
                return
            # If we die here, or anywhere below: the head is attested or not; the next start goes on with a newer one.
            error = await self._ask(number, head, pool, stop)
            if error is None:
                done, backoff = (head.origin, head.size), FIRST_BACKOFF_SECONDS
                await pause(stop, interval)
            else:
                wait = max(backoff, getattr(error, "retry_after", 0.0))
                await pause(stop, min(wait, max(interval, FIRST_BACKOFF_SECONDS)))
                backoff = min(2 * backoff, max(interval, FIRST_BACKOFF_SECONDS))

    async def _newer(self, done: tuple[str, int], stop: asyncio.Event) -> AnchoredHead | None:
        """The newest head once it is not the one that is done; ``None`` when ``stop`` is set first."""
        while not stop.is_set():
            head, news = self._head, self._news
            if head is not None and (head.origin, head.size) != done:
                return head
            waits = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(stop.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        return None

    async def _ask(
        self, number: int, head: AnchoredHead, pool: ThreadPoolExecutor, stop: asyncio.Event
    ) -> AffidavitError | None:
        """Have one anchor vouch for a head, and keep what it gives; what went wrong is noted and returned."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(pool, self._attest, self._anchors[number], head)
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait((work,), timeout=STOP_SECONDS)
            if not work.done():
                self.busy = True
                work.add_done_callback(_forget)
                return None
            token = work.result()
        except AffidavitError as error:
            self._failed(number, error)
            return error
        finally:
            stopped.cancel()
            with suppress(asyncio.CancelledError):
                await stopped
        self.token = token
        before = self._states[number]
        self._note(
            number,
            attestations=before.attestations + 1,
            last_size=head.size,
            last_ms=self._clock(),
            in_a_row=0,
            last_error="",
            last_message="",
        )
        return None

    def _attest(self, anchor: Anchor, head: AnchoredHead) -> bytes:
        """Blocking. Returns the token of what was kept."""

        def proof(old: int) -> list[bytes]:
            return Ledger(self._objects).hashes(head.origin, head.size, consistency_ranges(old, head.size))

        attestation = anchor.attest(head, proof)
        store(self._objects, head, anchor, attestation)
        return token_of(attestation.evidence)

    def _failed(self, number: int, error: AffidavitError) -> None:
        before = self._states[number]
        kept = {"in_a_row": before.in_a_row + 1, "last_error": type(error).__name__, "last_message": str(error)}
        which = f"anchor {before.name} ({before.kind})"
        match error:
            case LedgerContradiction():
                self.contradiction = error
                logger.critical("%s contradicts the log: %s", which, error)
                self._note(number, refusals=before.refusals + 1, **kept)
            case Refused() | MalformedInput() | VerificationError():
                logger.error("%s refuses: %s", which, error)
                self._note(number, refusals=before.refusals + 1, **kept)
            case Unavailable():
                logger.warning("%s: %s; trying again", which, error)
                self._note(number, failures=before.failures + 1, **kept)
            case _:
                raise error

    def _note(self, number: int, **changes: Any) -> None:
        self._states[number] = replace(self._states[number], **changes)

    def close(self) -> None:
        """Give back what the anchors hold."""
        for anchor in self._anchors:
            anchor.close()


def _forget(work: asyncio.Future[bytes]) -> None:
    """Nobody waits for this answer any more."""
    if not work.cancelled():
        work.exception()
