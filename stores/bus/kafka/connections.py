"""Connections to brokers, lent out for one exchange at a time.

A broker answers the requests of a connection strictly one after the other, and a request may have to wait (for
replicas, for messages, for a group). So a connection carries one request at a time, and there are as many as there
are requests under way.
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from schemas.errors import ConfigurationError
from stores.bus.kafka.config import KafkaConfig
from stores.bus.kafka.errors import Unreached, connection_error
from stores.bus.kafka.security import connection_options

Address = tuple[str, int]

CONNECT_SECONDS = 3.0
"""At most, for the connection, TLS and SASL; a broker that hangs still takes connections, and says nothing."""

NEVER_MS = 24 * 3600 * 1000
"""The connection's own time limit: ours are per request."""

PARTING_SECONDS = 1.0
"""How long the end of the bus waits for the other side's goodbye, which TLS wants; then the socket is closed."""

IDLE_MS = 5 * 60 * 1000
"""Below the ten minutes (``connections.max.idle.ms``) after which a broker closes an idle connection."""


class TokenAuthenticator(OAuthAuthenticator):
    """A broker refuses a token with a challenge (RFC 7628 §3.2.3), which aiokafka takes for consent."""

    async def step(self, payload: bytes | None) -> Any:
        if self._token_sent and payload:
            raise SaslAuthenticationFailed(payload.decode("utf-8", "replace"))
        return await super().step(payload)


class Connection(AIOKafkaConnection):
    """One connection, which reads what the broker says to a token.

    Attributes:
        parting: connections that are closed here and not yet over there, with what ends them; shared by those of a bus.
            TLS waits for the other side's goodbye, and a loop that ended meanwhile would leave the socket open.
    """

    parting: dict[asyncio.Future[None], asyncio.WriteTransport] | None = None

    def close(self, reason: Any = None, exc: BaseException | None = None) -> asyncio.Future[None] | None:
        """Begin to close; the future says when it is."""
        writer = self._writer
        closed: asyncio.Future[None] | None = super().close(reason, exc)
        if writer is not None and closed is not None and not closed.done() and self.parting is not None:
            self.parting[closed] = writer.transport
            closed.add_done_callback(lambda done: self.parting.pop(done, None) if self.parting is not None else None)
        return closed

    def authenticator_oauth(self) -> TokenAuthenticator:
        return TokenAuthenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


class Connections:
    """Of one bus; used on the bus's own loop only."""

    def __init__(self, config: KafkaConfig) -> None:
        self._options = connection_options(config.security)
        self._client_id = config.client_id
        self._idle: dict[Address, list[Any]] = {}
        self._lent: set[Any] = set()
        self._closed = False
        self._parting: dict[asyncio.Future[None], asyncio.WriteTransport] = {}

    async def exchange(self, address: Address, request: Any, seconds: float) -> Any:
        """Send a request, return the response.

        Raises:
            Unreached: no answer within ``seconds``, or the connection broke.
            ConfigurationError: the broker does not accept who we are, or we not who it is.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(address, request, min(seconds, CONNECT_SECONDS))
        except TimeoutError as error:
            raise connection_error(error, _text(address)) from error

    async def close(self) -> None:
        """Close all, whatever is under way."""
        self._closed = True
        connections = [*self._lent, *(one for idle in self._idle.values() for one in idle)]
        self._idle.clear()
        for one in connections:
            one.close()
        if self._parting:
            await asyncio.wait(set(self._parting), timeout=PARTING_SECONDS)
        for transport in list(self._parting.values()):
            transport.abort()
        await asyncio.sleep(0)  # in which asyncio closes what was aborted

    async def _exchange(self, address: Address, request: Any, connect_seconds: float) -> Any:
        connection = await self._borrow(address, connect_seconds)
        self._lent.add(connection)
        whole = False
        try:
            response = await connection.send(request)
            whole = True
        except (KafkaError, OSError, NotImplementedError) as error:
            raise connection_error(error, _text(address)) from error
        finally:
            self._lent.discard(connection)
            if whole and not self._closed:
                self._idle.setdefault(address, []).append(connection)
            else:
                # The answer to a request that was given up must not be taken for that to the next.
                connection.close()
        return response

    async def _borrow(self, address: Address, seconds: float) -> Any:
        if self._closed:
            raise Unreached("the bus is closed")
        idle = self._idle.get(address, [])
        while idle:
            connection = idle.pop()
            if connection.connected():
                return connection
            connection.close()
        host, port = address
        try:
            async with asyncio.timeout(seconds):
                connection = Connection(
                    host,
                    port,
                    client_id=self._client_id,
                    request_timeout_ms=NEVER_MS,
                    max_idle_ms=IDLE_MS,
                    **self._options,
                )
                connection.parting = self._parting
                await connection.connect()
                return connection
        except ConfigurationError:
            raise
        except (KafkaError, OSError, ValueError, AssertionError) as error:
            raise connection_error(error, _text(address)) from error


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
