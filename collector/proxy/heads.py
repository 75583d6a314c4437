"""Headers on their way through: what belongs to one connection, what is ours, what must not be on record. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from collector.scrub import is_secret_name

Headers = Sequence[tuple[bytes, bytes]]

TOKEN = b"x-affidavit-token"
_OURS = b"x-affidavit-"
SESSION, USER = b"x-affidavit-session", b"x-affidavit-user"

_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"proxy-connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info"),
    }
)
"""RFC 9110 §7.6.1. Trailers are dropped with ``trailer`` and ``te``, as §6.5.1 allows."""

_CREDENTIALS = ("x-api-key", "authorization", "api-key", "x-goog-api-key")
"""Where clients put the provider's key, the most telling one first."""


def value(headers: Headers, name: bytes) -> bytes:
    """The first value of a header, name in lower case; ``b""`` where there is none."""
    return next((found for known, found in headers if known == name), b"")


def end_to_end(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that go on to the next hop, in order."""
    named = {
        token.strip().lower()
        for name, listed in headers
        if name.lower() == b"connection"
        for token in listed.split(b",")
    }
    dropped = _HOP_BY_HOP | named
    return [(name, content) for name, content in headers if name.lower() not in dropped]


def for_upstream(headers: Headers, host: bytes) -> list[tuple[bytes, bytes]]:
    """The request's headers as they go upstream: its host, without ours, and without ``expect``, which was met here."""
    kept = [
        (name, host if name == b"host" else content)
        for name, content in end_to_end(headers)
        if name != b"expect" and not name.startswith(_OURS)
    ]
    if any(name == b"transfer-encoding" for name, _ in headers):
        kept = [(name, content) for name, content in kept if name != b"content-length"]
        kept.append((b"transfer-encoding", b"chunked"))
    return kept if any(name == b"host" for name, _ in kept) else [(b"host", host), *kept]


def on_record(headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], list[str]]:
    """The headers without those that carry credentials, and the names of those."""
    kept, removed = [], []
    for name, content in headers:
        if is_secret_name(name.decode("latin-1")):
            removed.append(name.decode("latin-1").lower())
        elif name.lower() != b"transfer-encoding":
            kept.append((name, content))
    return kept, removed


class Credential(NamedTuple):
    """What is recorded of a provider's key: ``fingerprint`` tells two keys apart, ``alias`` helps a person to tell
    which; neither lets anybody use it."""

    header: str
    fingerprint: str
    alias: str


def credential(headers: Headers, key: bytes | None) -> Credential | None:
    """The provider's key that a request carries, as far as it is recorded; ``None`` where it carries none."""
    for name in _CREDENTIALS:
        stated = value(headers, name.encode())
        if not stated:
            continue
        secret = stated.partition(b" ")[2].strip() if name == "authorization" else stated.strip()
        if key is None or len(secret) < 16:
            return Credential(name, "", "")
        digest = hmac.digest(key, secret, hashlib.sha256).hex()
        return Credential(name, f"hmac:{digest[:32]}", "…" + secret[-4:].decode("latin-1"))
    return None
