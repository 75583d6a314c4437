"""An object store in memory: the contract of :class:`stores.objects.Objects` without a disk.

``MemoryObjects(clock)`` takes the clock that decides whether a retention date has passed. Wrap it in
:class:`faults.FaultyObjects` to make a chosen write fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO

from schemas.errors import LedgerContradiction, RetentionLocked
from stores.objects import NewObject, ObjectInfo
from stores.objects.keys import check_date, check_key


class MemoryObjects:
    """Implements :class:`stores.objects.Objects`."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, NewObject] = {}

    def create(self, objects: Sequence[NewObject]) -> None:
        with self._lock:
            for new in objects:
                if new.retain_until is not None:
                    check_date(new.retain_until)
                there = self._objects.get(check_key(new.key))
                if there is not None and there.data != new.data:
                    raise LedgerContradiction(f"object {new.key}: exists with other bytes")
            for new in objects:
                there = self._objects.get(new.key)
                if there is None:
                    self._objects[new.key] = new
                    continue
                dates = [date for date in (there.retain_until, new.retain_until) if date is not None]
                self._objects[new.key] = there._replace(
                    retain_until=max(dates, default=None), hold=there.hold or new.hold
                )

    def create_file(self, key: str, file: BinaryIO) -> None:
        file.seek(0)
        self.create([NewObject(key, file.read())])

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._refuse_locked(check_key(key))
            self._objects[key] = NewObject(key, bytes(data))

    def get(self, key: str) -> bytes:
        return self._objects[check_key(key)].data

    def open(self, key: str) -> Iterator[bytes]:
        data = self.get(key)
        yield from (data[at : at + 4096] for at in range(0, len(data), 4096))

    def head(self, key: str) -> ObjectInfo | None:
        there = self._objects.get(check_key(key))
        return None if there is None else ObjectInfo(key, len(there.data), there.retain_until, there.hold)

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        for key in sorted(self._objects):
            info = self.head(key) if key.startswith(prefix) and key > start_after else None
            if info is not None:
                yield info

    def extend_retention(self, key: str, until: datetime) -> None:
        check_date(until)
        with self._lock:
            there = self._objects[check_key(key)]
            if there.retain_until is not None and until < there.retain_until:
                raise RetentionLocked(
                    f"object {key}: got retention date {until}, expected none before {there.retain_until}"
                )
            self._objects[key] = there._replace(retain_until=until)

    def set_hold(self, key: str, hold: bool) -> None:
        with self._lock:
            self._objects[key] = self._objects[check_key(key)]._replace(hold=hold)

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        with self._lock:
            for key in doomed:
                self._refuse_locked(check_key(key))
            for key in doomed:
                self._objects.pop(key, None)

    def _refuse_locked(self, key: str) -> None:
        there = self._objects.get(key)
        if there is None:
            return
        if there.hold:
            raise RetentionLocked(f"object {key}: is held")
        if there.retain_until is not None and there.retain_until > self._clock():
            raise RetentionLocked(f"object {key}: is locked until {there.retain_until:%Y-%m-%d}")
