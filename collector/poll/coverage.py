"""What is remembered of a feed: its cursor, and which stretches of time were read and are not on record yet. Pure.

All of it is one row of the control database, so that cursor and account move together. A stretch goes on the log as an
act, ``feed_covered``; each begins where the one before it ended, unless the feed itself left a gap, which then shows.

An act is written in three steps, so that a crash at any point repeats the same act and never makes a different one:
the stretches move to ``acting`` (swap), they are put on record under a key made of their bounds, ``acting`` is cleared
(swap).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from collector.internal import Act
from collector.poll import Counted, Page
from schemas.errors import LedgerContradiction

BUSY_SECONDS = 60
"""At most one act a minute for a feed with records: a page a second would otherwise be an act a second."""

IDLE_SECONDS = 600
"""And one in ten minutes for a feed without: so that whoever has only the log sees within ten minutes that a feed
stopped, at 144 acts a day."""


NOTHING = Counted()


class Stretch(NamedTuple):
    """From ``start`` to ``end`` (microseconds since 1970, exclusive) the source was read without a gap."""

    start: int
    end: int
    counted: Counted


@dataclass(frozen=True, slots=True)
class Progress:
    """What is remembered.

    Attributes:
        cursor: of the feed.
        reached: the end of the last stretch, in microseconds; ``None`` before the first.
        begun: counted since then, in pages that complete nothing yet.
        ready: complete, and not on record yet.
        acting: about to be put on record, or there already.
        acted_at: when that was done last, in microseconds.
    """

    cursor: str = ""
    reached: int | None = None
    begun: Counted = NOTHING
    ready: tuple[Stretch, ...] = ()
    acting: tuple[Stretch, ...] = ()
    acted_at: int = 0


def advance(progress: Progress, page: Page, units: Counted) -> Progress:
    """After ``page`` is durable. ``units`` are what the format found in it."""
    begun = progress.begun.plus(units)
    if page.covered is None:
        return replace(progress, cursor=page.cursor, begun=begun)
    start, end = page.covered
    if progress.reached is not None:
        start, end = max(start, progress.reached), max(end, progress.reached)
    stretch = Stretch(start, end, begun if page.stretch is None else page.stretch)
    return replace(progress, cursor=page.cursor, reached=end, begun=NOTHING, ready=_joined(progress.ready, stretch))


def _joined(ready: tuple[Stretch, ...], stretch: Stretch) -> tuple[Stretch, ...]:
    if ready and ready[-1].end == stretch.start:
        last = ready[-1]
        return (*ready[:-1], Stretch(last.start, stretch.end, last.counted.plus(stretch.counted)))
    if stretch.start == stretch.end and not stretch.counted.records:
        return ready
    return (*ready, stretch)


def is_due(progress: Progress, now: int, *, ending: bool = False) -> bool:
    """Whether the stretches should go on record at ``now`` (microseconds); ``ending``: the process is about to stop."""
    if not progress.ready:
        return False
    busy = any(stretch.counted.records for stretch in progress.ready)
    return ending or now - progress.acted_at >= (BUSY_SECONDS if busy else IDLE_SECONDS) * 1_000_000


def acts(progress: Progress, feed: str, tenant: str, owner: str) -> list[Act]:
    """The acts of the stretches in ``acting``."""
    return [_act(stretch, feed, tenant, owner) for stretch in progress.acting]


def _act(stretch: Stretch, feed: str, tenant: str, owner: str) -> Act:
    extras = {"feed": feed, "from": stretch.start, "to": stretch.end, **stretch.counted._asdict()}
    key = f"feed_covered:{feed}:{stretch.start}:{stretch.end}"
    return Act("feed_covered", "admin", owner, "system", tenant, extras=extras, key=key)


def format_progress(progress: Progress) -> str:
    """As it is kept. Short names: the row is written with every page."""
    known: dict[str, Any] = {
        "cursor": progress.cursor,
        "reached": progress.reached,
        "begun": list(progress.begun),
        "ready": [_flat(stretch) for stretch in progress.ready],
        "acting": [_flat(stretch) for stretch in progress.acting],
        "acted_at": progress.acted_at,
    }
    return json.dumps(known, ensure_ascii=True, separators=(",", ":"))


def parse_progress(text: str, feed: str) -> Progress:
    """What :func:`format_progress` wrote; ``""`` is the beginning.

    Raises:
        LedgerContradiction: it is something else. Nobody may guess where to go on.
    """
    if not text:
        return Progress()
    try:
        known = json.loads(text)
        progress = Progress(
            known["cursor"],
            known["reached"],
            Counted(*known["begun"]),
            tuple(_stretch(flat) for flat in known["ready"]),
            tuple(_stretch(flat) for flat in known["acting"]),
            known["acted_at"],
        )
        exact = format_progress(progress) == text
    except (ValueError, TypeError, KeyError, LookupError):
        exact = False
    if not exact:
        raise LedgerContradiction(
            f"feed {feed}: what the control database remembers of it is not ours; restore the row from a backup, or "
            "delete it to begin anew, which repeats what was read (with equal event ids)"
        )
    return progress


def _flat(stretch: Stretch) -> list[Any]:
    return [stretch.start, stretch.end, *stretch.counted]


def _stretch(flat: list[Any]) -> Stretch:
    start, end, records, first_id, last_id = flat
    return Stretch(start, end, Counted(records, first_id, last_id))
