"""Evidence: one record as a destination holds it, in the form that the verifier asks of every destination."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple, Protocol

from schemas.ids import Offset, Shard
from schemas.parts import OpenedPart, SealedPart


class Status(Enum):
    """What verification found of one part (DESIGN §5). ``MISSING``, ``MISMATCH`` and ``RESURRECTED`` are failures."""

    OK = "OK"
    ERASED = "ERASED"
    SEALED = "SEALED"
    MISSING = "MISSING"
    MISMATCH = "MISMATCH"
    RESURRECTED = "RESURRECTED"


class Evidence(NamedTuple):
    """One record as found.

    Attributes:
        shard, offset: its address.
        event_id: 16 bytes, as the destination states it.
        record: the exact sealed bytes (bus, archive), or ``b""`` where the destination holds the parts in the clear.
        opened: the parts in the clear with their salts (ClickHouse); empty where ``record`` is given.
        leaf, chain: as the destination states them, 32 bytes each, or ``b""`` where it does not keep them.
        where: names the place for a person, e.g. an object key or a table.
        key, headers: those of a foreign message, which its *invalid* entry commits to; empty for our own.
        commitments: beside ``record`` or ``outside``, as the destination states them: they open it, and prove nothing.
        gone: parts that are there in the clear but for what they repeat of other records, and what is missing of it.
        outside: beside ``opened``, parts that the destination leaves sealed in the object store.
    """

    shard: Shard
    offset: Offset
    event_id: bytes
    record: bytes
    opened: tuple[OpenedPart, ...]
    leaf: bytes
    chain: bytes
    where: str
    key: bytes = b""
    headers: tuple[tuple[str, bytes], ...] = ()
    commitments: bytes = b""
    gone: tuple[tuple[int, str], ...] = ()
    outside: tuple[SealedPart, ...] = ()


class EvidenceSource(Protocol):
    """A destination that the verifier can read: archive, ClickHouse, bus. Blocking."""

    name: str

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        """Everything the destination holds with ``start <= offset < end``, in ascending offset order; an offset that is
        there twice is yielded twice, one that is not there is left out. What cannot be parsed raises
        :class:`~schemas.errors.VerificationError` that names the object or row."""
        ...

    def end(self, shard: Shard) -> Offset:
        """One past the highest offset held, 0 when none: a log that ends before this has lost its tail."""
        ...
