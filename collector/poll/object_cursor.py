"""What has been read of a bucket, in a few hundred bytes however many objects there are. Pure.

**History.** What lies before the first look, up to an hour that is surely complete, is read in the order of keys; the
last key says it all. **Live.** From there on objects are read in the order in which they appeared (last modified, then
key), because within an hour keys are random and late ones come under hours that have passed. ``mark`` is how far that
went. An object may still become visible behind the mark, so for those that were read, the cursor keeps sums: for each
stretch of time how many there were, and the exclusive or of their hashes. A listing whose sums are the same holds
nothing new; where they differ by one or two objects the sums say which these are, and otherwise the stretch is read
again, which does no harm: equal records get equal event ids. Only keys of hours before ``low`` are not looked at again.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import xor
from typing import NamedTuple

from schemas.errors import LedgerContradiction

STRETCHES = 48
"""Sums that a cursor holds; what is older shares one."""

OLDER = -1
VERSION = 1


class Listed(NamedTuple):
    """An object as a listing shows it. ``modified``: whole seconds since 1970, by the clock of the service."""

    modified: int
    key: str
    etag: str
    size: int

    @property
    def digest(self) -> int:
        """64 bits of a hash of key and content."""
        return int.from_bytes(hashlib.sha256(f"{self.key}\0{self.etag}".encode()).digest()[:8])


class Sum(NamedTuple):
    """How many objects, and the exclusive or of their digests."""

    objects: int = 0
    digest: int = 0

    def plus(self, more: Sum) -> Sum:
        """These and those."""
        return Sum(self.objects + more.objects, self.digest ^ more.digest)


@dataclass(frozen=True, slots=True)
class Part:
    """An object of which a page was read, and more is to come.

    Attributes:
        object: which.
        offset: of the next page, in bytes of its content, inflated.
    """

    object: Listed
    offset: int


@dataclass(frozen=True, slots=True)
class Reached:
    """A cursor.

    Attributes:
        since: where the record begins, seconds since 1970.
        low: of keys before this moment nothing is expected any more, seconds since 1970.
        history: while what lies before ``low`` is read: the last key of it that was. ``None``: that is done.
        mark: the last object read, by ``(modified, key)``.
        width: seconds of a stretch of sums.
        sums: of the objects at or before the mark with keys from ``low`` on, by the number of their stretch.
        part: an object of which only a part was read.
    """

    since: int
    low: int
    history: str | None = ""
    mark: tuple[int, str] = (0, "")
    width: int = 60
    sums: Mapping[int, Sum] = field(default_factory=dict)
    part: Part | None = None

    def stretch(self, modified: int) -> int:
        """The number of the stretch in which an object lies."""
        number = modified // self.width
        return number if number > self.mark[0] // self.width - STRETCHES else OLDER

    def after(self, read: Listed, *, anew: bool = False) -> Reached:
        """With an object read. ``anew``: it is the first of a stretch that is read again."""
        if self.history is not None:
            return replace(self, history=read.key, part=None)
        moved = replace(self, mark=max(self.mark, (read.modified, read.key)), part=None)
        sums = self._resummed(moved)
        number = moved.stretch(read.modified)
        sums[number] = (Sum() if anew else sums.get(number, Sum())).plus(Sum(1, read.digest))
        return replace(moved, sums=sums)

    def passed(self, gone: Listed) -> Reached:
        """Past an object that is no longer there."""
        if self.history is not None:
            return replace(self, history=gone.key, part=None)
        moved = replace(self, mark=max(self.mark, (gone.modified, gone.key)), part=None)
        return replace(moved, sums=self._resummed(moved))

    def settled(self, low: int, moments: Iterable[int], digests: Iterable[int]) -> Reached:
        """With everything read that was listed; ``moments`` and ``digests`` are of those with keys from ``low`` on."""
        sums: dict[int, Sum] = {}
        for modified, digest in zip(moments, digests, strict=True):
            number = self.stretch(modified)
            sums[number] = sums.get(number, Sum()).plus(Sum(1, digest))
        return replace(self, low=max(low, self.low), sums=sums)

    def _resummed(self, moved: Reached) -> dict[int, Sum]:
        sums: dict[int, Sum] = {}
        for number, total in self.sums.items():
            place = OLDER if number == OLDER else moved.stretch(number * self.width)
            sums[place] = sums.get(place, Sum()).plus(total)
        return sums


def unread(known: Sum, listed: array[int]) -> tuple[set[int], bool]:
    """Which of the digests listed in a stretch are not in its sum, and whether that is a guess: then all of them."""
    difference = reduce(xor, listed, known.digest)
    more = len(listed) - known.objects
    if more == 0 and difference == 0:
        return set(), False
    there = set(listed)
    if more == 1 and difference in there:
        return {difference}, False
    if more == 2:
        for digest in listed:
            if digest ^ difference in there and digest ^ difference != digest:
                return {digest, digest ^ difference}, False
    return there, True


def format_reached(reached: Reached) -> str:
    """As the control database keeps it."""
    part = reached.part
    sums = [[number, total.objects, f"{total.digest:x}"] for number, total in sorted(reached.sums.items())]
    known = {
        "v": VERSION,
        "since": reached.since,
        "low": reached.low,
        "history": reached.history,
        "mark": list(reached.mark),
        "width": reached.width,
        "sums": sums,
        "part": None if part is None else [*part.object, part.offset],
    }
    return json.dumps(known, ensure_ascii=True, separators=(",", ":"))


def parse_reached(text: str) -> Reached:
    """What :func:`format_reached` wrote.

    Raises:
        LedgerContradiction: it is something else. Nobody may guess where to go on.
    """
    try:
        known = json.loads(text)
        part = known["part"]
        reached = Reached(
            known["since"],
            known["low"],
            known["history"],
            (known["mark"][0], known["mark"][1]),
            known["width"],
            {number: Sum(count, int(digest, 16)) for number, count, digest in known["sums"]},
            None if part is None else Part(Listed(*part[:-1]), part[-1]),
        )
        exact = format_reached(reached) == text
    except (ValueError, TypeError, KeyError, LookupError):
        exact = False
    if not exact:
        raise LedgerContradiction(
            f"got cursor {text[:80]!r} of a bucket, expected one that we wrote; restore it from a backup, or delete it "
            "to begin anew, which repeats what was read (with equal event ids)"
        )
    return reached
