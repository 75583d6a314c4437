"""The object store: tiles, segments, large parts. The Protocol and its contract; implementations beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol


class NewObject(NamedTuple):
    """An object to write. ``retain_until`` (UTC) locks it in COMPLIANCE mode; ``hold`` sets its legal-hold flag."""

    key: str
    data: bytes
    retain_until: datetime | None = None
    hold: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store says of an object: its key, size in bytes, and lock."""

    key: str
    size: int
    retain_until: datetime | None
    hold: bool


class Objects(Protocol):
    """A store of named byte strings, written once.

    Keys are relative paths of ``[A-Za-z0-9._=@+-]`` segments joined by ``/``, without ``.`` and ``..``.

    **Durability.** :meth:`put`, :meth:`create` and :meth:`create_file` return when the objects survive a power cut. A
    crash leaves each object of a call whole or absent, in any combination; it never leaves half an object.

    **Write-once.** :meth:`create` on an existing key succeeds when the bytes are equal (so that a repeat after a crash
    is harmless) and raises :class:`~schemas.errors.LedgerContradiction` when they differ. Only :meth:`put` replaces,
    and only an object that is not locked.

    **Locks.** Retention dates only move later. Deleting a locked or held object raises
    :class:`~schemas.errors.RetentionLocked`.

    **Concurrency.** Any number of threads and processes. All methods block: call them from a thread.

    **Retry.** The store does not retry; :class:`~schemas.errors.Unavailable` says that the caller may.
    """

    def create(self, objects: Sequence[NewObject]) -> None:
        """Write objects that must not exist with other bytes. One call for many: the store may share their fsyncs."""
        ...

    def create_file(self, key: str, file: BinaryIO) -> None:
        """:meth:`create` of one object that is too large for memory: all of ``file``, which can seek. Not locked;
        :meth:`extend_retention` locks it."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or replace the one kind of object that changes (checkpoints), atomically."""
        ...

    def get(self, key: str) -> bytes:
        """The object's bytes.

        Raises:
            KeyError: there is no such object.
        """
        ...

    def open(self, key: str) -> Iterator[bytes]:
        """The object's bytes, in pieces of at most a few MB. Raises when the first piece is asked for, or later.

        Raises:
            KeyError: there is no such object.
        """
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Size and lock, or ``None`` when there is no such object."""
        ...

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key begins with ``prefix``, in ascending key order, behind ``start_after``."""
        ...

    def extend_retention(self, key: str, until: datetime) -> None:
        """Move a retention date later; an earlier date raises :class:`~schemas.errors.RetentionLocked`."""
        ...

    def set_hold(self, key: str, hold: bool) -> None:
        """Set or clear the legal-hold flag, which has no date and beats every retention date."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects that are neither locked nor held; absent keys are no error. Called by the purge alone, and by
        the signer for its staging objects and for partial tiles whose full ones exist."""
        ...
