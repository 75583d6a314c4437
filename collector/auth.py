"""Bearer tokens: who may send, for which tenant, as which gateway.

A token is ``aff_<token id>_<secret>``. The database holds its SHA-256 only: the secret is 256 random bits, so nothing
slower than one hash is needed to make the table useless to a thief. Tokens are never logged and never echoed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.errors import AccessDenied
from stores.control import Control, Token

INGEST = "ingest"

_SPELLING = re.compile(r"aff_([0-9a-z]{8,32})_([0-9A-Za-z_-]{20,100})")

CACHE_SECONDS = 5.0
"""How long a revocation may go unnoticed; saves a database read per request."""

CACHE_ENTRIES = 10_000

_REMEDY = "send Authorization: Bearer aff_…, a token made by: affidavit token create"


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A new token. ``text`` is shown once and kept nowhere; ``row`` is what the database keeps."""

    text: str
    row: Token


def mint_token(
    tenant: str, gateway: str, scopes: Sequence[str], *, now_ms: int, expires_ms: int | None = None, note: str = ""
) -> MintedToken:
    """Draw a new token. The caller stores ``row`` and shows ``text``."""
    token_id = secrets.token_hex(6)
    text = f"aff_{token_id}_{secrets.token_urlsafe(32)}"
    return MintedToken(
        text, Token(token_id, token_digest(text), tenant, gateway, tuple(scopes), now_ms, expires_ms, None, note)
    )


def token_digest(text: str) -> bytes:
    """SHA-256 of a token, the whole of its text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Tokens:
    """Admits bearers of tokens. For one event loop; the database is asked on a thread.

    Args:
        control: where tokens are looked up.
        cache_seconds: for how long an answer of the database, found or not found, is used again.
        now: seconds since 1970, for expiry; monotonic enough for the cache too.
    """

    def __init__(
        self, control: Control, *, cache_seconds: float = CACHE_SECONDS, now: Callable[[], float] = time.time
    ) -> None:
        self._control = control
        self._cache_seconds = cache_seconds
        self._now = now
        self._cache: OrderedDict[bytes, tuple[float, Token | None]] = OrderedDict()

    async def admit(self, authorization: str | None) -> Token:
        """The token that an ``Authorization`` header bears, if it is known, not revoked and not expired.

        Raises:
            AccessDenied: with what to do about it; the text never repeats the token.
            Unavailable: the database cannot be asked.
        """
        text = _bearer(authorization)
        digest = token_digest(text)
        token = await self._look_up(digest)
        if token is None or not hmac.compare_digest(token.digest, digest):
            raise AccessDenied("got a token that this deployment does not know; " + _REMEDY)
        now_ms = self._now() * 1000
        if token.revoked_ms is not None and token.revoked_ms <= now_ms:
            raise AccessDenied(f"token {token.token_id} was revoked; " + _REMEDY)
        if token.expires_ms is not None and token.expires_ms <= now_ms:
            raise AccessDenied(f"token {token.token_id} has expired; " + _REMEDY)
        return token

    async def _look_up(self, digest: bytes) -> Token | None:
        now = self._now()
        cached = self._cache.get(digest)
        if cached is not None and now < cached[0]:
            return cached[1]
        token = await asyncio.to_thread(self._control.token_by_digest, digest)
        self._cache[digest] = (now + self._cache_seconds, token)
        self._cache.move_to_end(digest)
        if len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return token


def require_scope(token: Token, scope: str) -> None:
    """Refuse a valid token that was made for something else.

    Raises:
        AccessDenied: the token lacks ``scope``.
    """
    if scope not in token.scopes:
        raise AccessDenied(f"token {token.token_id} has scope {', '.join(token.scopes) or 'none'}, expected {scope}")


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise AccessDenied("got no token; " + _REMEDY)
    scheme, _, text = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise AccessDenied("got an Authorization header of another scheme than Bearer; " + _REMEDY)
    text = text.strip()
    if not _SPELLING.fullmatch(text):
        raise AccessDenied("got a bearer token that is not one of ours; " + _REMEDY)
    return text
