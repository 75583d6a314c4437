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
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from schemas.errors import AccessDenied, InputError, MalformedInput
from sinks.clickhouse.admission import Admitted, admit, single_statement
from sinks.clickhouse.classify import code_of
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.quoting import quote
from stores.control import Token

MAX_QUERY_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20

CONTENT_TABLES = frozenset({"contents"})
"""Tables that hold content in the clear. A view over them yields no content to a metadata token: the engine filters."""

FILTERED_TABLES = ("events", "contents")

LIMITS: Mapping[str, str | int] = {
    "max_execution_time": 60,
    "max_memory_usage": 2 << 30,
    "max_result_bytes": 1 << 30,
    "max_threads": 2,
    "allow_introspection_functions": 0,
    "log_queries": 0,
}
"""A query must not starve the sink that feeds the tables it reads."""

HONOURED = frozenset(
    {
        "output_format_json_quote_64bit_integers",
        "output_format_json_quote_denormals",
        "output_format_native_use_flattened_dynamic_and_json_serialization",
        "date_time_output_format",
        "max_block_size",
        "max_result_rows",
        "result_overflow_mode",
        "enable_json_type",
        "session_timezone",
    }
)
"""Settings that a client may choose; all others that clients are wont to send are accepted and left alone."""

Authenticate = Callable[[str, str], Awaitable[Token]]
"""``(user, secret) → Token``; raises :class:`~schemas.errors.AccessDenied`."""


@dataclass(frozen=True, slots=True)
class Access:
    """One query, for the audit log: who asked what, whether it read content, and how it ended."""

    token: Token
    query: str
    tables: tuple[str, ...]
    content: bool
    outcome: str
    milliseconds: float


OnAccess = Callable[[Access], Awaitable[None]]


def create_interface(engine: Engine, authenticate: Authenticate, on_access: OnAccess) -> Starlette:
    """The ASGI application. ``on_access`` is awaited before the first byte of a result leaves: a read that cannot be
    recorded does not happen."""
    interface = _Interface(engine, authenticate, on_access)
    return Starlette(
        routes=[
            Route("/ping", _ping, methods=["GET", "HEAD"]),
            Route("/replicas_status", _ping, methods=["GET"]),
            Route("/", interface.answer, methods=["GET", "POST", "HEAD"]),
        ]
    )


async def _ping(_request: Request) -> Response:
    return PlainTextResponse("Ok.\n")


class _Interface:
    def __init__(self, engine: Engine, authenticate: Authenticate, on_access: OnAccess) -> None:
        self._engine = engine
        self._authenticate = authenticate
        self._on_access = on_access
        self._content_tables = _content_tables(engine)

    async def answer(self, request: Request) -> Response:
        try:
            token = await self._authenticate(*_credentials(request))
            if not {"query", "content"} & set(token.scopes):
                raise AccessDenied(
                    f"token {token.token_id} has scopes {', '.join(token.scopes)}, expected query or content"
                )
        except AccessDenied as error:
            return _failed(401, 516, str(error), headers={"WWW-Authenticate": 'Basic realm="Affidavit"'})
        text = await _query_text(request)
        if text is None:
            return _failed(413, 307, f"got a query of more than {MAX_QUERY_BYTES} bytes, expected less")
        if not text.strip():
            return PlainTextResponse("Ok.\n")
        return await self._run(request, token, text)

    async def _run(self, request: Request, token: Token, text: str) -> Response:
        started = time.monotonic()
        content = "content" in token.scopes
        settings = session_settings(self._engine.database, token.tenant, content=content, chosen=request.query_params)
        parameters = {key[6:]: value for key, value in request.query_params.items() if key.startswith("param_")}
        outcome, judged = "ok", Admitted("", frozenset(), "")
        client = await run_in_threadpool(self._engine.client, settings)
        keep = False
        try:
            query = single_statement(text)
            hidden = frozenset({"ingest"}) if content else CONTENT_TABLES | {"ingest"}
            tree = await run_in_threadpool(_tree, client, query, parameters)
            judged = admit(tree, database=self._engine.database, hidden=hidden)
            format_name = judged.format or request.headers.get("X-ClickHouse-Format") or _default_format(request)
            start = _stream if judged.streams else _whole
            stream = await run_in_threadpool(start, client, query, parameters, None if judged.format else format_name)
            keep = True
        except AccessDenied as error:
            outcome = "denied"
            return _failed(403, 497, str(error))
        except InputError as error:
            outcome = "malformed"
            return _failed(400, 62, str(error))
        except ClickHouseError as error:
            outcome = "error"
            code = code_of(error) or 1000
            return _failed(_status(code), code, _without_prefix(str(error)))
        finally:
            access = Access(
                token,
                text,
                tuple(sorted(judged.tables)),
                bool(judged.tables & self._content_tables) and content,
                outcome,
                (time.monotonic() - started) * 1000,
            )
            try:
                await self._on_access(access)
            except BaseException:
                keep = False
                raise
            finally:
                if not keep:
                    await run_in_threadpool(client.close)
        return _result(request, _closing(stream, client), format_name)


def session_settings(database: str, tenant: str, *, content: bool, chosen: Mapping[str, str]) -> dict[str, str | int]:
    """Settings of a reader's session. ``readonly`` comes last: after it the engine lets nothing be changed."""
    conditions = {} if tenant == "*" else {table: f"tenant = {quote(tenant)}" for table in FILTERED_TABLES}
    if not content:
        conditions |= dict.fromkeys(CONTENT_TABLES, "0")
    settings: dict[str, str | int] = dict(LIMITS)
    settings |= {name: value for name, value in chosen.items() if name in HONOURED}
    if conditions:
        pairs = (f"{quote(f'{database}.{table}')}: {quote(condition)}" for table, condition in conditions.items())
        settings["additional_table_filters"] = "{" + ", ".join(pairs) + "}"
    settings["readonly"] = 1
    return settings


def _content_tables(engine: Engine) -> frozenset[str]:
    """The tables that hold content, and the views that read them."""
    client = engine.client()
    try:
        rows = client.query(
            "SELECT name, as_select FROM system.tables WHERE database = {database:String}",
            parameters={"database": engine.database},
        ).result_rows
    finally:
        client.close()
    found = set(CONTENT_TABLES)
    while True:
        more = {name for name, select in rows if found & set(re.findall(r"\w+", select))} - found
        if not more:
            return frozenset(found)
        found |= more


def _tree(client: Client, query: str, parameters: dict[str, str]) -> str:
    raw: bytes = client.raw_query(f"EXPLAIN AST {query}", parameters=parameters, fmt=None)
    return raw.decode("utf-8", "replace")


def _stream(client: Client, query: str, parameters: dict[str, str], format_name: str | None) -> Iterator[bytes]:
    """Start the query; the first chunk is read here, so that an error still gets its own status."""
    source: Any = client.raw_stream(query, parameters=parameters, fmt=format_name)
    first = source.read(CHUNK_BYTES)

    def chunks() -> Iterator[bytes]:
        try:
            chunk = first
            while chunk:
                yield chunk
                chunk = source.read(CHUNK_BYTES)
        finally:
            source.close()

    return chunks()


def _whole(client: Client, query: str, parameters: dict[str, str], format_name: str | None) -> Iterator[bytes]:
    """The result of a SHOW, DESCRIBE, EXISTS or EXPLAIN, which the engine does not stream."""
    return iter((client.raw_query(query, parameters=parameters, fmt=format_name),))


def _closing(stream: Iterator[bytes], client: Client) -> Iterator[bytes]:
    try:
        yield from stream
    finally:
        client.close()


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


def _default_format(request: Request) -> str:
    name = request.query_params.get("default_format", "TabSeparated")
    if not name.isalnum():
        raise MalformedInput(f"got format {name!r}, expected the name of a ClickHouse format")
    return name


def _result(request: Request, stream: Iterator[bytes], format_name: str) -> Response:
    headers = {
        "X-ClickHouse-Query-Id": request.query_params.get("query_id") or str(uuid4()),
        "X-ClickHouse-Format": format_name,
        "X-ClickHouse-Timezone": "UTC",
        "X-ClickHouse-Server-Display-Name": "affidavit",
    }
    media = "application/json; charset=UTF-8" if format_name.startswith("JSON") else "text/plain; charset=UTF-8"
    accepted = request.headers.get("Accept-Encoding", "")
    if request.query_params.get("enable_http_compression") == "1":
        if "zstd" in accepted:
            return StreamingResponse(_zstd(stream), media_type=media, headers=headers | {"Content-Encoding": "zstd"})
        if "gzip" in accepted:
            return StreamingResponse(_gzip(stream), media_type=media, headers=headers | {"Content-Encoding": "gzip"})
    return StreamingResponse(stream, media_type=media, headers=headers)


def _zstd(stream: Iterator[bytes]) -> Iterator[bytes]:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    for chunk in stream:
        yield packer.compress(chunk)
    yield packer.flush()


def _gzip(stream: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    for chunk in stream:
        yield packer.compress(chunk)
    yield packer.flush()


def _failed(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = message if message.startswith("Code:") else f"Code: {code}. DB::Exception: {message}"
    shown = {"X-ClickHouse-Exception-Code": str(code), "X-ClickHouse-Format": "TabSeparated", **(headers or {})}
    return PlainTextResponse(body + "\n", status_code=status, headers=shown)


def _status(code: int) -> int:
    if code in (60, 81):
        return 404
    if code in (62, 26, 27, 36, 43, 46, 47, 53, 456):
        return 400
    return 403 if code in (164, 497) else 500


def _without_prefix(text: str) -> str:
    at = text.find("Code:")
    return text[at:] if at >= 0 else text
