"""One sink for destinations that take lines: encode each record, send a batch, keep the position. At least once.

What a destination needs of its own is a :class:`Transport`: it sends, classifies and may confirm later. As everywhere
there is no retry loop here; see :mod:`sinks.contract`.

A batch goes through three steps; after each, what is true if we die there:

1. *Open and encode.* Nothing has changed.
2. *Send.* The destination has some of it, the position stands before it: the next process sends it again.
3. *Settle*: the position moves behind what the transport confirms, once the dead letters are written.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from schemas.errors import Unavailable
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from schemas.parts import CONTENT, METADATA
from sinks.contract import Accepted, Limits, Outcome, Pause, Retry
from sinks.description import Description, describe
from sinks.identity import entry_commitments
from sinks.kept import Cursors, KeptPosition, Mark
from sinks.opening import Fetch, Opening
from stores.bus import Message
from stores.keys import Keys


class Line(NamedTuple):
    """One record as the destination gets it: ``offset`` of it, and the bytes."""

    offset: Offset
    data: bytes


class Sent(NamedTuple):
    """All lines were taken, but for ``rejected`` (offset and reason). What was sent until now has number ``ticket``."""

    ticket: int
    rejected: tuple[tuple[Offset, str], ...] = ()


Encode = Callable[[Description], bytes | str]
"""From what there is to say of a record to its line; text: why it cannot be sent."""


class Transport(Protocol):
    """One shard's way to the destination. From one thread.

    **Durability.** What has a ticket up to :meth:`confirmed` is the destination's. **Repeats.** Lines may come again
    after any failure. **Errors** are classified, and raised only as :class:`~schemas.errors.InvariantError`; making a
    transport opens no connection, and raises :class:`~schemas.errors.ConfigurationError` for files that are wrong.
    """

    def send(self, lines: Sequence[Line]) -> Sent | Retry | Pause:
        """Send lines in order; none of them is known to have arrived unless the answer is :class:`Sent`."""
        ...

    def confirmed(self) -> int | None:
        """The highest ticket that the destination has for good. ``None``: something that was sent is lost."""
        ...

    def close(self) -> None: ...


class _Way(NamedTuple):
    position: KeptPosition
    opening: Opening
    transport: Transport
    due: deque[tuple[int, Mark]]
    settled: list[Offset]


class ForwardingSink:
    """Implements :class:`sinks.contract.Sink`, :class:`~sinks.contract.Settling`, :class:`~sinks.contract.Remembering`.

    Args:
        name: of the sink.
        encode: pure.
        connect: makes the transport of a shard.
        keys: subject keys, to open the parts.
        cursors: where the positions are.
        fetch: from the address of a part that is too large for the bus to its ciphertext.
        limits: of a batch.
        content: whether ``encode`` wants the content.
    """

    topics: tuple[str, ...] = (EVENTS, CONTROL)

    def __init__(
        self,
        name: str,
        encode: Encode,
        connect: Callable[[Shard], Transport],
        keys: Keys,
        cursors: Cursors,
        *,
        fetch: Fetch | None = None,
        limits: Limits,
        content: bool,
    ) -> None:
        self.name = name
        self.limits = limits
        self._encode = encode
        self._connect = connect
        self._keys = keys
        self._cursors = cursors
        self._fetch = fetch
        self._parts = (METADATA, CONTENT) if content else (METADATA,)
        self._lock = threading.Lock()
        self._ways: dict[Shard, _Way] = {}

    def open(self) -> None:
        """Nothing is asked of the destination: a shard waits while it is away, and nothing fails.

        Raises:
            ConfigurationError: files for TLS that are not there, or not what they should be.
        """
        self._connect(Shard(self.topics[0], 0)).close()

    def close(self) -> None:
        """Close the connections."""
        for way in self._ways.values():
            way.transport.close()

    def resume(self, shard: Shard, start: Offset) -> Offset:
        """See :meth:`sinks.contract.Sink.resume`."""
        way = self._way(shard)
        mark = way.position.read()
        way.due.clear()
        way.settled[:] = [mark.offset if mark is not None else start]
        return way.settled[0]

    def last(self, shard: Shard, offset: Offset) -> bytes | None:
        """See :meth:`sinks.contract.Remembering.last`."""
        mark = KeptPosition(self._cursors, self.name, shard).read()
        return mark.last if mark is not None and mark.offset == offset + 1 else None

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        """See :meth:`sinks.contract.Sink.deliver`."""
        way = self._way(shard)
        if not way.settled:
            self.resume(shard, batch[0].offset)
        wanted = [message for message in batch if message.offset >= way.settled[0]]
        if not wanted:
            return Accepted()
        try:
            lines, rejected = self._lines(way, wanted)
        except Unavailable as error:
            return Retry(str(error), error.retry_after)
        outcome = way.transport.send(lines)
        if not isinstance(outcome, Sent):
            return outcome
        last = wanted[-1]
        commitments = entry_commitments(last.commitments, last.key, last.value, last.headers)
        way.due.append((outcome.ticket, Mark(Offset(last.offset + 1), commitments)))
        return Accepted(tuple(sorted((*rejected, *outcome.rejected))))

    def settle(self, shard: Shard) -> Offset | None:
        """See :meth:`sinks.contract.Settling.settle`."""
        way = self._way(shard)
        confirmed = way.transport.confirmed()
        if confirmed is None:
            return None
        mark = None
        for ticket, reached in way.due:
            mark = reached if ticket <= confirmed else mark
        if mark is not None and mark.offset > way.settled[0]:
            if not way.position.move(mark):
                return None
            way.settled[:] = [mark.offset]
        while way.due and way.due[0][0] <= confirmed:
            way.due.popleft()
        return way.settled[0]

    def _lines(self, way: _Way, messages: Sequence[Message]) -> tuple[list[Line], list[tuple[Offset, str]]]:
        records, keys = way.opening.records(messages)
        lines: list[Line] = []
        rejected: list[tuple[Offset, str]] = []
        for message, record in zip(messages, records, strict=True):
            made = self._encode(describe(message, way.opening.open(message, record, keys)))
            if isinstance(made, str):
                rejected.append((message.offset, made))
            else:
                lines.append(Line(message.offset, made))
        return lines, rejected

    def _way(self, shard: Shard) -> _Way:
        with self._lock:
            way = self._ways.get(shard)
            if way is None:
                way = self._ways[shard] = _Way(
                    KeptPosition(self._cursors, self.name, shard),
                    Opening(self._keys, self._fetch, parts=self._parts),
                    self._connect(shard),
                    deque(),
                    [],
                )
            return way
