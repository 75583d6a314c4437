"""Asking the read-only ClickHouse HTTP interface: the client side of ``affidavit query``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from schemas.errors import AccessDenied, MalformedInput, ServerError, Unavailable

LONG_BYTES = 250_000
"""Beyond this a server has to be told that a query is long: its parser stops at 256 KiB."""

TIMEOUT = httpx.Timeout(10.0, read=None)
"""Seconds to connect; a query may run as long as the server lets it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a query.

    Attributes:
        columns: ``(name, ClickHouse type)`` of each.
        rows: in the order of the result.
        seconds: from sending to the last byte.
        read_rows: rows that the engine read for it.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Any, ...], ...]
    seconds: float
    read_rows: int

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries."""
        names = [name for name, _ in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


class Transport(Protocol):
    """One POST to the interface: SQL and URL parameters in, a streaming response out."""

    def __call__(self, sql: str, parameters: Mapping[str, str]) -> AbstractContextManager[httpx.Response]: ...


class QueryClient:
    """Sends queries.

    Args:
        post: :func:`over_http`, or an in-process equivalent.
    """

    def __init__(self, post: Transport) -> None:
        self._post = post

    def ask(self, sql: str, parameters: Mapping[str, str] | None = None) -> Answer:
        """Run one query and return its whole result.

        Args:
            sql: one statement, without a ``FORMAT`` clause. ``{name:Type}`` stands for a parameter.
            parameters: values by name, as text.

        Raises:
            MalformedInput: ClickHouse refuses the query; the message is ClickHouse's.
            AccessDenied: the token may not.
            Unavailable: nobody listens, or the server is busy.
        """
        began = time.monotonic()
        sent = {"default_format": "JSONCompact", "output_format_json_quote_64bit_integers": "0"}
        with self._post(sql, sent | _long(sql) | _named(parameters)) as response:
            raw = response.read()
            _check(response.status_code, raw)
        try:
            document = json.loads(raw)
        except ValueError:
            raise MalformedInput(
                "got a result that is not JSON: leave the FORMAT clause away, or use --format"
            ) from None
        columns = tuple((column["name"], column["type"]) for column in document["meta"])
        rows = tuple(tuple(row) for row in document["data"])
        statistics = document.get("statistics", {})
        return Answer(columns, rows, time.monotonic() - began, int(statistics.get("rows_read", 0)))

    def stream(self, sql: str, form: str, parameters: Mapping[str, str] | None = None) -> Iterator[bytes]:
        """Run one query and yield its result as it comes, in the ClickHouse format ``form`` unless the query names
        its own. Raises as :meth:`ask` does."""
        with self._post(sql, {"default_format": form} | _long(sql) | _named(parameters)) as response:
            if response.status_code != 200:
                _check(response.status_code, response.read())
            yield from response.iter_bytes()


def over_http(url: str, token: str = "", auth: tuple[str, str] | None = None) -> Transport:
    """A transport to the interface at ``url`` with a bearer token, or to a ClickHouse server with user and password."""
    headers = {"Authorization": f"Bearer {token}"} if auth is None else {}

    def post(sql: str, parameters: Mapping[str, str]) -> AbstractContextManager[httpx.Response]:
        client = httpx.Client(timeout=TIMEOUT, headers=headers, auth=auth, trust_env=False)
        return _Sending(client, url, sql, parameters)

    return post


class _Sending(AbstractContextManager[httpx.Response]):
    """One request; translates httpx's errors."""

    def __init__(self, client: httpx.Client, url: str, sql: str, parameters: Mapping[str, str]) -> None:
        self._url = httpx.URL(url)
        self._client = client
        target = self._url.copy_merge_params(dict(parameters))
        self._request = client.build_request("POST", target, content=sql.encode())

    def __enter__(self) -> httpx.Response:
        try:
            return self._client.send(self._request, stream=True)
        except httpx.HTTPError as error:
            self._client.close()
            raise Unavailable(
                f"{self._url.copy_with(query=None)} does not answer ({type(error).__name__}): is `affidavit up` "
                "running, or the server?"
            ) from None

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _long(sql: str) -> dict[str, str]:
    size = len(sql.encode())
    return {"max_query_size": str(2 * size)} if size > LONG_BYTES else {}


def _named(parameters: Mapping[str, str] | None) -> dict[str, str]:
    return {f"param_{name}": value for name, value in (parameters or {}).items()}


_REFUSALS: dict[int, Callable[[str], Exception]] = {401: AccessDenied, 403: AccessDenied, 503: Unavailable}


def _check(status: int, body: bytes) -> None:
    if status == 200:
        return
    text = body.decode("utf-8", "replace").strip()
    if status in _REFUSALS:
        raise _REFUSALS[status](text or f"got status {status}")
    if 400 <= status < 500 or "DB::Exception" in text:
        raise MalformedInput(text)
    raise ServerError(text or f"got status {status}")
