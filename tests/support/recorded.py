"""Exchanges as the proxy records them, made without a network: the real recording, filled in by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from collector.gateways import Draft, Received
from collector.gateways.proxy import ProxyFormat
from collector.proxy import Api
from collector.proxy.heads import Headers
from collector.proxy.recording import End, Recording, Sender
from collector.proxy.tape import TapeStore

START = 1_787_305_200_000_000


def recorded(
    request: bytes | dict[str, Any],
    response: bytes | dict[str, Any] | None,
    *,
    api: Api = "anthropic",
    path: str = "/v1/messages",
    method: str = "POST",
    url: str = "",
    headers: Sequence[tuple[str, str]] = (),
    answer_headers: Sequence[tuple[str, str]] = (),
    media_type: str = "application/json",
    status: int = 200,
    end: End = "complete",
    error: str = "",
    fingerprint_key: bytes | None = None,
    pieces: int = 1,
) -> bytes:
    """The WARC file of an exchange; every moment of it is 1 s after the one before."""
    ticks = itertools.count(START, 1_000_000)
    asked = _headers([("host", "api.anthropic.com"), ("content-type", "application/json"), *headers])
    hosts = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com"}
    made = Recording(
        TapeStore(None, 1 << 30, 1 << 30),
        Sender("acme", "proxy", "t-1"),
        "",
        "192.0.2.4",
        api or "other",
        api,
        url or hosts.get(api, "https://mcp.example") + path,
        method,
        path.encode("latin-1"),
        [(name, text) for name, text in asked if not name.startswith(b"x-affidavit-")],
        asked,
        lambda: next(ticks),
        fingerprint_key,
        "5b0ec6e5-0d5a-4f0e-9b8e-3d6f2f1c7a11",
    )
    made.request.write(_body(request))
    made.request_complete = True
    made.note("requested_at")
    if response is not None:
        made.answered(status, b"OK", _headers([("content-type", media_type), *answer_headers]))
        body = _body(response)
        size = max(1, -(-len(body) // pieces))
        for at in range(0, len(body), size):
            made.heard(body[at : at + size])
    if end != "open":
        made.finish(end, error)
    return made.warc()


def drafts_of(file: bytes) -> list[Draft]:
    """The events of a recording that is one."""
    reading = ProxyFormat().read(file, received())
    assert not reading.error, reading.error
    assert reading.units[0].source == file
    return reading.units[0].drafts


def received() -> Received:
    """As the proxy hands a recording over."""
    return Received("acme", "proxy", "t-1", "proxy", "192.0.2.4", "application/warc", "", START + 9_000_000, "proxy")


def kinds(drafts: Sequence[Draft]) -> list[str]:
    return [draft.kind for draft in drafts]


def _body(value: bytes | dict[str, Any] | list[Any]) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _headers(named: Sequence[tuple[str, str]]) -> Headers:
    return [(name.encode("latin-1"), text.encode("latin-1")) for name, text in named]
