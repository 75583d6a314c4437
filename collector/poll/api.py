"""Asking an API over HTTPS: one request at a time, no faster than allowed, bounded answers, classified failures."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from collector.json_units import parse_json
from schemas.errors import AccessDenied, AffidavitError, ConfigurationError, LimitExceeded, Unavailable
from sinks.pace import Clock, SystemClock

TIMEOUT = 60.0
"""Seconds for each of connecting, sending, and the next bytes of an answer."""

ANSWER_SECONDS = 90.0
"""Seconds for a whole answer: shorter than the lease of a feed, also for one that comes a byte at a time."""

MAX_BYTES = 64 * 1024 * 1024
"""Of an answer; what is longer is not read to its end."""

MAX_RETRY_AFTER = 3600.0
"""Seconds: a source that asks for more patience is asked again after an hour."""


PATIENCE = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"})
"""Reasons for which Google's older APIs answer 403 and mean 429 (BigQuery, "Error messages")."""


class CursorExpired(AffidavitError):
    """The source does not know the record that we were to go on after."""


class Api:
    """One API under one key. Use from one event loop.

    Args:
        base_url: ``https://api.anthropic.com``. Over plain HTTP only on loopback, because a key travels.
        headers: of every request; never logged, and not sent anywhere else, since redirects are not followed.
        per_minute: requests; the source's own limit may be shared with others.
        proxy: URL of an HTTP proxy, ``""`` for none. The environment is not consulted.
        auth: puts into each request what changes from one to the next, such as a token that expires.
        transport, clock: tests replace them.

    Raises:
        ConfigurationError: the address or the key cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        per_minute: float,
        proxy: str = "",
        auth: httpx.Auth | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_address(base_url)
        check_headers(base_url, headers)
        self._clock = clock or SystemClock()
        self._between = 60.0 / per_minute
        self._next = -math.inf
        self._host = httpx.URL(base_url).host
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"accept": "application/json", "user-agent": "affidavit", **headers},
            timeout=TIMEOUT,
            trust_env=False,
            auth=auth,
            proxy=proxy or None,
            transport=transport,
        )

    async def get(self, path: str, params: Sequence[tuple[str, str]]) -> bytes:
        """The body of a 200 to a GET.

        Raises:
            Unavailable: no answer, a server error, or the rate limit; with ``retry_after`` where the source said so.
            AccessDenied: the key is unknown or has not the right.
            CursorExpired: 400, 404, 410 or 422: where a request has no cursor, a :class:`ConfigurationError` in truth.
            ConfigurationError: another answer that asking again does not change.
            LimitExceeded: the answer is too long.
        """
        return await self._ask("GET", path, params=list(params))

    async def post(self, path: str, asked: Mapping[str, Any]) -> bytes:
        """The body of a 200 to a POST of JSON that changes nothing there; raises what :meth:`get` raises."""
        return await self._ask("POST", path, json=asked)

    async def _ask(self, method: str, path: str, **asked: Any) -> bytes:
        await self._turn()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async with self._client.stream(method, path, **asked) as response:
                    body = await self._body(response)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Unavailable(f"{self._host} gives no answer: {type(error).__name__}") from error
        if response.status_code != 200:
            raise _failure(self._host, response, body, self._clock.time())
        return body

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _turn(self) -> None:
        now = self._clock.monotonic()
        at = max(now, self._next)
        self._next = at + self._between
        if at > now:
            await self._clock.sleep(at - now)

    async def _body(self, response: httpx.Response) -> bytes:
        pieces, size = [], 0
        async for piece in response.aiter_bytes():
            size += len(piece)
            if size > MAX_BYTES:
                raise LimitExceeded(f"{self._host} answers with more than {MAX_BYTES} bytes; ask for fewer records")
            pieces.append(piece)
        return b"".join(pieces)


def check_address(url: str) -> None:
    """Whether a secret may be sent to an address.

    Raises:
        ConfigurationError: it is neither HTTPS nor on loopback.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError("cannot parse the address of the API, expected https://host") from error
    if not parsed.host or (parsed.scheme != "https" and parsed.host not in ("127.0.0.1", "localhost", "::1")):
        raise ConfigurationError(f"got {parsed.scheme or 'no scheme'} for {parsed.host or 'the API'}, expected https")


def check_headers(url: str, headers: Mapping[str, str]) -> None:
    """Whether these can be headers.

    Raises:
        ConfigurationError: one is empty, or cannot.
    """
    if not all(value and value.isascii() and value.isprintable() for value in headers.values()):
        host = httpx.URL(url).host
        raise ConfigurationError(f"the key for {host} is empty or has characters that no header may have")


def _failure(host: str, response: httpx.Response, body: bytes, now: float) -> AffidavitError:
    status, told = response.status_code, _error(body)
    words = _words(told)
    said = f"{host} answers {status}{f' {words[0]}' if words else ''}{_request_id(response)}"
    if status in (401, 403) and not PATIENCE.intersection(words):
        return AccessDenied(f"{said}: check the key and its scopes")
    if status in (401, 403, 408, 425, 429, 529) or status >= 500:
        return Unavailable(said, retry_after=_retry_after(response.headers.get("retry-after") or _delay(told), now))
    if status in (400, 404, 410, 422):
        return CursorExpired(said)
    return ConfigurationError(f"{said}, expected 200; check the address")


def _error(body: bytes) -> dict[str, Any]:
    """The member ``error`` of an answer, as almost every API has it."""
    value = parse_json(body[:65536]).value
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {}


def _words(error: Mapping[str, Any]) -> list[str]:
    """The source's own words for it, which are short and hold no data of people: ``type`` or ``code``, and of Google
    the reasons (``errors[].reason``) and ``status``."""
    errors = error.get("errors")
    reasons = [one.get("reason") for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    found = [error.get("type"), error.get("code"), *reasons, error.get("status")]
    return [word[:64] for word in found if isinstance(word, str) and word and word.isascii() and word.isprintable()]


def _delay(error: Mapping[str, Any]) -> str:
    """``google.rpc.RetryInfo``: how long to wait, ``3.5s``."""
    details = error.get("details")
    for one in details if isinstance(details, list) else []:
        delay = one.get("retryDelay") if isinstance(one, dict) else None
        if isinstance(delay, str):
            return delay.removesuffix("s")
    return ""


def _request_id(response: httpx.Response) -> str:
    found = response.headers.get("request-id") or response.headers.get("x-request-id") or ""
    return f" (request {found[:64]})" if found.isascii() and found.isprintable() and found else ""


def _retry_after(text: str, now: float) -> float:
    """Seconds, or an HTTP date (RFC 9110 §10.2.3)."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return 1.0
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, 1.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else 1.0
