"""What ClickHouse does not have yet: nobody can say whether a hold is about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.ids import EVENTS

if TYPE_CHECKING:
    from affidavit.wiring import Wiring


async def unindexed(wiring: Wiring) -> dict[str, int]:
    """Records by shard that are on the bus and not in ClickHouse, as its sink last said."""
    bus = wiring.existing_bus
    found = {}
    for shard in await bus.shards(EVENTS):
        bounds = await bus.bounds(shard)
        position = await bus.committed("clickhouse", shard)
        found[str(shard)] = bounds.end - max(position or 0, bounds.start)
    return found
