"""One exchange between a caller and an upstream: bytes go through as they come, both ways, and a copy stays.

Neither side is read faster than the other takes it. When the caller hangs up the upstream is let go; when the upstream
breaks off in the midst of an answer the caller's connection is broken off too, so that nobody takes half for whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
from starlette.types import Receive, Send

from collector.proxy.heads import end_to_end
from collector.proxy.recording import Recording
from collector.proxy.refusals import refusal
from collector.proxy.routing import Routed
from collector.proxy.upstream import Upstreams
from collector.routes import Answer

log = logging.getLogger(__name__)


class CallerGone(Exception):
    """The caller hung up before the end of its request."""


class RequestBody(httpx.AsyncByteStream):
    """The caller's body as the upstream gets it, copied on the way. ``read`` is set at its end."""

    def __init__(self, receive: Receive, recording: Recording) -> None:
        self._receive, self._recording = receive, recording
        self.read = asyncio.Event()
        self._kept: list[bytes] | None = None

    async def take(self) -> None:
        """Read all of it before anything goes upstream."""
        async for _ in self._arriving():
            pass

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.read.is_set():
            view = memoryview(self._recording.request.buffer())
            for at in range(0, len(view), 65536):
                yield bytes(view[at : at + 65536])
            return
        async for chunk in self._arriving():
            yield chunk

    async def _arriving(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise CallerGone
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            if chunk:
                self._recording.request.write(chunk)
            if not more:
                self._recording.request_complete = True
                self._recording.note("requested_at")
                self.read.set()
            if chunk:
                yield chunk
            if not more:
                return


async def relay(
    upstreams: Upstreams,
    routed: Routed,
    recording: Recording,
    headers: list[tuple[bytes, bytes]],
    body: RequestBody,
    receive: Receive,
    send: Send,
) -> None:
    """Pass one exchange; when this returns, ``recording`` knows how it ended."""
    passing = asyncio.create_task(_pass(upstreams, routed, recording, headers, body, send))
    leaving = asyncio.create_task(_gone(receive, body))
    try:
        await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not passing.done():
            recording.finish("cancelled")
    except asyncio.CancelledError:
        recording.finish("broken", "the proxy was stopped")
        raise
    finally:
        leaving.cancel()
        if not passing.done():
            passing.cancel()
        await asyncio.gather(passing, leaving, return_exceptions=True)
    if not passing.cancelled() and (error := passing.exception()) is not None:
        recording.finish("broken", f"internal error: {type(error).__name__}")
        raise error


async def _gone(receive: Receive, body: RequestBody) -> None:
    """Return when the caller has hung up; its body is read by somebody else until its end."""
    await body.read.wait()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pass(
    upstreams: Upstreams,
    routed: Routed,
    recording: Recording,
    headers: list[tuple[bytes, bytes]],
    body: RequestBody,
    send: Send,
) -> None:
    begun = False
    name = routed.destination.upstream.name
    try:
        async with upstreams.ask(routed, recording.method, headers, body) as response:
            reason = response.extensions.get("reason_phrase", b"")
            passed = end_to_end(response.headers.raw)
            recording.answered(response.status_code, reason, passed)
            await send({"type": "http.response.start", "status": response.status_code, "headers": passed})
            begun = True
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for chunk in response.stream:
                recording.heard(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            recording.finish("complete")
        await send({"type": "http.response.body", "body": b""})
    except CallerGone:
        recording.finish("cancelled")
    except httpx.TransportError as error:
        end, status, text = _failure(name, error)
        if begun:
            recording.finish("broken", text)
            log.warning("exchange %s broke off: %s", recording.exchange_id, text)
            return  # without an end: the server closes the connection, and the caller sees that this was not all
        recording.finish("timeout" if end == "timeout" else "unreachable", text)
        log.warning("exchange %s got no answer: %s", recording.exchange_id, text)
        await answer(send, refusal(routed.destination.upstream.api, status, text))


def _failure(name: str, error: httpx.TransportError) -> tuple[str, int, str]:
    kind = type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return "timeout", 504, f"no connection to upstream {name} in time"
    if isinstance(error, httpx.TimeoutException):
        return "timeout", 504, f"upstream {name} was silent for too long"
    if isinstance(error, httpx.ConnectError):
        return "unreachable", 502, f"no connection to upstream {name}: {error or kind}"
    return "broken", 502, f"upstream {name} broke off: {error or kind}"


async def answer(send: Send, own: Answer) -> None:
    """An answer of the proxy's own."""
    headers = [(name.encode(), text.encode("latin-1")) for name, text in own.headers.items()]
    headers.append((b"content-length", str(len(own.body)).encode()))
    await send({"type": "http.response.start", "status": own.status, "headers": headers})
    await send({"type": "http.response.body", "body": own.body})
