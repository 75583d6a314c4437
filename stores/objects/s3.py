"""The object store in an S3 bucket with Object Lock: many machines, one store, and locks that nobody can undo.

::

    s3://bucket/prefix/ledger/…/tile/0/000       the object ledger/…/tile/0/000, in its first version
    s3://bucket/prefix/ledger/…/checkpoint       replaced: the newest version; older ones stay below it

**Versions.** Which version of a key is the object is said in :mod:`stores.objects.s3_versions`, so that nobody who may
write to the bucket can change or hide what was written once. A read therefore asks twice: for the versions of the key,
then for the bytes. :meth:`S3Objects.shadowed` finds the keys on which somebody tried.

**Locks** are COMPLIANCE and set with the object, in one request: an object is never there without its lock. Dates are
whole seconds, rounded up. Whether a date has passed is a matter of the service's clock.

**What S3 leaves open.** With a delete marker on top, S3 takes a conditional write as the first: a second version with
other bytes can then come to be without an error here. It changes nothing that is read, and ``shadowed`` names it. A
bucket policy that denies ``s3:DeleteObject`` to everybody prevents it; we delete versions, which is another permission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, islice
from os import SEEK_END
from typing import BinaryIO, TypeVar

from schemas.errors import InvariantError, LedgerContradiction, LimitExceeded, Refused, RetentionLocked, Unavailable
from stores.objects import NewObject, ObjectInfo
from stores.objects.keys import check_date, check_key, is_segment
from stores.objects.lock import ObjectLock
from stores.objects.s3_bucket import check_bucket
from stores.objects.s3_config import S3Config
from stores.objects.s3_errors import PERMISSIONS
from stores.objects.s3_requests import Head, S3Requests
from stores.objects.s3_versions import Page, Place, Shadowed, Version, safe_marker, shadowed, the_object, the_objects

MAX_BYTES = 5 << 30
"""S3's limit of a PUT in one part. Parts are not used: an object in parts has no checksum over the whole."""

PAGE = 1000
"""Versions in one page; S3's limit. A page costs the same however long it is, and one of a single key is short in any
case. Shorter ones are not asked for: SeaweedFS 4.48 puts the keys of a cut page into another order than those of all,
``a.b`` before ``a``."""

HEADS = 64
"""Locks that a listing asks for at once, when whoever reads it goes on reading."""

T = TypeVar("T")
R = TypeVar("R")


class S3Objects:
    """A :class:`stores.objects.Objects` in a bucket.

    Nothing is asked when it is made; :meth:`check` asks whether the bucket will do.

    Raises:
        ConfigurationError: the configuration contradicts itself, or the SDK finds no credentials or region.
    """

    def __init__(self, config: S3Config) -> None:
        self._config, self._requests = config, S3Requests(config)
        self._threads = ThreadPoolExecutor(config.parallel, "s3")

    def check(self) -> None:
        """Refuse a bucket that cannot hold what must not change. See :func:`stores.objects.s3_bucket.check_bucket`."""
        check_bucket(self._requests, self._config)

    def create(self, objects: Sequence[NewObject]) -> None:
        """See :meth:`stores.objects.Objects.create`. One PUT for each object, several at a time; when one fails, those
        that have not begun are left out. Where an object is already there, it is read and compared."""
        for new in objects:
            check_key(new.key)
            if new.retain_until is not None:
                check_date(new.retain_until)
            if len(new.data) > MAX_BYTES:
                raise LimitExceeded(f"object {new.key}: got {len(new.data)} bytes, expected at most {MAX_BYTES}")
        self._each(self._create, objects)

    def create_file(self, key: str, file: BinaryIO) -> None:
        """See :meth:`stores.objects.Objects.create_file`. One PUT; the file is read thrice: for its checksum, for the
        signature of the request, and to be sent."""
        full, size = self._config.full_key(check_key(key)), file.seek(0, SEEK_END)
        if size > MAX_BYTES:
            raise LimitExceeded(f"object {key}: got {size} bytes, expected at most {MAX_BYTES}")
        if self._requests.create_file(full, file):
            return
        found = self._find(key)
        if found is None:
            raise Unavailable(f"object {key}: was deleted while it was compared", retry_after=0.0)
        if found.size != size or not _is_equal(file, self._requests.stream(full, found.version)):
            raise LedgerContradiction(f"object {key}: exists with other bytes")

    def put(self, key: str, data: bytes) -> None:
        """See :meth:`stores.objects.Objects.put`. The version that it replaces stays below the new one until a
        lifecycle rule of the bucket removes it.

        Raises:
            InvariantError: the key is not one of those whose objects are replaced, so nobody would read what is put.
        """
        check_key(key)
        if not self._config.is_replaceable(key):
            if (found := self._find(key)) is not None and (head := self._head(found)) is not None:
                head.lock.refuse(key, head.now)
            raise InvariantError(f"object {key}: got a put, expected one of keys ending in {self._endings()}")
        full = self._config.full_key(key)
        if (head := self._requests.head(full)) is not None:
            head.lock.refuse(key, head.now)
        self._requests.replace(full, data)
        # If we die here, before or after S3 has answered: the object is the old or the new one, and whole.

    def get(self, key: str) -> bytes:
        """See :meth:`stores.objects.Objects.get`. Two requests; one for an object that is replaced."""
        full = self._config.full_key(check_key(key))
        data = self._requests.read(full) if self._config.is_replaceable(key) else None
        if data is None and (found := self._find(key)) is not None:
            data = self._requests.read(full, found.version)
        if data is None:
            raise KeyError(key)
        return data

    def open(self, key: str) -> Iterator[bytes]:
        """See :meth:`stores.objects.Objects.open`. Two requests; the checksum is compared at the end."""
        found = self._find(check_key(key))
        if found is None:
            raise KeyError(key)
        yield from self._requests.stream(found.key, found.version)

    def head(self, key: str) -> ObjectInfo | None:
        """See :meth:`stores.objects.Objects.head`. A lock is not seen without the permission to see locks: then the
        object looks free, and deleting it is refused all the same."""
        found = self._find(check_key(key))
        return None if found is None else self._info(found)

    def list(self, prefix: str, *, start_after: str = "", locks: bool = True) -> Iterator[ObjectInfo]:
        """See :meth:`stores.objects.Objects.list`. A request for each thousand versions, and one for each lock.

        Args:
            locks: whether to ask for locks, which a listing of S3 does not tell; without, objects look free.
        """
        found = self._objects(prefix, start_after)
        if not locks:
            yield from (ObjectInfo(self._config.own_key(item.key), item.size, None, False) for item in found)
            return
        at_once = 1  # whoever wants the first key only shall not pay for more
        while some := list(islice(found, at_once)):
            yield from (info for info in self._each(self._info, some) if info is not None)
            at_once = min(HEADS, 2 * at_once)

    def extend_retention(self, key: str, until: datetime) -> None:
        """See :meth:`stores.objects.Objects.extend_retention`.

        Raises:
            KeyError: there is no such object.
            Refused: the date has passed by the service's clock.
        """
        until = whole_second(check_date(until))
        found, head = self._existing(key)
        there = head.lock.retain_until
        if there is not None and until < there:
            raise RetentionLocked(
                f"object {key}: got retention date {until.isoformat()}, expected none before {there.isoformat()}"
            )
        if until != there:
            self._requests.retain(found, until)

    def set_hold(self, key: str, hold: bool) -> None:
        """See :meth:`stores.objects.Objects.set_hold`.

        Raises:
            KeyError: there is no such object.
        """
        found = self._find(check_key(key))
        if found is None:
            raise KeyError(key)
        self._requests.hold(found, hold)

    def delete(self, keys: Iterable[str]) -> None:
        """See :meth:`stores.objects.Objects.delete`. All versions of a key, and the markers on it. Nothing is deleted
        when one of them is locked at the time of asking."""
        histories = self._each(self._history, list(dict.fromkeys(check_key(key) for key in keys)))
        doomed = [version for history in histories for version in history]
        self._each(self._refuse_locked, [version for version in doomed if not version.marker])
        denied = self._requests.delete(doomed)
        # If we die in it, some versions are gone. Asked again, the rest goes too.
        for version in denied:
            self._refuse_locked(version)
            raise Refused(f"object {self._config.own_key(version.key)}: S3 denied to delete it; {PERMISSIONS}")

    def shadowed(self, prefix: str = "") -> Iterator[Shadowed]:
        """Keys on which somebody else wrote: a newer version of what is written once, or a delete marker. A request
        for each thousand versions."""
        yield from shadowed(self._counts(prefix), self._config.is_replaceable)

    def close(self) -> None:
        """End the threads, and close the connections."""
        self._threads.shutdown()
        self._requests.close()

    def _create(self, new: NewObject) -> None:
        full = self._config.full_key(new.key)
        lock = ObjectLock(new.retain_until and whole_second(new.retain_until), new.hold)
        if self._requests.create(full, new.data, lock):
            return
        found = self._find(new.key)
        data = None if found is None else self._requests.read(full, found.version)
        if found is None or data is None:
            raise Unavailable(f"object {new.key}: was deleted while it was compared", retry_after=0.0)
        if data != new.data:
            raise LedgerContradiction(f"object {new.key}: exists with other bytes")
        if lock != ObjectLock():
            self._tighten(found, lock)

    def _tighten(self, version: Version, lock: ObjectLock) -> None:
        head = self._head(version)
        there = ObjectLock() if head is None else head.lock
        wanted = there.merged(lock)
        if wanted.hold and not there.hold:
            self._requests.hold(version, True)
        # If we die here, the object is held. The date is added when it is created again.
        if wanted.retain_until is not None and wanted.retain_until != there.retain_until:
            self._requests.retain(version, wanted.retain_until)

    def _find(self, key: str) -> Version | None:
        """The version that is the object, as it is listed now."""
        return the_object(self._history(key), newest=self._config.is_replaceable(key))

    def _history(self, key: str) -> Sequence[Version]:
        """All versions of a key, newest first, then its markers."""
        full, place, versions, markers = self._config.full_key(key), None, [], []
        while True:
            page = self._page(full, place)
            versions += [item for item in page.versions if item.key == full]
            markers += [item for item in page.markers if item.key == full]
            # The key comes before all longer ones: where another begins, its versions are through.
            if page.next is None or any(item.key != full for item in (*page.versions, *page.markers)):
                return [*versions, *markers]
            place = page.next

    def _objects(self, prefix: str, start_after: str) -> Iterator[Version]:
        behind = self._config.full_key(start_after) if start_after else ""
        ask = partial(self._page, self._config.full_key(prefix))
        marker = safe_marker(behind, self._config.full_key(prefix))
        for found in the_objects(ask, Place(marker) if marker else None, self._config.is_replaceable):
            if found.key > behind and self._is_ours(found.key):
                yield found

    def _counts(self, prefix: str) -> Iterator[tuple[str, int, int]]:
        """Versions and markers of each key."""
        for key, items in groupby(self._all_versions(prefix), lambda item: item.key):
            history = list(items)
            markers = sum(item.marker for item in history)
            yield self._config.own_key(key), len(history) - markers, markers

    def _all_versions(self, prefix: str) -> Iterator[Version]:
        """Versions and markers of all keys, in key order."""
        place: Place | None = None
        while True:
            page = self._page(self._config.full_key(prefix), place)
            yield from sorted((*page.versions, *page.markers), key=lambda item: item.key)
            if page.next is None:
                return
            place = page.next

    def _page(self, prefix: str, behind: Place | None) -> Page:
        return self._requests.versions(prefix, behind, PAGE)

    def _is_ours(self, full_key: str) -> bool:
        return all(is_segment(segment) for segment in self._config.own_key(full_key).split("/"))

    def _head(self, version: Version) -> Head | None:
        return self._requests.head(version.key, version.version)

    def _info(self, version: Version) -> ObjectInfo | None:
        """What is listed, with its lock; ``None`` when it has been deleted since."""
        head = self._head(version)
        return None if head is None else ObjectInfo(self._config.own_key(version.key), head.size, *head.lock)

    def _existing(self, key: str) -> tuple[Version, Head]:
        found = self._find(check_key(key))
        head = None if found is None else self._head(found)
        if found is None or head is None:
            raise KeyError(key)
        return found, head

    def _refuse_locked(self, version: Version) -> None:
        if (head := self._head(version)) is not None:
            head.lock.refuse(self._config.own_key(version.key), head.now)

    def _endings(self) -> str:
        return ", ".join(sorted(self._config.replaceable))

    def _each(self, act: Callable[[T], R], items: Sequence[T]) -> Sequence[R]:
        """Do it for each, several at a time, and raise what weighs most of what was raised."""
        if len(items) == 1:
            return [act(items[0])]
        futures = [self._threads.submit(act, item) for item in items]
        _, rest = wait(futures, return_when=FIRST_EXCEPTION)
        for future in rest:
            future.cancel()
        wait(futures)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
        for error in sorted(errors, key=lambda error: not isinstance(error, LedgerContradiction)):
            raise error
        return [future.result() for future in futures]


def _is_equal(file: BinaryIO, pieces: Iterator[bytes]) -> bool:
    file.seek(0)
    return all(file.read(len(piece)) == piece for piece in pieces) and not file.read(1)


def whole_second(date: datetime) -> datetime:
    """``date`` in UTC, rounded up to S3's resolution: a lock never ends before it was asked to."""
    date = date.astimezone(UTC)
    return date.replace(microsecond=0) + timedelta(seconds=bool(date.microsecond))
