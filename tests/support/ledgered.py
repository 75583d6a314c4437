"""Messages with their log, for sinks that compute the ledger's proofs themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from memory_bus import MemoryBus
from sealed_records import sealed, strays

from schemas.entry import GENESIS, NO_OFFSET, pack_commitments, pack_entry
from schemas.ids import EVENTS, Offset, Shard
from sinks.proof import LogStart, Proof, prove
from stores.bus import Message
from stores.keys import Keys

SHARD = Shard(EVENTS, 0)
TIME_MS = 1_764_000_000_000


def log_start(shard: Shard = SHARD, start_offset: int = 0, term: str = "2025q4") -> LogStart:
    """A log as the signer would open it."""
    genesis = pack_entry(GENESIS, NO_OFFSET, TIME_MS - 1000, pack_commitments([(0x10, bytes(range(32)))]))
    return LogStart(f"audit.example.com/{shard}/{term}", start_offset, genesis)


def messages(
    keys: Keys, count: int, *, shard: Shard = SHARD, start: int = 0, with_strays: bool = False, step_ms: int = 1
) -> list[Message]:
    """``count`` messages of one shard from offset ``start`` on, ``step_ms`` apart; strays are put among them."""
    bus = MemoryBus({shard.topic: 1}, clock=lambda: 0)
    asyncio.run(bus.append(sealed(keys, count, start=start, topic=shard.topic)))
    if with_strays:
        asyncio.run(bus.append(strays(shard.topic)))
    found = asyncio.run(bus.read(Shard(shard.topic, 0), Offset(0), max_records=count + 100, max_bytes=1 << 40))
    return [
        message._replace(shard=shard, offset=Offset(start + at), time_ms=TIME_MS + step_ms * (start + at))
        for at, message in enumerate(found)
    ]


def proofs(batch: Sequence[Message], log: LogStart) -> list[Proof]:
    """What the ledger says of messages that begin at the start of their log."""
    return prove(batch, [log], log.chain())
