"""Disk space kept back, so that a spool on a full disk can still be emptied."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from schemas.errors import ConfigurationError

CHUNK = bytes(1 << 20)


class Reserve:
    """A file that holds on to ``size`` bytes of disk until they are needed, and the lock of whoever owns the spool.

    To remove rows, SQLite first writes a log, and to reuse the log it must write into the file: on a full disk neither
    can be done. Giving this space back lets both happen.

    Raises:
        ConfigurationError: another process drains this spool.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise ConfigurationError(
                f"{path} is locked: another process drains this spool; give each collector one of its own"
            ) from error
        self.whole = False
        self.restore()

    def restore(self) -> bool:
        """Take the space again; false when the disk does not have it."""
        if not self.whole:
            try:
                self._fill()
                self.whole = True
            except OSError:
                self.release()
        return self.whole

    def release(self) -> bool:
        """Give the space back to the disk; false when that had been done before."""
        had, self.whole = self.whole, False
        os.ftruncate(self._file, 0)
        return had

    def close(self) -> None:
        """Let go of the lock; the space stays taken for the next process."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _fill(self) -> None:
        if not self._size:
            return
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, 0, self._size)
            return
        for at in range(0, self._size, len(CHUNK)):  # macOS
            os.pwrite(self._file, CHUNK[: self._size - at], at)
