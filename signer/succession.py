"""Closing a log and opening the next one of its shard: one act, safe at every letter.

::

    1  open the old log as any start does: what was signed is published, and agrees with itself
    2  the genesis of the next log names the old log's last checkpoint, and why
    3  C, D  stage the genesis batch, sign its checkpoint
    4  E     one transaction: close the old log, whose lock row must still be the one named, and open the next
    5  F–I   publish the next log's first batch, as any start does

Until 4 nothing happened: the old log is open and goes on. From 4 on it gets no further leaf, for a swap on a closed
log fails; and the next log is there, at size 1, to be published by whoever opens the shard. Of two that succeed the
same log one loses 4, and opens what the other has made.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import LedgerContradiction, LockLost
from schemas.ids import Shard
from signer.genesis import Genesis, Predecessor, parse_genesis
from signer.log import prepare
from signer.note import VerifierKey, format_vkey, parse_vkey
from signer.origin import Origin, next_term, parse_origin
from signer.startup import OpenLog, Stores, reopen, shard_log
from stores.control import Log


@dataclass(frozen=True, slots=True)
class LogChange:
    """A log was opened, and the one before it closed.

    Attributes:
        shard: whose logs.
        opened: origin of the new log; ``start_offset`` its first offset, ``reason`` why.
        closed: origin of the log that it follows, ``""`` when it is the shard's first; ``closed_size`` its leaves.
    """

    shard: Shard
    opened: str
    start_offset: int
    reason: str
    closed: str = ""
    closed_size: int = 0


def change_of(opened: OpenLog) -> LogChange:
    """What the opening of a log changed."""
    genesis, before = opened.genesis, opened.genesis.previous
    change = LogChange(opened.log.shard, genesis.origin, genesis.start_offset, genesis.reason)
    if before is None:
        return change
    return LogChange(change.shard, change.opened, change.start_offset, change.reason, before.origin, before.size)


def succeed(
    stores: Stores,
    deployment: str,
    shard: Shard,
    reason: str,
    now_ms: int,
    *,
    topic_id: str,
    start_offset: int | None = None,
    schemas: tuple[tuple[str, str], ...] = (),
) -> OpenLog:
    """Close the log of a shard and open the next. Blocking.

    The key at hand signs the new log; it may be another than the one that signed the old.

    Args:
        stores: where the logs lie, and the key of the next.
        deployment: its name.
        shard: whose log.
        reason: why, for the genesis document.
        now_ms: milliseconds since 1970 UTC.
        topic_id: identity of the topic that the next log is opened over.
        start_offset: the bus offset of its first leaf; where the old log ended when left out. Anything else is a hole
            or an overlap, which every verification reports from then on.
        schemas: as in the genesis document.

    Raises:
        LockLost: another signer went on with the old log, or closed it.
        LedgerContradiction: the old log does not agree with itself; restore it first. Nothing was changed.
        Unavailable: a store failed; try again.
    """
    log = shard_log(stores.control, deployment, shard)
    if log is None:
        raise LedgerContradiction(f"H1 {shard}: has no log that another could follow; start the signer")
    old = reopen(stores, log, recorded_key(log), None)
    # If we die here (1): the old log is open and whole.
    lock = old.writer.lock
    origin = str(Origin(deployment, shard, next_term(parse_origin(log.origin).term, now_ms)))
    genesis = Genesis(
        origin,
        format_vkey(VerifierKey(origin, stores.key.public_key)),
        now_ms,
        topic_id,
        old.next_offset if start_offset is None else start_offset,
        schemas,
        Predecessor(lock.origin, lock.size, lock.root, lock.chain),
        reason,
    )
    successor, first = prepare(stores.objects, stores.key, shard, genesis)
    # If we die here (2, 3): a checkpoint of size 1 was signed that nobody has seen; the old log is open. The staging
    # object is deleted when a log of that name is opened.
    try:
        recorded = stores.control.succeed_log(lock, successor, first)
    except LedgerContradiction as error:
        raise LockLost(str(error)) from error
    # If we die here (4): the old log is closed for ever, the next is open at size 1, and its staging is durable.
    return reopen(stores, recorded, VerifierKey(recorded.origin, stores.key.public_key), now_ms)


def recorded_key(log: Log) -> VerifierKey:
    """The key that signs a log, by its genesis document."""
    return parse_vkey(parse_genesis(log.genesis).vkey)
