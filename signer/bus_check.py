"""H7: what the bus must agree to before a log may grow, at its opening and while it is signed. Pure."""

from __future__ import annotations

from schemas.errors import LedgerContradiction
from signer.startup import OpenLog
from stores.bus import Bounds


def check_topic(opened: OpenLog, topic_id: str) -> None:
    """H7: the topic is the one that the log was opened over.

    Raises:
        LedgerContradiction: it has another identity.
    """
    if topic_id != opened.genesis.topic_id:
        raise LedgerContradiction(
            f"H7 {opened.log.origin}: got topic {topic_id}, expected {opened.genesis.topic_id}: the topic was deleted "
            "and created again; if that was meant, close this log and open the next"
        )


def check_bus(opened: OpenLog, bounds: Bounds, last: bytes | None) -> None:
    """H7: the bus still holds (or has let go of) what was signed, and follows on.

    Args:
        opened: the log.
        bounds: of the shard, now.
        last: the last signed entry as computed from the bus now; ``None`` when it can no longer be read.

    Raises:
        LedgerContradiction: it does not.
    """
    name = opened.log.origin
    if bounds.end < opened.next_offset:
        raise LedgerContradiction(
            f"H7 {name}: the bus ends at offset {bounds.end}, expected at least {opened.next_offset}: it has lost "
            "messages that were signed; restore the bus, or close this log and open the next to put the loss on record"
        )
    if bounds.start > opened.next_offset:
        raise LedgerContradiction(
            f"H7 {name}: the bus begins at offset {bounds.start}, expected at most {opened.next_offset}: retention "
            "took messages that were never signed; close this log and open the next to put the loss on record"
        )
    if last is not None and last != opened.last_entry:
        raise LedgerContradiction(
            f"H7 {name}: the message at offset {opened.next_offset - 1} is not the one that was signed: the bus was "
            "restored from a copy or written to by hand; compare it with the archive before anything else"
        )
