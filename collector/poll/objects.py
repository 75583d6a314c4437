"""A feed over the objects of a bucket: each is a page, or several if it is large, with what its records refer to.

What the cursor says is in :mod:`collector.poll.object_cursor`, and a look at the bucket in
:mod:`collector.poll.object_sweep`. Between two pages this keeps the queue of the last look and the object that is being
read, so that neither is asked for again; both are only good for the cursor that they belong to.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from collector.gateways import Attachment, Format
from collector.gateways.object_notices import DAMAGED, NOTICE, ObjectFormat, format_notice
from collector.poll import Page
from collector.poll.object_cursor import Listed, Part, Reached, format_reached, parse_reached
from collector.poll.object_layout import Layout
from collector.poll.object_pages import RECORD_BYTES, Pages
from collector.poll.object_references import References
from collector.poll.object_sweep import QUEUE, Bucket, Found, Sweep, Sweeper
from schemas.errors import ConfigurationError, LimitExceeded, MalformedInput

LATE_SECONDS = 6 * 3600
"""AWS and LiteLLM deliver within minutes; a replicated bucket, or a sender that was cut off, may take hours."""

IDLE_SECONDS = 60
"""How far time must have gone on for a look without objects to be worth a cursor."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a feed reads.

    Attributes:
        name: of the feed.
        tenant, gateway: whose records these are, and what to call where they came from.
        prefix: what all keys begin with, with its slash.
        layout: how keys tell the time.
        since: seconds since 1970; objects of earlier keys are left out. ``None``: from the first one.
        late: seconds after the moment in its key within which an object appears. An object that appears later is not
            found: this is the assumption on which nothing is skipped, so be generous.
        buckets: others that records may refer to.
        interval: seconds between two looks.
        queue: objects that one look finds at most.
    """

    name: str
    tenant: str
    gateway: str
    prefix: str = ""
    layout: Layout = field(default_factory=Layout)
    since: int | None = None
    late: int = LATE_SECONDS
    buckets: tuple[str, ...] = ()
    interval: float = 60.0
    queue: int = QUEUE


class ObjectsFeed:
    """See the module, and :class:`collector.poll.Feed`. Its methods may be called from one task; the blocking work runs
    on a thread.

    Args:
        bucket: where the objects are; closed with the feed.
        format: reads the objects; one that has references gets what they refer to.
        now: seconds since 1970.

    Raises:
        ConfigurationError: the prefix cannot be right.
    """

    receiver = "objects"

    def __init__(self, bucket: Bucket, source: Source, format: Format, *, now: Callable[[], float] = time.time) -> None:
        if source.layout.pattern and source.prefix and not source.prefix.endswith("/"):
            raise ConfigurationError(
                f"feed {source.name}: got prefix {source.prefix!r}, expected one that ends with a slash"
            )
        self.name, self.tenant, self.gateway = source.name, source.tenant, source.gateway
        self.interval = source.interval
        self.format: Format = ObjectFormat(format)
        self._bucket, self._source = bucket, source
        self._sweeper = Sweeper(bucket, source.prefix, source.layout, source.late, source.queue)
        self._references = References(bucket, format, {bucket.name, *source.buckets}, now)
        self._lock = threading.Lock()
        self._sweep = Sweep()
        self._expected = ""
        self._open: tuple[Listed, Pages] | None = None

    async def page(self, cursor: str) -> Page | None:
        """The next page; see :meth:`collector.poll.Feed.page`."""
        return await asyncio.to_thread(self._page, cursor)

    async def close(self) -> None:
        """Release connections."""
        await asyncio.to_thread(self._bucket.close)

    def _page(self, cursor: str) -> Page | None:
        with self._lock:  # a page that nobody waited for may still be under way
            try:
                return self._next(cursor)
            except BaseException:
                self._expected, self._open = "", None
                raise

    def _next(self, cursor: str) -> Page | None:
        if not cursor:
            begun = self._sweeper.begin(self._source.since)
            return self._only(format_reached(begun), more=True)
        reached = parse_reached(cursor)
        if reached.part is not None:
            return self._read(reached, Found(reached.part.object), reached.part.offset)
        if cursor != self._expected or not self._sweep.queue:
            self._sweep = self._sweeper.live(reached) if reached.history is None else self._sweeper.history(reached)
        if self._sweep.queue:
            return self._read(reached, self._sweep.queue[-1], 0)
        if reached.history is not None:
            return self._end_history(reached)
        if self._sweep.low - reached.low < IDLE_SECONDS:
            return None
        settled = self._settled(reached)
        return self._only(format_reached(settled), covered=_covered(reached.low, settled.low))

    def _end_history(self, reached: Reached) -> Page:
        live = replace(reached, history=None)
        return self._only(format_reached(live), more=True, covered=_covered(reached.since, reached.low))

    def _only(self, cursor: str, *, more: bool = False, covered: tuple[int, int] | None = None) -> Page:
        """A page that moves the cursor and records nothing."""
        return Page(b"", cursor, more=more, covered=covered)

    def _settled(self, reached: Reached) -> Reached:
        return reached.settled(self._sweep.low, self._sweep.moments, self._sweep.digests)

    def _read(self, reached: Reached, found: Found, offset: int) -> Page:
        """A page of an object, or the notice that there is none."""
        listed, attachments = found.object, dict[str, Attachment]()
        try:
            body, media_type, pages = self._content(listed, offset, attachments)
        except KeyError:
            return self._vanished(reached, listed, offset)
        if pages is not None:
            self._open = (listed, pages)
            return self._made(replace(reached, part=Part(listed, pages.offset)), listed, body, media_type, attachments)
        return self._done(reached, reached.after(listed, anew=found.anew), listed, body, media_type, attachments)

    def _content(
        self, listed: Listed, offset: int, attachments: dict[str, Attachment]
    ) -> tuple[bytes, str, Pages | None]:
        """Body and media type of the next page, and where the pages behind it come from, if there are any.

        Raises:
            KeyError: the object is gone, or has another content.
        """
        opened, self._open = self._open, None
        try:
            if opened is not None and opened[0] == listed and opened[1].offset == offset:
                pages = opened[1]
            else:
                pages = Pages(self._bucket.open(listed.key, listed.etag), offset)
            body = self._references.resolve(pages.take(), listed, pages, attachments)
            return body, "application/json", None if pages.exhausted else pages
        except (MalformedInput, LimitExceeded) as error:
            return *self._unreadable(listed, offset, error), None

    def _vanished(self, reached: Reached, listed: Listed, offset: int) -> Page:
        self._sweep.forget(listed)
        why = "it was listed, and when it was to be read it was gone or had another content"
        body = self._notice("object_vanished", listed, why, offset=offset)
        return self._done(reached, reached.passed(listed), listed, body, NOTICE, {})

    def _unreadable(self, listed: Listed, offset: int, error: Exception) -> tuple[bytes, str]:
        """An object that does not inflate is evidence as it is stored; one that is too large for us is named."""
        if isinstance(error, MalformedInput) and listed.size <= RECORD_BYTES:
            return b"".join(self._bucket.open(listed.key, listed.etag)), DAMAGED
        what = "record_too_large" if isinstance(error, LimitExceeded) else "object_too_large"
        return self._notice(what, listed, str(error), offset=offset), NOTICE

    def _notice(self, what: str, listed: Listed, why: str, **details: Any) -> bytes:
        ref = f"s3://{self._bucket.name}/{listed.key}"
        own = {"etag": listed.etag, "size": listed.size, "modified": listed.modified}
        return format_notice(what, ref, f"object {ref}: {why}", **own, **details)

    def _done(
        self,
        before: Reached,
        after: Reached,
        listed: Listed,
        body: bytes,
        media_type: str,
        attachments: dict[str, Attachment],
    ) -> Page:
        """The last page of an object. The last of a complete look also says up to when all was read."""
        queue = self._sweep.queue
        if before.part is not None and not (queue and queue[-1].object == listed):
            return self._made(after, listed, body, media_type, attachments)
        queue.pop()
        if queue or not self._sweep.complete or before.history is not None:
            return self._made(after, listed, body, media_type, attachments)
        settled = self._settled(after)
        page = self._made(settled, listed, body, media_type, attachments)
        if settled.low <= before.low:
            return replace(page, more=False)
        return replace(page, more=False, covered=_covered(before.low, settled.low))

    def _made(
        self, reached: Reached, listed: Listed, body: bytes, media_type: str, attachments: dict[str, Attachment]
    ) -> Page:
        self._expected = format_reached(reached)
        return Page(body, self._expected, True, media_type, listed.key, attachments=attachments)


def _covered(start: int, end: int) -> tuple[int, int]:
    return start * 1_000_000, end * 1_000_000
