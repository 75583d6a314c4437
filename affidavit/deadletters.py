"""The dead letters of a deployment: read from the bus, and what was retried from the control database."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from affidavit.acts import letters_retried
from affidavit.progress import Told, silent
from affidavit.redelivery import redeliver
from affidavit.wiring import Wiring
from schemas.errors import EvidenceIncomplete, MalformedInput
from schemas.ids import DEADLETTER, Offset, Shard, format_event_id, parse_shard
from schemas.metadata import KIND_NAMES
from sinks.deadletter import DeadLetter, decode_deadletter
from stores.bus import Bus, Message

log = logging.getLogger(__name__)

READ_RECORDS = 1_000
READ_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """One rejected record, however many letters there are of it.

    Attributes:
        letter: the newest of them.
        copies: how many there are.
        delivered_ms: when a retry delivered it, milliseconds since 1970 UTC; 0 when none has.
    """

    letter: DeadLetter
    copies: int
    delivered_ms: int = 0

    @property
    def name(self) -> str:
        """What it is called on the command line, such as ``splunk/events/0/123``."""
        return name_of(self.letter)

    def as_dict(self) -> dict[str, Any]:
        """Its facts; no content, for that is sealed."""
        message = self.letter.message
        return {
            "letter": self.name,
            "sink": self.letter.sink,
            "shard": str(message.shard),
            "offset": message.offset,
            "event_id": format_event_id(message.event_id) if len(message.event_id) == 16 else "",
            "kind": KIND_NAMES.get(message.kind, ""),
            "reason": self.letter.reason,
            "rejected_ms": self.letter.rejected_ms,
            "received_ms": message.time_ms,
            "bytes": len(message.value),
            "whole": self.letter.whole,
            "copies": self.copies,
            "delivered_ms": self.delivered_ms or None,
        }


def name_of(letter: DeadLetter) -> str:
    """``<sink>/<shard>/<offset>``."""
    return f"{letter.sink}/{letter.message.shard}/{letter.message.offset}"


def parse_name(text: str) -> tuple[str, Shard, Offset]:
    """Read what :func:`name_of` wrote.

    Raises:
        MalformedInput: something else.
    """
    sink, _, rest = text.partition("/")
    shard, _, offset = rest.rpartition("/")
    if not sink or not offset.isascii() or not offset.isdigit():
        raise MalformedInput(f"got letter {text!r}, expected one such as splunk/events/0/123")
    return sink, parse_shard(shard), Offset(int(offset))


async def read_letters(wiring: Wiring, told: Told = silent) -> list[Found]:
    """All rejected records, in the order in which they were first rejected.

    Raises:
        Unavailable: the bus or the database does not answer.
    """
    letters: dict[str, Found] = {}
    bus = wiring.existing_bus
    for shard in await bus.shards(DEADLETTER):
        bounds = await bus.bounds(shard)
        position = bounds.start
        while position < bounds.end:
            batch = await bus.read(shard, position, max_records=READ_RECORDS, max_bytes=READ_BYTES)
            for message in batch:
                try:
                    letter = decode_deadletter(message.value)
                except MalformedInput as error:
                    log.warning("%s offset %d is no dead letter, and left out: %s", shard, message.offset, error)
                    continue
                before = letters.get(name_of(letter))
                letters[name_of(letter)] = Found(letter, before.copies + 1 if before else 1)
            position = Offset(batch[-1].offset + 1)
            told(position - bounds.start, bounds.end - bounds.start, "dead letters")
    return [
        Found(one.letter, one.copies, _delivered(wiring.control.cursor(_cursor(name)))) for name, one in letters.items()
    ]


def choose(
    letters: Sequence[Found], names: Sequence[str] = (), sink: str = "", *, delivered: bool = False
) -> list[Found]:
    """Those of these names, or all of a sink; what a retry has delivered only when named or asked for.

    Raises:
        EvidenceIncomplete: a name that no letter has.
    """
    wanted = {name_of_place(*parse_name(name)) for name in names}
    unknown = wanted - {one.name for one in letters}
    if unknown:
        raise EvidenceIncomplete(f"there is no dead letter {min(unknown)}: affidavit deadletter list shows them")
    return [
        one
        for one in letters
        if (one.name in wanted if wanted else delivered or not one.delivered_ms)
        and (not sink or one.letter.sink == sink)
    ]


def offsets_of(letters: Sequence[Found], sink: str, shard: Shard) -> list[Offset]:
    """Where on a shard the records lie that a sink rejected."""
    return [
        one.letter.message.offset for one in letters if one.letter.sink == sink and one.letter.message.shard == shard
    ]


def name_of_place(sink: str, shard: Shard, offset: Offset) -> str:
    """See :func:`name_of`."""
    return f"{sink}/{shard}/{offset}"


async def message_of(bus: Bus, letter: DeadLetter) -> Message:
    """The record of a letter; from its place on the bus, where the letter was too small for it.

    Raises:
        EvidenceIncomplete: it is no longer on the bus.
    """
    message = letter.message
    if letter.whole:
        return message
    if message.offset < (await bus.bounds(message.shard)).start:
        raise EvidenceIncomplete(f"{name_of(letter)}: the record is no longer on the bus; it is in the archive")
    return (await bus.read(message.shard, message.offset, max_records=1, max_bytes=1))[0]


def retry(
    wiring: Wiring,
    letters: Sequence[tuple[Found, Message]],
    operator: str,
    told: Told = silent,
) -> dict[str, str]:
    """Deliver rejected records again, to the sinks that rejected them; the deed is on the log first.

    Returns:
        By letter: ``""`` where it is delivered now, else why it was rejected again.

    Raises:
        Like :func:`affidavit.redelivery.redeliver`.
    """
    results: dict[str, str] = {}
    for sink in sorted({found.letter.sink for found, _ in letters}):
        own = [(found, message) for found, message in letters if found.letter.sink == sink]
        wiring.audit().record_blocking(letters_retried(sink, [found.name for found, _ in own], operator))
        rejected = redeliver(wiring, sink, [message for _, message in own], partial(told, what=f"to {sink}"))
        for found, message in own:
            results[found.name] = rejected.get((str(message.shard), message.offset), "")
            if not results[found.name]:
                before = wiring.control.cursor(_cursor(found.name))
                wiring.control.move_cursor(_cursor(found.name), before, f"delivered {time.time_ns() // 1_000_000}", "")
    return results


def _cursor(name: str) -> str:
    return f"deadletter/{name}"


def _delivered(text: str) -> int:
    word, _, number = text.partition(" ")
    return int(number) if word == "delivered" and number.isdigit() else 0
