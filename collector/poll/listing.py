"""A feed over an API that lists its records by time: pages within windows of time. One class, a few such APIs."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from collector.gateways import Format, Reading, Received
from collector.gateways.times import from_any
from collector.json_units import parse_json
from collector.poll import Page
from collector.poll.api import Api, CursorExpired
from collector.poll.windows import (
    SECOND,
    Listed,
    Rules,
    Window,
    current,
    finished,
    format_window,
    parse_window,
    restarted,
    seen,
)
from schemas.errors import ConfigurationError, MalformedInput
from sinks.pace import Clock, SystemClock

MAX_KNOWN = 200_000
"""Records that a feed remembers, about 30 MB; what it forgot is recorded again, with equal event ids."""


class Answer(NamedTuple):
    """What an API says to a request for a page.

    Attributes:
        body: the exact bytes to record, ``b""`` where there are none.
        listed: the records in it.
        after: what the API wants to hear for the next page.
        more: whether there is one.
        waiting: nothing is known yet, and asking again with ``after`` goes on; then ``after`` may be what it was.
    """

    body: bytes
    listed: Sequence[Listed]
    after: str
    more: bool
    waiting: bool = False


class Lists(Protocol):
    """How one API is asked for a page of a window."""

    @property
    def newest_first(self) -> bool:
        """Whether its records come so; otherwise in any order."""
        ...

    async def ask(self, api: Api, window: Window) -> Answer:
        """The page of ``window`` behind ``window.after``.

        Raises:
            CursorExpired: the API no longer knows ``window.after``.
            AffidavitError: as :meth:`collector.poll.api.Api.get`; ``MalformedInput`` for what is no page.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """An API whose list is asked for with GET, newest first, and goes on behind the id of a record.

    Attributes:
        path: of the list.
        params: of a request: ``(start, end, after)``, both ends in seconds since 1970, the second exclusive; ``after``
            is ``""`` at the first page.
        time: the field of a record that says when it happened.
    """

    path: str
    params: Callable[[int, int, str], Sequence[tuple[str, str]]]
    time: str
    newest_first: bool = True

    async def ask(self, api: Api, window: Window) -> Answer:
        """See :class:`Lists`."""
        body = await api.get(self.path, self.params(window.start, window.end, window.after))
        return Answer(body, *_read(body, self.time))


class ListingFeed:
    """A :class:`collector.poll.Feed`.

    Args:
        name, tenant, interval: as in the Protocol.
        listing, api, rules: what to ask, whom, and what it promises.
        source: reads the pages.
        clock: tests replace it.
    """

    receiver = "poll"

    def __init__(
        self,
        name: str,
        tenant: str,
        listing: Lists,
        api: Api,
        rules: Rules,
        source: Format,
        *,
        interval: float,
        clock: Clock | None = None,
    ) -> None:
        self.name, self.tenant, self.gateway = name, tenant, source.name
        self.interval = interval
        self.format: Format = Unseen(source)
        self._listing, self._api, self._rules = listing, api, rules
        self._clock = clock or SystemClock()
        self._given = ""

    async def page(self, cursor: str) -> Page | None:
        """The next page of the window that is being read, or of the next window."""
        assert isinstance(self.format, Unseen)
        self.format.settle(durable=cursor == self._given)
        window = current(parse_window(cursor, self.name), self._clock.time(), self._rules)
        if window is None:
            return None
        try:
            answer = await self._listing.ask(self._api, window)
        except CursorExpired as error:
            if not window.after:
                raise ConfigurationError(
                    f"{error}, expected a list; check what the settings of the feed ask for"
                ) from error
            return self._page(b"", restarted(window), more=True)
        if answer.more and not answer.waiting and answer.after in ("", window.after):
            raise MalformedInput(f"feed {self.name}: the source says that there is more, and not behind which record")
        newest_first = self._listing.newest_first
        reached, complete = seen(window, answer.listed, answer.after, answer.more, newest_first=newest_first)
        if not complete:
            return self._page(answer.body, reached, more=True)
        caught_up = window.end >= int(self._clock.time()) - self._rules.lag
        return self._page(answer.body, finished(reached), more=not caught_up, of=reached)

    def _page(self, body: bytes, next_window: Window, *, more: bool, of: Window | None = None) -> Page:
        self._given = format_window(replace(next_window, mark=secrets.token_hex(4)))
        covered, counted = (of.covered, of.counted) if of else (None, None)
        return Page(body, self._given, more, covered=covered, stretch=counted)

    async def close(self) -> None:
        """Close connections."""
        await self._api.close()


class Unseen:
    """A format that leaves out what it knows to be durable: overlap shows every record many times, and one repeat of
    each proves nothing that the first did not. Only what is equal byte for byte is left out.

    A restart knows nothing, and repeats at most one overlap.
    """

    def __init__(self, source: Format) -> None:
        self.name = source.name
        self._source = source
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._read: dict[str, bytes] = {}

    def read(self, body: bytes, received: Received) -> Reading:
        """What the source's format reads, without what is known."""
        reading = self._source.read(body, received)
        fresh = []
        for unit in reading.units:
            digest = hashlib.sha256(unit.source).digest()
            if not unit.source_id or unit.error or self._known.get(unit.source_id) != digest:
                fresh.append(unit)
                self._read[unit.source_id] = digest
        return Reading(fresh, reading.error)

    def settle(self, *, durable: bool) -> None:
        """What was read since the last call is durable, or nobody knows."""
        if durable:
            self._known.update(self._read)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        self._read = {}


def _read(body: bytes, time: str) -> tuple[list[Listed], str, bool]:
    """The records of a page, what to go on after, and whether there is more.

    Raises:
        MalformedInput: it is no page of a list.
    """
    found = parse_json(body)
    page: Any = found.value
    if found.error or not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise MalformedInput(f"the source answers 200 with {len(body)} bytes that are no page of a list")
    more = page.get("has_more")
    if not isinstance(more, bool):
        raise MalformedInput("the source's page does not say whether there is more")
    listed = [_listed(record, time) for record in page["data"]]
    last = page.get("last_id")
    return listed, last if isinstance(last, str) and last else listed[-1].record_id if listed else "", more


def _listed(record: object, time: str) -> Listed:
    if not isinstance(record, dict):
        return Listed("", None)
    name, moment = record.get("id"), from_any(record.get(time))
    return Listed(name if isinstance(name, str) else "", moment.micros // SECOND if moment else None)
