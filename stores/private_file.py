"""Making the file of a SQLite database, so that it holds from the start what only its owner may read."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

_MAKING = threading.Lock()


def create_private_file(path: Path) -> None:
    """Create an empty file of mode 0600 and make its name durable, unless it is there.

    A file that is there is not even opened. SQLite's locks are POSIX locks: when a process closes any descriptor of a
    file, all locks that it has on the file are gone (`How To Corrupt An SQLite Database File
    <https://www.sqlite.org/howtocorrupt.html>`_, 2.2). Another process would then take itself for the last user of the
    database and delete the write-ahead log, into which this one goes on to write.

    Raises:
        OSError: it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nobody in this process has the file open before the descriptor is closed that made it.
    with _MAKING, suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
