"""After a halt: what is wrong with a shard's log, and the next log that puts it on record. For a person to decide.

Nothing here mends a log that contradicts itself (H1, H3 to H5): that is restored, or it stays as it is. What can be
decided is that the bus has changed under the log (H7), that its clock was set back, or that its key is another: then
the log ends where it is, and the next one says why.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from schemas.errors import EvidenceIncomplete, InvariantError, LedgerContradiction, Refused
from schemas.ids import EVENTS, Offset, Shard
from signer.anchorer import last_known_set
from signer.batch import entries_of, leading
from signer.bus_check import check_bus
from signer.bus_reading import KINDS, MAX_BYTES, entry_on_bus
from signer.ledger import Ledger
from signer.note import format_vkey
from signer.origin import ANCHOR_SHARD
from signer.partitions import with_partitions
from signer.startup import OpenLog, Stores, reopen, shard_log
from signer.succession import LogChange, change_of, recorded_key, succeed
from stores.bus import Bounds, Bus

KEY_ROTATION = "key rotation"
"""The reason that needs nothing to be wrong."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a log that is to be followed by another looks like.

    Attributes:
        origin: the log; ``next_offset`` where it ends.
        wrong: what does not agree, ``""`` when all does.
        start_offset: where the next log would begin.
    """

    origin: str
    next_offset: int
    wrong: str
    start_offset: int


async def diagnose(bus: Bus, stores: Stores, deployment: str, shard: Shard, now_ms: int) -> Diagnosis:
    """Look at a shard's log and at the bus. Publishes what was signed and not yet published, as any start does.

    Raises:
        LedgerContradiction: the log contradicts itself: restore it first.
        Refused: the shard never had a log, or something that can still be signed lies before what is wrong.
        ConfigurationError: the bus has no such shard: create the topic first.
    """
    log = await asyncio.to_thread(shard_log, stores.control, deployment, shard)
    if log is None:
        raise Refused(f"{shard}: has no log that another could follow; start the signer, which opens the first")
    key = recorded_key(log)
    opened = await asyncio.to_thread(reopen, stores, log, key, None)
    wrong = []
    if key.public_key != stores.key.public_key:
        wrong.append(f"the key at hand is not {format_vkey(key)}")
    if log.closed:
        wrong.append("the log is closed and no other follows it")
    if shard == ANCHOR_SHARD:
        last = await asyncio.to_thread(last_known_set, Ledger(stores.objects), opened)
        start = opened.genesis.start_offset if last is None else last.sequence + 1
    else:
        start, fault = await _compare(bus, stores, opened)
        wrong += [fault] if fault else []
        if not fault and opened.last_ms > now_ms + 60_000:
            wrong.append(f"H6: the last entry is of {opened.last_ms} ms, in the future")
    return Diagnosis(log.origin, start if shard == ANCHOR_SHARD else opened.next_offset, "; ".join(wrong), start)


async def close_and_open_next(
    bus: Bus,
    stores: Stores,
    deployment: str,
    shard: Shard,
    reason: str,
    now_ms: int,
    *,
    schemas: tuple[tuple[str, str], ...] = (),
) -> LogChange:
    """Close a shard's log and open the next, which begins where the bus can go on.

    Args:
        bus, stores, deployment, shard: whose log; the key at hand signs the next one.
        reason: why, in a person's words; what was found is added to it. :data:`KEY_ROTATION` needs nothing to be wrong.
        now_ms: milliseconds since 1970 UTC.
        schemas: as in the genesis document (:func:`signer.loop.schema_fingerprints`).

    Raises:
        Refused: nothing is wrong with the log; or see :func:`diagnose`.
        LockLost: a signer is at work on this shard; stop it first. Nothing was changed.
        LedgerContradiction: the log contradicts itself: restore it first.
    """
    found = await diagnose(bus, stores, deployment, shard, now_ms)
    if not found.wrong and reason != KEY_ROTATION:
        raise Refused(f"{shard}: nothing is wrong with {found.origin}; a log without need is not closed")
    why = f"{reason} ({found.wrong})" if found.wrong else reason
    topic_id = ""
    if shard != ANCHOR_SHARD:
        topic_id = await bus.identity(shard.topic)
        why = with_partitions(why, shard.topic, len(await bus.shards(EVENTS)))
    opened = await asyncio.to_thread(
        succeed,
        stores,
        deployment,
        shard,
        why,
        now_ms,
        topic_id=topic_id,
        start_offset=found.start_offset,
        schemas=schemas,
    )
    return change_of(opened)


async def _compare(bus: Bus, stores: Stores, opened: OpenLog) -> tuple[int, str]:
    """Where the next log begins, and what is wrong with the bus; ``""`` when nothing is."""
    shard, next_offset = opened.log.shard, opened.next_offset
    topic_id, bounds = await bus.identity(shard.topic), await bus.bounds(shard)
    if topic_id != opened.genesis.topic_id:
        return bounds.start, f"topic {opened.genesis.topic_id} was created again as {topic_id}"
    last = next_offset - 1
    known = await entry_on_bus(bus, shard, last, bounds) if last >= opened.genesis.start_offset else None
    try:
        check_bus(opened, bounds, known)
    except LedgerContradiction:
        if bounds.start > next_offset:
            return bounds.start, f"retention took offsets {next_offset} to {bounds.start - 1} before they were signed"
        start = await _diverges_at(bus, Ledger(stores.objects), opened, bounds)
        return start, f"the bus lost offsets {start} to {last}, which were signed"
    return await _after_gap(bus, opened, bounds)


async def _after_gap(bus: Bus, opened: OpenLog, bounds: Bounds) -> tuple[int, str]:
    """What is wrong with the next message, and where to go on: behind a gap, or at a message from the past."""
    shard, offset = opened.log.shard, opened.next_offset
    at = offset
    while at < bounds.end:
        try:
            messages = await bus.read(shard, Offset(at), max_records=1000, max_bytes=MAX_BYTES, values=False)
        except LedgerContradiction:
            at += 1  # within a gap
            continue
        if not messages:
            break
        first = messages[0].offset
        if first > offset:
            return first, f"offset_gap: offsets {offset} to {first - 1} do not exist"
        sound = leading(messages, offset, opened.times.high_ms)
        if sound == 0:
            return offset, f"the bus's time stepped back to {messages[0].time_ms} from {opened.times.high_ms}"
        if sound < len(messages):
            raise Refused(
                f"{shard}: {sound} messages from offset {offset} on can still be signed; run the signer until it halts"
            )
        break
    return offset, ""


async def _diverges_at(bus: Bus, ledger: Ledger, opened: OpenLog, bounds: Bounds) -> int:
    """The first offset from which on nothing on the bus is what was signed."""
    genesis, size = opened.genesis, opened.writer.lock.size
    lowest = max(bounds.start, genesis.start_offset)
    end = min(bounds.end, opened.next_offset)
    while end > lowest:
        first = max(lowest, end - 256)
        entries = await _entries(bus, opened, first, end)
        for offset in reversed(range(first, end)):
            index = offset - genesis.start_offset + 1
            if await asyncio.to_thread(ledger.entry, opened.log.origin, size, index) == entries[offset - first]:
                return offset + 1
        end = first
    return max(end, bounds.start)


async def _entries(bus: Bus, opened: OpenLog, first: int, end: int) -> list[bytes]:
    """The entries of offsets ``first`` to ``end``, as they would be signed now."""
    shard = opened.log.shard
    entries: list[bytes] = []
    while first + len(entries) < end:
        at = first + len(entries)
        messages = await bus.read(shard, Offset(at), max_records=end - at, max_bytes=MAX_BYTES, values=False)
        if not messages:
            raise EvidenceIncomplete(f"{shard} offset {at}: was readable a moment ago")
        for message in messages:
            entries += entries_of([message], KINDS[shard.topic], message.offset, 0)
    if len(entries) != end - first:
        raise InvariantError(f"{shard}: got {len(entries)} messages from {first} on, expected {end - first}")
    return entries
