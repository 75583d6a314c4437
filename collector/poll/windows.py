"""Reading a source that lists its records by time: windows of time, each from a done edge to a safe one. Pure.

A source shows a record some time after it happened, so a window ends ``lag`` before now, and begins ``overlap`` before
the edge that is done already, for records that came later than the source promises. Within a window the cursor is what
the source wants to hear for the next page; the edge moves only when the source says that there is no more. So nothing
is skipped, whatever order the pages come in, and what overlap shows again has equal event ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from collector.poll import Counted
from schemas.errors import ConfigurationError, LedgerContradiction

SECOND = 1_000_000


NOTHING = Counted()


class Listed(NamedTuple):
    """A record as the list of a source shows it: its id, and when it happened, in whole seconds since 1970; ``None``
    where it does not say."""

    record_id: str
    at: int | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What a source promises, in seconds.

    Attributes:
        lag: a record shows at most this long after it happened.
        overlap: how much of what is done already each window reads again.
        longest: of one window, so that the edge moves while years are caught up with.
        begin: where to begin, in seconds since 1970.
    """

    lag: int
    overlap: int
    longest: int
    begin: int

    def __post_init__(self) -> None:
        if self.lag < 1 or self.overlap < 0 or self.longest < 1:
            raise ConfigurationError(
                f"got lag {self.lag}, overlap {self.overlap}, longest {self.longest}, expected seconds: 1, 0, 1 or more"
            )


@dataclass(frozen=True, slots=True)
class Window:
    """Where the reading stands; times in seconds since 1970.

    Attributes:
        done: everything before was read.
        end: of the window that is being read, exclusive; equal to ``done`` between windows.
        back: how many seconds before ``done`` it begins.
        after: what the source wants to hear for the next page of it, such as the id of the last record seen; ``""`` at
            its first page.
        counted: what was seen in it that lies at or after ``done``.
        mark: differs each time a cursor is made, so that who finds it stored knows whose page that was.
    """

    done: int
    end: int
    back: int = 0
    after: str = ""
    counted: Counted = NOTHING
    mark: str = ""

    @property
    def start(self) -> int:
        """From when to ask, inclusive."""
        return self.done - self.back

    @property
    def covered(self) -> tuple[int, int]:
        """What reading it to its end covers, in microseconds."""
        return self.done * SECOND, self.end * SECOND


def current(cursor: Window | None, now: float, rules: Rules) -> Window | None:
    """The window to read: the one that was begun, or the next; ``None`` while there is no second of it yet."""
    window = cursor or Window(rules.begin, rules.begin)
    if window.end > window.done:
        return window
    end = min(int(now) - rules.lag, window.done + rules.longest)
    back = max(0, min(rules.overlap, window.done - rules.begin))
    return Window(window.done, end, back) if end > window.done else None


def seen(
    window: Window, listed: Sequence[Listed], after: str, more: bool, *, newest_first: bool = True
) -> tuple[Window, bool]:
    """After a page of the window: where the reading stands, and whether the window is complete. ``after`` is what the
    source wants to hear for the next page.

    A source that forgets the lower bound is read no further than to there, if it lists the newest first: a page that
    ends with an older record has shown all.
    """
    new = [one for one in listed if one.at is None or window.done <= one.at < window.end]
    counted = window.counted.plus(Counted(len(new), new[0].record_id, new[-1].record_id) if new else NOTHING)
    oldest = listed[-1].at if listed else None
    if more and (not newest_first or oldest is None or oldest >= window.start):
        return replace(window, after=after, counted=counted), False
    return replace(window, counted=counted), True


def finished(window: Window) -> Window:
    """The edge moves to where the window ended."""
    return Window(window.end, window.end)


def restarted(window: Window) -> Window:
    """The source no longer knows the record that we were to go on after: begin anew with half the window and half the
    overlap, so that ever fewer pages have to be read before one cursor expires."""
    return Window(window.done, window.done + max(1, (window.end - window.done) // 2), window.back // 2)


def format_window(window: Window) -> str:
    """As a feed's cursor."""
    return json.dumps(
        [window.done, window.end, window.back, window.after, *window.counted, window.mark], separators=(",", ":")
    )


def parse_window(cursor: str, feed: str) -> Window | None:
    """What :func:`format_window` wrote; ``None`` for ``""``.

    Raises:
        LedgerContradiction: it is something else.
    """
    if not cursor:
        return None
    try:
        done, end, back, after, records, first_id, last_id, mark = json.loads(cursor)
        window = Window(done, end, back, after, Counted(records, first_id, last_id), mark)
        exact = format_window(window) == cursor
    except (ValueError, TypeError):
        exact = False
    if not exact:
        raise LedgerContradiction(f"feed {feed}: its cursor is not one of a list that is read by windows of time")
    return window
