"""Fetching what a record refers to, at once, because some addresses stop working within the hour.

An address in a record was written by somebody else, so it must not make us ask our own network. Only ``https``; every
address that the name resolves to must be a public one, or in a network that the settings allow; the connection goes to
the address that was looked at, under the name that was asked for; no redirects, no proxy, no cookies; bounded in bytes
and seconds. Addresses with a signature in them are secrets: no log line and no error has more than scheme and host.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from collector.gateways import Attachment, Format, Reading, Received, ReferencingFormat
from collector.ingest import Ingest
from collector.reading import with_hash
from collector.routes import Stored
from schemas.errors import AffidavitError

log = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network

_TRANSLATED = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 networks whose addresses stand for IPv4 ones: they count as private, because what is behind them may be."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Attributes:
    max_bytes: of one body as it comes.
    seconds: for one fetch, from the first look-up to the last byte. Helicone's own test of a webhook waits for 10.
    at_once: bodies whose references are fetched and stored at the same time; the others wait.
    allowed: networks that may be asked although they are not public.
    """

    max_bytes: int = 64 * 1024 * 1024
    seconds: float = 5.0
    at_once: int = 4
    allowed: tuple[Network, ...] = ()


class Refused(Exception):
    """Why an address is not fetched, or what came of it. Without the address."""


Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""``(host, port)`` → addresses."""


async def resolve_name(host: str, port: int) -> list[str]:
    """The addresses of a name, by the resolver of this machine."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class HttpsFetcher:
    """Fetches by ``https``, one at a time and in order.

    Args:
        limits: of each fetch.
        context: which authorities vouch for the other side; the system's by default.
        resolve: names to addresses.

    Attributes:
        turns: taken by who fetches and stores, so that what was fetched does not pile up in memory.
    """

    def __init__(
        self,
        limits: FetchLimits | None = None,
        *,
        context: ssl.SSLContext | None = None,
        resolve: Resolve = resolve_name,
    ) -> None:
        self._limits = limits or FetchLimits()
        self._resolve = resolve
        self.turns = asyncio.Semaphore(self._limits.at_once)
        self._client = httpx.AsyncClient(
            verify=context or ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            timeout=self._limits.seconds,
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Release connections."""
        await self._client.aclose()

    async def fetch(self, references: Sequence[str]) -> dict[str, Attachment]:
        """Each with its exact bytes, as sent, or with the problem. Never raises for what the other side does."""
        return {reference: await self._attach(reference) for reference in dict.fromkeys(references)}

    async def _attach(self, reference: str) -> Attachment:
        try:
            async with asyncio.timeout(self._limits.seconds):
                return Attachment(await self._get(reference))
        except Refused as refusal:
            return Attachment(problem=str(refusal))
        except TimeoutError:
            return Attachment(problem=f"no answer within {self._limits.seconds:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Attachment(problem=f"cannot be had: {type(error).__name__}")

    async def _get(self, reference: str) -> bytes:
        url = httpx.URL(reference)
        if url.scheme != "https" or not url.host or url.userinfo:
            raise Refused("got an address that is not https without a password")
        address = await self._address(url.host, url.port or 443)
        request = self._client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={"host": url.netloc.decode("ascii"), "accept-encoding": "identity"},
            extensions={"sni_hostname": url.host},
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != 200:
                raise Refused(f"got status {response.status_code}, expected 200")
            return await self._read(response)
        finally:
            await response.aclose()

    async def _address(self, host: str, port: int) -> str:
        addresses = await self._resolve(host, port)
        if not addresses:
            raise Refused("got a name without an address")
        for address in addresses:
            if not self._may_ask(ip_address(address.partition("%")[0])):
                raise Refused("got an address of a network that is not public; the settings do not allow it")
        return addresses[0]

    def _may_ask(self, address: IPv4Address | IPv6Address) -> bool:
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._limits.allowed):
            return True
        translated = any(address in network for network in _TRANSLATED)
        return address.is_global and not address.is_multicast and not translated

    async def _read(self, response: httpx.Response) -> bytes:
        pieces, total = [], 0
        async for piece in response.aiter_raw():
            total += len(piece)
            if total > self._limits.max_bytes:
                raise Refused(f"got more than {self._limits.max_bytes} bytes, expected at most that")
            pieces.append(piece)
        return b"".join(pieces)


async def store_referred(
    fetcher: HttpsFetcher, ingest: Ingest, source: Format, body: bytes, received: Received, stored: Stored
) -> None:
    """Fetch what a stored body refers to, and store it behind.

    The body is durable before anything is asked, so nothing is lost if we die in between; then only what was behind the
    address is missing, and the first record says that it stood there. Once fetched, the body is read again, and what
    the first reading did not have is stored: units of their own with the bytes fetched, or with why there are none.
    """
    if not isinstance(source, ReferencingFormat) or source.scheme != "https":
        return
    wanted = await ingest.in_thread(lambda: source.references(body, {}))
    if not wanted:
        return
    known = {unit.source_id for unit in stored.reading.units}
    async with fetcher.turns:
        around = replace(received, attachments=await fetcher.fetch(wanted))
        whole = await ingest.in_thread(lambda: source.read(body, around))
        behind = [unit for unit in whole.units if unit.source_id not in known]
        try:
            await ingest.accept(Reading(behind), with_hash(received, body))
        except AffidavitError as error:
            what = f"{len(behind)} things that {source.name} refers to"
            log.error("%s were fetched and could not be stored: %s", what, error)
