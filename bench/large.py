"""Large bodies: how fast 62 MB requests are recorded over HTTP, and what memory that takes.

Each case has a server of its own, so that its peak of resident memory is its own. The object store is a folder; bus,
keys and objects are fsynced as in an embedded deployment. What a server takes that does nothing is a figure too.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import multiprocessing
import random
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.figures import Figure
from collector.auth import INGEST, Tokens, mint_token
from collector.formats import http_routes
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.large.blobs import Blobs
from collector.large.spool import Spools
from collector.server import serve
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file
from stores.objects.local import LocalObjects

MIB = 1 << 20
SIZE = 62
BUDGET = 300.0
"""MB of resident memory for a role, whatever the load."""


def measure() -> Sequence[Figure]:
    """Rates, and peaks of memory."""
    cases: list[tuple[str, str, Callable[[int], Iterable[bytes]], int, bool]] = [
        ("one image in base64", "/v1/litellm", _image, 1, False),
        ("one image in base64, gzip", "/v1/litellm", _image, 1, True),
        ("one text", "/v1/events", _text, 1, False),
        ("JSON of texts of 60 KB", "/v1/litellm", _texts, 1, False),
        ("NDJSON of 1.4 KB events", "/v1/events", _ndjson, 1, False),
        ("OTLP in protobuf, one span with an image", "/v1/traces", _otlp_image, 1, False),
        ("OTLP in protobuf, one span with texts of 60 KB", "/v1/traces", _otlp_texts, 1, False),
        ("OTLP in protobuf, spans of 1.4 KB", "/v1/traces", _otlp_spans, 1, False),
        ("eight with an image at once", "/v1/litellm", _image, 8, False),
    ]
    figures = [Figure("a collector that does nothing: peak memory", _measured("", [], False)[1], "MB", BUDGET, True)]
    for name, path, make, count, packed in cases:
        bodies = [b"".join(make(number)) for number in range(count)]
        seconds, peak = _measured(path, bodies, packed)
        size = sum(len(body) for body in bodies) / 1e6
        figures.append(Figure(f"{SIZE} MiB request, {name}", size / seconds, "MB/s", note="to a durable answer"))
        figures.append(Figure(f"{SIZE} MiB request, {name}: peak memory", peak, "MB", BUDGET, True))
    return figures


def _measured(path: str, bodies: Sequence[bytes], packed: bool) -> tuple[float, float]:
    """Seconds for all of the bodies, and MB at the peak."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        here, there = spawn.Pipe()
        server = spawn.Process(target=_serve, args=(folder, there))
        server.start()
        port, token = here.recv()
        headers = {"authorization": f"Bearer {token}"}
        wire = [_gzipped(body) if packed else body for body in bodies]
        if packed:
            headers["content-encoding"] = "gzip"
        begun = time.perf_counter()
        with ThreadPoolExecutor(max(1, len(wire))) as senders:
            for sent in [senders.submit(_post, port, path, body, headers) for body in wire]:
                sent.result()
        seconds = time.perf_counter() - begun
        peak = _peak(server.pid or 0)
        here.send("stop")
        server.join(30)
    return seconds, peak


def _post(port: int, path: str, body: bytes, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", path, body=body, headers=headers)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"got status {answer.status}: {told[:200]!r}")


def _peak(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def _serve(folder: str, parent: Connection) -> None:
    async def main() -> None:
        root = Path(folder)
        create_kek_file(root / "kek")
        control = ControlDatabase(f"sqlite:///{root / 'control.db'}")
        control.migrate()
        bus, objects, spools = SqliteBus(root / "bus.db"), LocalObjects(root / "objects"), Spools(root / "large")
        keys = DatabaseKeys(control, FileKek(root / "kek"))
        ingest = Ingest(bus, keys, collector_id="bench", spools=spools, blobs=Blobs(objects, spools))
        minted = mint_token("acme", "bench", [INGEST], now_ms=0)
        control.add_token(minted.row)
        stop = asyncio.Event()
        app = create_app(Receiver(ingest, Tokens(control), _always), http_routes())
        asyncio.get_running_loop().add_reader(parent.fileno(), stop.set)
        await serve(app, "127.0.0.1", 0, stop, started=lambda port: parent.send((port, minted.text)))
        ingest.close()
        await bus.close()
        objects.close()
        control.close()

    asyncio.run(main())


async def _always() -> None:
    """The stores of the benchmark are always there."""


def _image(seed: int) -> Iterator[bytes]:
    rnd = random.Random(seed)
    yield b'{"id":"c%d","call_type":"acompletion","status":"success","startTime":1787305200.125,"messages":' % seed
    yield b'[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,'
    yield from (base64.b64encode(rnd.randbytes(MIB * 3 // 4)) for _ in range(SIZE))
    yield b'"}}]}],"response":{"choices":[{"message":{"role":"assistant","content":"A cat."}}]}}'


def _text(seed: int) -> Iterator[bytes]:
    words = [f"{number:05x}" for number in random.Random(seed).sample(range(1 << 20), 4000)]
    block = " ".join(random.Random(seed).choices(words, k=MIB // 6 - 8)).encode()
    yield b'{"kind":"prompt","id":"t%d","content":{"text":"' % seed
    yield from (block + b" " for _ in range(SIZE))
    yield b'"}}'


def _ndjson(seed: int) -> Iterator[bytes]:
    rnd = random.Random(seed)
    for number in range(SIZE * MIB // 1430):
        event = {"kind": "prompt", "id": f"e-{seed}-{number}", "session_id": f"s-{number % 50}", "content": _words(rnd)}
        yield json.dumps(event).encode() + b"\n"


def _texts(seed: int) -> Iterator[bytes]:
    rnd = random.Random(seed)
    yield b'{"id":"m%d","call_type":"acompletion","status":"success","startTime":1787305200.125,"messages":[' % seed
    for number in range(SIZE * MIB // 61_000):
        yield b"," if number else b""
        yield json.dumps({"role": "user" if number % 2 else "assistant", "content": _long_text(rnd)}).encode()
    yield b'],"response":{"choices":[{"message":{"role":"assistant","content":"Yes."}}]}}'


def _otlp_image(seed: int) -> Iterator[bytes]:
    image = b"".join(base64.b64encode(random.Random(seed).randbytes(MIB * 3 // 4)) for _ in range(SIZE)).decode()
    said = {"role": "user", "parts": [{"type": "blob", "mime_type": "image/png", "content": image}]}
    yield _otlp([{"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps([said])}])


def _otlp_texts(seed: int) -> Iterator[bytes]:
    rnd = random.Random(seed)
    yield _otlp([{f"llm.input_messages.{at}.message.content": _long_text(rnd) for at in range(SIZE * MIB // 61_000)}])


def _otlp_spans(seed: int) -> Iterator[bytes]:
    rnd = random.Random(seed)
    yield _otlp([{"gen_ai.operation.name": "chat", "note": _words(rnd)} for _ in range(SIZE * MIB // 1430)])


def _otlp(spans: Sequence[dict[str, str]]) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, attributes in enumerate(spans):
        span = scope.spans.add(name="chat", trace_id=number.to_bytes(16, "big"), span_id=b"12345678")
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
    body: bytes = request.SerializeToString()
    return body


def _long_text(rnd: random.Random) -> str:
    return " ".join(f"{rnd.getrandbits(40):x}" for _ in range(5500))


def _words(rnd: random.Random) -> str:
    return rnd.randbytes(665).hex()


def _gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(body) + packer.flush()


if __name__ == "__main__":
    for figure in measure():
        print(figure)
