"""An HTTP/1.1 server on loopback whose answers are bytes that a test writes, when the test says so.

with scripted_upstream(answer) as upstream:
    ... upstream.url ... upstream.seen[0].body ... upstream.sent[0] ...

``answer`` gets a request and gives the pieces of the raw response, head and framing included; to break off, it raises
:class:`HangUp`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


class HangUp(Exception):
    """Close the connection here."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, as it came: its request line, headers in order, and body."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes:
        return next((value for known, value in self.headers if known.lower() == name), b"")

    @property
    def path(self) -> str:
        return self.line.split(b" ")[1].decode().partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Seen], AsyncIterator[bytes]]


@dataclass(slots=True)
class ScriptedUpstream:
    """``closed`` counts connections that the other side closed while an answer was under way."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    sent: list[bytearray] = field(default_factory=list)
    closed: int = 0
    on_closed: threading.Event = field(default_factory=threading.Event)


def head(status: str, *headers: str) -> bytes:
    """The head of a response."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")


def whole(body: bytes, *headers: str, status: str = "200 OK", media_type: str = "application/json") -> bytes:
    """A response with its length."""
    return head(status, f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *headers) + body


def zipped(body: bytes, *headers: str, media_type: str = "application/json") -> bytes:
    """The same, compressed."""
    return whole(gzip.compress(body), "Content-Encoding: gzip", *headers, media_type=media_type)


def chunk(data: bytes) -> bytes:
    """One chunk of chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = head(
    "200 OK", "Content-Type: text/event-stream; charset=utf-8", "Transfer-Encoding: chunked", "request-id: req_1"
)
LAST_CHUNK = b"0\r\n\r\n"


@contextmanager
def scripted_upstream(answer: Answer) -> Iterator[ScriptedUpstream]:
    """Serve on a free port until the block ends."""
    running, ready = ScriptedUpstream(), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        tasks: set[asyncio.Task[Any]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with suppress(ConnectionError, asyncio.IncompleteReadError, HangUp, asyncio.CancelledError):
                while True:
                    await _serve_one(reader, writer, answer, running)
            writer.close()
            tasks.discard(task)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20, backlog=4096)
        running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield running
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


async def _serve_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer, running: ScriptedUpstream
) -> None:
    request = await _request(reader, writer)
    running.seen.append(request)
    sent = bytearray()
    running.sent.append(sent)
    try:
        async for piece in answer(request):
            if reader.at_eof():
                raise ConnectionResetError
            sent += piece  # before the write: whoever has read it may ask at once what was sent
            writer.write(piece)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        running.closed += 1
        running.on_closed.set()
        raise


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen:
    raw = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    line, *rest = raw.split(b"\r\n")
    headers = [(name, value.strip()) for name, _, value in (one.partition(b":") for one in rest)]
    known = {name.lower(): value for name, value in headers}
    if b"content-length" in known:
        body = await reader.readexactly(int(known[b"content-length"]))
    elif known.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    else:
        body = b""
    return Seen(line, headers, body)
