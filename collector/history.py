"""What recent records of a session hold, so that the next one is stored as a reference to it. State, no I/O.

A source of some length is compared with the last ones of its session. What they have in common becomes references to
the records that hold the bytes themselves, the rest is stored. Nothing depends on this state but the number of bytes: a
collector that starts, or another one, stores once more.

A record is referred to only when the bus has acknowledged it at a place, under the same key of the source part, and on
the same day (UTC): so what refers and what is referred to lie in the same partitions of the archive and of the tables,
and are destroyed together.

**How many records one refers to** would grow with every turn. Beyond :data:`MOST_RECORDS` what those hold that
contribute least is stored once more, together, so that the next turn refers to one in place of many. What is stored in
this way has the logarithm of the number of turns as its factor, to a base of some dozens.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from collector.matching import SHORTEST, stretches
from schemas.chunks import MAX_PIECES, MAX_RECORDS, OWN, Manifest, Piece, Place
from schemas.ids import KeyId
from stores.bus import Position

SHORTEST_SOURCE = 4096
"""Bytes below which a source is stored as it is: the record around it is as long as what there is to win."""

SHORTEST_BESIDE = 512
"""The same in a session that has longer ones: what is reported beside them has the same envelope. Nothing refers to
those."""

LONGEST_SOURCE = 4 << 20
"""Bytes above which a source is stored as it is, because it goes to the object store, or its session does not fit."""

MEMORY = 64 << 20
"""Bytes of sources that one process remembers, over all sessions."""

SOURCES_PER_SESSION = 4
"""An agent and those that it sends out share a session, and take turns."""

MOST_RECORDS = 48
FEWEST_RECORDS = 8
"""A manifest that would refer to more records than the first takes in those that contribute least, down to the
second."""

MOST_TAKEN_IN = 256 << 10
"""Bytes that are taken in at a time, so that a record of a long session stays small enough for the bus."""

MOST_OWN = 512 << 10
"""A source with more bytes that no earlier record holds is stored as it is, in the object store if need be."""

SAME_SOURCE = 0.5
"""A source that has so much of an earlier one in it takes its place: it is its continuation."""

_DAY = 86_400_000_000
_LAST_MINUTE = _DAY - 60_000_000
"""What is received in a day's last minute may reach the bus on the next: it refers to nothing."""


class Session(NamedTuple):
    """Whose sources may refer to each other: one session of one data subject, month and day."""

    key_id: KeyId
    session: bytes
    day: int


class _Range(NamedTuple):
    """Bytes of a source, and where they lie: in the own bytes of a record, or (``None``) of the one that is sealed."""

    at: int
    length: int
    place: Place | None
    start: int


class _Source(NamedTuple):
    """A source that is on the bus: its bytes, and where each of them lies."""

    data: bytes
    starts: Sequence[int]
    ranges: Sequence[_Range]

    @property
    def weight(self) -> int:
        return len(self.data) + 200 * len(self.ranges)


class Plan(NamedTuple):
    """How one source is sealed, and what to remember when it is on the bus. ``manifest`` is ``None`` for one that is
    stored whole."""

    session: Session
    manifest: Manifest | None
    data: bytes
    ranges: Sequence[_Range]
    replaces: bytes | None


class History:
    """The sources of recent sessions, the least recently used forgotten first. Safe to use from any number of threads.

    Args:
        memory: bytes of sources that are remembered.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._sessions: OrderedDict[Session, tuple[_Source, ...]] = OrderedDict()
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes that are remembered."""
        return self._held

    def plan(self, key_id: KeyId, session: bytes, received_at: int, data: bytes) -> Plan | None:
        """How to seal a source that was received now (microseconds since 1970); ``None``: as it is, and forget it."""
        if not SHORTEST_BESIDE <= len(data) <= LONGEST_SOURCE or not session:
            return None
        key = Session(key_id, session, received_at // _DAY)
        if len(data) < SHORTEST_SOURCE and key not in self._sessions:
            return None
        with self._lock:
            known = self._sessions.get(key, ())
        if len(data) < SHORTEST_SOURCE:
            return _beside(key, known, data) if received_at % _DAY < _LAST_MINUTE else None
        if not known or received_at % _DAY >= _LAST_MINUTE:
            return Plan(key, None, data, (_Range(0, len(data), None, 0),), None)
        ranges, replaces = _compare(known, data)
        ranges = _numbered(_joined(_consolidated(ranges)))
        manifest = _manifest(ranges, data)
        if manifest is None:
            return Plan(key, None, data, (_Range(0, len(data), None, 0),), replaces)
        return Plan(key, manifest, data, ranges, replaces)

    def learn(self, plan: Plan, position: Position) -> None:
        """Remember a source whose record the bus has acknowledged. A record in the spool has no place, and is not
        remembered; nor is one whose day on the bus is not that of its receipt."""
        if position.spooled or position.time_ms // (_DAY // 1000) != plan.session.day:
            return
        if len(plan.data) < SHORTEST_SOURCE:
            return
        place = Place(position.shard.partition, position.offset)
        if any(other.place is not None and not other.place < place for other in plan.ranges):
            self.forget()  # the bus begins anew, or has other partitions
            return
        ranges = [one._replace(place=one.place or place) for one in plan.ranges]
        source = _Source(plan.data, [one.at for one in ranges], ranges)
        with self._lock:
            known = self._sessions.pop(plan.session, ())
            kept = [source, *(one for one in known if one.data is not plan.replaces and one.data != plan.data)]
            kept, dropped = kept[:SOURCES_PER_SESSION], kept[SOURCES_PER_SESSION:]
            self._sessions[plan.session] = tuple(kept)
            self._held += sum(one.weight for one in kept) - sum(one.weight for one in known)
            del dropped
            while self._held > self._memory and self._sessions:
                _, forgotten = self._sessions.popitem(last=False)
                self._held -= sum(one.weight for one in forgotten)

    def forget(self) -> None:
        """Forget everything: the topic was created again, or keys lie in other partitions now."""
        with self._lock:
            self._sessions.clear()
            self._held = 0


def _beside(key: Session, known: Sequence[_Source], data: bytes) -> Plan | None:
    """How to seal a short source of a session that has longer ones."""
    if not known:
        return None
    ranges, _ = _compare(known[:1], data)
    ranges = _numbered(_joined(ranges))
    manifest = _manifest(ranges, data)
    return Plan(key, manifest, data, ranges, None) if manifest is not None else None


def _compare(known: Iterable[_Source], data: bytes) -> tuple[list[_Range], bytes | None]:
    """Where the bytes of a source lie already, in order and without gaps, and the earlier source that it continues."""
    ranges = [_Range(0, len(data), None, 0)]
    replaces = None
    for source in known:
        compared: list[_Range] = []
        repeated = 0
        for one in ranges:
            if one.place is not None or one.length < SHORTEST_SOURCE // 8:
                compared.append(one)
                continue
            at, end = one.at, one.at + one.length
            for stretch in stretches(source.data, data, at, end):
                if stretch.at > at:
                    compared.append(_Range(at, stretch.at - at, None, 0))
                compared += _lying(source, stretch.at, stretch.start, stretch.length)
                at = stretch.at + stretch.length
                repeated += stretch.length
            if at < end:
                compared.append(_Range(at, end - at, None, 0))
        ranges = compared
        if replaces is None and repeated >= SAME_SOURCE * len(source.data):
            replaces = source.data
    return ranges, replaces


def _lying(source: _Source, at: int, start: int, length: int) -> Iterable[_Range]:
    """Where bytes ``start`` to ``start + length`` of a known source lie, as ranges of the new one from ``at`` on."""
    index = bisect_right(source.starts, start) - 1
    while length > 0:
        known = source.ranges[index]
        skip = start - known.at
        size = min(length, known.length - skip)
        short = size < SHORTEST
        yield _Range(at, size, None if short else known.place, 0 if short else known.start + skip)
        at, start, length, index = at + size, start + size, length - size, index + 1


def _consolidated(ranges: Sequence[_Range]) -> Sequence[_Range]:
    """The same with no more than :data:`MOST_RECORDS` records, and no more pieces than a manifest may have."""
    shares: dict[Place, int] = {}
    for one in ranges:
        if one.place is not None:
            shares[one.place] = shares.get(one.place, 0) + one.length
    if len(shares) <= MOST_RECORDS and len(ranges) <= MAX_PIECES // 2:
        return ranges
    taken: set[Place] = set()
    size = 0
    for place in sorted(shares, key=lambda place: shares[place])[: len(shares) - FEWEST_RECORDS]:
        size += shares[place]
        if size > MOST_TAKEN_IN and len(shares) - len(taken) <= MAX_RECORDS:
            break
        taken.add(place)
    return [one._replace(place=None, start=0) if one.place in taken else one for one in ranges]


def _joined(ranges: Iterable[_Range]) -> list[_Range]:
    """The same with neighbours put together that lie together."""
    joined: list[_Range] = []
    for one in ranges:
        last = joined[-1] if joined else None
        follows = last is not None and last.place == one.place
        if last is not None and follows and (one.place is None or last.start + last.length == one.start):
            joined[-1] = last._replace(length=last.length + one.length)
        else:
            joined.append(one)
    return joined


def _numbered(ranges: Iterable[_Range]) -> list[_Range]:
    """The same with the places of the own bytes: one behind the other."""
    numbered, end = [], 0
    for one in ranges:
        if one.place is None:
            one = one._replace(start=end)
            end += one.length
        numbered.append(one)
    return numbered


def _manifest(ranges: Sequence[_Range], data: bytes) -> Manifest | None:
    """The manifest, unless it would refer to nothing or to too much, or be too long."""
    records = sorted({one.place for one in ranges if one.place is not None})
    if not 0 < len(records) <= MAX_RECORDS or len(ranges) > MAX_PIECES:
        return None
    numbers: dict[Place | None, int] = {place: number for number, place in enumerate(records)}
    numbers[None] = OWN
    if sum([one.length for one in ranges if one.place is None]) > MOST_OWN:
        return None
    own = b"".join([data[one.at : one.at + one.length] for one in ranges if one.place is None])
    pieces = tuple(Piece(numbers[one.place], one.start, one.length) for one in ranges)
    return Manifest(tuple(records), pieces, own)
