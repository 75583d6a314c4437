"""Sources that have to be asked, as their references describe them: Anthropic's activity feed, OpenAI's audit log.

    source = FakeSource(clock)
    source.add("activity_1", happened=100.0, shown=130.0)
    feed = compliance_feed(…, transport=httpx.ASGITransport(source.app))

Newest first, ties broken by id; bounds of time; a cursor that is the id of a record; records that show later than they
happened; pages that shift because of them; answers that are not a page, on request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "sk-ant-api01-of-the-tests"


class HasTime(Protocol):
    def time(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Row:
    """A record: when it happened, and when the source shows it first; seconds since 1970."""

    record_id: str
    happened: float
    shown: float
    record: dict[str, Any]


@dataclass(slots=True)
class FakeSource:
    """Attributes:
    answers: planned for the next requests, in order: ``None`` is a page, anything else is sent in its place.
    forgets_after: a cursor is known for so many requests after the page that gave it.
    narrates: whether asking is an activity too, as ``compliance_api_accessed`` is.
    asked: the parameters of every request.
    """

    clock: HasTime
    rows: list[Row] = field(default_factory=list)
    answers: deque[Response | None] = field(default_factory=deque)
    forgets_after: int | None = None
    narrates: bool = False
    ignores_bounds: bool = False
    on_request: Callable[[], None] = lambda: None
    asked: list[dict[str, str]] = field(default_factory=list)
    _given: dict[str, int] = field(default_factory=dict)

    def add(self, record_id: str, happened: float, shown: float | None = None, **more: Any) -> None:
        """A record in the shape of both sources."""
        record = {
            "id": record_id,
            "type": "claude_chat_created",
            "created_at": _text(happened),
            "effective_at": int(happened),
            "actor": {"type": "user_actor", "user_id": "user_01", "email_address": "dana@example.com"},
            **more,
        }
        self.rows.append(Row(record_id, happened, happened if shown is None else shown, record))

    @property
    def app(self) -> Starlette:
        """Serves both paths."""
        return Starlette(
            routes=[
                Route("/v1/compliance/activities", self._activities),
                Route("/v1/organization/audit_logs", self._audit),
            ]
        )

    async def _activities(self, request: Request) -> Response:
        if request.headers.get("x-api-key") != KEY:
            return error_page(401, "authentication_error")
        query = request.query_params
        assert not ("after_id" in query and "before_id" in query)
        assert 1 <= int(query.get("limit", "100")) <= 5000
        start, end = (_seconds(query.get(f"created_at.{name}")) for name in ("gte", "lt"))
        return self._answer(query, start, end, "after_id")

    async def _audit(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return error_page(401, "invalid_request_error")
        query = request.query_params
        assert 1 <= int(query.get("limit", "20")) <= 100
        start, end = (float(query[f"effective_at[{name}]"]) for name in ("gte", "lt"))
        return self._answer(query, start, end, "after")

    def _answer(self, query: Any, start: float, end: float, cursor: str) -> Response:
        self.asked.append(dict(query))
        self.on_request()
        planned = self.answers.popleft() if self.answers else None
        if planned is not None:
            return planned
        now = self.clock.time()
        shown = sorted(
            (row for row in self.rows if row.shown <= now), key=lambda row: (row.happened, row.record_id), reverse=True
        )
        if after := query.get(cursor):
            places = [place for place, row in enumerate(shown) if row.record_id == after]
            given = self._given.get(after, 0)
            if not places or (self.forgets_after is not None and len(self.asked) - given > self.forgets_after):
                return error_page(400, "invalid_request_error")
            shown = shown[places[0] + 1 :]
        if not self.ignores_bounds:
            shown = [row for row in shown if start <= row.happened < end]
        limit = int(query["limit"])
        page = [row.record for row in shown[:limit]]
        if self.narrates:
            number = len(self.asked)
            self.add(f"activity_access_{number:06}", now, now + 40, type="compliance_api_accessed")
        ids = [record["id"] for record in page]
        if ids:
            self._given[ids[-1]] = len(self.asked)
        return JSONResponse(
            {
                "data": page,
                "has_more": len(shown) > limit,
                "first_id": ids[0] if ids else None,
                "last_id": ids[-1] if ids else None,
            },
            headers={"connection": "close"},
        )


def error_page(status: int, kind: str, **headers: str) -> Response:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": "no"}}, status, headers)


def too_many(retry_after: str) -> Response:
    """429, with when to come back."""
    return error_page(429, "rate_limit_error", **{"retry-after": retry_after, "request-id": "req_1"})


def broken(status: int) -> Response:
    """An error without a word of JSON."""
    return Response("upstream went away", status)


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _seconds(text: str | None) -> float:
    assert text is not None
    assert text.endswith("Z")
    return datetime.fromisoformat(text).timestamp()
