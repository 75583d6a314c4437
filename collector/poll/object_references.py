"""Fetching what the records of an object refer to, beside the page that they are in, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from collector.gateways import Attachment, Format, ReferencingFormat
from collector.poll.object_cursor import Listed
from collector.poll.object_pages import Pages
from collector.poll.object_sweep import Bucket
from schemas.errors import LimitExceeded, Unavailable

ATTACHMENT_BYTES = 32 * 1024 * 1024
"""The largest thing that is fetched."""

PAGE_ATTACHED_BYTES = 32 * 1024 * 1024
"""A page ends behind the record with which it has this much attached to it."""

RECORD_ATTACHED_BYTES = 128 * 1024 * 1024
"""What one record may have attached."""

PATIENCE_SECONDS = 300
"""Bedrock writes bodies up to a minute behind the record that refers to them."""

PAUSE_SECONDS = 15.0
ROUNDS = 3
"""A record refers to a body, and that to images."""


class References:
    """Resolves references to objects.

    Args:
        bucket: the feed's.
        format: of the records; one without references has nothing resolved.
        allowed: names of buckets. Records hold what callers wrote: elsewhere nothing is read with our rights.
        now: seconds since 1970.
    """

    def __init__(self, bucket: Bucket, format: Format, allowed: set[str], now: Callable[[], float]) -> None:
        self._bucket, self._allowed, self._now = bucket, allowed, now
        self._format = cast(ReferencingFormat, format) if hasattr(format, "references") else None

    def resolve(self, body: bytes, listed: Listed, pages: Pages, attachments: dict[str, Attachment]) -> bytes:
        """Fetch what the records of a page refer to; return the page, cut where it has enough attached to it.

        Raises:
            Unavailable: something is not there yet, and the object is young.
        """
        if self._format is None or b"s3://" not in body:
            return body
        used, attached = 0, 0
        for line in body.splitlines(keepends=True):
            if b"s3://" in line:
                attached += self._resolve(line, listed, attachments)
            used += len(line)
            if attached >= PAGE_ATTACHED_BYTES:
                break
        pages.give_back(body[used:])
        return body[:used]

    def _resolve(self, line: bytes, listed: Listed, attachments: dict[str, Attachment]) -> int:
        total = 0
        assert self._format is not None
        for _ in range(ROUNDS):
            wanted = [ref for ref in self._format.references(line, attachments) if ref not in attachments]
            if not wanted:
                break
            for ref in wanted:
                attachments[ref] = self._fetch(ref, listed, RECORD_ATTACHED_BYTES - total)
                total += len(attachments[ref].data)
        return total

    def _fetch(self, ref: str, listed: Listed, room: int) -> Attachment:
        bucket, _, key = ref.removeprefix("s3://").partition("/")
        if not ref.startswith("s3://") or not bucket or not key:
            return Attachment(problem="got an address that is not s3://bucket/key")
        if bucket not in self._allowed:
            return Attachment(problem=f"bucket {bucket[:64]} is not among those that this feed may read")
        try:
            return Attachment(self._bucket.fetch(bucket, key, max(0, min(ATTACHMENT_BYTES, room))))
        except LimitExceeded as error:
            return Attachment(problem=str(error))
        except KeyError:
            if self._now() - listed.modified < PATIENCE_SECONDS:
                raise Unavailable(
                    f"object {listed.key} refers to {ref}, which is not there yet", retry_after=PAUSE_SECONDS
                ) from None
            return Attachment(problem="there is no such object")
