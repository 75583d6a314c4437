"""What archived records have outside of themselves: blobs are locked as long as the segment that speaks of them.

A blob is written without a lock, before anybody knows what will become of its record. The archive knows: before it
writes a segment, every blob that a record in it names gets at least the segment's date, and its hold. So a segment that
is there, is there with all of its parts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from schemas.errors import MalformedInput, VerificationError
from schemas.part_streams import BLOBS, is_blob_address
from schemas.record import decode_record
from sinks.archive.names import DAY_MS, read_scope, scope_prefix, segment_key
from sinks.archive.plan import Plan, PlannedObject
from stores.bus import Message
from stores.objects import ObjectInfo, Objects

log = logging.getLogger(__name__)

_MARK = BLOBS.encode()
"""In the value of every record with an address, and by chance in one of 200,000,000,000 others."""


def addresses(message: Message) -> tuple[str, ...]:
    """The blobs that a message of the bus names. Others than our own are left alone: whoever may write to the bus
    could name any object."""
    if _MARK not in message.value or not message.commitments:
        return ()
    try:
        parts = decode_record(message.value).parts
    except MalformedInput:
        return ()
    named = (address for part in parts for address in part.address.split(" "))
    return tuple(dict.fromkeys(address for address in named if is_blob_address(address)))


def addressed(plan: Plan, messages: Sequence[Message]) -> Iterator[tuple[str, PlannedObject]]:
    """Each blob that the messages of a plan name, with the object of the plan that holds the record."""
    objects = {item.key: item for item in plan.objects}
    for message in messages:
        for address in addresses(message):
            scope = read_scope(scope_prefix(message.value), message.time_ms // DAY_MS)
            item = objects.get(segment_key(scope, plan.shard, plan.first, plan.end))
            if item is not None:
                yield address, item


def lock_blobs(
    objects: Objects,
    plan: Plan,
    messages: Sequence[Message],
    still_ahead: Callable[[datetime | None], datetime | None],
) -> None:
    """Lock the blobs of a plan as its objects will be. A blob that is gone is said loudly, and stops nothing: every
    verification finds it missing.

    Raises:
        Unavailable: the store does not answer; asked again, the rest is done.
        VerificationError: the store took a lock and has not got it.
    """
    for address, item in addressed(plan, messages):
        until = still_ahead(item.retain_until)
        info = objects.head(address)
        if info is None:
            log.error("%s: a record of %s names it, and it is not there", address, item.key)
            continue
        if _is_locked(info, until, item.hold):
            continue
        if until is not None and (info.retain_until is None or info.retain_until < until):
            objects.extend_retention(address, until)
        if item.hold and not info.hold:
            objects.set_hold(address, True)
        # If we die here, the blob is locked for a segment that is not there yet; the plan makes sure that it will be.
        info = objects.head(address)
        if info is None or not _is_locked(info, until, item.hold):
            raise VerificationError(f"{address}: got {info} after it was locked, expected lock {until}")


def _is_locked(info: ObjectInfo, until: datetime | None, hold: bool) -> bool:
    dated = until is None or (info.retain_until is not None and info.retain_until >= until)
    return dated and (info.hold or not hold)
