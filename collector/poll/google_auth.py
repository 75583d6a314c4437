"""Access tokens for Google's APIs: of a service account by its key, or of the machine that this runs on.

With a key: a JWT that it signs is exchanged for a token (RFC 7523; Google's "Using OAuth 2.0 for Server to Server
Applications"). Without: the metadata server of Compute Engine, GKE and Cloud Run gives one. A token is kept until
shortly before it expires, and thrown away when an API says 401.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from collector.json_units import parse_json
from collector.poll.api import TIMEOUT, check_address
from schemas.errors import AccessDenied, AffidavitError, ConfigurationError, MalformedInput, Unavailable
from sinks.pace import Clock, SystemClock

METADATA_URL = "http://metadata.google.internal"
"""Answers within the machine's own network only, over plain HTTP."""

LIFETIME = 3600
"""Seconds that a JWT may be valid for at most, and tokens live."""

MARGIN = 225.0
"""Seconds before its end at which a token is replaced. The metadata server gives the same one until four minutes before
(google-auth replaces at this moment too)."""

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105  (a path)


@dataclass(frozen=True, slots=True)
class AccountKey:
    """The key of a service account, as the file that Google gives holds it."""

    email: str
    key_id: str
    token_uri: str
    private: rsa.RSAPrivateKey = field(repr=False)


def parse_account_key(text: str) -> AccountKey:
    """The JSON of a key file.

    Raises:
        ConfigurationError: it is something else; the message holds nothing of it.
    """
    value = parse_json(text.encode("utf-8", "surrogatepass")).value
    told: Mapping[str, Any] = value if isinstance(value, dict) else {}
    wanted = [told.get(name) for name in ("client_email", "private_key_id", "token_uri", "private_key")]
    if told.get("type") != "service_account" or not all(isinstance(one, str) and one for one in wanted):
        raise ConfigurationError(
            "got a key that is not that of a service account, in JSON: make one with gcloud iam service-accounts keys"
        )
    email, key_id, token_uri, pem = (str(one) for one in wanted)
    check_address(token_uri)
    try:
        private = load_pem_private_key(pem.encode("utf-8", "surrogatepass"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError("cannot read the private key of the service account; make another") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ConfigurationError("got a private key of the service account that is not RSA; make another")
    return AccountKey(email, key_id, token_uri, private)


def format_assertion(key: AccountKey, scope: str, now: int) -> str:
    """The JWT that asks for a token: RS256, valid for an hour."""
    header = {"alg": "RS256", "typ": "JWT", "kid": key.key_id}
    claims = {"iss": key.email, "scope": scope, "aud": key.token_uri, "iat": now, "exp": now + LIFETIME}
    signed = f"{_part(header)}.{_part(claims)}"
    signature = key.private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64url(signature)}"


class Grant(Protocol):
    """Where tokens come from."""

    def request(self, now: int) -> httpx.Request:
        """What asks for one."""
        ...


@dataclass(frozen=True, slots=True)
class AccountGrant:
    """By the key of a service account."""

    key: AccountKey
    scope: str

    def request(self, now: int) -> httpx.Request:
        """See :class:`Grant`."""
        form = {"grant_type": _GRANT, "assertion": format_assertion(self.key, self.scope, now)}
        return httpx.Request("POST", self.key.token_uri, data=form)


@dataclass(frozen=True, slots=True)
class MachineGrant:
    """By the metadata server: the service account that the machine, pod or job has."""

    scope: str
    url: str = METADATA_URL

    def request(self, now: int) -> httpx.Request:
        """See :class:`Grant`."""
        headers = {"metadata-flavor": "Google"}
        return httpx.Request("GET", self.url + _TOKEN_PATH, params={"scopes": self.scope}, headers=headers)


class GoogleAuth(httpx.Auth):
    """Puts a token into each request, and asks once more with a new one where the API says 401.

    Args:
        grant: where tokens come from.
        proxy: towards the token endpoint of a service account; the metadata server is never asked through one.
        transport, clock: tests replace them.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        proxy: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._grant = grant
        self._proxy = proxy if isinstance(grant, AccountGrant) else ""
        self._transport = transport
        self._clock = clock or SystemClock()
        self._token = ""
        self._until = 0.0

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See :class:`httpx.Auth`."""
        await self._sign(request)
        response = yield request
        if response.status_code == 401:
            self._token = ""
            await self._sign(request)
            yield request

    async def _sign(self, request: httpx.Request) -> None:
        if not self._token or self._clock.monotonic() >= self._until:
            asked_at = self._clock.monotonic()
            self._token, lifetime = await self._fetch()
            self._until = asked_at + lifetime - MARGIN
        request.headers["authorization"] = f"Bearer {self._token}"

    async def _fetch(self) -> tuple[str, float]:
        request = self._grant.request(int(self._clock.time()))
        host = request.url.host
        proxy, transport = self._proxy or None, self._transport
        client = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, proxy=proxy, transport=transport)
        try:
            async with client:
                response = await client.send(request)
        except httpx.HTTPError as error:
            raise Unavailable(f"{host} gives no access token: {type(error).__name__}") from error
        if response.status_code != 200:
            raise _refusal(host, response)
        return _read_token(host, response.content)


def _read_token(host: str, body: bytes) -> tuple[str, float]:
    value = parse_json(body).value
    told: Mapping[str, Any] = value if isinstance(value, dict) else {}
    token, lifetime = told.get("access_token"), told.get("expires_in")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise MalformedInput(f"{host} answers 200 without an access token")
    return token, float(lifetime) if isinstance(lifetime, int) and 0 < lifetime <= LIFETIME * 24 else 0.0


def _refusal(host: str, response: httpx.Response) -> AffidavitError:
    value = parse_json(response.content[:65536]).value
    word = value.get("error") if isinstance(value, dict) else None
    told = f" ({word[:64]})" if isinstance(word, str) and word.isascii() and word.isprintable() else ""
    said = f"{host} gives no access token: it answers {response.status_code}{told}"
    if response.status_code == 429 or response.status_code >= 500:
        return Unavailable(said)
    if response.status_code == 404:
        return ConfigurationError(f"{said}; give this machine a service account, or the feed a key_file")
    return AccessDenied(f"{said}; check the service account, its key, and the clock of this machine")


def _part(value: Mapping[str, object]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
