"""What a signer asks of the bus about one shard, beside the messages that it signs."""

from __future__ import annotations

import asyncio

from schemas import entry as kinds
from schemas.errors import ConfigurationError, EvidenceIncomplete, LedgerContradiction, Unavailable
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from signer.batch import entries_of
from signer.bus_check import check_bus, check_topic
from signer.startup import OpenLog
from signer.waiting import pause
from stores.bus import Bounds, Bus

KINDS = {EVENTS: kinds.EVENT, CONTROL: kinds.CONTROL}
"""The entry kind of the messages of each topic that is signed."""

MAX_BYTES = 64 * 1024 * 1024

SETTLE_SECONDS = 10.0
"""How long a bus that ends before what was signed may take to come back: a replica that has just become the leader can
give out an older end until the others have confirmed it. Nothing is signed meanwhile."""

_LOOK_SECONDS = 0.5


async def first_time(bus: Bus, shard: Shard, bounds: Bounds, now_ms: int) -> int:
    """When the shard's first message arrived, or ``now_ms`` if that is earlier or there is none: a log that is opened
    over messages which are there already was opened with the first of them."""
    if bounds.end == bounds.start:
        return now_ms
    messages = await bus.read(shard, bounds.start, max_records=1, max_bytes=1, values=False)
    return min([now_ms, *(message.time_ms for message in messages)])


async def entry_on_bus(bus: Bus, shard: Shard, offset: int, bounds: Bounds) -> bytes | None:
    """The entry of the message at ``offset``, as it would be signed now; ``None`` when it is not readable."""
    if not bounds.start <= offset < bounds.end:
        return None
    try:
        messages = await bus.read(shard, Offset(offset), max_records=1, max_bytes=MAX_BYTES, values=False)
    except EvidenceIncomplete:
        return None  # retention took it since
    return entries_of(messages, KINDS[shard.topic], offset, 0)[0] if messages else None


async def compare_with_bus(
    bus: Bus, opened: OpenLog, stop: asyncio.Event, settle_seconds: float = SETTLE_SECONDS
) -> Bounds:
    """H7, over the bus as it is now: identity, end, and the last message that was signed. Returns the bounds.

    Raises:
        LedgerContradiction: the bus is another, or has lost or changed what was signed.
        Unavailable: the bus does not answer.
    """
    shard, last = opened.log.shard, opened.next_offset - 1
    try:
        check_topic(opened, await bus.identity(shard.topic))
        bounds = await _settled(bus, opened, stop, settle_seconds)
        known = await entry_on_bus(bus, shard, last, bounds) if last >= opened.genesis.start_offset else None
    except ConfigurationError as error:
        raise LedgerContradiction(
            f"H7 {opened.log.origin}: {error}: the topic or its shard was deleted; restore it, or close this log and "
            "open the next"
        ) from error
    check_bus(opened, bounds, known)
    return bounds


async def _settled(bus: Bus, opened: OpenLog, stop: asyncio.Event, seconds: float) -> Bounds:
    """The bounds, once they reach what was signed, or once they had the time for it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        bounds = await bus.bounds(opened.log.shard)
        if bounds.end >= opened.next_offset or loop.time() >= deadline:
            return bounds
        if stop.is_set():
            raise Unavailable(f"{opened.log.origin}: stopped before the bus reached what was signed")
        await pause(stop, _LOOK_SECONDS)
