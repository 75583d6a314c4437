"""The object store in a local folder: each object a file at its key, its lock in a file beside.

::

    root/ledger/…/tile/0/000        the object ledger/…/tile/0/000
    root/~locks/archive/….avro      its retention date and hold flag, if it has any
    root/~aside/                    files that are not finished
    root/~exclusive                 locked while locks are read and changed

``~`` is in no key, so no object can have such a name. Locks are files and not extended attributes because they must
survive ``cp -r``. Whoever can write to the folder can still destroy an object: the store keeps its own side of
write-once, the ledger shows who did not, and only S3 Object Lock prevents it.
"""

from __future__ import annotations

import fcntl
import filecmp
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from schemas.errors import LedgerContradiction, Refused, RetentionLocked, Unavailable
from stores.objects import NewObject, ObjectInfo
from stores.objects.files import COPY_BYTES, Files
from stores.objects.keys import check_date, check_key, is_segment
from stores.objects.lock import FREE, ObjectLock, format_lock, parse_lock

OBJECT_MODE = 0o440
"""Read-only, so that nobody changes an object by accident."""

CHANGING_MODE = 0o640


class LocalObjects:
    """A :class:`stores.objects.Objects` in a folder.

    Args:
        root: the folder; created, with its parents, if absent.
        clock: decides whether a retention date has passed.
    """

    def __init__(self, root: Path | str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._root, self._clock = Path(root).absolute(), clock
        self._locks = self._root / "~locks"
        with _translated(self._root):
            self._files = Files(self._root, self._root / "~aside")
            self._locks.mkdir(exist_ok=True)
            self._files.remove_orphans()

    def create(self, objects: Sequence[NewObject]) -> None:
        """See :meth:`stores.objects.Objects.create`. All files are written aside in a few threads, then get their
        names, then each folder is fsynced once."""
        if not objects:
            return
        paths = [self._path(new.key) for new in objects]
        with _translated(self._root):
            self._files.make_folders({path.parent for path in paths})
            self._add_locks(objects)
            # If we die from here on, there are locks without an object: whoever creates it later inherits them.
            asides = self._files.write_aside([new.data for new in objects], OBJECT_MODE)
            # If we die here, all bytes are durable under names that nobody sees: orphans, removed an hour later.
            try:
                for new, aside, path in zip(objects, asides, paths, strict=True):
                    _link(new.key, aside, path)
            finally:
                self._files.discard(asides)
                # If we die before this is through, some names are there after the crash; a repeat adds the rest.
                self._files.fsync_folders(path.parent for path in paths)

    def create_file(self, key: str, file: BinaryIO) -> None:
        """See :meth:`stores.objects.Objects.create_file`."""
        path = self._path(key)
        with _translated(self._root):
            self._files.make_folders([path.parent])
            aside = self._files.copy_aside(file, OBJECT_MODE)
            # If we die here, the bytes are durable under a name that nobody sees: an orphan, removed an hour later.
            try:
                _link(key, aside, path)
            finally:
                self._files.discard([aside])
                self._files.fsync_folders([path.parent])

    def put(self, key: str, data: bytes) -> None:
        """See :meth:`stores.objects.Objects.put`."""
        path = self._path(key)
        with _translated(self._root), self._exclusive():
            self._lock(key).refuse(key, self._clock())
            self._files.replace(path, data, CHANGING_MODE)

    def get(self, key: str) -> bytes:
        """See :meth:`stores.objects.Objects.get`."""
        path = self._path(key)
        with _translated(self._root):
            try:
                return path.read_bytes()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise KeyError(key) from None

    def open(self, key: str) -> Iterator[bytes]:
        """See :meth:`stores.objects.Objects.open`."""
        path = self._path(key)
        with _translated(self._root):
            try:
                file = path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise KeyError(key) from None
            with file:
                while piece := file.read(COPY_BYTES):
                    yield piece

    def head(self, key: str) -> ObjectInfo | None:
        """See :meth:`stores.objects.Objects.head`."""
        path = self._path(key)
        with _translated(self._root):
            try:
                size = path.stat().st_size if path.is_file() else None
            except (FileNotFoundError, NotADirectoryError):
                size = None
            return None if size is None else ObjectInfo(key, size, *self._lock(key))

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """See :meth:`stores.objects.Objects.list`. Holds the names of one folder per level in memory."""
        with _translated(self._root):
            for key, size in _walk(self._root, "", prefix, start_after):
                yield ObjectInfo(key, size, *self._lock(key))

    def extend_retention(self, key: str, until: datetime) -> None:
        """See :meth:`stores.objects.Objects.extend_retention`.

        Raises:
            KeyError: there is no such object.
        """
        check_date(until)
        with _translated(self._root), self._exclusive():
            lock = self._existing_lock(key)
            if lock.retain_until is not None and until < lock.retain_until:
                raise RetentionLocked(
                    f"object {key}: got retention date {until.isoformat()}, "
                    f"expected none before {lock.retain_until.isoformat()}"
                )
            self._write_lock(key, lock._replace(retain_until=until))

    def set_hold(self, key: str, hold: bool) -> None:
        """See :meth:`stores.objects.Objects.set_hold`.

        Raises:
            KeyError: there is no such object.
        """
        with _translated(self._root), self._exclusive():
            self._write_lock(key, self._existing_lock(key)._replace(hold=hold))

    def delete(self, keys: Iterable[str]) -> None:
        """See :meth:`stores.objects.Objects.delete`. Nothing is deleted when one of the objects is locked."""
        paths = {key: self._path(key) for key in keys}
        with _translated(self._root), self._exclusive():
            for key in paths:
                self._lock(key).refuse(key, self._clock())
            gone = [path for path in paths.values() if path.is_file()]
            for path in gone:
                path.unlink(missing_ok=True)
            self._files.fsync_folders(path.parent for path in gone)
            # If we die here, locks without objects stay behind; they have expired, and bind nobody.
            for key in paths:
                self._lock_path(key).unlink(missing_ok=True)

    def close(self) -> None:
        """End the threads that write."""
        self._files.close()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _lock_path(self, key: str) -> Path:
        return self._locks / check_key(key)

    def _lock(self, key: str) -> ObjectLock:
        try:
            return parse_lock(self._lock_path(key).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return FREE

    def _existing_lock(self, key: str) -> ObjectLock:
        if not self._path(key).is_file():
            raise KeyError(key)
        return self._lock(key)

    def _add_locks(self, objects: Sequence[NewObject]) -> None:
        locked = {new.key: ObjectLock(new.retain_until, new.hold) for new in objects if new.retain_until or new.hold}
        if not locked:
            return
        with self._exclusive():
            for key, lock in locked.items():
                if lock.retain_until is not None:
                    check_date(lock.retain_until)
                there = self._lock(key)
                if there.merged(lock) != there:
                    self._write_lock(key, there.merged(lock))

    def _write_lock(self, key: str, lock: ObjectLock) -> None:
        self._files.replace(self._lock_path(key), format_lock(lock), CHANGING_MODE)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One thread of one process at a time looks at locks and acts on them."""
        descriptor = os.open(self._root / "~exclusive", os.O_CREAT | os.O_RDWR, CHANGING_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _link(key: str, aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)  # unlike a rename it never replaces
    except FileExistsError:
        if path.is_dir():
            raise IsADirectoryError(f"object {key}") from None
        if not filecmp.cmp(aside, path, shallow=False):
            raise LedgerContradiction(f"object {key}: exists with other bytes") from None


def _walk(folder: Path, base: str, prefix: str, start_after: str) -> Iterator[tuple[str, int]]:
    """Key and size of the files below ``folder``, whose keys all begin with ``base``, in key order."""
    with os.scandir(folder) as entries:
        # A folder sorts as the keys in it do: "a-b" is before "a/b".
        found = sorted((entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in entries)
    for name, entry in found:
        key = base + name
        if not is_segment(name.rstrip("/")):
            continue  # ours, or a file that somebody put there: it can be no object
        if name.endswith("/"):
            below = key.startswith(prefix) or prefix.startswith(key)
            behind = key > start_after or start_after.startswith(key)
            if below and behind:
                yield from _walk(Path(entry), key, prefix, start_after)
        elif key.startswith(prefix) and key > start_after and entry.is_file(follow_symlinks=False):
            try:
                yield key, entry.stat().st_size
            except FileNotFoundError:
                continue  # deleted since


@contextmanager
def _translated(root: Path) -> Iterator[None]:
    try:
        yield
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise Refused(f"{error.filename}: an object and a folder cannot have the same name") from error
    except OSError as error:
        raise Unavailable(f"objects in {root}: {error.strerror or error}") from error
