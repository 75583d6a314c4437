"""Many streams at a time, and large bodies: the copies stay within their bounds, and every byte gets through."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import threading
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from provider_streams import anthropic_events, sse
from proxy_server import proxy_server
from scripted_upstream import LAST_CHUNK, STREAM_HEAD, Seen, chunk, scripted_upstream, whole

from collector.proxy import ProxyConfig

STREAMS = 2000
ASKED = json.dumps(
    {"model": "claude-sonnet-5", "stream": True, "messages": [{"role": "user", "content": "?"}]}
).encode()


@pytest.mark.slow
def test_two_thousand_open_streams() -> None:
    events = [sse([event]) for event in anthropic_events()]
    open_now, all_open, go_on = 0, threading.Event(), threading.Event()

    async def answer(request: Seen) -> AsyncIterator[bytes]:
        nonlocal open_now
        yield STREAM_HEAD
        yield chunk(b"".join(events[:6]))
        open_now += 1
        if open_now == STREAMS:
            all_open.set()
        while not go_on.is_set():
            await asyncio.sleep(0.05)
        yield chunk(b"".join(events[6:]))
        yield LAST_CHUNK

    async def ask(port: int, token: str, turn: asyncio.Semaphore) -> bytes:
        lines = ["POST /anthropic/v1/messages HTTP/1.1", "Host: proxy", f"x-affidavit-token: {token}"]
        lines += [f"Content-Length: {len(ASKED)}", "Connection: close", "", ""]
        async with turn:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write("\r\n".join(lines).encode() + ASKED)
            got = await reader.readuntil(b"content_block_delta")
        got += await reader.read(-1)
        writer.close()
        return got

    async def drive(port: int, token: str) -> set[bytes]:
        turn = asyncio.Semaphore(100)
        asking = [asyncio.create_task(ask(port, token, turn)) for _ in range(STREAMS)]
        assert await asyncio.to_thread(all_open.wait, 120)
        assert proxy.snapshot().recorder.open == STREAMS
        assert proxy.snapshot().memory_bytes < 8 << 20
        go_on.set()
        return {answer.partition(b"\r\n\r\n")[2] for answer in await asyncio.gather(*asking)}

    config = ProxyConfig(early_seconds=600)
    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}, config) as proxy:
        answers = asyncio.run(drive(urlsplit(proxy.url).port or 0, proxy.token))
        assert answers == {chunk(b"".join(events[:6])) + chunk(b"".join(events[6:])) + LAST_CHUNK}
        proxy.until(lambda: proxy.snapshot().recorder.recorded == STREAMS, seconds=120)
        assert (proxy.snapshot().memory_bytes, proxy.snapshot().recorder.lost) == (0, 0)


@pytest.mark.slow
def test_a_request_of_64_mb_passes_and_is_recorded_whole() -> None:
    async def answer(request: Seen) -> AsyncIterator[bytes]:
        yield whole(b'{"id":"msg_1","type":"message","content":[]}')

    png = random.Random(1).randbytes(48_000_000)
    image = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()}
    asked = {"model": "m", "messages": [{"role": "user", "content": [{"type": "image", "source": image}]}]}
    body = json.dumps(asked).encode()
    with scripted_upstream(answer) as upstream, proxy_server({"anthropic": upstream.url}) as proxy:
        url = f"{proxy.url}/anthropic/v1/messages"
        assert httpx.post(url, headers=proxy.headers, content=body, timeout=60).status_code == 200
        assert upstream.seen[0].body == body
        assert proxy.snapshot().memory_bytes < 2 << 20, "a large copy lies in a file"
        events = {event.metadata["kind"]: event for event in proxy.opened(3, seconds=120)}
        assert events["prompt"].source is not None
        assert body in events["prompt"].source
        assert len(json.dumps(events["prompt"].content)) < 1000, "what is large is in the source, once"
        assert events["context"].metadata["document_sha256"] == hashlib.sha256(png).hexdigest()
