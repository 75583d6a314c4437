"""When a log may be closed and which log may follow it: decisions, without a database."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import InvariantError, LedgerContradiction
from stores.control import Lock, Log


def check_lock(recorded: Lock | None, expected: Lock) -> None:
    """Raise :class:`~schemas.errors.LedgerContradiction` unless the lock row is the expected one, by its ``note``."""
    if recorded is None:
        raise LedgerContradiction(f"log {expected.origin}: there is no such log, or its lock row is gone")
    if recorded.note != expected.note:
        raise LedgerContradiction(
            f"log {expected.origin}: the lock is no longer the checkpoint of size {expected.size}: another signer was "
            "here; stop all signers of this log, then start one"
        )


def check_open(origin: str, closed: bool) -> None:
    """Raise :class:`~schemas.errors.LedgerContradiction` when the log is closed."""
    if closed:
        raise LedgerContradiction(
            f"log {origin}: the log is closed and gets no further leaves: stop all signers of this shard, then start "
            "one, which takes up the log that followed"
        )


def check_successor(old: Lock, log: Log, lock: Lock) -> None:
    """Raise :class:`~schemas.errors.InvariantError` when the arguments do not belong together."""
    if log.origin != lock.origin or log.origin == old.origin or log.closed:
        raise InvariantError(f"got log {log.origin} with the lock of {lock.origin} as successor of {old.origin}")


def recorded_first(log: Log, recorded: Sequence[Log]) -> Log | None:
    """What is recorded in place of a log that is to be opened as the first of its shard: a log of that origin, or an
    open log of that shard, which another signer began in another quarter. ``None`` when it is to be opened."""
    there = next((one for one in recorded if one.origin == log.origin), None)
    return there or next((one for one in recorded if one.shard == log.shard and not one.closed), None)


def recorded_successor(old: Lock, log: Log, recorded: Sequence[Log]) -> Log | None:
    """What is recorded under the origin of ``log`` and may stand as its successor; ``None`` when it is to be opened.

    Raises:
        LedgerContradiction: as in :meth:`stores.control.Control.succeed_log`.
    """
    before = next((one for one in recorded if one.origin == old.origin), None)
    there = next((one for one in recorded if one.origin == log.origin), None)
    if before is None:
        raise LedgerContradiction(f"log {old.origin}: there is no such log, or its lock row is gone")
    if before.shard != log.shard:
        raise LedgerContradiction(f"log {old.origin}: it is of shard {before.shard}, its successor of {log.shard}")
    if there is not None:
        if there.shard != log.shard or not before.closed:
            raise LedgerContradiction(
                f"log {old.origin}: its successor {log.origin} was opened before, for shard {there.shard}, and this "
                f"log is {'closed' if before.closed else 'open'}; open the next log under a term of its own"
            )
        return there
    others = [one.origin for one in recorded if one.shard == log.shard and not one.closed and one.origin != old.origin]
    if others:
        raise LedgerContradiction(
            f"log {old.origin}: shard {log.shard} has another open log, {', '.join(others)}: another signer was here; "
            "stop all signers of this shard, then start one"
        )
    return None
