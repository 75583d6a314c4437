"""One look at a bucket: which objects are there that were not read, in which order. Memory does not grow with them."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from collector.poll.object_cursor import Listed, Reached, Sum, unread
from collector.poll.object_layout import Layout

QUEUE = 2000
"""Objects that one look finds at most; the next look finds the others."""

SETTLE_SECONDS = 2
"""An object that is younger is left for the next look: times are whole seconds, and several writers share one."""


class Listing(NamedTuple):
    """Some objects in the order of their keys, and the time of the service in whole seconds since 1970."""

    objects: list[Listed]
    now: int
    more: bool


class Folders(NamedTuple):
    """The folders below a prefix, each with its slash, and the time of the service."""

    names: list[str]
    now: int


class Bucket(Protocol):
    """Reading objects. All methods block. None retries.

    Every method raises :class:`~schemas.errors.Unavailable`, or :class:`~schemas.errors.AccessDenied` with the
    permission that is missing, or :class:`~schemas.errors.ConfigurationError`.
    """

    name: str

    def list(self, prefix: str, behind: str) -> Listing:
        """Up to a thousand objects whose keys begin with ``prefix``, behind a key."""
        ...

    def folders(self, prefix: str) -> Folders:
        """What stands between ``prefix`` and the next slash."""
        ...

    def open(self, key: str, etag: str) -> Iterator[bytes]:
        """The bytes of an object as stored, in pieces.

        Raises:
            KeyError: there is none, or it has another content by now.
        """
        ...

    def fetch(self, bucket: str, key: str, limit: int) -> bytes:
        """A whole object of this or another bucket.

        Raises:
            KeyError: there is none.
            LimitExceeded: it is larger than ``limit`` bytes.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class Found(NamedTuple):
    """An object to read. ``anew``: it is the first of a stretch that is read again."""

    object: Listed
    anew: bool = False


@dataclass(slots=True)
class Sweep:
    """What a look found.

    Attributes:
        queue: what to read, last first, so that the next one is at the end.
        now: when the look began, by the clock of the service.
        low: before this moment no key is expected any more.
        complete: whether nothing was left out, so that after the queue all up to ``low`` has been read.
        moments, digests: of all objects with keys from ``low`` on, once they are read.
    """

    queue: list[Found] = field(default_factory=list)
    now: int = 0
    low: int = 0
    complete: bool = True
    moments: array[int] = field(default_factory=lambda: array("q"))
    digests: array[int] = field(default_factory=lambda: array("Q"))

    def forget(self, gone: Listed) -> None:
        """An object of the queue was not there any more; it must not be in the sums."""
        digest = gone.digest
        for at, known in enumerate(self.digests):
            if known == digest:
                del self.digests[at], self.moments[at]
                return


class Sweeper:
    """Looks at a bucket.

    Args:
        prefix: what the keys of the feed begin with.
        late: seconds after the moment that its key tells within which an object appears.
        queue: how many objects a look finds at most.
    """

    def __init__(self, bucket: Bucket, prefix: str, layout: Layout, late: int, queue: int = QUEUE) -> None:
        self._bucket, self._prefix, self._layout, self._late, self._queue = bucket, prefix, layout, late, queue

    def begin(self, since: int | None) -> Reached:
        """The cursor of the first look."""
        roots, now = self._roots()
        if not self._layout.pattern:
            return Reached(0, 0, None, width=self._width())
        low = max(now - self._late, 0)
        starts = [self._first(root) for root in roots] if since is None else [since]
        known = [start for start in starts if start is not None]
        return Reached(min([*known, low]), low, width=self._width())

    def history(self, reached: Reached) -> Sweep:
        """Objects of hours before ``low``, in the order of their keys, behind the last one that was read."""
        roots, now = self._roots()
        sweep, behind = Sweep(now=now, low=reached.low), reached.history or ""
        layout = self._layout
        spread = [
            self._objects(root, max(layout.floor(root, reached.since), behind), layout.floor(root, reached.low))
            for root in roots
        ]
        for listed in heapq.merge(*spread, key=lambda listed: listed.key):
            if len(sweep.queue) == self._queue:
                sweep.complete = False
                break
            sweep.queue.append(Found(listed))
        sweep.queue.reverse()
        return sweep

    def live(self, reached: Reached) -> Sweep:
        """Objects from ``low`` on that were not read, in the order in which they appeared."""
        roots, now = self._roots()
        sweep = Sweep(now=now, low=max(now - self._late, reached.low) if self._layout.pattern else 0)
        seen: dict[int, array[int]] = {}
        heap: list[_Latest] = []
        floors = {root: self._layout.floor(root, sweep.low) for root in roots}
        for root, listed in self._young_enough(roots, reached.low, now):
            digest = listed.digest
            if listed.key > floors[root]:
                sweep.moments.append(listed.modified)
                sweep.digests.append(digest)
            if (listed.modified, listed.key) <= reached.mark:
                seen.setdefault(reached.stretch(listed.modified), array("Q")).append(digest)
            elif len(heap) < self._queue:
                heapq.heappush(heap, _Latest(listed))
            else:
                sweep.complete = False
                heapq.heappushpop(heap, _Latest(listed))
        sweep.queue = [Found(latest.listed) for latest in sorted(heap)]
        sweep.queue += reversed(self._latecomers(roots, reached, now, seen))
        return sweep

    def _latecomers(self, roots: list[str], reached: Reached, now: int, seen: dict[int, array[int]]) -> list[Found]:
        """Objects at or before the mark that the sums do not know. Only where there are some is the bucket listed once
        more, for their keys."""
        wanted: dict[int, tuple[set[int], bool]] = {}
        for number, digests in seen.items():
            missing, guessed = unread(reached.sums.get(number, Sum()), digests)
            if missing:
                wanted[number] = missing, guessed
        if not wanted:
            return []
        found = [
            listed
            for _, listed in self._young_enough(roots, reached.low, now)
            if (listed.modified, listed.key) <= reached.mark
            and listed.digest in wanted.get(reached.stretch(listed.modified), ((), False))[0]
        ]
        anew = {number for number, (_, guessed) in wanted.items() if guessed}
        late = []
        for listed in sorted(found):
            number = reached.stretch(listed.modified)
            late.append(Found(listed, number in anew))
            anew.discard(number)
        return late

    def _young_enough(self, roots: list[str], low: int, now: int) -> Iterator[tuple[str, Listed]]:
        for root in roots:
            for listed in self._objects(root, self._layout.floor(root, low), self._layout.ceiling(root)):
                if listed.modified <= now - SETTLE_SECONDS:
                    yield root, listed

    def _objects(self, root: str, behind: str, end: str) -> Iterator[Listed]:
        """The feed's objects with ``behind < key < end``. Empty ones hold nothing."""
        more = True
        while more:
            found = self._bucket.list(root, behind)
            for listed in found.objects:
                if listed.key >= end:
                    return
                if listed.size and self._layout.holds(root, listed.key):
                    yield listed
            more = found.more and bool(found.objects)
            behind = found.objects[-1].key if found.objects else behind

    def _first(self, root: str) -> int | None:
        listed = next(self._objects(root, "", self._layout.ceiling(root)), None)
        return None if listed is None else self._layout.seconds(root, listed.key)

    def _roots(self) -> tuple[list[str], int]:
        """Where times begin, and the time of the service before anything was listed."""
        found: list[str] = []
        now: int | None = None
        for template in self._layout.roots:
            places = [self._prefix]
            *steps, last = template.split("*/")
            for step in steps:
                spread = [self._bucket.folders(place + step) for place in places]
                now = min([folders.now for folders in spread] + ([] if now is None else [now]))
                places = [name for folders in spread for name in folders.names if not self._is_time(name)]
            found += [place + last for place in places]
        if now is None:
            now = self._bucket.list(self._prefix, self._prefix + "\U0010ffff").now
        return sorted(set(found)), now

    def _is_time(self, folder: str) -> bool:
        return self._layout.is_time(folder.rstrip("/").rsplit("/", 1)[-1])

    def _width(self) -> int:
        return max(1, self._late // 32)


class _Latest:
    """Turns the order around, so that the heap's first is the one that appeared last."""

    __slots__ = ("listed",)

    def __init__(self, listed: Listed) -> None:
        self.listed = listed

    def __lt__(self, other: _Latest) -> bool:
        return self.listed > other.listed
