"""The sinks into other systems: records of 1.4 KB from memory, opened, encoded, compressed and sent, per core; and what
a destination that is away does to the others.

Splunk is the tests' one, in a process of its own (``python -m fake_splunk`` would print what it takes; here it counts).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from bench.figures import Figure
from schemas.ids import Offset
from sinks.contract import Accepted, Sink
from sinks.forwarding import ForwardingSink
from sinks.splunk.sink import SplunkSink
from stores.bus import Message
from stores.keys import Keys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

RECORDS = 30_000
BACKLOG = 60_000
BATCH = 2_000


def measure() -> Sequence[Figure]:
    """Rates of each sink, then a destination that is away."""
    return [*_rates(), *_away()]


def _rates() -> Iterator[Figure]:
    from memory_control import MemoryControl
    from memory_keys import MemoryKeys
    from sealed_records import messages, sealed

    from schemas.ids import EVENTS, Shard
    from sinks.contract import Limits
    from sinks.forwarding import Transport
    from sinks.ocsf.event import encode
    from sinks.ocsf.files import FileTransport
    from sinks.syslog import cef
    from sinks.syslog.stream import StreamConfig, StreamTransport

    shard, keys = Shard(EVENTS, 0), MemoryKeys()
    batch = messages(sealed(keys, RECORDS, sessions=400), shard)
    size = sum(len(message.value) for message in batch) / len(batch)

    def forwarding(
        connect: Callable[[Shard], Transport], line: Callable[..., bytes], *, content: bool
    ) -> ForwardingSink:
        limits = Limits(BATCH, 8 << 20, 0.0)
        return ForwardingSink("bench", line, connect, keys, MemoryControl(), limits=limits, content=content)

    with _splunk() as url:
        yield _rate(
            "Splunk HEC, acknowledged",
            _splunk_sink(url, keys),
            batch,
            f"sealed {size:,.0f} bytes; gzip, 1 MB a request",
            15_000,
        )
    with tempfile.TemporaryDirectory() as folder:
        sink = forwarding(
            lambda _: FileTransport(Path(folder), shard),
            lambda description: encode(description, "audit.example.com", "1", content=True),
            content=True,
        )
        yield _rate("OCSF in files", sink, batch, "fsync included")
    with _drain() as port:
        sink = forwarding(
            lambda _: StreamTransport(StreamConfig("127.0.0.1", port, None)),
            lambda description: cef.encode(description, "1", content=False).encode(),
            content=False,
        )
        yield _rate("syslog, CEF", sink, batch, "to a socket that is drained")


def _rate(
    name: str, sink: SplunkSink | ForwardingSink, batch: Sequence[Message], note: str, budget: float | None = None
) -> Figure:
    """Records per second of processor time of this process: what one core does."""
    shard = batch[0].shard
    sink.resume(shard, Offset(0))
    began, worked = time.monotonic(), time.process_time()
    for start in range(0, len(batch), BATCH):
        outcome = sink.deliver(shard, batch[start : start + BATCH])
        if not isinstance(outcome, Accepted):
            raise RuntimeError(f"{name}: got {outcome}, expected the batch to be accepted")
        sink.settle(shard)
    while (settled := sink.settle(shard)) is None or settled < len(batch):
        time.sleep(0.01)
    worked, took = time.process_time() - worked, time.monotonic() - began
    sink.close()
    return Figure(
        f"forwarding: {name}, per second of processor time",
        len(batch) / worked,
        "records/s",
        budget,
        note=f"{len(batch) / took:,.0f}/s on the clock; {note}",
    )


def _away() -> Iterator[Figure]:
    """One destination is away while records come; the other goes on; then the first catches up."""
    from memory_keys import MemoryKeys
    from sealed_records import sealed

    from schemas.ids import CONTROL, DEADLETTER, EVENTS
    from sinks.archive import ArchiveSink
    from sinks.contract import Limits
    from stores.bus.sqlite import SqliteBus
    from stores.objects.local import LocalObjects

    keys = MemoryKeys()
    outgoing = sealed(keys, BACKLOG, sessions=400)

    async def fed(sinks: Sequence[Sink], folder: str) -> tuple[float, float, float, float]:
        """Seconds until the archive had all; memory then; seconds to catch up; memory at the end."""
        from sinks.runner import Runner

        bus = SqliteBus(Path(folder) / "bus.db", {EVENTS: 1, CONTROL: 1, DEADLETTER: 1})
        runners = [Runner(sink, bus) for sink in sinks]
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        began = time.monotonic()
        for start in range(0, BACKLOG, 500):
            await bus.append(outgoing[start : start + 500])
        await _until(lambda: sum(one.position for one in runners[0].snapshot().shards) >= BACKLOG)
        took, memory = time.monotonic() - began, _memory_mb()
        if len(runners) > 1:
            _Switch.on.set()
        began = time.monotonic()
        await _until(lambda: all(sum(one.position for one in run.snapshot().shards) >= BACKLOG for run in runners))
        caught = time.monotonic() - began
        for runner in runners:
            runner.stop()
        await asyncio.gather(*tasks)
        await bus.close()
        return took, memory, caught, _memory_mb()

    def archive(folder: str) -> ArchiveSink:
        return ArchiveSink(LocalObjects(Path(folder) / "objects"), limits=Limits(5_000, 8 << 20, 0.2))

    with tempfile.TemporaryDirectory() as folder:
        alone, before, _, _ = asyncio.run(fed([archive(folder)], folder))
    with tempfile.TemporaryDirectory() as folder, _splunk() as url:
        _Switch.on.clear()
        sink = _splunk_sink(url, keys, away=True)
        beside, down, caught, after = asyncio.run(fed([archive(folder), sink], folder))
    yield Figure(
        "forwarding: archive while Splunk is away, of its rate alone",
        100 * alone / beside,
        "%",
        note=f"{BACKLOG / alone:,.0f}/s alone, {BACKLOG / beside:,.0f}/s beside a sink that retries",
    )
    yield Figure(
        "forwarding: memory with a backlog, beyond that without",
        down - before,
        "MB",
        note=f"{BACKLOG:,} records wait on the bus; {after:,.0f} MB when Splunk had caught up",
    )
    yield Figure(
        "forwarding: Splunk catches up", BACKLOG / caught, "records/s", note="the archive had everything already"
    )


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  what is looked at has no event
        await asyncio.sleep(0.05)


class _Switch:
    """Whether Splunk can be reached."""

    on = threading.Event()


def _splunk_sink(url: str, keys: Keys, *, away: bool = False) -> SplunkSink:
    import httpx
    from memory_control import MemoryControl

    from sinks.splunk.config import HecConfig
    from sinks.tls import Secret

    def refuse(request: httpx.Request) -> None:
        if away and not _Switch.on.is_set():
            raise httpx.ConnectError("away", request=request)

    def connect(config: HecConfig) -> httpx.Client:
        return httpx.Client(timeout=30, trust_env=False, event_hooks={"request": [refuse]})

    config = HecConfig(url, Secret("token"), "audit.example.com", poll_seconds=0.2)
    return SplunkSink(config, keys, MemoryControl(), linger=0.1, connect=connect)


@contextmanager
def _splunk() -> Iterator[str]:
    """A Splunk in a process of its own, that parses what it takes."""
    pipe, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve_splunk, args=(theirs,), daemon=True)
    process.start()
    yield pipe.recv()
    process.kill()
    process.join()


def _serve_splunk(pipe: Connection) -> None:
    from fake_splunk import FakeSplunk, Token, served

    with served(FakeSplunk({"token": Token(ack=True)})) as server:
        pipe.send(server.url)
        threading.Event().wait()


@contextmanager
def _drain() -> Iterator[int]:
    """A socket whose data goes nowhere."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drain() -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(1 << 20):
                pass

    threading.Thread(target=drain, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def _memory_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.path}: {figure.value:,.0f} {figure.unit} ({figure.note})")
