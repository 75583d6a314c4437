"""The anchor log: every few seconds, also when nothing happens, one checkpoint set over all logs of the deployment.

By itself it bounds how old the newest state of every log is, and contradicts whoever shortens one. Evidence from
outside (time stamps, witnesses, locked copies: :mod:`signer.anchors`) hangs on this one log, so that its cost does not
grow with the shards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from schemas.entry import ZERO
from schemas.errors import EvidenceIncomplete, LedgerContradiction, LockLost, MalformedInput, Unavailable
from signer.anchors import AnchoredHead
from signer.anchors.runner import AnchorRunner
from signer.checkpoint_set import CheckpointSet, LogHead, decode_set, encode_sets, followed, without_closed
from signer.clock import wall_clock
from signer.ledger import Ledger
from signer.losses import LIMIT, Losses
from signer.note import SigningKey
from signer.origin import (
    ANCHOR_SHARD,
    check_deployment,
    is_over,
    parse_origin,
    quarter_reason,
)
from signer.startup import OpenLog, Stores, first_genesis, open_shard_log
from signer.state import AnchorState
from signer.succession import succeed
from signer.waiting import pause
from stores.control import Control
from stores.objects import Objects

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
SETTLE_SECONDS = 0.05
SETTLE_TRIES = 20
"""A log is caught between its lock row and its published checkpoint for some milliseconds of each batch: look again."""

FIRST_LOG_SECONDS = 0.2
LOST_SECONDS = 5.0
"""How long to wait, after a lost swap, before looking again: by then a process that was paused knows what it owns."""

LAST_TRIES = 5
"""How often the last set is tried, on stop, while a store fails."""


class LogOutgrown(Exception):
    """The anchor log was closed, and its successor is to be opened. Stays within this module."""


class Anchorer:
    """Appends checkpoint sets. Of all processes of a deployment the one that owns ``control/0`` runs it
    (:class:`signer.loop.Signer` does so); of two, one loses the swap, and looks again after a pause.

    It takes a set as soon as it runs, so that a hand-over leaves no silence. Stop it after the signers: on stop it
    takes one last set, so that what was signed last is anchored too.
    """

    def __init__(
        self,
        control: Control,
        objects: Objects,
        key: SigningKey,
        deployment: str,
        *,
        clock: Callable[[], int] = wall_clock,
        interval: float = INTERVAL_SECONDS,
        lost_seconds: float = LOST_SECONDS,
        outside: AnchorRunner | None = None,
    ) -> None:
        """``outside`` runs for as long as this does, and hears of every set."""
        self._stores = Stores(control, objects, key)
        self._deployment = check_deployment(deployment)
        self._clock, self._interval, self._lost_seconds = clock, interval, lost_seconds
        self._outside = outside or AnchorRunner(objects, ())
        self._state = AnchorState()

    def snapshot(self) -> AnchorState:
        """How it goes. Safe from any thread."""
        state = self._state
        age = max(0, self._clock() - state.last_ms) / 1000 if state.last_ms else 0.0
        return replace(state, age_seconds=age, outside=self._outside.snapshot())

    async def run(self, stop: asyncio.Event) -> None:
        """Anchor until ``stop`` is set.

        Raises:
            LedgerContradiction: the anchor log contradicts itself, or what an anchor has seen of it, or a log it speaks
                of has become shorter or is gone.
            LockLost: time after time another anchorer was here, while this one was not told to stop.
        """
        self._note(owned=True)
        enough = asyncio.Event()
        outside = asyncio.create_task(self._outside.run(enough), name="anchors outside")
        try:
            try:
                await self._run(stop)
            finally:
                enough.set()
                await outside
        except LedgerContradiction as error:
            self._note(state="halted", last_error=type(error).__name__, last_message=str(error))
            raise
        finally:
            self._note(owned=False)

    async def _run(self, stop: asyncio.Event) -> None:
        tries, losses = LAST_TRIES, Losses()
        while tries:
            self._note(state="opening")
            try:
                await self._anchor(stop)
                return
            except LogOutgrown:
                logger.info("anchor log of %s: its quarter is over; opening the next", self._deployment)
            except Unavailable as error:
                logger.warning("anchor log of %s: %s; opening it again", self._deployment, error)
                self._note(last_error=type(error).__name__, last_message=str(error))
                tries -= stop.is_set()
                await pause(stop, error.retry_after)
            except LockLost as error:
                await self._lost(error, losses, stop)
                if stop.is_set():
                    return

    async def _anchor(self, stop: asyncio.Event) -> None:
        """Take sets until ``stop`` is set, and a last one then."""
        opened = await asyncio.to_thread(self._open)
        previous = await asyncio.to_thread(last_known_set, Ledger(self._stores.objects), opened)
        self._note(state="signing", origin=opened.log.origin, size=opened.writer.lock.size)
        while True:
            last = stop.is_set()
            previous, wait = await self._tick(opened, previous)
            if last:
                return
            await pause(stop, wait)

    async def _lost(self, error: LockLost, losses: Losses, stop: asyncio.Event) -> None:
        """Let go. If ``control/0`` is another's by now, ``stop`` is set before the pause is over."""
        self._note(
            state="lost",
            swap_losses=self._state.swap_losses + 1,
            last_error=type(error).__name__,
            last_message=str(error),
        )
        if losses.add(asyncio.get_running_loop().time()):
            raise LockLost(
                f"anchor log of {self._deployment}: lost the swap {LIMIT} times within ten minutes while this process "
                "owned it: another process anchors that is not of this group; nothing is damaged; find it and stop "
                f"it, then start this one again ({error})"
            )
        logger.warning("anchor log of %s: %s; letting go of it", self._deployment, error)
        await pause(stop, self._lost_seconds)

    async def _tick(self, opened: OpenLog, previous: CheckpointSet | None) -> tuple[CheckpointSet | None, float]:
        """Take one set, unless no log exists yet; return it, and how long to wait for the next."""
        heads = await self._heads(previous)
        if not heads:
            return previous, FIRST_LOG_SECONDS
        if is_over(parse_origin(opened.log.origin).term, self._clock()):
            await asyncio.to_thread(self._roll_over, opened, previous)
            raise LogOutgrown
        if self._outside.contradiction is not None:
            raise self._outside.contradiction
        check_progress(previous, heads)
        sequence = opened.genesis.start_offset if previous is None else previous.sequence + 1
        time_ms = max(self._clock(), opened.last_ms, previous.time_ms if previous else 0)
        token = self._outside.token if self._outside.token != ZERO or previous is None else previous.token
        entries = encode_sets(sequence, time_ms, heads, token)
        await asyncio.to_thread(opened.writer.append, entries)
        # If we die here: the set is signed and published. The next start finds it as the last one and goes on behind.
        self._outside.saw(AnchoredHead(opened.log.origin, opened.writer.lock.size, opened.writer.lock.note))
        self._note(size=opened.writer.lock.size, logs=len(heads), sets=self._state.sets + 1, last_ms=time_ms)
        return CheckpointSet(sequence, time_ms, tuple(heads), token), self._interval

    async def _heads(self, previous: CheckpointSet | None) -> list[LogHead]:
        """How far each log had come at some moment after the call began, each with what a reader can see.

        A log whose signer is caught between swap and checkpoint time after time is stated as in the set before.
        """
        heads: dict[str, LogHead | None] = {}
        for _ in range(SETTLE_TRIES):
            heads |= await asyncio.to_thread(self._published, [name for name, head in heads.items() if head is None])
            if all(heads.values()):
                break
            await asyncio.sleep(SETTLE_SECONDS)
        before = {head.origin: head for head in previous.heads} if previous else {}
        known = [head or before.get(name) for name, head in heads.items()]
        return sorted(without_closed([head for head in known if head is not None]))

    def _published(self, wanted: list[str]) -> dict[str, LogHead | None]:
        """The heads of the logs ``wanted`` (of all when empty); ``None`` where lock row and ledger differ just now."""
        ledger = Ledger(self._stores.objects)
        heads: dict[str, LogHead | None] = {}
        for log in self._stores.control.logs():
            if log.shard == ANCHOR_SHARD or (wanted and log.origin not in wanted):
                continue
            # Closed logs are looked at, too: until the next one is published, they stay in the set.
            lock = self._stores.control.lock(log.origin)
            if lock is None:
                raise LedgerContradiction(
                    f"{log.origin}: the log is recorded and its lock row is gone; restore the row"
                )
            same = ledger.published(log.origin) == lock.note
            heads[log.origin] = LogHead(lock.origin, lock.size, lock.root, lock.chain) if same else None
        return heads

    def _roll_over(self, opened: OpenLog, previous: CheckpointSet | None) -> None:
        """Close the anchor log at the end of its quarter, and open the next, whose numbers go on."""
        now = self._clock()
        start = opened.genesis.start_offset if previous is None else previous.sequence + 1
        reason = quarter_reason(parse_origin(opened.log.origin).term, now)
        succeed(self._stores, self._deployment, ANCHOR_SHARD, reason, now, topic_id="", start_offset=start)

    def _note(self, **changes: object) -> None:
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]

    def _open(self) -> OpenLog:
        now = self._clock()
        first = first_genesis(self._stores.key, self._deployment, ANCHOR_SHARD, now)
        return open_shard_log(self._stores, self._deployment, ANCHOR_SHARD, first, now)


def last_known_set(ledger: Ledger, opened: OpenLog) -> CheckpointSet | None:
    """The last set of the deployment: of the anchor log, or of the one that it follows while it has none itself."""
    found = last_set(ledger, opened.log.origin, opened.writer.lock.size)
    previous = opened.genesis.previous
    if found is None and previous is not None:
        return last_set(ledger, previous.origin, previous.size)
    return found


def last_set(ledger: Ledger, origin: str, size: int) -> CheckpointSet | None:
    """The last set of an anchor log of ``size`` leaves, put together from all entries that carry its number; ``None``
    before the first."""
    heads: list[LogHead] = []
    last: CheckpointSet | None = None
    for index in range(size - 1, 0, -1):
        try:
            entry = decode_set(ledger.entry(origin, size, index))
        except (EvidenceIncomplete, MalformedInput) as error:
            raise LedgerContradiction(
                f"H5 {origin}: entry {index} is not a checkpoint set: {error}; restore the object store"
            ) from None
        if last is not None and entry.sequence != last.sequence:
            break
        last = last or entry
        heads += entry.heads
    return last and CheckpointSet(last.sequence, last.time_ms, tuple(sorted(heads)), last.token)


def check_progress(previous: CheckpointSet | None, heads: list[LogHead]) -> None:
    """No log may leave the set before another follows it, shrink, or change without growing.

    Raises:
        LedgerContradiction: one did.
    """
    now = {head.origin: head for head in heads}
    for before in previous.heads if previous else ():
        after = now.get(before.origin)
        if after is None and followed(before.origin, now):
            continue
        if after is None:
            raise LedgerContradiction(
                f"{before.origin}: the last checkpoint set lists it at size {before.size}, and the control database "
                "does not know it: restore the database"
            )
        if after.size < before.size or (after.size == before.size and after != before):
            raise LedgerContradiction(
                f"{before.origin}: got size {after.size}, and the last checkpoint set has size {before.size} with root "
                f"{before.root.hex()}: the log was shortened or rewritten; restore it, never anchor over it"
            )
