"""The parity statement: for one day, whether ledger and destinations hold the same records. Pure.

The *digest* of a set of records is SHA-256 over ``offset (8 bytes, big-endian) | leaf (32 bytes)`` of each, in order:
two places that have the same digest state the same records at the same offsets with the same commitments and times.
"""

from __future__ import annotations

import hashlib
import json
from base64 import standard_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

from schemas.errors import MalformedInput
from schemas.ids import Shard

SCHEMA = "affidavit.parity/1"
DAY_MS = 86_400_000
NAMED = 1_000
"""Ranges of differing offsets that a statement names; it counts them all."""

Leaf = tuple[int, bytes]
"""An offset and the 32 bytes of its leaf."""


@dataclass(frozen=True, slots=True)
class Span:
    """The records of one day in one log, whose leaf 1 is offset ``start``: offsets ``first`` up to ``end``, under a
    checkpoint of ``size`` leaves."""

    origin: str
    shard: Shard
    start: int
    first: int
    end: int
    size: int
    root: bytes

    def as_dict(self) -> dict[str, Any]:
        """For the statement."""
        return {
            "origin": self.origin,
            "shard": str(self.shard),
            "first_offset": self.first,
            "end_offset": self.end,
            "checkpoint_size": self.size,
            "checkpoint_root": standard_b64encode(self.root).decode(),
        }


@dataclass(slots=True)
class Held:
    """What one destination holds of one span.

    Attributes:
        compared: ``leaf`` where it states leaves, ``offset`` where only offsets can be asked for, ``position`` where
            nothing can: then it says how far delivery is confirmed.
        records: distinct offsets of the span that are there.
        missing, altered, repeated: offsets that are not there; have another leaf, or were never signed; are there more
            than once.
        digest: of what is there, where leaves are stated.
        reason: why it could not be compared, ``""`` where it was.
    """

    compared: str = "leaf"
    records: int = 0
    missing: list[int] = field(default_factory=list)
    altered: list[int] = field(default_factory=list)
    repeated: int = 0
    digest: str = ""
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it holds what the ledger says, as far as that could be compared."""
        return not (self.missing or self.altered or self.reason)

    def as_dict(self) -> dict[str, Any]:
        """For the statement."""
        return {
            "compared_by": self.compared,
            "agrees": self.agrees,
            "records": self.records,
            "missing": len(self.missing),
            "missing_ranges": ranges(self.missing),
            "altered": len(self.altered),
            "altered_ranges": ranges(self.altered),
            "repeated": self.repeated,
            "digest": self.digest,
            "reason": self.reason,
        }


def day_bounds(day: date) -> tuple[int, int]:
    """Milliseconds since 1970 at which a UTC day begins and ends."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    return begin, begin + DAY_MS


def parse_day(text: str, today: date) -> date:
    """A UTC day: ``2026-11-24``, ``yesterday`` or ``today``.

    Raises:
        MalformedInput: something else, or a day to come.
    """
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise MalformedInput(f"got day {text!r}, expected one such as 2026-11-24, yesterday or today") from None
    if day > today:
        raise MalformedInput(f"got day {day}, which has not come yet")
    return day


def digest_of(leaves: Iterable[Leaf]) -> tuple[str, int]:
    """The digest of leaves in the order of their offsets, in hex, and how many there are."""
    digest, count = hashlib.sha256(), 0
    for offset, leaf in leaves:
        digest.update(offset.to_bytes(8, "big") + leaf)
        count += 1
    return digest.hexdigest(), count


def compare(ledger: Iterable[Leaf], held: Iterable[Leaf]) -> Held:
    """Compare a destination with the ledger; both in ascending order of offsets, one pass, no memory."""
    found, digest = Held(), hashlib.sha256()
    there = _distinct(held, found)
    current = next(there, None)
    for offset, leaf in ledger:
        while current is not None and current[0] < offset:
            found.altered.append(current[0])
            current = next(there, None)
        if current is None or current[0] > offset:
            found.missing.append(offset)
            continue
        found.records += 1
        digest.update(offset.to_bytes(8, "big") + current[1])
        if current[1] != leaf:
            found.altered.append(offset)
        current = next(there, None)
    while current is not None:
        found.altered.append(current[0])
        current = next(there, None)
    found.digest = digest.hexdigest()
    return found


def ranges(offsets: Sequence[int]) -> list[list[int]]:
    """Offsets as ranges, ends inclusive, the first :data:`NAMED` of them."""
    return [[start, end - 1] for start, end in islice(runs(sorted(offsets)), NAMED)]


def runs(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending offsets as ranges, ends exclusive."""
    start = end = -1
    for offset in offsets:
        if offset != end:
            if end >= 0:
                yield start, end
            start = offset
        end = offset + 1
    if end >= 0:
        yield start, end


def statement(
    deployment: str,
    day: date,
    made_at: datetime,
    spans: Sequence[tuple[Span, str, Mapping[str, Held]]],
    previous: tuple[date, str] | None,
) -> dict[str, Any]:
    """The statement, without its signature.

    Args:
        spans: each with the ledger's digest and what each destination holds.
        previous: the day and SHA-256 of the statement before.
    """
    logs = [
        {
            **span.as_dict(),
            "records": span.end - span.first,
            "digest": digest,
            "destinations": {name: one.as_dict() for name, one in held.items()},
        }
        for span, digest, held in spans
    ]
    return {
        "schema": SCHEMA,
        "deployment": deployment,
        "day": day.isoformat(),
        "made_at": made_at.isoformat(timespec="seconds"),
        "agrees": all(one.agrees for _, _, held in spans for one in held.values()),
        "records": sum(span.end - span.first for span, _, _ in spans),
        "logs": logs,
        "previous": {"day": previous[0].isoformat(), "sha256": previous[1]} if previous else None,
    }


def encode_statement(made: Mapping[str, Any]) -> bytes:
    """The bytes that are kept and whose hash is signed."""
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def note_text(deployment: str, day: date, data: bytes) -> str:
    """What is signed: origin, day, SHA-256 of the statement in base64, a line each."""
    return f"{note_name(deployment)}\n{day.isoformat()}\n{standard_b64encode(hashlib.sha256(data).digest()).decode()}\n"


def note_name(deployment: str) -> str:
    """The name under which statements are signed."""
    return f"{deployment}/parity"


def _distinct(held: Iterable[Leaf], found: Held) -> Iterator[Leaf]:
    """One of each offset; an offset that is there again, whatever it says, counts as a repeat, or if it says something
    else as altered."""
    before: Leaf | None = None
    for one in held:
        if before is not None and one[0] == before[0]:
            found.repeated += 1
            if one[1] != before[1] and one[0] not in found.altered[-1:]:
                found.altered.append(one[0])
            continue
        yield one
        before = one
