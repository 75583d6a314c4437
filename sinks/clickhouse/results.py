"""Results and errors as ClickHouse's HTTP interface sends them: streamed, compressed, with the error inside a result
that has begun."""

from __future__ import annotations

import io
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from starlette.responses import PlainTextResponse, Response, StreamingResponse

CHUNK_BYTES = 1 << 20

_NOT_FOUND = frozenset({60, 81})
_BAD_REQUEST = frozenset({26, 27, 36, 43, 46, 47, 53, 62, 182, 456})
_FORBIDDEN = frozenset({164, 497})


def failed(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error of ours, in ClickHouse's words: ``Code: 497. DB::Exception: …``."""
    shown = {"X-ClickHouse-Exception-Code": str(code), "X-ClickHouse-Format": "TabSeparated", **(headers or {})}
    return PlainTextResponse(f"Code: {code}. DB::Exception: {message}\n", status_code=status, headers=shown)


def failed_by_engine(code: int | None, message: str) -> Response:
    """An error of the engine, with the status that a server would give it."""
    code = code or 1000
    status = 404 if code in _NOT_FOUND else 400 if code in _BAD_REQUEST else 403 if code in _FORBIDDEN else 500
    return failed(status, code, _without_prefix(message))


class Result:
    """A running query whose first bytes are here. Exactly one of :meth:`response` and :meth:`close` ends it."""

    def __init__(self, client: Client, source: Any, first: bytes, format_name: str) -> None:
        self._client = client
        self._source = source
        self._first = first
        self._format = format_name
        self._tag = secrets.token_hex(8)

    def close(self) -> None:
        """Drop what is left of the result."""
        try:
            self._source.close()
        finally:
            self._client.close()

    def response(self, query_id: str, accepted: str, ended: Callable[[], None]) -> Response:
        """The rest, as it comes. ``accepted`` are encodings (``""``: none is wanted); ``ended`` is called at the end,
        however it comes about."""
        headers = {
            "X-ClickHouse-Query-Id": query_id if query_id.isprintable() and query_id.isascii() else "",
            "X-ClickHouse-Format": self._format,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Server-Display-Name": "affidavit",
            "X-ClickHouse-Exception-Tag": self._tag,
        }

        def end() -> None:
            try:
                self.close()
            finally:
                ended()

        body = _Body(self._chunks(), end)
        stream: Iterator[bytes] = body
        if "zstd" in accepted:
            stream, headers["Content-Encoding"] = _zstd(body), "zstd"
        elif "gzip" in accepted:
            stream, headers["Content-Encoding"] = _gzip(body), "gzip"
        kind = "application/json" if self._format.startswith("JSON") else "text/plain"
        return _Streamed(stream, body, media_type=f"{kind}; charset=UTF-8", headers=headers)

    def _chunks(self) -> Iterator[bytes]:
        chunk = self._first
        try:
            while chunk:
                yield chunk
                chunk = self._source.read(CHUNK_BYTES)
        except ClickHouseError as error:
            yield self._inside(_without_prefix(str(error)))

    def _inside(self, message: str) -> bytes:
        """An error after the status has been sent (ClickHouse 25.11, ``X-ClickHouse-Exception-Tag``)."""
        text = message.encode()
        tag = self._tag.encode()
        length = str(len(text) + 1).encode()
        return b"\r\n__exception__\r\n" + tag + b"\r\n" + text + b"\n" + length + b" " + tag + b"\r\n__exception__\r\n"


def start(client: Client, sql: str, parameters: Mapping[str, str], format_name: str) -> Result:
    """Start a query; its first bytes are read here, so that an error still gets a status of its own.

    Raises:
        ClickHouseError: the engine refuses the query, or fails before its first rows.
    """
    source: Any
    if sql.startswith(("DESCRIBE", "EXPLAIN")):
        # The engine streams rows of tables, and no others.
        source = io.BytesIO(client.raw_query(sql, parameters=dict(parameters), fmt=format_name))
    else:
        source = client.raw_stream(sql, parameters=dict(parameters), fmt=format_name)
    try:
        return Result(client, source, source.read(CHUNK_BYTES), format_name)
    except BaseException:
        source.close()
        raise


class _Body:
    """The chunks, and what to do at their end, once."""

    def __init__(self, chunks: Iterator[bytes], end: Callable[[], object]) -> None:
        self._chunks = chunks
        self._end: Callable[[], object] | None = end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:
            self.finish()
            raise

    def finish(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()


class _Streamed(StreamingResponse):
    """A streaming response that lets go of the engine when its client goes away."""

    def __init__(self, stream: Iterator[bytes], body: _Body, **options: Any) -> None:
        super().__init__(stream, **options)
        self._body = body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._body.finish()


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


def _without_prefix(text: str) -> str:
    """The message behind ``Code: 62. DB::Exception: ``, which chDB puts in front twice."""
    while text.startswith("Code:"):
        text = text.partition("DB::Exception: ")[2]
    return text.strip()
