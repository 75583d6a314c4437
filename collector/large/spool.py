"""Bodies on disk: files without a name, which are gone when their process is.

The bound on memory (:class:`collector.ingest.Budget`) does not count what lies here; :class:`Spools` has a bound of
its own. A spool is no promise: nothing is acknowledged because of it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from schemas.errors import Unavailable

MAX_SPOOLED_BYTES = 2 << 30
"""Bytes on disk of bodies in flight and of the parts sealed from them, before senders are told to come back."""

STEP = 1 << 20
"""Bytes that are read or written at a time."""


class Spools:
    """Makes spools in one folder. Any number of threads.

    Args:
        folder: on a disk, not in memory as ``/tmp`` often is; created if absent. ``None``: where the system has its
            temporary files.
        max_bytes: over all spools.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_SPOOLED_BYTES) -> None:
        self._folder, self._max = folder, max_bytes
        self._lock = threading.Lock()
        self.used = 0

    def open(self) -> Spool:
        """An empty spool.

        Raises:
            Unavailable: the folder cannot be written to.
        """
        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            return Spool(self, tempfile.TemporaryFile(dir=self._folder, buffering=0))
        except OSError as error:
            raise _unavailable(error) from error

    def take(self, size: int) -> None:
        """Count ``size`` bytes more.

        Raises:
            Unavailable: that would exceed the bound.
        """
        with self._lock:
            if self.used + size > self._max:
                raise Unavailable(
                    f"got {size} bytes more with {self.used} of large bodies on disk, expected at most {self._max}; "
                    "send again later"
                )
            self.used += size

    def give_back(self, size: int) -> None:
        """What :meth:`take` counted is no longer there."""
        with self._lock:
            self.used -= size


class Spool:
    """Bytes on disk: written once, in order, then read any number of times, from any thread. A context manager."""

    def __init__(self, spools: Spools, file: BinaryIO) -> None:
        self._spools = spools
        self._digest = hashlib.sha256()
        self.file = file
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes at the end.

        Raises:
            Unavailable: the disk is full, or the bound on all spools is reached.
        """
        self._spools.take(len(data))
        self.size += len(data)
        self._digest.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.file.fileno(), view) :]
        except OSError as error:
            raise _unavailable(error) from error

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``, as far as there are any."""
        pieces: list[bytes] = []
        try:
            while start < stop and (piece := os.pread(self.file.fileno(), stop - start, start)):
                pieces.append(piece)
                start += len(piece)
        except OSError as error:
            raise _unavailable(error) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start`` to ``stop``, in pieces of :data:`STEP`."""
        stop = self.size if stop is None else stop
        for at in range(start, stop, STEP):
            yield self.read(at, min(at + STEP, stop))

    def close(self) -> None:
        """The bytes are gone. Closing again does nothing."""
        if not self.file.closed:
            self.file.close()
            self._spools.give_back(self.size)


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"large bodies on disk: {error.strerror or error}")
