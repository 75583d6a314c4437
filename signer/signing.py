"""What a signer does in a thread for one batch: judge the messages, sign, publish; and look whether the log is ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

from schemas.errors import EvidenceIncomplete, LedgerContradiction, LockLost, MalformedInput, Unavailable
from signer.batch import entries_of, leading
from signer.bus_reading import KINDS
from signer.bus_time import KnownTimes, steps_back
from signer.ledger import Ledger
from signer.look_back import look_back
from signer.startup import OpenLog, Stores
from stores.bus import Message
from stores.control import Lock

_time_ms = attrgetter("time_ms")


def append(stores: Stores, opened: OpenLog, messages: Sequence[Message]) -> tuple[OpenLog, Lock, int, int]:
    """B to I, in a thread, up to the first message that may not be signed. Returns the log as it is then, its lock row,
    how many messages were signed, and how many of them stepped back in time.

    Raises:
        LedgerContradiction: the first message may not be signed.
    """
    origin, offset = opened.log.origin, opened.next_offset
    times = list(map(_time_ms, messages))
    kind, known = KINDS[opened.log.shard.topic], opened.times
    count = len(messages)
    while True:
        known = _known(stores, origin, known, min(times[:count]))
        try:
            entries = entries_of(messages[:count], kind, offset, known.high_ms)
            break
        except LedgerContradiction:
            count = leading(messages[:count], offset, known.high_ms)
            if not count:
                raise  # what lay before it was signed with the last batch
    steps = steps_back(times[:count], known.high_ms)
    lock = opened.writer.append(entries)
    grown = replace(opened, last_entry=entries[-1], last_ms=times[count - 1], times=known.after(steps.high_ms))
    return grown, lock, count, steps.taken


def _known(stores: Stores, origin: str, known: KnownTimes, lowest_ms: int) -> KnownTimes:
    try:
        return look_back(Ledger(stores.objects), origin, known, lowest_ms)
    except (EvidenceIncomplete, MalformedInput) as error:
        raise LedgerContradiction(f"H5 {origin}: {error}; restore the object store") from None


def check_lock(stores: Stores, opened: OpenLog) -> None:
    """The lock row is what we swapped last, the log is open, and the ledger shows it.

    Raises:
        LockLost: another signer went on, or the log was closed.
        Unavailable: the published checkpoint is another, so the log has to be opened again, which publishes ours.
    """
    lock = opened.writer.lock
    if stores.control.lock(lock.origin) != lock:
        raise LockLost(f"{lock.origin}: another signer went on from size {lock.size}")
    if any(log.origin == lock.origin and log.closed for log in stores.control.logs()):
        raise LockLost(f"{lock.origin}: the log was closed at size {lock.size}")
    if Ledger(stores.objects).published(lock.origin) != lock.note:
        raise Unavailable(
            f"{lock.origin}: size {lock.size} is signed and another checkpoint is published", retry_after=0.0
        )
