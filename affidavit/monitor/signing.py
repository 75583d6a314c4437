"""How large the signer's batches are and how long they take, counted from what it tells after each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from affidavit.monitor.histogram import Distribution, Histogram, decades
from schemas.ids import Shard

if TYPE_CHECKING:
    from signer.loop import Signed  # a process without a signer need not load one

RECORDS = decades(0, 5)
"""A batch has at most 32,768 records."""

SECONDS = decades(-3, 1)


@dataclass(frozen=True, slots=True)
class ShardBatches:
    """The batches of one shard since the start of the process."""

    shard: Shard
    records: Distribution
    seconds: Distribution


class Signing:
    """Counts batches: ``Signer(…, on_signed=signing.signed)``. Read from any thread."""

    def __init__(self) -> None:
        self._shards: dict[Shard, tuple[Histogram, Histogram]] = {}

    def signed(self, batch: Signed) -> None:
        """Count one batch; from the signer's loop."""
        if batch.shard not in self._shards:
            self._shards[batch.shard] = Histogram(RECORDS), Histogram(SECONDS)
        records, seconds = self._shards[batch.shard]
        records.add(batch.records)
        seconds.add(batch.seconds)

    def snapshot(self) -> tuple[ShardBatches, ...]:
        """The batches so far, by shard."""
        shards = sorted(dict(self._shards).items())
        return tuple(ShardBatches(shard, one.distribution(), two.distribution()) for shard, (one, two) in shards)
