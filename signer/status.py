"""What is signed: the state of every log, for people and for metrics."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import MalformedInput
from schemas.ids import Shard
from signer.checkpoint import parse_checkpoint
from signer.ledger import Ledger
from signer.note import parse_note
from stores.control import Control
from stores.objects import Objects


@dataclass(frozen=True, slots=True)
class LogStatus:
    """One log.

    Attributes:
        origin, shard, term: which.
        size: leaves signed, genesis included; ``published`` of them are in the ledger's checkpoint.
        next_offset: bus offset of the next leaf: everything before it is signed. Lag is the bus's end minus this.
        root: 32 bytes, of the signed tree.
        opened_ms: milliseconds since 1970 UTC.
        closed: no further leaves will come.
    """

    origin: str
    shard: Shard
    term: str
    size: int
    published: int
    next_offset: int
    root: bytes
    opened_ms: int
    closed: bool


def log_statuses(control: Control, objects: Objects) -> list[LogStatus]:
    """The state of every log of the deployment, sorted by shard and opening time. Blocking; verifies nothing."""
    ledger = Ledger(objects)
    found: list[LogStatus] = []
    for log in sorted(control.logs(), key=lambda log: (log.shard, log.opened_ms, log.origin)):
        lock = control.lock(log.origin)
        size, root = (lock.size, lock.root) if lock else (0, b"")
        found.append(
            LogStatus(
                log.origin,
                log.shard,
                log.term,
                size,
                _published_size(ledger.published(log.origin)),
                log.start_offset + max(size - 1, 0),
                root,
                log.opened_ms,
                log.closed,
            )
        )
    return found


def _published_size(note: bytes | None) -> int:
    """The size in a published checkpoint, 0 when there is none that parses."""
    try:
        return parse_checkpoint(parse_note(note).text).size if note is not None else 0
    except MalformedInput:
        return 0
