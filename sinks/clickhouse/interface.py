"""The ClickHouse HTTP interface over the embedded engine, read-only: what ``affidavit query``, clickhouse-connect,
Grafana and DBeaver connect to, as to a server.

Every request needs a token with scope ``query`` (metadata) or ``content``, as the password of the ClickHouse headers,
of basic authentication, or as a bearer token. A token of one tenant sees that tenant's rows; one of tenant ``*`` all.
:mod:`sinks.clickhouse.admission` says what is admitted and which walls stand behind it. Sessions, progress headers and
the ``compress=1`` framing of the native protocol are not served.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from schemas.errors import AccessDenied, InputError, MalformedInput
from sinks.clickhouse.admission import admit
from sinks.clickhouse.catalogue import Catalogue, is_honoured
from sinks.clickhouse.classify import code_of
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.listing import admit_short, described
from sinks.clickhouse.reader import Admitted, Reader
from sinks.clickhouse.results import Result, failed, failed_by_engine, start
from stores.control import Token

MAX_QUERY_BYTES = 4 << 20
"""Longest query: a hold on a group of ten thousand people names them all."""

PARSED_BYTES = 4 * MAX_QUERY_BYTES
"""What the engine's parser may be given: a query as it is written out again, quoted, with full names. The engine's own
limit is 256 KiB."""

MAX_CONCURRENT = 8
"""Queries that run at a time; further ones are refused as a server would, and their clients try again."""

Authenticate = Callable[[str, str], Awaitable[Token]]
"""``(user, secret) → Token``; raises :class:`~schemas.errors.AccessDenied`."""


@dataclass(frozen=True, slots=True)
class Access:
    """One query, for the audit log: who asked what, whether it read content, and how it ended (``ok``, ``denied``,
    ``malformed``, ``error``). ``tables`` are those it names; ``milliseconds`` until its first bytes."""

    token: Token
    query: str
    tables: tuple[str, ...]
    content: bool
    outcome: str
    milliseconds: float


OnAccess = Callable[[Access], Awaitable[None]]


def create_interface(
    engine: Engine,
    authenticate: Authenticate,
    on_access: OnAccess,
    *,
    max_seconds: float = 60.0,
    max_result_bytes: int = 1 << 30,
) -> Starlette:
    """The ASGI application. ``on_access`` is awaited before the first byte of a result leaves: a read that cannot be
    recorded does not happen.

    Args:
        engine: with the tables in place.
        authenticate: finds the token.
        on_access: records the query.
        max_seconds: of one query.
        max_result_bytes: of one query.
    """
    limits = {
        "max_execution_time": max_seconds,
        "max_result_bytes": max_result_bytes,
        "max_memory_usage": 2 << 30,
        "max_threads": 2,
        "allow_introspection_functions": 0,
        "log_queries": 0,
    }
    interface = _Interface(engine, authenticate, on_access, limits)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(interface.close)

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/ping", _ping, methods=["GET", "HEAD"]),
            Route("/replicas_status", _ping, methods=["GET"]),
            Route("/", interface.answer, methods=["GET", "POST", "HEAD"]),
        ],
    )


async def _ping(_request: Request) -> Response:
    return PlainTextResponse("Ok.\n")


class _Interface:
    def __init__(
        self, engine: Engine, authenticate: Authenticate, on_access: OnAccess, limits: Mapping[str, str | int | float]
    ) -> None:
        self._engine = engine
        self._authenticate = authenticate
        self._on_access = on_access
        self._limits = limits
        self._catalogue = Catalogue(engine)
        self._running = 0

    def close(self) -> None:
        """Let go of the engine."""
        self._catalogue.close()

    async def answer(self, request: Request) -> Response:
        try:
            token = await self._authenticate(*_credentials(request))
            if not {"query", "content"} & set(token.scopes):
                raise AccessDenied(
                    f"token {token.token_id} has scopes {', '.join(token.scopes)}, expected query or content"
                )
        except AccessDenied as error:
            return failed(401, 516, str(error), {"WWW-Authenticate": 'Basic realm="Affidavit"'})
        if request.query_params.get("compress") == "1":
            return failed(400, 36, "compress=1 is not served: use Accept-Encoding with enable_http_compression=1")
        text = await _query_text(request)
        if text is None:
            return failed(413, 307, f"got a query of more than {MAX_QUERY_BYTES} bytes, expected less")
        if not text.strip():
            return PlainTextResponse("Ok.\n")
        if self._running >= MAX_CONCURRENT:
            return failed(503, 202, f"{MAX_CONCURRENT} queries are running: try again", {"Retry-After": "1"})
        self._running += 1
        try:
            return await self._run(request, token, text)
        except BaseException:
            self._running -= 1
            raise

    def _ended(self) -> None:
        self._running -= 1

    async def _run(self, request: Request, token: Token, text: str) -> Response:
        """Run one query. Whatever comes of it is recorded before it is sent."""
        began = time.monotonic()
        outcome, admitted = "ok", Admitted()
        content = "content" in token.scopes
        reader = await run_in_threadpool(lambda: self._catalogue.reader(token.tenant, content=content))
        client = await run_in_threadpool(self._session, request.query_params)
        answer: Response | Result
        try:
            parameters = {key[6:]: value for key, value in request.query_params.items() if key.startswith("param_")}
            admitted = await run_in_threadpool(self._admit, client, text, reader, parameters)
            answer = await run_in_threadpool(start, client, admitted.sql, parameters, _format(request, admitted))
        except AccessDenied as error:
            outcome, answer = "denied", failed(403, 497, str(error))
        except InputError as error:
            outcome, answer = "malformed", failed(400, 62, str(error))
        except ClickHouseError as error:
            outcome, answer = "error", failed_by_engine(code_of(error), str(error))
        read = bool(admitted.tables & reader.content)
        access = Access(token, text, tuple(sorted(admitted.tables)), read, outcome, (time.monotonic() - began) * 1000)
        try:
            await self._on_access(access)
        except BaseException:
            await run_in_threadpool(answer.close if isinstance(answer, Result) else client.close)
            raise
        if isinstance(answer, Result):
            query_id = request.query_params.get("query_id") or str(uuid4())
            compression = request.headers.get("Accept-Encoding", "") if _compresses(request) else ""
            return answer.response(query_id, compression, self._ended)
        await run_in_threadpool(client.close)
        self._ended()
        return answer

    def _session(self, chosen: Mapping[str, str]) -> Client:
        """A client for one query. ``readonly`` comes last: after it the engine lets nothing be changed."""
        settings: dict[str, str | int] = {name: str(value) for name, value in self._limits.items()}
        settings |= {name: value for name, value in chosen.items() if is_honoured(name)}
        settings["max_query_size"] = PARSED_BYTES
        settings["readonly"] = 1
        return self._engine.client(settings, self._catalogue.nowhere)

    def _admit(self, client: Client, text: str, reader: Reader, parameters: Mapping[str, str]) -> Admitted:
        """From what was sent to what is run."""
        short = admit_short(text, reader)
        if short is not None:
            return short
        inner = described(text)
        if inner is None:
            return self._admit_tree(client, text, reader, parameters)
        admitted = self._admit_tree(client, inner[0], reader, parameters)
        admitted.sql, admitted.format = f"DESCRIBE TABLE ({admitted.sql})", inner[1]
        return admitted

    def _admit_tree(self, client: Client, text: str, reader: Reader, parameters: Mapping[str, str]) -> Admitted:
        """Admit, write out, and admit what was written."""
        catalogue = self._catalogue
        admitted = admit(_parsed(catalogue, client, text), reader, catalogue.functions, parameters)
        if admitted.tree is not None:
            admitted.sql = catalogue.format(client, admitted.tree)
            admit(catalogue.parse(client, admitted.sql), reader, catalogue.functions, parameters)
        return admitted


def _parsed(catalogue: Catalogue, client: Client, text: str) -> dict[str, object]:
    """The tree of what was sent; an error speaks of that, and not of the function that parses it."""
    try:
        return catalogue.parse(client, text)
    except ClickHouseError as error:
        if code_of(error) == 36:
            raise AccessDenied(
                "got a statement that is not served, expected SELECT, SHOW TABLES, DESCRIBE, EXISTS or EXPLAIN"
            ) from None
        raise
    except json.JSONDecodeError:
        raise MalformedInput("got a query that is not text") from None


def _format(request: Request, admitted: Admitted) -> str:
    chosen = request.headers.get("X-ClickHouse-Format") or request.query_params.get("default_format")
    name = admitted.format or chosen or "TabSeparated"
    if not name.isalnum():
        raise MalformedInput(f"got format {name!r}, expected the name of a ClickHouse format")
    return name


def _compresses(request: Request) -> bool:
    return request.query_params.get("enable_http_compression") == "1"


def _credentials(request: Request) -> tuple[str, str]:
    headers = request.headers
    if "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers["X-ClickHouse-Key"]
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return "default", rest.strip()
    if scheme.lower() == "basic":
        try:
            user, _, secret = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise AccessDenied("got basic credentials that are not base64 of user:token") from None
        return user, secret
    if request.query_params.get("password"):
        raise AccessDenied("got a token in the address, where it ends up in logs: send it in a header")
    raise AccessDenied(
        "no token: send one as password (X-ClickHouse-Key, basic or bearer); affidavit token create --scope query"
    )


async def _query_text(request: Request) -> str | None:
    """The query: parameter, then body. ``None`` when it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_QUERY_BYTES:
            return None
    raw = bytes(body)
    if request.headers.get("Content-Encoding", "") == "gzip" and raw:
        try:
            raw = zlib.decompressobj(wbits=31).decompress(raw, MAX_QUERY_BYTES + 1)
        except zlib.error:
            return ""
    parts = [request.query_params.get("query", ""), raw.decode("utf-8", "replace")]
    text = "\n".join(part for part in parts if part.strip())
    return text if len(text) <= MAX_QUERY_BYTES else None
