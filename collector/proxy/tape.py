"""Copies of bodies while they pass: in memory while small, in unlinked files when large, all of them within bounds."""

from __future__ import annotations

import logging
import mmap
import tempfile
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

INLINE_BYTES = 1 << 20
"""A larger copy goes to a file."""

SMALL_BYTES = 16 * 1024
"""When the memory of all copies is used up, one that has grown beyond this goes to a file too: at that size a file
descriptor is worth it."""


class TapeStore:
    """What all tapes use together. For one event loop.

    Args:
        folder: for files; ``None``: the system's folder for temporary ones.
        memory_bytes, disk_bytes: bounds over all tapes.
    """

    def __init__(self, folder: Path | None, memory_bytes: int, disk_bytes: int) -> None:
        self._folder = folder
        self.memory_limit, self.disk_limit = memory_bytes, disk_bytes
        self.memory_used = self.disk_used = 0

    def create_file(self) -> IO[bytes]:
        """A file that nobody else sees, and that is gone when it is closed."""
        return tempfile.TemporaryFile(buffering=0, prefix="affidavit-proxy-", dir=self._folder)


class Tape:
    """A copy of one body. Writing never fails and never waits: when there is no room the rest of the body is not kept,
    and ``lost`` says how much that is."""

    __slots__ = ("_file", "_memory", "_store", "lost", "size")

    def __init__(self, store: TapeStore) -> None:
        self._store = store
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0
        self.lost = 0

    def write(self, chunk: bytes) -> None:
        """Add a piece of the body."""
        if self.lost:
            self.lost += len(chunk)
            return
        if self._file is None and not self._must_spill(len(chunk)):
            self._memory += chunk
            self._store.memory_used += len(chunk)
            self.size += len(chunk)
            return
        try:
            self._write_file(chunk)
        except OSError as error:
            log.error("a copy of a body cannot be kept: %s", error)
            self.lost += len(chunk)

    def buffer(self) -> bytes | memoryview:
        """The copy; valid until :meth:`close`."""
        if self._file is None:
            return bytes(self._memory)
        if self.size == 0:
            return b""
        return memoryview(mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ))

    def close(self) -> None:
        """Forget the copy."""
        self._store.memory_used -= len(self._memory)
        self._memory = bytearray()
        if self._file is not None:
            self._store.disk_used -= self.size
            self._file.close()
            self._file = None
        self.size = 0

    def _must_spill(self, more: int) -> bool:
        grown = len(self._memory) + more
        full = self._store.memory_used + more > self._store.memory_limit
        return grown > INLINE_BYTES or (full and grown > SMALL_BYTES)

    def _write_file(self, chunk: bytes) -> None:
        more = len(chunk) + len(self._memory)
        if self._store.disk_used + more > self._store.disk_limit:
            used, limit = self._store.disk_used, self._store.disk_limit
            raise OSError(f"got {more} bytes more with {used} on disk, expected at most {limit}")
        if self._file is None:
            file = self._store.create_file()
            try:
                _write_all(file, self._memory)
            except OSError:
                file.close()
                raise
            self._file = file
            self._store.disk_used += len(self._memory)
            self._store.memory_used -= len(self._memory)
            self._memory = bytearray()
        _write_all(self._file, chunk)
        self._store.disk_used += len(chunk)
        self.size += len(chunk)


def _write_all(file: IO[bytes], data: bytes | bytearray) -> None:
    """A raw file may take less than it is given, when its disk is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
