"""Bearer tokens: who may send, for which tenant, as which gateway.

A token is ``aff_<token id>_<secret>``. The database holds its SHA-256 only: the secret is 256 random bits, so nothing
slower than one hash is needed to make the table useless to a thief. Tokens are never logged and never echoed.

While the database is away, a token that it confirmed within the hour is still admitted: losing records is worse than
admitting for a while a sender that was good a while ago. That a token was revoked cannot be seen meanwhile; that it has
expired can. A token that was not admitted before is not admitted now, and its sender is told to come back: nobody is
told that a token is bad because the database could not be asked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.errors import AccessDenied, Unavailable
from stores.control import Control, Token

INGEST = "ingest"

_SPELLING = re.compile(r"aff_([0-9a-z]{8,32})_([0-9A-Za-z_-]{20,100})")

CACHE_SECONDS = 5.0
"""How long a revocation may go unnoticed; saves a database read per request."""

GRACE_SECONDS = 3600.0
"""How long after the database last confirmed a token it is admitted without being asked for, while it is away. So long
may a revocation go unnoticed then."""

PATIENCE_SECONDS = 1.0
"""How long a sender with such a token waits for a database that does not answer; the question goes on meanwhile."""

CACHE_ENTRIES = 10_000

_REMEDY = "send Authorization: Bearer aff_…, a token made by: affidavit token create"


class ScopeLacking(AccessDenied):
    """A valid token that was made for something else."""


@dataclass(frozen=True, slots=True)
class MintedToken:
    """A new token. ``text`` is shown once and kept nowhere; ``row`` is what the database keeps."""

    text: str
    row: Token


def mint_token(
    tenant: str,
    gateway: str,
    scopes: Sequence[str],
    *,
    now_ms: int,
    expires_ms: int | None = None,
    note: str = "",
    person: str = "",
) -> MintedToken:
    """Draw a new token. The caller stores ``row`` and shows ``text``."""
    token_id = secrets.token_hex(6)
    text = f"aff_{token_id}_{secrets.token_urlsafe(32)}"
    row = Token(token_id, token_digest(text), tenant, gateway, tuple(scopes), now_ms, expires_ms, None, note, person)
    return MintedToken(text, row)


def token_digest(text: str) -> bytes:
    """SHA-256 of a token, the whole of its text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class _Known(NamedTuple):
    """What the database said of a token.

    ``until`` is when to ask again, ``confirmed`` when it said so, both in seconds since 1970.
    """

    until: float
    confirmed: float
    token: Token | None


class Tokens:
    """Admits bearers of tokens. For one event loop; the database is asked on a thread.

    Args:
        control: where tokens are looked up.
        cache_seconds: for how long an answer of the database, found or not found, is used again.
        grace_seconds: for how long a token is admitted while the database is away; see :data:`GRACE_SECONDS`.
        patience_seconds: see :data:`PATIENCE_SECONDS`.
        now: seconds since 1970, for expiry; monotonic enough for the cache too.
    """

    def __init__(
        self,
        control: Control,
        *,
        cache_seconds: float = CACHE_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._control = control
        self._cache_seconds, self._grace_seconds = cache_seconds, grace_seconds
        self._patience_seconds = patience_seconds
        self._now = now
        self._cache: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Token | None]] = {}

    async def admit(self, authorization: str | None) -> Token:
        """The token that an ``Authorization`` header bears, if it is known, not revoked and not expired.

        Raises:
            AccessDenied: with what to do about it; the text never repeats the token.
            Unavailable: the database cannot be asked, and did not confirm this token a short while ago.
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
        known = self._cache.get(digest)
        if known is not None and now < known.until:
            return known.token
        asking = self._ask(digest)
        # Only a token that was found has a grace: an answer that there is none is not stretched.
        if known is None or known.token is None or now >= known.confirmed + self._grace_seconds:
            return await asyncio.shield(asking)
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await asyncio.shield(asking)
        except (TimeoutError, Unavailable):
            if self._cache.get(digest) is known:  # so that not every request waits for the same
                self._cache[digest] = known._replace(until=now + self._cache_seconds)
            return known.token

    def _ask(self, digest: bytes) -> asyncio.Task[Token | None]:
        """The question about a token that is under way, for however many requests wait for the answer."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.create_task(self._asked(digest))
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # it may be that nobody waits
        return asking

    async def _asked(self, digest: bytes) -> Token | None:
        try:
            token = await asyncio.to_thread(self._control.token_by_digest, digest)
        finally:
            del self._asking[digest]
        now = self._now()
        self._cache[digest] = _Known(now + self._cache_seconds, now, token)
        self._cache.move_to_end(digest)
        if len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return token


def require_scope(token: Token, scope: str) -> None:
    """Refuse a valid token that was made for something else.

    Raises:
        ScopeLacking: the token lacks ``scope``.
    """
    if scope not in token.scopes:
        raise ScopeLacking(f"token {token.token_id} has scope {', '.join(token.scopes) or 'none'}, expected {scope}")


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise AccessDenied("got no token; " + _REMEDY)
    scheme, _, text = authorization.strip().partition(" ")
    text = text.strip()
    if scheme.lower() == "basic":
        text = _password(text)
    elif scheme.lower() != "bearer":
        raise AccessDenied("got an Authorization header of another scheme than Bearer or Basic; " + _REMEDY)
    if not _SPELLING.fullmatch(text):
        raise AccessDenied("got a bearer token that is not one of ours; " + _REMEDY)
    return text


def _password(encoded: str) -> str:
    """The password of HTTP Basic (RFC 7617), for senders that know nothing else: it is the token, whoever the user."""
    try:
        _, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:
        colon, password = "", ""
    if not colon:
        raise AccessDenied("got Basic credentials that are not user:password in base64; " + _REMEDY)
    return password
