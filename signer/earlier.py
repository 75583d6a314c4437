"""What records repeat of earlier ones, read from the destination that is verified."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from schemas.chunks import Held, Place
from schemas.earlier import Recent, own_bytes, own_bytes_of
from schemas.evidence import Evidence, EvidenceSource
from schemas.ids import KeyId, Offset, Shard
from schemas.parts import Opener, PartKeys, SealedPart

MEMORY = 64 << 20
"""Bytes of earlier records that are kept for those that follow."""

GAP = 4096
"""Records in between that are read over, before another scan is cheaper."""


class EarlierRecords:
    """The own bytes of earlier records of a destination. Use one per thread.

    Args:
        source: the destination; ``None`` has nothing but what was kept.
    """

    def __init__(self, source: EvidenceSource | None) -> None:
        self._source = source
        self._opener = Opener()
        self._recent: dict[tuple[str, int], Recent] = {}

    def keep(self, evidence: Evidence, part_type: int, own: bytes) -> None:
        """Keep the own bytes of a part for records that follow."""
        self._of(evidence.shard.topic, part_type).keep(_place(evidence), own)

    def held(self, topic: str, part: SealedPart, keys: PartKeys) -> Held:
        """What a part may refer to: parts of the same type, under the same subject key, in the same topic."""
        recent = self._of(topic, part.type)

        def find(places: Collection[Place]) -> Mapping[Place, bytes]:
            found = recent.held(places)
            for place, own in self._read(topic, sorted(set(places) - set(found)), part.type, {part.key_id: keys}):
                recent.keep(place, own)
                found[place] = own
            return found

        return find

    def _of(self, topic: str, part_type: int) -> Recent:
        return self._recent.setdefault((topic, part_type), Recent(MEMORY))

    def _read(
        self, topic: str, places: Sequence[Place], part_type: int, keys: Mapping[KeyId, PartKeys]
    ) -> Iterator[tuple[Place, bytes]]:
        if self._source is None:
            return
        wanted = set(places)
        for partition, first, end in _runs(places):
            for evidence in self._source.scan(Shard(topic, partition), Offset(first), Offset(end)):
                place = _place(evidence)
                if place not in wanted:
                    continue
                own = self._own(evidence, part_type, keys)
                if own is not None:
                    yield place, own

    def _own(self, evidence: Evidence, part_type: int, keys: Mapping[KeyId, PartKeys]) -> bytes | None:
        commitments = evidence.commitments
        if evidence.record:
            return own_bytes(self._opener, evidence.record, commitments, part_type, keys)
        return own_bytes_of(self._opener, evidence.outside, evidence.event_id, commitments, part_type, keys)


def _place(evidence: Evidence) -> Place:
    return Place(evidence.shard.partition, evidence.offset)


def _runs(places: Sequence[Place]) -> Iterator[tuple[int, int, int]]:
    """Partition, first offset and end of what is read in one scan."""
    start = 0
    for at, place in enumerate(places, 1):
        after = places[at] if at < len(places) else None
        if after is None or after.partition != place.partition or after.offset - place.offset > GAP:
            yield place.partition, places[start].offset, place.offset + 1
            start = at
