"""OpenAI's audit log of an organisation (API reference, "List audit logs")."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from collector.gateways.openai_audit import OpenAIAuditFormat
from collector.poll.api import Api
from collector.poll.listing import Listing, ListingFeed
from collector.poll.windows import Rules
from sinks.pace import Clock

BASE_URL = "https://api.openai.com"

LAG = 120
"""Seconds. The reference promises no time within which an entry shows; see ``OVERLAP``."""

OVERLAP = 3600
"""Seconds that are read again each time, because nothing is promised."""

LONGEST = 7 * 86_400
"""Seconds of a window: weeks are caught up with one by one."""

PAGE = 100
"""Entries of a page: as many as the API allows."""

PER_MINUTE = 60
"""Requests; the reference names no limit of this endpoint."""


def audit_feed(
    name: str,
    tenant: str,
    *,
    key: str,
    begin: int,
    base_url: str = BASE_URL,
    interval: float = 60.0,
    lag: int = LAG,
    overlap: int = OVERLAP,
    page: int = PAGE,
    per_minute: float = PER_MINUTE,
    proxy: str = "",
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> ListingFeed:
    """The feed of one organisation.

    Args:
        key: an admin key of the organisation, whose audit logging is switched on.
        begin: where to begin, in seconds since 1970. Fix it when the feed is set up: it counts until there is a cursor.
    """
    headers = {"authorization": f"Bearer {key}" if key else ""}
    api = Api(base_url, headers, per_minute=per_minute, proxy=proxy, transport=transport, clock=clock)
    rules = Rules(lag, overlap, LONGEST, begin)

    def params(start: int, end: int, after: str) -> Sequence[tuple[str, str]]:
        asked = [("limit", str(page)), ("effective_at[gte]", str(start)), ("effective_at[lt]", str(end))]
        return [*asked, ("after", after)] if after else asked

    listing = Listing("/v1/organization/audit_logs", params, "effective_at")
    return ListingFeed(name, tenant, listing, api, rules, OpenAIAuditFormat(), interval=interval, clock=clock)
