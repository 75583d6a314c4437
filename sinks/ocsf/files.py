"""Lines in files that others pick up: ``<folder>/<shard>/<UTC date>.jsonl``, appended and synced.

The date is that of the sync, so a file that is older than today's is never written again. A line that a crash tore is
cut off before the next one is written: it was not confirmed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from schemas.ids import Shard
from sinks.contract import Pause, Retry
from sinks.forwarding import Line, Sent

_TAIL = 1 << 16


class FileTransport:
    """Implements :class:`sinks.forwarding.Transport`: what is synced is confirmed.

    Args:
        folder: where the files are.
        shard: has a folder of its own.
        now: UTC.
    """

    def __init__(self, folder: Path, shard: Shard, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._folder = folder / shard.topic / str(shard.partition)
        self._now = now
        self._ticket = 0

    def send(self, lines: Sequence[Line]) -> Sent | Retry | Pause:
        """See :meth:`sinks.forwarding.Transport.send`."""
        path = self._folder / f"{self._now():%Y-%m-%d}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            return Pause(f"cannot write {path}: {error.strerror}: make the folder writable, or set ocsf.directory")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a ghost that writes, too, would be cut off, or cut us off
            end = _whole(descriptor)
            data = b"".join([line.data + b"\n" for line in lines])
            os.ftruncate(descriptor, end)
            written = os.pwrite(descriptor, data, end)
            if written < len(data):
                os.ftruncate(descriptor, end)
                return Retry(f"{path}: {written} of {len(data)} bytes could be written", 5.0)
            os.fsync(descriptor)
        except OSError as error:
            return Retry(f"{path}: {error.strerror}", 5.0)
        finally:
            os.close(descriptor)
        self._ticket += 1
        return Sent(self._ticket)

    def confirmed(self) -> int:
        """See :meth:`sinks.forwarding.Transport.confirmed`."""
        return self._ticket

    def probe(self) -> str:
        """``""`` when the folder is there, or can be made, and can be written to."""
        there = self._folder
        while not there.exists() and there != there.parent:
            there = there.parent
        return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"

    def close(self) -> None:
        """Nothing is kept open."""


def _whole(descriptor: int) -> int:
    """Where the last whole line ends."""
    at = end = os.fstat(descriptor).st_size
    while at > 0:
        start = max(0, at - _TAIL)
        found = os.pread(descriptor, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0 if end else end
