"""What of one shard is under way to Splunk, confirmed, or rejected. Pure; every call says what time it is.

A batch is accepted when each of its records was taken or rejected. The position moves over whole batches, in order,
once every record of them is confirmed. When something was lost, the lane begins again at the position, and what is
confirmed or still under way behind it is not sent a second time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.ids import Offset
from sinks.kept import Mark


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that Splunk took.

    Attributes:
        offsets: of its records.
        sent_at: monotonic seconds.
        deadline: what is not confirmed by then counts as lost; infinite where a search has to say so.
        confirmed, lost: what became of it. Set by whoever learns it, read by the shard's thread.
    """

    offsets: tuple[int, ...]
    sent_at: float
    deadline: float = float("inf")
    confirmed: bool = False
    lost: bool = False


class _Batch(NamedTuple):
    first: int
    mark: Mark


@dataclass(slots=True)
class Flight:
    """One shard.

    Attributes:
        position: everything before it is confirmed or rejected; ``None`` before the shard has begun.
        rejected: reasons by offset, until the batch that they are in is accepted.
        reached: the offset behind the last that this process ever sent.
    """

    position: Offset | None = None
    rejected: dict[int, str] = field(default_factory=dict)
    reached: int = 0
    _batches: deque[_Batch] = field(default_factory=deque)
    _done: set[int] = field(default_factory=set)
    _sent: set[int] = field(default_factory=set)
    _told: set[int] = field(default_factory=set)
    _tickets: list[Ticket] = field(default_factory=list)

    def begin(self, position: Offset) -> None:
        """Begin at ``position``; what is confirmed or under way behind it stays so. What was rejected is not: whether
        its dead letter was written nobody knows here."""
        self.position = position
        self._batches.clear()
        self._done = {offset for offset in self._done - self._told if offset >= position}
        self._told.clear()
        self.rejected = {offset: why for offset, why in self.rejected.items() if offset >= position}

    @property
    def under_way(self) -> int:
        """Records that Splunk took and has not confirmed."""
        return len(self._sent)

    @property
    def tickets(self) -> Sequence[Ticket]:
        """Those that are neither confirmed nor lost."""
        return [ticket for ticket in self._tickets if not (ticket.confirmed or ticket.lost)]

    def lacks(self, offset: int) -> bool:
        """Whether a record must be sent: it is neither under way nor confirmed nor rejected."""
        return offset >= (self.position or 0) and not (
            offset in self._done or offset in self._sent or offset in self.rejected
        )

    def took(self, ticket: Ticket) -> None:
        """Note a request that Splunk took."""
        self.reached = max(self.reached, ticket.offsets[-1] + 1)
        self._sent.update(ticket.offsets)
        self._tickets.append(ticket)

    def accept(self, first: int, mark: Mark) -> tuple[tuple[Offset, str], ...]:
        """Note that the batch from ``first`` up to ``mark`` is accepted; returns what is rejected of it."""
        self._batches.append(_Batch(first, mark))
        gone = sorted(offset for offset in self.rejected if first <= offset < mark.offset)
        self._done.update(gone)
        self._told.update(gone)
        return tuple((Offset(offset), self.rejected.pop(offset)) for offset in gone)

    def settle(self, now: float) -> tuple[Mark | None, bool]:
        """The mark that the position may move to, ``None`` when it may not move; and whether something is lost."""
        lost = self._collect(now)
        mark = None
        begun = self.position or 0
        while self._batches and self._complete(self._batches[0]):
            first, behind = self._batches.popleft()
            mark = behind if behind.offset > begun else mark
            self._done.difference_update(range(first, behind.offset))
            self._told.difference_update(range(first, behind.offset))
            self.position = Offset(max(behind.offset, self.position or 0))
        return mark, lost

    def compare(self, there: Callable[[int], bool], before: float) -> None:
        """Confirm by what a search found: all tickets all of whose records are there. One that is not, and was sent at
        ``before`` or earlier, is lost."""
        for ticket in self.tickets:
            if all(map(there, ticket.offsets)):
                ticket.confirmed = True
            elif ticket.sent_at <= before:
                ticket.lost = True

    def _collect(self, now: float) -> bool:
        kept, lost = [], False
        for ticket in self._tickets:
            if ticket.confirmed:
                self._done.update(ticket.offsets)
                self._sent.difference_update(ticket.offsets)
            elif ticket.lost or now >= ticket.deadline:
                ticket.lost = lost = True
                self._sent.difference_update(ticket.offsets)
            else:
                kept.append(ticket)
        self._tickets = kept
        return lost

    def _complete(self, batch: _Batch) -> bool:
        return all(offset in self._done for offset in range(max(batch.first, self.position or 0), batch.mark.offset))
