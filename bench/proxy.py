"""The recording proxy: what it adds to the first token, what it passes, and what memory that takes.

Three processes, as in life: an upstream that answers at once, the proxy over an embedded bus, and the callers. Direct
and through the proxy are asked in turns, in the same run, so that both have the same machine.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench.figures import Figure
from collector.auth import INGEST, Tokens, mint_token
from collector.ingest import Ingest
from collector.large.blobs import Blobs
from collector.large.spool import Spools
from collector.proxy import ProxyConfig, Upstream
from collector.proxy.app import create_proxy
from collector.proxy.serving import serve_proxy
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file
from stores.objects.local import LocalObjects

LATENCY_REQUESTS = 600
LATENCY_PAUSE = 0.01
RATE_SECONDS = 10.0
RATE_CALLERS = 8
STREAMS = 2000
OPENED_PER_SECOND = 100.0
STREAM_SECONDS = 25.0
LARGE_BYTES = 64 * 1000 * 1000
CHUNKS = 60
"""Of an answer, 150 bytes each: one short paragraph."""

DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a few words more, "}}


def measure() -> Sequence[Figure]:
    """Latency, throughput, memory."""
    with tempfile.TemporaryDirectory() as folder:
        spawn = multiprocessing.get_context("spawn")
        stage = [spawn.Pipe() for _ in range(2)]
        upstream = spawn.Process(target=_upstream, args=(stage[0][1],))
        upstream.start()
        port = stage[0][0].recv()
        proxy = spawn.Process(target=_proxy, args=(folder, port, stage[1][1]))
        proxy.start()
        proxy_port, token = stage[1][0].recv()
        try:
            watched = psutil.Process(proxy.pid)
            return list(uvloop.run(_figures(port, proxy_port, token, watched)))
        finally:
            for here, _ in stage:
                here.send("stop")
            for process in (proxy, upstream):
                process.join(60)


async def _figures(port: int, proxy_port: int, token: str, watched: psutil.Process) -> list[Figure]:
    direct, through = _Asked(port, "/v1/messages", ""), _Asked(proxy_port, "/anthropic/v1/messages", token)
    for _ in range(50):
        await asyncio.gather(direct.first_byte(), through.first_byte())
    figures = await _latency(direct, through)
    figures += await _throughput(direct, through, watched)
    figures += await _streams(through, watched)
    figures += await _large(through, watched)
    return figures


async def _latency(direct: _Asked, through: _Asked) -> list[Figure]:
    pairs = []
    for _ in range(LATENCY_REQUESTS):
        pairs.append((await direct.first_byte(), await through.first_byte()))
        await asyncio.sleep(LATENCY_PAUSE)
    ours, theirs = sorted(pair[1] for pair in pairs), sorted(pair[0] for pair in pairs)
    figures = []
    places = (("p50", len(pairs) // 2), ("p90", len(pairs) * 9 // 10), ("p99", len(pairs) * 99 // 100))
    for name, at in places:
        note = f"{ours[at] * 1000:.2f} ms through the proxy, {theirs[at] * 1000:.2f} ms direct, asked in turns"
        added = (ours[at] - theirs[at]) * 1000
        budget = 5.0 if name == "p99" else None
        figures.append(Figure(f"recording proxy: added to the first token, {name}", added, "ms", budget, True, note))
    return figures


async def _throughput(direct: _Asked, through: _Asked, watched: psutil.Process) -> list[Figure]:
    rates = {}
    for name, asked in (("direct", direct), ("through", through)):
        used = _cpu(watched)
        rates[name] = await _rate(asked)
        used = _cpu(watched) - used
    note = f"{RATE_CALLERS} callers, {CHUNKS} chunks per answer, {rates['direct']:,.0f}/s direct; passed and recorded"
    done = rates["through"] * RATE_SECONDS
    per_core = Figure("recording proxy: streams passed and recorded", done / used, "streams/s per core", note=note)
    return [Figure("recording proxy: throughput", rates["through"], "streams/s", note=note), per_core]


async def _rate(asked: _Asked) -> float:
    end, done = time.perf_counter() + RATE_SECONDS, 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await asked.whole()
            done += 1

    await asyncio.gather(*(caller() for _ in range(RATE_CALLERS)))
    return done / RATE_SECONDS


async def _streams(through: _Asked, watched: psutil.Process) -> list[Figure]:
    before = watched.memory_info().rss
    peak = _Peak(watched)
    slow = _Asked(through.port, through.path, through.token, model="slow")
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(peak.watch())
        firsts = await asyncio.gather(*(_held(slow, at) for at in range(STREAMS)))
        watching.cancel()
    firsts = sorted(firsts)
    note = f"{before / 1e6:.0f} MB before; every stream sends {CHUNKS / STREAM_SECONDS:.0f} chunks each second"
    p99 = firsts[len(firsts) * 99 // 100] * 1000
    return [
        Figure(f"recording proxy: memory with {STREAMS:,} open streams", peak.rss / 1e6, "MB", 300, True, note),
        Figure(
            f"recording proxy: first byte while {STREAMS:,} streams open, p99",
            p99,
            "ms",
            note=f"{OPENED_PER_SECOND:.0f} more each second",
        ),
    ]


async def _held(asked: _Asked, at: int) -> float:
    await asyncio.sleep(at / OPENED_PER_SECOND)
    return await asked.first_byte()


async def _large(through: _Asked, watched: psutil.Process) -> list[Figure]:
    image = {
        "type": "image",
        "source": {
            "type": "base64",
            "media_type": "image/png",
            "data": base64.b64encode(os.urandom(LARGE_BYTES // 4 * 3)).decode(),
        },
    }
    before, peak = watched.memory_info().rss, _Peak(watched)
    large = _Asked(through.port, through.path, through.token, content=[image])
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(peak.watch())
        begun = time.perf_counter()
        for _ in range(3):
            await large.whole()
        passed = (time.perf_counter() - begun) / 3
        await asyncio.sleep(10)
        watching.cancel()
    note = f"{before / 1e6:.0f} MB before; {passed:.1f} s each to pass"
    return [Figure("recording proxy: memory with requests of 64 MB", peak.rss / 1e6, "MB", note=note)]


class _Peak:
    """The most memory that a process had while it was watched."""

    def __init__(self, watched: psutil.Process) -> None:
        self._watched, self.rss = watched, 0

    async def watch(self) -> None:
        while True:
            self.rss = max(self.rss, self._watched.memory_info().rss)
            await asyncio.sleep(0.05)


class _Asked:
    """A caller of one address, over raw sockets, so that it takes little of the machine itself."""

    def __init__(self, port: int, path: str, token: str, *, model: str = "fast", content: Any = "Weather?") -> None:
        self.port, self.path, self.token = port, path, token
        asked = {"model": model, "stream": True, "messages": [{"role": "user", "content": content}]}
        body = json.dumps(asked).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: api", "x-api-key: sk-ant-0123456789abcdef", "Connection: close"]
        lines += [f"x-affidavit-token: {token}"] if token else []
        self._request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    async def first_byte(self) -> float:
        """Seconds until the answer's first piece of a message; then it is read to its end."""
        return await self._ask(b"content_block_delta")

    async def whole(self) -> float:
        """Seconds until its end."""
        return await self._ask(None)

    async def _ask(self, mark: bytes | None) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 18)
        begun = time.perf_counter()
        writer.write(self._request)
        found, got, size = 0.0, b"", 0
        while piece := await reader.read(65536):
            size += len(piece)
            if mark and not found:
                got += piece
                if mark in got:
                    found = time.perf_counter() - begun
        writer.close()
        if size < CHUNKS * 100 or (mark and not found):
            raise RuntimeError(f"got {size} bytes, expected an answer: {got[:200]!r}")
        return found or time.perf_counter() - begun


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _upstream(parent: Connection) -> None:
    """Answers every request with a stream: at once, or, to ``"model": "slow"``, over some seconds."""
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[DELTA] * CHUNKS,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": CHUNKS}},
        {"type": "message_stop"},
    ]
    pieces = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = int(asked.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                slow = b'"model": "slow"' in await _discard(reader, length)
                writer.write(head + chunks[0] + chunks[1] + chunks[2])
                rest = chunks[3:]
                steps = round(STREAM_SECONDS) if slow else len(rest)
                for at in range(steps):
                    if slow:
                        await asyncio.sleep(1)
                    writer.write(b"".join(rest[at * len(rest) // steps : (at + 1) * len(rest) // steps]))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
                if b"connection: close" in asked.lower():
                    writer.close()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main(stop: asyncio.Event) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096, limit=1 << 20)
        parent.send(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()

    _until_told(parent, main)


async def _discard(reader: asyncio.StreamReader, length: int) -> bytes:
    """The first bytes of a body; the rest is read and forgotten."""
    first = b""
    while length:
        piece = await reader.read(min(length, 1 << 18))
        if not piece:
            raise asyncio.IncompleteReadError(b"", length)
        first = first or piece[:200]
        length -= len(piece)
    return first


def _proxy(folder: str, upstream_port: int, parent: Connection) -> None:
    root = Path(folder)
    create_kek_file(root / "kek")
    control = ControlDatabase(f"sqlite:///{root / 'control.db'}")
    control.migrate()
    minted = mint_token("acme", "proxy", [INGEST], now_ms=0)
    control.add_token(minted.row)
    config = ProxyConfig((Upstream("anthropic", f"http://127.0.0.1:{upstream_port}", "anthropic"),))

    async def main(stop: asyncio.Event) -> None:
        bus, spools = SqliteBus(root / "bus.db"), Spools(root / "large")
        blobs = Blobs(LocalObjects(root / "objects"), spools)
        keys = DatabaseKeys(control, FileKek(root / "kek"))
        ingest = Ingest(bus, keys, collector_id="bench", spools=spools, blobs=blobs)
        proxy = create_proxy(config, ingest, Tokens(control))
        await serve_proxy(proxy, "127.0.0.1", 0, stop, started=lambda port: parent.send((port, minted.text)))
        ingest.close()
        await bus.close()

    _until_told(parent, main)
    control.close()


def _until_told(parent: Connection, main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(parent.fileno(), stop.set)
        await main(stop)

    uvloop.run(told())
    parent.close()
    os._exit(0)
