"""The rows of Vertex AI's request-response logging, asked of BigQuery (``jobs.query``, ``jobs.getQueryResults``).

BigQuery itself writes each row as JSON (``TO_JSON_STRING``), and that text, to the byte, is what is recorded. The cells
of its own answers would have to be put together by us: times as floating-point seconds, rows without their names.

A window is one query over ``logging_time``. Its result stays where it is for a day, so a process that takes over goes
on in it, and a result that is gone is asked for anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx

from collector.gateways.times import from_any
from collector.gateways.vertex import VertexFormat
from collector.gateways.vertex_rows import row_id
from collector.json_units import parse_json
from collector.poll.api import Api, CursorExpired
from collector.poll.listing import Answer, ListingFeed
from collector.poll.windows import SECOND, Listed, Rules, Window
from schemas.errors import ConfigurationError, MalformedInput, Unavailable
from sinks.pace import Clock

BASE_URL = "https://bigquery.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/bigquery.readonly"

INTERVAL = 900.0
"""Seconds: each look is a query over the day's partition, and is paid for."""

LAG = 300
"""Seconds until a row shows. Google names no figure; rows that are streamed in show within seconds."""

OVERLAP = 3600
"""Seconds that are read again each time. It is the same partition, so it costs nothing more."""

LONGEST = 86_400
"""Seconds of a window: days are caught up with one by one."""

PAGE = 1000
"""Rows of a page; BigQuery ends a page at 10 MB as well."""

PER_MINUTE = 120
"""Requests. BigQuery allows some hundred a second to one user."""

PATIENCE_MS = 20_000
"""For how long BigQuery may let a request wait for its query."""

MAX_FAILURES = 10
"""In a row for one query, before it is asked anew: a query may have ended in what looks as if the server failed."""

_TABLE = re.compile(r"([a-z0-9.:-]+)[.:]([A-Za-z0-9_]+)\.([A-Za-z0-9_-]+)")


class _Place(NamedTuple):
    """Where in the result of a query the reading stands: what goes into ``Window.after``.

    ``rows``: how many were read; ``waits``: how often it was not ready.
    """

    job: str
    location: str
    token: str
    rows: int
    waits: int


@dataclass(slots=True)
class Rows:
    """What to ask for, as :class:`collector.poll.listing.Lists`. Rows come in no order: to sort a day of prompts is
    what BigQuery may not have the memory for.

    Attributes:
        table: ``PROJECT.DATASET.TABLE``.
        project: pays for the queries.
        location: of the data set; found out by BigQuery when ``""``.
        page: rows of a page.
    """

    table: str
    project: str
    location: str = ""
    page: int = PAGE
    newest_first: bool = False
    _failures: int = field(default=0, repr=False)

    async def ask(self, api: Api, window: Window) -> Answer:
        """See the Protocol."""
        if not window.after:
            return self._answer(await api.post(f"/bigquery/v2/projects/{self.project}/queries", self._query(window)))
        place = _parse_place(window.after)
        asked = [("maxResults", str(self.page)), ("timeoutMs", str(PATIENCE_MS)), ("location", place.location)]
        asked += [("pageToken", place.token)] if place.token else []
        path = f"/bigquery/v2/projects/{self.project}/queries/{place.job}"
        try:
            body = await api.get(path, [(name, value) for name, value in asked if value])
        except Unavailable as error:
            self._failures += 1
            if self._failures < MAX_FAILURES:
                raise
            self._failures = 0
            raise CursorExpired(f"{error}, {MAX_FAILURES} times for one query") from error
        self._failures = 0
        return self._answer(body, place)

    def _query(self, window: Window) -> dict[str, Any]:
        sql = (
            f"SELECT TO_JSON_STRING(logged_row) AS row_json FROM `{self.table}` AS logged_row "  # noqa: S608  (_TABLE)
            "WHERE logged_row.logging_time >= @start AND logged_row.logging_time < @end"
        )
        times = {"start": window.start, "end": window.end}
        return {
            "query": sql,
            "useLegacySql": False,
            "useQueryCache": False,
            "parameterMode": "NAMED",
            "queryParameters": [_timestamp(name, seconds) for name, seconds in times.items()],
            "maxResults": self.page,
            "timeoutMs": PATIENCE_MS,
            "labels": {"asked_by": "affidavit"},
            **({"location": self.location} if self.location else {}),
        }

    def _answer(self, body: bytes, before: _Place | None = None) -> Answer:
        told = _read(body)
        place = _place(told, before)
        if told.get("jobComplete") is not True:
            return Answer(b"", [], json.dumps(place._replace(waits=place.waits + 1)), more=True, waiting=True)
        texts = [_row_text(row) for row in told.get("rows", [])]
        token = told.get("pageToken") or ""
        place = place._replace(token=token, rows=place.rows + len(texts))
        if not token and str(place.rows) != str(told.get("totalRows", place.rows)):
            raise _incomplete(place.rows, told["totalRows"], before)
        lines = [text.encode("utf-8", "surrogatepass") for text in texts]
        listed = [_listed(line) for line in lines]
        return Answer(b"\n".join(lines), listed, json.dumps(place) if token else "", bool(token))


def bigquery_feed(
    name: str,
    tenant: str,
    *,
    table: str,
    begin: int,
    auth: httpx.Auth,
    project: str = "",
    location: str = "",
    base_url: str = BASE_URL,
    interval: float = INTERVAL,
    lag: int = LAG,
    overlap: int = OVERLAP,
    page: int = PAGE,
    per_minute: float = PER_MINUTE,
    proxy: str = "",
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock | None = None,
) -> ListingFeed:
    """The feed of one table.

    Args:
        table: ``PROJECT.DATASET.TABLE``. Whoever asks needs ``roles/bigquery.dataViewer`` there.
        begin: where to begin, in seconds since 1970. Fix it when the feed is set up: it counts until there is a cursor.
        auth: :class:`collector.poll.google_auth.GoogleAuth` with :data:`SCOPE`.
        project: pays for the queries, where whoever asks needs ``roles/bigquery.jobUser``; the table's when ``""``.

    Raises:
        ConfigurationError: the table cannot be one.
    """
    parts = _TABLE.fullmatch(table.removeprefix("bq://"))
    if parts is None:
        raise ConfigurationError(f"feed {name}: got table {table!r}, expected PROJECT.DATASET.TABLE")
    rows = Rows(".".join(parts.groups()), project or parts[1], location, page)
    api = Api(base_url, {}, per_minute=per_minute, proxy=proxy, auth=auth, transport=transport, clock=clock)
    rules = Rules(lag, overlap, LONGEST, begin)
    return ListingFeed(name, tenant, rows, api, rules, VertexFormat(), interval=interval, clock=clock)


def _read(body: bytes) -> dict[str, Any]:
    found = parse_json(body)
    told: Any = found.value
    if found.error or not isinstance(told, dict) or not isinstance(told.get("rows", []), list):
        raise MalformedInput(f"the source answers 200 with {len(body)} bytes that are no result of a query")
    return told


def _place(told: dict[str, Any], before: _Place | None) -> _Place:
    if before is not None:
        return before
    job = told.get("jobReference")
    named = job if isinstance(job, dict) else {}
    job_id, location = named.get("jobId"), named.get("location", "")
    if not isinstance(job_id, str) or not re.fullmatch(r"[\w-]+", job_id, re.ASCII) or not isinstance(location, str):
        raise MalformedInput("the source does not say which job its answer belongs to")
    return _Place(job_id, location, "", 0, 0)


def _parse_place(after: str) -> _Place:
    return _Place(*json.loads(after))


def _row_text(row: Any) -> str:
    """Of ``{"f": [{"v": "<the row as JSON>"}]}``."""
    cells = row.get("f") if isinstance(row, dict) else None
    cell = cells[0].get("v") if isinstance(cells, list) and len(cells) == 1 and isinstance(cells[0], dict) else None
    if not isinstance(cell, str):
        raise MalformedInput("the source gives a row that is not the one column that was asked for")
    return cell


def _listed(line: bytes) -> Listed:
    row = parse_json(line).value
    if not isinstance(row, dict):
        return Listed("", None)
    moment = from_any(row.get("logging_time"))
    return Listed(row_id(row), moment.micros // SECOND if moment else None)


def _incomplete(rows: int, total: object, before: _Place | None) -> Exception:
    said = f"the source gives {rows} rows of a result, and says that there are {total}"
    return Unavailable(said) if before is None else CursorExpired(said)


def _timestamp(name: str, seconds: int) -> dict[str, Any]:
    text = datetime.fromtimestamp(max(seconds, 0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"name": name, "parameterType": {"type": "TIMESTAMP"}, "parameterValue": {"value": text}}
