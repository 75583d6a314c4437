"""The contract that every sink meets, and the runner relies on.

A sink is *config* (its pydantic model), *encode* (pure: messages → bytes), *classify* (pure: response → outcome) and
*deliver* (I/O). The runner owns reading, retrying, pausing, dead letters and metrics, so no sink has a retry loop.

1. **The destination says where to resume.** :meth:`Sink.resume` asks the destination, never the bus group.
2. **Exactly once with one writer per shard.** After any crash, ``resume`` followed by ``deliver`` leaves each offset in
   the destination once. ``deliver`` of a batch that is already there, in whole or in part, is harmless.
3. **Order.** Batches of one shard are delivered in offset order, one at a time; shards run side by side.
4. **Classified.** ``deliver`` returns an outcome and raises only :class:`~schemas.errors.InvariantError`.
5. **Nothing is dropped.** A rejected record goes to the dead letter with its shard, offset and reason, and is counted.
   The process may die between ``deliver`` and the letter, so the runner begins with the batch before the position that
   ``resume`` gave, unless the bus remembers that it was dealt with; what is in it is there already, and what was
   rejected is rejected again. A letter may so be written twice; sink, shard and offset say that it is one.
6. **Safe from its own ghost.** Ownership (:meth:`stores.bus.Bus.own`) spreads work and protects nothing: a process that
   was paused in the middle of any call goes on with it long after another has taken its shard, delivered further, and
   perhaps given it back. However the calls of two processes interleave, and whichever of them dies, each offset is
   in the destination once, and neither leaves anything there that the other cannot go on from. Who comes second
   learns it from the destination: it gets ``Delivered`` where the other was faster, ``More`` or ``Retry`` where
   it must fall in with what the other has begun, and nothing that needs a person.

A destination that can only be written to (Splunk, syslog) can say neither where to resume nor that it has something
already. Its sink is :class:`Settling`: the position lies in the control database, moves by compare-and-swap behind what
is durable, and clauses 1, 2 and 6 weaken to *at least once*: nothing is ever missing, what a crash, a lost answer or a
ghost repeats carries the same shard and offset, and a reader counts distinct ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from schemas.ids import Offset, Shard
from stores.bus import Message


@dataclass(frozen=True, slots=True)
class Delivered:
    """All of the batch is durable in the destination, but for the ``rejected`` (offset, reason) pairs."""

    rejected: tuple[tuple[Offset, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing is known to have arrived; send the same batch again after ``after`` seconds (plus back-off). After some
    of these in a row the runner calls ``resume`` first: the destination may have become another's meanwhile, and
    ``resume`` is what makes it ours."""

    reason: str
    after: float = 0.5


@dataclass(frozen=True, slots=True)
class Pause:
    """The destination refuses us altogether (credentials, configuration); a person must act. The runner reports it
    loudly, keeps the position, and probes again after ``after`` seconds."""

    reason: str
    after: float = 30.0


@dataclass(frozen=True, slots=True)
class More:
    """Nothing was written: a batch begun before a crash ends at offset ``until`` (exclusive) and must end there again.
    The runner gathers up to it, past its limits if need be, and delivers the longer batch."""

    until: Offset


@dataclass(frozen=True, slots=True)
class Accepted:
    """Of a :class:`Settling` sink: the destination took all of the batch, but for the ``rejected``, and it may still
    lose it. The runner reads on; the position moves when :meth:`Settling.settle` says so."""

    rejected: tuple[tuple[Offset, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Of a :class:`Settling` sink: nothing was sent, for as much is under way as may be. No error; the same batch is
    handed over again after ``after`` seconds, and what is under way settles meanwhile."""

    reason: str
    after: float = 0.5


Outcome = Delivered | Retry | Pause | More | Accepted | Wait


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the runner gathers before it calls ``deliver``: records, bytes of values, seconds since the first."""

    max_records: int
    max_bytes: int
    linger: float


class Sink(Protocol):
    """A destination. All methods block and are called from one thread per shard."""

    name: str
    topics: tuple[str, ...]
    limits: Limits

    def open(self) -> None:
        """Connect, create or check tables. Raises :class:`~schemas.errors.ConfigurationError` with the fix."""
        ...

    def resume(self, shard: Shard, start: Offset) -> Offset:
        """The first offset of ``shard`` that is not in the destination; ``start`` when it holds nothing of it."""
        ...

    def deliver(self, shard: Shard, batch: Sequence[Message]) -> Outcome:
        """Make the batch (non-empty, contiguous, in order) durable."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Remembering(Protocol):
    """A sink whose destination can tell what it holds, so that a bus that is no longer the same one is found."""

    def last(self, shard: Shard, offset: Offset) -> bytes | None:
        """The commitments of the message at ``offset`` as they are in its ledger entry: those of bus header ``c``, or
        if they were not valid :func:`schemas.entry.invalid_commitments`. ``offset`` is the one before the position
        that ``resume`` gave. ``None`` where the destination does not know: the record was destroyed, or never was
        there.

        Blocks, like all methods of a sink.

        Raises:
            Unavailable: the destination does not answer; the runner tries again.
            VerificationError: the destination contradicts itself.
        """
        ...


@runtime_checkable
class Settling(Protocol):
    """A sink whose ``deliver`` answers with :class:`Accepted`, and whose destination confirms later, or cannot say."""

    def settle(self, shard: Shard) -> Offset | None:
        """Learn what has become durable, and keep the position: everything before the offset that is returned is in
        the destination for good, or was rejected. The runner calls it once the dead letters of what was rejected are
        written, and then every second while something is under way. ``None``: something that was accepted is lost, or
        another process has moved the position; the runner calls ``resume`` and delivers from there.

        Raises:
            Unavailable: the destination or the database does not answer; the runner asks again.
        """
        ...
