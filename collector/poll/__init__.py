"""Feeds: sources that have to be asked. The Protocol and its contract; one file per feed, and the runner, beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from collector.gateways import Attachment, Format


class Counted(NamedTuple):
    """Records of a source: how many, and the ids of the first and the last in the order in which they were read."""

    records: int = 0
    first_id: str = ""
    last_id: str = ""

    def plus(self, more: Counted) -> Counted:
        """These and then those."""
        return Counted(self.records + more.records, self.first_id or more.first_id, more.last_id or self.last_id)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a source.

    Attributes:
        body: the exact bytes that the source gave; what is recorded as source of the units that the format finds.
        cursor: where to go on once this page is durable. Opaque to everybody but the feed; a few hundred bytes.
        more: whether another page is there already, so that nobody need wait for the interval.
        media_type: of the body.
        name: what the source calls it: an object's key, the id of a page. For people, and for the format.
        covered: what this page completes, for the record: from when to when (microseconds since 1970, the second
            exclusive) the source has now been read without a gap; ``None`` while that is not known yet.
        attachments: what the body refers to, fetched; goes to ``Received.attachments``.
        stretch: what ``covered`` holds, where the feed counts it better than by the units of its pages: without what
            overlap repeats.

    A page without a body records nothing: it moves the cursor, and says what is covered.
    """

    body: bytes
    cursor: str
    more: bool = False
    media_type: str = "application/json"
    name: str = ""
    covered: tuple[int, int] | None = None
    attachments: Mapping[str, Attachment] = field(default_factory=dict)
    stretch: Counted | None = None


class Feed(Protocol):
    """A source that is asked page by page.

    **Order.** Pages come in an order in which a cursor says all that has been read. **Repeats.** A page may hold what
    another held: overlap is how nothing is missed, and equal records get equal event ids. **State.** None but what the
    cursor says: a feed may be asked by another process tomorrow. **Retry.** The feed does not; it raises
    :class:`~schemas.errors.Unavailable` (with ``retry_after`` where the source said so, also for its rate limit), or
    :class:`~schemas.errors.AccessDenied` and :class:`~schemas.errors.ConfigurationError` for what a person must mend.

    Attributes:
        name: names the cursor: equal for the same source for ever.
        tenant, gateway: whose records these are, and what to call where they came from.
        format: reads the bodies.
        receiver: metadata field ``receiver``: ``poll``, or ``objects`` for what lies in a bucket.
        interval: seconds between two looks when there is nothing more.
    """

    name: str
    tenant: str
    gateway: str
    format: Format
    receiver: str
    interval: float

    async def page(self, cursor: str) -> Page | None:
        """The next page behind ``cursor`` (``""``: the beginning); ``None`` when there is nothing new and nothing to
        remember."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
