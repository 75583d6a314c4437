"""Files that are whole and durable, or absent: write aside, fsync, give the name, fsync the folder."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

FSYNC_THREADS = 4
"""fsyncs in flight share journal commits of the file system: 16 files of 8 KB take 3.9 ms instead of 5.9 ms, and more
threads gain nothing for larger files."""

COPY_BYTES = 1 << 20

ORPHAN_SECONDS = 3600.0
"""A temporary file that is older belongs to a process that died."""


class Files:
    """Writes files below one folder. Any number of threads and processes.

    Args:
        aside: folder for unfinished files, on the same file system as what they become.
    """

    def __init__(self, root: Path, aside: Path) -> None:
        self._root, self._aside = root, aside
        self._threads = ThreadPoolExecutor(FSYNC_THREADS, "fsync")
        self._durable: set[Path] = set()
        self._lock = threading.Lock()
        missing = [folder for folder in (aside, root, *root.parents) if not folder.exists()]
        aside.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            fsync_folder(folder.parent)

    def write_aside(self, contents: list[bytes], mode: int) -> list[Path]:
        """Write each of ``contents`` to a temporary file and fsync it; none is left behind when it raises."""
        paths = [self._aside / secrets.token_hex(16) for _ in contents]
        try:
            if len(contents) == 1:
                _write(paths[0], contents[0], mode)
            else:
                list(self._threads.map(_write, paths, contents, [mode] * len(paths)))
        except OSError:
            self.discard(paths)
            raise
        return paths

    def copy_aside(self, file: BinaryIO, mode: int) -> Path:
        """Copy all of ``file`` to a temporary file and fsync it; none is left behind when it raises."""
        path = self._aside / secrets.token_hex(16)
        try:
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as copy:
                file.seek(0)
                shutil.copyfileobj(file, copy, COPY_BYTES)
                copy.flush()
                os.fsync(copy.fileno())
        except OSError:
            self.discard([path])
            raise
        return path

    def discard(self, paths: Iterable[Path]) -> None:
        """Remove temporary files that are no longer needed."""
        for path in paths:
            path.unlink(missing_ok=True)

    def make_folders(self, folders: Iterable[Path]) -> None:
        """Create folders, durably. Each is seen to once by this process, whoever created it: another process may have
        made it a moment ago and not come to its fsync yet."""
        for folder in folders:
            chain = [folder, *folder.parents]
            chain = chain[: chain.index(self._root)]
            with self._lock:
                chain = [link for link in chain if link not in self._durable]
            if not chain:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for link in chain:
                fsync_folder(link.parent)
            with self._lock:
                self._durable.update(chain)

    def fsync_folders(self, folders: Iterable[Path]) -> None:
        """Make the names in each of the folders durable."""
        distinct = sorted(set(folders))
        if len(distinct) == 1:
            fsync_folder(distinct[0])
        else:
            list(self._threads.map(fsync_folder, distinct))

    def replace(self, path: Path, data: bytes, mode: int) -> None:
        """Write or replace one file, atomically and durably."""
        self.make_folders([path.parent])
        (aside,) = self.write_aside([data], mode)
        try:
            aside.replace(path)
        except OSError:
            self.discard([aside])
            raise
        fsync_folder(path.parent)

    def remove_orphans(self) -> int:
        """Remove what died processes left in the temporary folder; return how many files."""
        removed = 0
        for entry in os.scandir(self._aside):
            try:
                if entry.stat().st_mtime < time.time() - ORPHAN_SECONDS:
                    Path(entry).unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its owner finished with it
        return removed

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def fsync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
