"""The ledger's view of a batch, computed again here: entry, leaf index, leaf and chain of each message. Pure.

The sink does not wait for the signer: both compute the same bytes from the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.entry import (
    CONTROL,
    EVENT,
    INVALID,
    ZERO,
    chain_next,
    invalid_commitments,
    leaf_hash,
    pack_entry,
    valid_commitments,
)
from schemas.ids import CONTROL as CONTROL_TOPIC
from schemas.ids import Shard
from stores.bus import Message


@dataclass(frozen=True, slots=True)
class LogStart:
    """A log of the ledger: leaf ``i >= 1`` is offset ``start_offset + i - 1`` of its shard. ``genesis`` are the bytes
    of leaf 0, an entry."""

    origin: str
    start_offset: int
    genesis: bytes

    def chain(self) -> bytes:
        """The chain value after leaf 0."""
        return chain_next(0, ZERO, leaf_hash(self.genesis))


Logs = Callable[[Shard], Sequence[LogStart]]
"""The logs of a shard that the ledger has opened, closed ones too, in the order of opening; empty before the signer
opened the first. The signer may close a log and open its successor at any time, at an offset that the sink has passed
already: the ledger is behind the destinations."""


class Proof(NamedTuple):
    """What ties one message to its log."""

    log: LogStart
    leaf_index: int
    entry_kind: int
    commitments: bytes
    leaf: bytes
    chain: bytes


def log_at(logs: Sequence[LogStart], offset: int) -> LogStart | None:
    """The log that covers an offset: the last one that starts at or before it. Of logs that start at the same offset
    (one was closed before it had a record) it is the last in the order of opening, which is that of ``logs``."""
    return max(
        (log for log in reversed(logs) if log.start_offset <= offset), key=lambda log: log.start_offset, default=None
    )


def prove(messages: Sequence[Message], logs: Sequence[LogStart], chain: bytes) -> list[Proof]:
    """The proofs of messages that follow each other, none before the first log. They may go on from one log into its
    successor: where a log starts, the chain begins with its genesis.

    Args:
        messages: not empty.
        logs: of their shard.
        chain: the chain value before the first message.
    """
    proofs: list[Proof] = []
    kind = CONTROL if messages[0].shard.topic == CONTROL_TOPIC else EVENT
    starts = {log.start_offset: log for log in logs}
    log = log_at(logs, messages[0].offset)
    if log is None:
        raise ValueError(f"got offset {messages[0].offset}, expected one that a log covers")
    for message in messages:
        if message.offset in starts:
            log = starts[message.offset]
            chain = log.chain()
        index = message.offset - log.start_offset + 1
        entry_kind, commitments = kind, message.commitments
        if not valid_commitments(commitments):
            entry_kind = INVALID
            commitments = invalid_commitments(message.key, message.value, list(message.headers))
        leaf = leaf_hash(pack_entry(entry_kind, message.offset, message.time_ms, commitments))
        chain = chain_next(index, chain, leaf)
        proofs.append(Proof(log, index, entry_kind, commitments, leaf, chain))
    return proofs


def chain_over(log: LogStart, leaves: Iterable[bytes]) -> bytes:
    """The chain value after the first leaves of a log behind its genesis."""
    chain = log.chain()
    for index, leaf in enumerate(leaves, 1):
        chain = chain_next(index, chain, leaf)
    return chain
