"""Google as far as its references describe it: tokens, the list of Cloud Logging, the queries of BigQuery.

    google = FakeGoogle(clock)
    google.entry("a1", happened=100.0, received=130.0, shown=140.0)
    google.row(7, happened=100.0)
    feed = cloud_logging_feed(…, auth=google.auth(SCOPE), transport=google.transport)

Rules that matter here: a page token is good only with the request that it was given for; a page may be empty and still
have a token; ``rows`` and ``entries`` are left out where there are none; 64-bit numbers are text; a query may be not
ready yet; its result is the table as it was when it was asked.
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fake_lists import HasTime
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collector.poll.google_auth import AccountGrant, GoogleAuth, parse_account_key

PROJECT = "proj"
TABLE = "proj.llm.rows"
EMAIL = "reader@proj.iam.gserviceaccount.com"
TOKEN_URI = "https://oauth2.googleapis.com/token"
_BOUND = re.compile(r'(receiveTimestamp|timestamp)(>=|<=|<)"([^"]+)"')
_SQL = re.compile(
    r"SELECT TO_JSON_STRING\((\w+)\) AS row_json FROM `([\w.-]+)` AS \1 "
    r"WHERE \1\.logging_time >= @start AND \1\.logging_time < @end"
)


@lru_cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def key_file(**other: object) -> str:
    """A key file, as Google gives it."""
    pem = private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    told = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "key-1",
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": TOKEN_URI,
    }
    return json.dumps({**told, **other})


def problem(status: int, word: str, reason: str = "", **headers: str) -> Response:
    """An error in the style of Google's APIs: the older ones give reasons."""
    told: dict[str, Any] = {"code": status, "message": "no", "status": word}
    if reason:
        told["errors"] = [{"message": "no", "domain": "global", "reason": reason}]
    return JSONResponse({"error": told}, status, headers)


@dataclass(frozen=True, slots=True)
class Record:
    """An entry or a row: its key, the time by which windows go, the time by which pages go, and since when it shows."""

    key: str
    windowed: float
    happened: float
    shown: float
    text: str


@dataclass(slots=True)
class _Job:
    rows: list[str]
    ready_after: int
    asked_at: int


@dataclass(slots=True)
class FakeGoogle:
    """Attributes:
    answers: planned for the next requests to an API, in order: ``None`` is the usual one.
    forgets_after: a page token, or a job, is known for so many requests after the one that made it.
    searching: every so manieth list of entries has not the time, and gives a token only.
    slow: how often a query is not ready.
    asked, tokens: the bodies or parameters of every request, and the tokens that are good until a moment.
    """

    clock: HasTime
    entries: list[Record] = field(default_factory=list)
    rows: list[Record] = field(default_factory=list)
    answers: deque[Response | None] = field(default_factory=deque)
    forgets_after: int | None = None
    searching: int = 0
    slow: int = 0
    on_request: Callable[[], None] = lambda: None
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)
    granted: int = 0
    _pages: dict[str, tuple[str, tuple[float, str], int]] = field(default_factory=dict)
    _jobs: dict[str, _Job] = field(default_factory=dict)

    def entry(self, key: str, happened: float, received: float | None = None, shown: float | None = None) -> None:
        """An audit entry: when it happened, when Logging took it, and since when it is found."""
        received = happened if received is None else received
        text = json.dumps(_entry(key, happened, received), indent=2)
        self.entries.append(Record(key, received, happened, received if shown is None else shown, text))

    def row(self, number: int, happened: float, shown: float | None = None) -> None:
        """A row of the table."""
        key = str(53742052659013539840123456789012345678 + number)
        text = json.dumps(_row(key, happened), separators=(",", ":"), ensure_ascii=False)
        self.rows.append(Record(key, happened, happened, happened if shown is None else shown, text))

    @property
    def app(self) -> Starlette:
        """All of it on one host."""
        return Starlette(
            routes=[
                Route("/token", self._grant, methods=["POST"]),
                Route("/computeMetadata/v1/instance/service-accounts/default/token", self._machine),
                Route("/v2/entries:list", self._list, methods=["POST"]),
                Route("/bigquery/v2/projects/{project}/queries", self._query, methods=["POST"]),
                Route("/bigquery/v2/projects/{project}/queries/{job}", self._results),
            ]
        )

    @property
    def transport(self) -> httpx.ASGITransport:
        return httpx.ASGITransport(self.app)

    def auth(self, scope: str) -> GoogleAuth:
        """Tokens by the key of :func:`key_file`."""
        grant = AccountGrant(parse_account_key(key_file()), scope)
        return GoogleAuth(grant, transport=self.transport, clock=self.clock)  # type: ignore[arg-type]

    async def _grant(self, request: Request) -> Response:
        form = dict(httpx.QueryParams((await request.body()).decode()))
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        signed, _, signature = form["assertion"].rpartition(".")
        header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        assert header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
        try:
            public = private_key().public_key()
            public.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return JSONResponse({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        assert (claims["iss"], claims["aud"]) == (EMAIL, TOKEN_URI)
        assert claims["scope"].startswith("https://www.googleapis.com/auth/")
        if not claims["iat"] - 300 <= self.clock.time() < claims["exp"] <= claims["iat"] + 3600:
            return JSONResponse({"error": "invalid_grant", "error_description": "Invalid JWT: …"}, 400)
        return self._token()

    async def _machine(self, request: Request) -> Response:
        assert request.headers["metadata-flavor"] == "Google"
        assert request.query_params["scopes"].startswith("https://www.googleapis.com/auth/")
        return self._token()

    def _token(self) -> Response:
        self.granted += 1
        token = f"ya29.of-the-tests-{self.granted}"
        self.tokens[token] = self.clock.time() + 3599
        return JSONResponse({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _refused(self, request: Request, asked: dict[str, Any]) -> Response | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0) <= self.clock.time():
            return problem(401, "UNAUTHENTICATED", "authError")
        self.asked.append(asked)
        self.on_request()
        return self.answers.popleft() if self.answers else None

    def _forgotten(self, made_at: int) -> bool:
        return self.forgets_after is not None and len(self.asked) - made_at > self.forgets_after

    async def _list(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        if (refused := self._refused(request, asked)) is not None:
            return refused
        assert asked["resourceNames"] == [f"projects/{PROJECT}"]
        assert asked["orderBy"] == "timestamp asc"
        assert 1 <= asked["pageSize"] <= 1000
        token, same = asked.pop("pageToken", None), json.dumps(asked, sort_keys=True)
        behind = (-1.0, "")
        if token is not None:
            made_for, behind, made_at = self._pages.get(token, ("", behind, 0))
            if made_for != same or self._forgotten(made_at):
                return problem(400, "INVALID_ARGUMENT")
        if self.searching and len(self.asked) % self.searching == 0:
            return JSONResponse({"nextPageToken": self._page(same, behind)})
        found = [one for one in self._found(asked["filter"]) if (one.happened, one.key) > behind]
        page = found[: asked["pageSize"]]
        texts = ",\n".join(one.text for one in page)
        body = f'{{\n"entries": [\n{texts}\n]' if page else "{"
        if len(found) > len(page):
            body += f',\n"nextPageToken": "{self._page(same, (page[-1].happened, page[-1].key))}"'
        return Response(body + "\n}\n", media_type="application/json")

    def _page(self, same: str, behind: tuple[float, str]) -> str:
        token = f"EAA4s{len(self._pages)}"
        self._pages[token] = (same, behind, len(self.asked))
        return token

    def _found(self, asked: str) -> list[Record]:
        """In the order of the list: by time, equal ones by id."""
        assert asked.startswith('(\nprotoPayload.serviceName="aiplatform.googleapis.com"\n)\n')
        bounds = {(name, sign): _seconds(text) for name, sign, text in _BOUND.findall(asked)}
        assert len(bounds) == 4
        now = self.clock.time()
        found = [
            one
            for one in self.entries
            if one.shown <= now
            and bounds["receiveTimestamp", ">="] <= one.windowed < bounds["receiveTimestamp", "<"]
            and bounds["timestamp", ">="] <= one.happened <= bounds["timestamp", "<="]
        ]
        return sorted(found, key=lambda one: (one.happened, one.key))

    async def _query(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        if (refused := self._refused(request, asked)) is not None:
            return refused
        matched = _SQL.fullmatch(asked["query"])
        if matched is None or matched[2] != TABLE or asked["useLegacySql"] or asked["parameterMode"] != "NAMED":
            return problem(400, "INVALID_ARGUMENT", "invalidQuery")
        assert all(one["parameterType"] == {"type": "TIMESTAMP"} for one in asked["queryParameters"])
        times = {one["name"]: _seconds(one["parameterValue"]["value"]) for one in asked["queryParameters"]}
        now = self.clock.time()
        rows = [one.text for one in self.rows if one.shown <= now and times["start"] <= one.windowed < times["end"]]
        name = f"job_{len(self._jobs)}-x"
        self._jobs[name] = _Job(rows, self.slow, len(self.asked))
        return self._result(name, 0, asked["maxResults"])

    async def _results(self, request: Request) -> Response:
        asked = dict(request.query_params)
        if (refused := self._refused(request, asked)) is not None:
            return refused
        assert asked["location"] == "EU"
        job = self._jobs.get(name := request.path_params["job"])
        if job is None or self._forgotten(job.asked_at):
            return problem(404, "NOT_FOUND", "notFound")
        job.ready_after -= 1
        return self._result(name, int(asked.get("pageToken", "p0")[1:]), int(asked["maxResults"]))

    def _result(self, name: str, start: int, size: int) -> Response:
        job = self._jobs[name]
        told: dict[str, Any] = {
            "kind": "bigquery#queryResponse",
            "jobReference": {"projectId": PROJECT, "jobId": name, "location": "EU"},
            "jobComplete": job.ready_after <= 0,
        }
        if job.ready_after > 0:
            return JSONResponse(told)
        told["schema"] = {"fields": [{"name": "row_json", "type": "STRING", "mode": "NULLABLE"}]}
        told["totalRows"] = str(len(job.rows))
        if rows := job.rows[start : start + size]:
            told["rows"] = [{"f": [{"v": row}]} for row in rows]
        if start + size < len(job.rows):
            told["pageToken"] = f"p{start + size}"
        return JSONResponse(told)


def _entry(key: str, happened: float, received: float) -> dict[str, Any]:
    model = "projects/proj/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5"
    return {
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "status": {},
            "authenticationInfo": {"principalEmail": "llm-gw@proj.iam.gserviceaccount.com"},
            "serviceName": "aiplatform.googleapis.com",
            "methodName": "google.cloud.aiplatform.v1.PredictionService.RawPredict",
            "resourceName": model,
        },
        "insertId": key,
        "resource": {"type": "audited_resource", "labels": {"project_id": PROJECT}},
        "timestamp": _text(happened),
        "severity": "INFO",
        "logName": "projects/proj/logs/cloudaudit.googleapis.com%2Fdata_access",
        "receiveTimestamp": _text(received),
    }


def _row(key: str, happened: float) -> dict[str, Any]:
    return {
        "endpoint": "",
        "logging_time": _text(happened),
        "request_id": key,
        "model": "publishers/google/models/gemini-2.5-pro",
        "api_method": "GenerateContent",
        "full_request": {"contents": [{"role": "user", "parts": [{"text": "Où suis-je ?\nDis-le."}]}]},
        "full_response": {"candidates": [{"content": {"parts": [{"text": "À Paris."}]}, "finish_reason": "STOP"}]},
        "metadata": {"request_latency": 1412.4},
    }


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _seconds(text: str) -> float:
    assert text.endswith("Z")
    return datetime.fromisoformat(text).timestamp()


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
