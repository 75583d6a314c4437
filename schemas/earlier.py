"""The own bytes of earlier records, for whoever puts parts together that repeat them (:mod:`schemas.chunks`)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

from schemas.chunks import Place
from schemas.entry import unpack_commitments
from schemas.errors import MalformedInput, VerificationError
from schemas.ids import KeyId
from schemas.parts import Opener, PartKeys, SealedPart
from schemas.record import decode_record

SHORTEST = 4096
"""No record refers to parts with fewer bytes, so nobody need keep those."""


class Recent:
    """Own bytes of the records of one topic that were seen last. Safe to use from any number of threads.

    Args:
        memory: bytes that are kept.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._kept: OrderedDict[Place, bytes] = OrderedDict()
        self._held = 0

    def keep(self, place: Place, own: bytes) -> None:
        """Keep the own bytes of a record; others are forgotten for it."""
        with self._lock:
            self._held += len(own) - len(self._kept.pop(place, b""))
            self._kept[place] = own
            while self._held > self._memory:
                _, forgotten = self._kept.popitem(last=False)
                self._held -= len(forgotten)

    def held(self, places: Collection[Place]) -> dict[Place, bytes]:
        """What is there of these; see :data:`schemas.chunks.Held`."""
        with self._lock:
            for place in places:
                if place in self._kept:
                    self._kept.move_to_end(place)
            return {place: self._kept[place] for place in places if place in self._kept}


def own_bytes(
    opener: Opener, value: bytes, commitments: bytes, part_type: int, keys: Mapping[KeyId, PartKeys]
) -> bytes | None:
    """The own bytes of one part of a sealed record.

    Args:
        opener: of this thread.
        value: of the record.
        commitments: as on the bus (header ``c``).
        part_type: which part.
        keys: those under which it may be sealed: of whoever refers to it.

    Returns:
        ``None`` when there is no such part, or it does not open: whoever refers to it will say so.
    """
    try:
        record = decode_record(value)
    except MalformedInput:
        return None
    return own_bytes_of(opener, record.parts, record.event_id, commitments, part_type, keys)


def own_bytes_of(
    opener: Opener,
    parts: Iterable[SealedPart],
    event_id: bytes,
    commitments: bytes,
    part_type: int,
    keys: Mapping[KeyId, PartKeys],
) -> bytes | None:
    """:func:`own_bytes` of a record that is taken apart already."""
    try:
        committed = unpack_commitments(commitments)
        part = next(part for part in parts if part.type == part_type)
        key = keys[part.key_id].key(event_id, part_type)
        return opener.unseal(part, committed[part_type], event_id, key).own
    except (MalformedInput, VerificationError, StopIteration, KeyError):
        return None
