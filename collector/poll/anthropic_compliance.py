"""The activity feed of Anthropic's Compliance API (platform docs, "Query the Activity Feed")."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import httpx

from collector.gateways.anthropic_compliance import AnthropicComplianceFormat
from collector.poll.api import Api
from collector.poll.listing import Listing, ListingFeed
from collector.poll.windows import Rules
from sinks.pace import Clock

BASE_URL = "https://api.anthropic.com"

LAG = 90
"""Seconds. An activity shows within a minute; half a minute more for our clock."""

OVERLAP = 600
"""Seconds that are read again each time, should it take longer for once."""

LONGEST = 86_400
"""Seconds of a window: days are caught up with one by one."""

PAGE = 1000
"""Activities of a page; the API allows 5000."""

PER_MINUTE = 120
"""Requests. The API allows 600 a minute to all keys of an organisation and its parent together."""


def compliance_feed(
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
        key: a Compliance Access Key with the scope ``read:compliance_activities``, or an Admin API key.
        begin: where to begin, in seconds since 1970. Fix it when the feed is set up: it counts until there is a cursor.
    """
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    api = Api(base_url, headers, per_minute=per_minute, proxy=proxy, transport=transport, clock=clock)
    rules = Rules(lag, overlap, LONGEST, begin)

    def params(start: int, end: int, after: str) -> Sequence[tuple[str, str]]:
        asked = [("limit", str(page)), ("created_at.gte", _text(start)), ("created_at.lt", _text(end))]
        return [*asked, ("after_id", after)] if after else asked

    listing = Listing("/v1/compliance/activities", params, "created_at")
    return ListingFeed(name, tenant, listing, api, rules, AnthropicComplianceFormat(), interval=interval, clock=clock)


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
