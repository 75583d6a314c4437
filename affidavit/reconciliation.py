"""Whether Splunk's index holds what was delivered to it: by blocks of offsets, then by offset where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from affidavit.parity import runs
from affidavit.progress import Told, silent
from schemas.ids import Offset, Shard
from sinks.splunk.envelope import BLOCK
from sinks.splunk.search import BlockCount, SplunkSearch


@dataclass(frozen=True, slots=True)
class ShardReconciled:
    """One shard: offsets from ``first`` up to ``end`` are compared.

    Attributes:
        delivered: records that should be in the index: all but the dead letters.
        rejected: dead letters among them.
        found: distinct ones of the delivered that the index holds.
        repeats: further events of the same records; a reader counts ``dc(offset)``.
        missing: offsets that should be there and are not.
    """

    shard: Shard
    first: int
    end: int
    delivered: int
    rejected: int
    found: int
    repeats: int
    missing: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: missing offsets as ranges, ends inclusive."""
        return {
            "shard": str(self.shard),
            "first": self.first,
            "end": self.end,
            "delivered": self.delivered,
            "rejected": self.rejected,
            "found": self.found,
            "repeats": self.repeats,
            "missing": len(self.missing),
            "missing_ranges": [[start, end - 1] for start, end in runs(self.missing)],
        }


def reconcile(
    search: SplunkSearch,
    shard: Shard,
    first: int,
    end: int,
    rejected: Iterable[int],
    told: Told = silent,
) -> ShardReconciled:
    """Compare one shard.

    Args:
        first, end: offsets that were delivered for good: the bus's start, and the sink's position.
        rejected: offsets that went to the dead letter and were not delivered since.

    Raises:
        Unavailable, ConfigurationError: the search.
    """
    gone = {offset for offset in rejected if first <= offset < end}
    counted = {one.block: one for one in search.blocks(shard)}
    blocks = list(_blocks(first, end))
    odd = [block for block in blocks if _odd(block, counted.get(block), _wanted(block, first, end, gone))]
    there: dict[int, int] = {}
    for at in range(0, len(odd), 20):
        there |= search.offsets(shard, odd[at : at + 20])
        told(at + 20, len(odd), f"{shard}, blocks that differ")
    missing = tuple(offset for block in odd for offset in _wanted(block, first, end, gone) if offset not in there)
    events = sum(counted[block].events for block in blocks if block in counted)
    records = sum(counted[block].records for block in blocks if block in counted)
    delivered = end - first - len(gone)
    return ShardReconciled(shard, first, end, delivered, len(gone), delivered - len(missing), events - records, missing)


def _blocks(first: int, end: int) -> range:
    return range(first // BLOCK, -(-end // BLOCK)) if end > first else range(0)


def _wanted(block: int, first: int, end: int, gone: set[int]) -> list[Offset]:
    inside = range(max(first, block * BLOCK), min(end, (block + 1) * BLOCK))
    return [Offset(offset) for offset in inside if offset not in gone]


def _odd(block: int, found: BlockCount | None, wanted: Sequence[int]) -> bool:
    """A block at an edge, or with rejected records, may hold more in the index than is compared: then it is looked
    into, too."""
    return (found.records if found is not None else 0) != len(wanted)
