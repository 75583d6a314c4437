"""Where a sink stands whose destination cannot say: a cursor in the control database, one for each sink and shard.

The value is the next offset and the commitments of the record before it (:mod:`sinks.identity`), so that a bus that is
no longer the same one is found. It moves by compare-and-swap: of two processes that both believe a shard to be theirs,
one learns that it is not.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from schemas.errors import LockLost, VerificationError
from schemas.ids import Offset, Shard


class Cursors(Protocol):
    """What is needed of :class:`stores.control.Control`."""

    def cursor(self, name: str) -> str: ...

    def move_cursor(self, name: str, old: str, new: str, owner: str) -> None: ...


class Mark(NamedTuple):
    """A position: everything before ``offset`` is durable; ``last`` are the entry commitments of the record before."""

    offset: Offset
    last: bytes


def format_mark(mark: Mark) -> str:
    """``<offset> <commitments in hex>``."""
    return f"{mark.offset} {mark.last.hex()}"


def parse_mark(text: str) -> Mark:
    """Read what :func:`format_mark` wrote.

    Raises:
        VerificationError: something else; somebody changed the database.
    """
    number, _, commitments = text.partition(" ")
    try:
        mark = Mark(Offset(int(number)), bytes.fromhex(commitments))
    except ValueError:
        mark = None
    if mark is None or mark.offset < 0 or format_mark(mark) != text:
        raise VerificationError(f"got {text[:80]!r} for a sink's position, expected <offset> <commitments in hex>")
    return mark


class KeptPosition:
    """The position of one sink in one shard. From one thread.

    Args:
        cursors: the control database.
        sink: name of the sink.
        shard: of the bus.
    """

    def __init__(self, cursors: Cursors, sink: str, shard: Shard) -> None:
        self._cursors = cursors
        self._name = position_name(sink, shard)
        self._text = ""

    def read(self) -> Mark | None:
        """Where the sink stands; ``None`` before its first record.

        Raises:
            Unavailable: the database does not answer.
            VerificationError: it holds something else.
        """
        self._text = self._cursors.cursor(self._name)
        return parse_mark(self._text) if self._text else None

    def move(self, mark: Mark) -> bool:
        """Move from what was read or moved to last. False: another process has moved it; nothing was changed.

        Raises:
            Unavailable: the database does not answer; it may have moved, which the next call finds.
        """
        new = format_mark(mark)
        try:
            self._cursors.move_cursor(self._name, self._text, new, "")
        except LockLost:
            if self._cursors.cursor(self._name) != new:  # else it was our own move, whose answer was lost
                return False
        self._text = new
        return True


def position_name(sink: str, shard: Shard) -> str:
    """The name of the cursor, such as ``sink/splunk/events/0``."""
    return f"sink/{sink}/{shard}"
