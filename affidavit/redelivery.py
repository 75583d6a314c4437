"""Delivering single records again, beside the processes that run: dead letters, and what a destination lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from affidavit.forwarders import FORWARDERS, make_forwarder
from affidavit.wiring import Wiring
from schemas.errors import ConfigurationError, InvariantError, LockLost, Refused, Unavailable
from schemas.ids import Offset
from sinks.contract import Accepted, Delivered, Pause, Retry, Settling, Sink, Wait
from stores.bus import Message

PATIENCE_SECONDS = 900.0
"""How long one batch may take until the destination has confirmed it; Splunk may take five minutes to acknowledge."""

BATCH_RECORDS = 1_000


class Scratch:
    """Positions that are forgotten: the sink's own must not move. Implements :class:`sinks.kept.Cursors`."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def cursor(self, name: str) -> str:
        return self._values.get(name, "")

    def move_cursor(self, name: str, old: str, new: str, owner: str) -> None:
        if self._values.get(name, "") != old:
            raise LockLost(f"{name} is no longer {old!r}")
        self._values[name] = new


def redeliver(
    wiring: Wiring,
    name: str,
    messages: Sequence[Message],
    told: Callable[[int, int], None] = lambda done, total: None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[tuple[str, int], str]:
    """Deliver messages, in the order of their shards and offsets, until the destination has confirmed each.

    Args:
        name: of the sink.
        messages: of any shards.
        told: how many are done, of how many.

    Returns:
        Why each was rejected that was, by shard and offset.

    Raises:
        Refused: the sink cannot deliver single records.
        ConfigurationError: the destination refuses us until a person acts.
        Unavailable: it did not confirm in time; what was sent before is there.
    """
    if name not in FORWARDERS:
        raise Refused(
            f"the sink {name} keeps records by their position and cannot take single ones again: what it rejects is "
            "there without its parts, and whole in the archive or on the bus"
        )
    sink = make_forwarder(wiring, name, Scratch())
    rejected: dict[tuple[str, int], str] = {}
    done = 0
    try:
        sink.open()
        for batch in _batches(messages):
            shard = batch[0].shard
            for offset, reason in _deliver(sink, batch, sleep):
                rejected[str(shard), offset] = reason
            told(done := done + len(batch), len(messages))
    finally:
        sink.close()
    return rejected


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Messages that follow each other, up to :data:`BATCH_RECORDS`."""
    batch: list[Message] = []
    for message in sorted(messages, key=lambda message: (message.shard, message.offset)):
        follows = batch and message.shard == batch[-1].shard and message.offset == batch[-1].offset + 1
        if batch and (not follows or len(batch) >= BATCH_RECORDS):
            yield batch
            batch = []
        batch.append(message)
    if batch:
        yield batch


def _deliver(sink: Sink, batch: Sequence[Message], sleep: Callable[[float], None]) -> tuple[tuple[Offset, str], ...]:
    shard, deadline = batch[0].shard, time.monotonic() + PATIENCE_SECONDS
    rejected: tuple[tuple[Offset, str], ...] | None = None
    sink.resume(shard, batch[0].offset)
    reason = "it did not confirm in time"
    while time.monotonic() < deadline:
        if rejected is None:
            match outcome := sink.deliver(shard, batch):
                case Delivered(found):
                    return found
                case Accepted(found):
                    rejected = found
                case Retry(reason, after) | Wait(reason, after):
                    sleep(after)
                case Pause(reason, _):
                    raise ConfigurationError(f"the sink {sink.name} is paused: {reason}")
                case _:
                    raise InvariantError(f"got {outcome} from the sink {sink.name} for single records")
            continue
        if not isinstance(sink, Settling):
            return rejected
        try:
            settled = sink.settle(shard)
        except Unavailable as error:
            reason = str(error)
            settled = Offset(0)
        if settled is None:
            sink.resume(shard, batch[0].offset)
            rejected = None
        elif settled > batch[-1].offset:
            return rejected
        sleep(0.5)
    raise Unavailable(f"the sink {sink.name}, {shard} offset {batch[0].offset}: {reason}")
