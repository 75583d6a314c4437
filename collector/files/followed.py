"""One file that is being followed: an open handle, the place that is durable, and what was seen of it last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collector.files.lines import BLOCK, MAX_LINE, Cut, cut_lines
from collector.files.places import EDGE, Place, digest, edges, find_place, fits, may_become
from collector.files.sources import Look, Plain, open_source


@dataclass(frozen=True, slots=True)
class Limits:
    """Of reading. ``settle_seconds`` is how long a file must not have changed before a last line without an end is
    taken for whole."""

    block: int = BLOCK
    max_line: int = MAX_LINE
    settle_seconds: float = 300.0


class Followed:
    """A file between two looks. Methods read from the disk, so they are for a thread.

    Attributes:
        path: where it was seen last.
        place: how far its lines are durable; ``None`` before the first.
        done: whether there will never be more.
    """

    def __init__(self, path: Path, source: Plain, place: Place | None) -> None:
        self.path = path
        self.place = place
        self.done = False
        self._source = source
        self._seen: Look | None = None
        self._scanned = 0

    @classmethod
    def open(cls, path: Path, known: Iterable[Place], before: Look | None) -> Followed | None:
        """Open a file and know it again; ``None`` while that cannot be told yet: it is still growing, and may be a copy
        in the making, or a compressed file that is not whole. ``before`` is what it looked like last time."""
        places = list(known)
        source = open_source(path)
        now, place = source.look(), None
        steady = before == now
        if source.packed:
            place = next((one for one in places if one.packed == source.packed), None)
            if place is None and not steady:
                source.close()
                return None
        if place is None:
            place = find_place(places, source.read, (now.device, now.inode))
        if place is None and not steady and not source.packed and may_become(places, source.read, now.size):
            source.close()
            return None
        followed = cls(path, source, place)
        followed.done = place is not None and place.packed != "" and place.packed == source.packed
        return followed

    @property
    def offset(self) -> int:
        """Where to go on."""
        return self.place.offset if self.place else 0

    @property
    def damage(self) -> str:
        """Why a compressed file cannot be read to its end, once that is known."""
        return self._source.damage

    def look(self) -> Look:
        """What it looks like now, deleted or not."""
        return self._source.look()

    def lag(self) -> int:
        """Bytes that are not durable yet; of a compressed file, of its compressed bytes, while it is not done."""
        if self._source.packed:
            return 0 if self.done else self.look().size
        return max(0, self.look().size - self.offset)

    def restarted(self) -> Place | None:
        """The former place, if it was truncated or written anew since: it is then a new file, to be read from its
        beginning."""
        if self._source.packed or self.place is None or self._seen == self.look():
            return None
        if fits(self.place, self._source.read):
            return None
        former, self.place, self._seen, self._scanned = self.place, None, None, 0
        return former

    def idle(self) -> bool:
        """Whether nothing has come since it was read to its end."""
        return self.done or self._seen == self.look()

    def cut(self, limits: Limits, now: float) -> Cut | None:
        """The next lines; ``None`` when nothing has changed. ``now`` is seconds since 1970."""
        seen = self.look()
        final = self._source.packed != "" or now - seen.modified > limits.settle_seconds
        if self.done or (seen == self._seen and not (final and seen.size > self.offset)):
            return None
        found = cut_lines(
            self._source.read,
            self.offset,
            scanned=self._scanned,
            skipping=self.place is not None and self.place.skipping,
            final=final,
            block=limits.block,
            max_line=limits.max_line,
        )
        # What was cut out is not durable yet, and may have to be cut out again.
        self._scanned = 0
        if not found.lines and found.offset == self.offset:
            self._seen, self._scanned = seen, found.scanned
            self.done = self._source.packed != ""
        return found

    def origin(self) -> str:
        """What stands for the file in the keys of its lines: the hash of its first line."""
        if self.place is not None:
            return self.place.origin
        first = self._source.read(0, ORIGIN)
        return digest(first.partition(b"\n")[0])

    def place_at(self, offset: int, *, skipping: bool = False) -> Place:
        """The place that is reached when everything before ``offset`` is durable."""
        found, packed = self.look(), self._source.packed if self.done else ""
        head, tail = edges(offset, self._source.read)
        return Place(found.device, found.inode, str(self.path), self.origin(), offset, head, tail, skipping, packed)

    def close(self) -> None:
        self._source.close()


ORIGIN = 64 * EDGE
"""Bytes of a first line that count for what the file is."""
