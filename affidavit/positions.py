"""Finding records on the bus: by time, and by offset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from affidavit.moments import parse_time
from schemas.errors import EvidenceIncomplete
from schemas.ids import Offset, Shard
from stores.bus import Bus, Message

READ_BYTES = 8 << 20


async def offset_at(bus: Bus, shard: Shard, since: str) -> Offset:
    """The first offset that the bus took at or after a time (:func:`affidavit.moments.parse_time`); where the shard
    begins, for ``""``. The bus's clock never goes back, so halves are looked at."""
    bounds = await bus.bounds(shard)
    low, high = bounds.start, bounds.end
    if not since:
        return low
    wanted = parse_time(since, datetime.now(UTC))
    while low < high:
        middle = Offset((low + high) // 2)
        (message,) = await bus.read(shard, middle, max_records=1, max_bytes=1, values=False)
        if message.time_ms < wanted:
            low = Offset(middle + 1)
        else:
            high = middle
    return low


async def read_offsets(bus: Bus, shard: Shard, offsets: Sequence[int]) -> list[Message]:
    """The messages at ascending offsets.

    Raises:
        EvidenceIncomplete: the first of them is no longer on the bus.
    """
    start = (await bus.bounds(shard)).start
    if offsets and offsets[0] < start:
        raise EvidenceIncomplete(
            f"{shard} offset {offsets[0]} is no longer on the bus, which begins at {start}: it is in the archive"
        )
    found: list[Message] = []
    wanted = set(offsets)
    at = 0
    while at < len(offsets):
        position = Offset(offsets[at])
        batch = await bus.read(shard, position, max_records=1000, max_bytes=READ_BYTES)
        found += [message for message in batch if message.offset in wanted]
        while at < len(offsets) and offsets[at] <= batch[-1].offset:
            at += 1
    return found
