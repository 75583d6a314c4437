"""The audit entries of Vertex AI, asked of Cloud Logging (``entries.list`` of its API v2).

Windows are of ``receiveTimestamp``, the moment at which Logging itself took an entry: an entry whose own ``timestamp``
is hours old is received now, so it is in a window that is yet to be read. ``timestamp`` is bound too, widely, because
Logging searches by it; what it may be at most is Logging's own rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from collector.gateways.cloud_audit import entry_id
from collector.gateways.times import from_any
from collector.gateways.vertex import VertexFormat
from collector.json_units import parse_json
from collector.poll.api import Api
from collector.poll.listing import Answer, ListingFeed
from collector.poll.windows import SECOND, Listed, Rules, Window
from schemas.errors import ConfigurationError, MalformedInput
from sinks.pace import Clock

BASE_URL = "https://logging.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/logging.read"

FILTER = 'protoPayload.serviceName="aiplatform.googleapis.com"'
"""What Vertex AI's audit entries have in common."""

LAG = 120
"""Seconds. Logging buffers up to one minute for entries that come out of order (``entries.tail``); a minute more until
all that was received can be found."""

OVERLAP = 600
"""Seconds that are read again each time, should it take longer for once."""

LONGEST = 6 * 3600
"""Seconds of a window: a search through more is one that Logging has not the time for."""

LATE = 6 * 3600
"""Seconds between what an entry is about and its receipt."""

EARLY = 24 * 3600
"""Seconds: Logging does not list an entry whose time lies further ahead (``entries.write``)."""

PAGE = 1000
"""Entries of a page: the most that the API gives."""

PER_MINUTE = 30
"""Requests: half of what a project has for all who read its logs."""

_MAX_RESOURCES = 100


@dataclass(frozen=True, slots=True)
class Entries:
    """What to ask for, as :class:`collector.poll.listing.Lists`.

    Attributes:
        resources: ``projects/…``, ``folders/…``, ``organizations/…``, or views of log buckets.
        filter: in Logging's query language, without times.
        page: entries of a page.
        late: seconds after its ``timestamp`` within which an entry is received.
    """

    resources: tuple[str, ...]
    filter: str = FILTER
    page: int = PAGE
    late: int = LATE
    newest_first: bool = False

    async def ask(self, api: Api, window: Window) -> Answer:
        """See the Protocol. A page without entries but with a token is a search that is still going on, and the token
        then may be the one that was sent."""
        asked: dict[str, Any] = {
            "resourceNames": list(self.resources),
            "filter": self._filter(window),
            "orderBy": "timestamp asc",
            "pageSize": self.page,
        }
        body = await api.post("/v2/entries:list", {**asked, "pageToken": window.after} if window.after else asked)
        entries, after = _read(body)
        listed = [_listed(entry) for entry in entries]
        return Answer(body if entries else b"", listed, after, bool(after), waiting=bool(after) and not entries)

    def _filter(self, window: Window) -> str:
        """Equal for all pages of a window, as the API demands. On lines of their own, so that a comment in the setting
        hides nothing of ours."""
        times = (
            f'receiveTimestamp>="{_text(window.start)}"',
            f'receiveTimestamp<"{_text(window.end)}"',
            f'timestamp>="{_text(window.start - self.late)}"',
            f'timestamp<="{_text(window.end + EARLY)}"',
        )
        return "\n".join((f"(\n{self.filter}\n)", *times))


def cloud_logging_feed(
    name: str,
    tenant: str,
    *,
    resources: Sequence[str],
    begin: int,
    auth: httpx.Auth,
    filter: str = FILTER,
    base_url: str = BASE_URL,
    interval: float = 60.0,
    lag: int = LAG,
    overlap: int = OVERLAP,
    late: int = LATE,
    page: int = PAGE,
    per_minute: float = PER_MINUTE,
    proxy: str = "",
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> ListingFeed:
    """The feed of one project, or of several.

    Args:
        resources: see :class:`Entries`. Whoever asks needs ``roles/logging.privateLogViewer`` there, for Data Access
            entries are private.
        begin: where to begin, in seconds since 1970. Fix it when the feed is set up: it counts until there is a cursor.
        auth: :class:`collector.poll.google_auth.GoogleAuth` with :data:`SCOPE`.

    Raises:
        ConfigurationError: the resources cannot be right.
    """
    if not 0 < len(resources) <= _MAX_RESOURCES or not all("/" in one for one in resources):
        raise ConfigurationError(f"feed {name}: got resources {', '.join(resources)}, expected some like projects/ID")
    api = Api(base_url, {}, per_minute=per_minute, proxy=proxy, auth=auth, transport=transport, clock=clock)
    rules = Rules(lag, overlap, LONGEST, begin)
    entries = Entries(tuple(resources), filter or FILTER, page, late)
    return ListingFeed(name, tenant, entries, api, rules, VertexFormat(), interval=interval, clock=clock)


def _read(body: bytes) -> tuple[list[Any], str]:
    """The entries of a page, and the token for the next.

    Raises:
        MalformedInput: it is no page.
    """
    found = parse_json(body)
    page: Any = found.value
    entries = page.get("entries", []) if isinstance(page, dict) else None
    token = page.get("nextPageToken", "") if isinstance(page, dict) else None
    if found.error or not isinstance(entries, list) or not isinstance(token, str):
        raise MalformedInput(f"the source answers 200 with {len(body)} bytes that are no page of log entries")
    return entries, token


def _listed(entry: object) -> Listed:
    if not isinstance(entry, dict):
        return Listed("", None)
    received = from_any(entry.get("receiveTimestamp"))
    return Listed(entry_id(entry), received.micros // SECOND if received else None)


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(max(seconds, 0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
