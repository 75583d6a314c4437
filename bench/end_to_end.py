"""All roles in one process (`affidavit up`), loaded over loopback from another: throughput, latency, memory, bytes.

The load generator shares the machine's cores with what it measures, as a gateway on the same host would.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Figure

SECONDS = 20
BATCH = 200
SENDERS = 4
PACED_BATCH = 20
"""Events a request where latency is measured: what a gateway gathers in a moment, not what it has saved up."""
EVENT_BYTES = 1400
PROBES = 20


@dataclass
class Running:
    """An `up` under measurement: its process, ports, tokens and directory."""

    process: subprocess.Popen[str]
    data: Path
    host: str
    collector: int
    query: int
    token: str
    query_token: str
    latencies: list[float] = field(default_factory=list)

    def post(self, connection: http.client.HTTPConnection, body: bytes) -> float:
        """Send one NDJSON body; return the seconds until its acknowledgement."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/x-ndjson"}
        begun = time.perf_counter()
        connection.request("POST", "/v1/events", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"got {response.status}: {answer[:300]!r}")
        return time.perf_counter() - begun

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.collector, timeout=60)

    def ask(self, sql: str) -> str:
        connection = http.client.HTTPConnection(self.host, self.query, timeout=60)
        try:
            connection.request("POST", "/", sql, {"X-ClickHouse-Key": self.query_token})
            return connection.getresponse().read().decode().strip()
        finally:
            connection.close()

    def signed(self) -> int:
        """Leaves of the events log, by its public checkpoint (genesis not counted)."""
        found = list((self.data / "objects" / "ledger").glob("**/events/0/*/checkpoint"))
        return int(found[0].read_text().splitlines()[1]) - 1 if found else 0

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found.group(1)) / 1024 if found else 0.0


def measure() -> Sequence[Figure]:
    """Full load, then half of it with probes."""
    with running() as up:
        idle = up.memory_mb()
        sent, seconds = load(up, SECONDS, BATCH, rate=None)
        begun = time.perf_counter()
        caught_up(up, sent)
        drained = seconds + time.perf_counter() - begun
        busy = up.memory_mb()
        ingest = sent / seconds
        up.latencies.clear()
        probes: list[tuple[float, float]] = []
        watcher = threading.Thread(target=lambda: probes.extend(probe(up)))
        watcher.start()
        more, _ = load(up, SECONDS, PACED_BATCH, rate=ingest / 2)
        watcher.join()
        caught_up(up, sent + more + PROBES)
        sizes = {name: size(up.data, name) / (sent + more) for name in ("bus", "ledger", "segments", "clickhouse")}
        latencies = sorted(up.latencies)
        queryable, signed = ([pair[at] for pair in probes] for at in (0, 1))
    return [
        Figure(
            "ingest over HTTP, all roles running",
            ingest,
            "events/s",
            note=f"{BATCH} events a request, {SENDERS} senders",
        ),
        Figure(
            "end to end, all roles, embedded",
            sent / drained,
            "events/s",
            5_000,
            note="until signed, queryable, all sinks",
        ),
        Figure(
            "acknowledgement at half load, p50",
            1000 * statistics.median(latencies),
            "ms",
            note=f"{PACED_BATCH} events a request",
        ),
        Figure("acknowledgement at half load, p99", 1000 * quantile(latencies, 0.99), "ms", 25, at_most=True),
        Figure("ingest to queryable at half load, p99", 1000 * quantile(queryable, 0.99), "ms", 2000, at_most=True),
        Figure(
            "ingest to signed checkpoint at half load, p99", 1000 * quantile(signed, 0.99), "ms", 1000, at_most=True
        ),
        Figure("resident memory of `up`, idle", idle, "MB", note="with chDB"),
        Figure("resident memory of `up`, after full load", busy, "MB", note="with chDB"),
        *(
            Figure(f"bytes per event: {name}", value, "bytes", 160 if name == "ledger" else None, at_most=True)
            for name, value in sizes.items()
        ),
    ]


@contextmanager
def running() -> Iterator[Running]:
    """`up` on a fresh directory, with a token; stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="affidavit-bench-") as folder:
        data = Path(folder) / "data"
        environment = {
            **os.environ,
            "AFFIDAVIT_COLLECTOR_PORT": "0",
            "AFFIDAVIT_GRPC_PORT": "0",
            "AFFIDAVIT_QUERY_PORT": "0",
        }
        command = [sys.executable, "-m", "affidavit", "up", "--data", str(data), "--json"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        try:
            urls = first_document(process)["urls"]
            ports = {name: int(url.rsplit(":", 1)[1]) for name, url in urls.items() if url}
            token = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "affidavit",
                    *("token", "create", "--tenant", "bench", "--gateway", "native", "--data"),
                    data,
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            query_token = (data / "keys" / "query.token").read_text().strip()
            yield Running(process, data, "127.0.0.1", ports["collector"], ports["clickhouse"], token, query_token)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def first_document(process: subprocess.Popen[str]) -> dict[str, dict[str, str]]:
    """The JSON document that `up --json` prints when it is ready."""
    text = ""
    if process.stdout is None:
        raise RuntimeError("no standard output to read the addresses from")
    for line in process.stdout:
        text += line
        try:
            document: dict[str, dict[str, str]] = json.loads(text)
        except ValueError:
            continue
        return document
    raise RuntimeError(f"`up` ended before it was ready: {text!r}")


def load(up: Running, seconds: float, batch: int, rate: float | None) -> tuple[int, float]:
    """Send ``batch`` events a request for ``seconds``, at ``rate`` events a second or as fast as it goes; return the
    events sent and the seconds taken."""
    begun = time.perf_counter()
    until = begun + seconds
    counts = [0] * SENDERS
    latencies: list[list[float]] = [[] for _ in range(SENDERS)]

    def send(at: int) -> None:
        connection = up.connect()
        pause = 0.0 if rate is None else SENDERS * batch / rate
        due = time.perf_counter() + pause * at / SENDERS
        while time.perf_counter() < until:
            if rate is not None:
                time.sleep(max(0.0, due - time.perf_counter()))
                due += pause
            latencies[at].append(up.post(connection, bodies[counts[at] // batch % len(bodies)]))
            counts[at] += batch
        connection.close()

    bodies = [body(number, batch) for number in range(50)]
    threads = [threading.Thread(target=send, args=(at,)) for at in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    up.latencies.extend(latency for each in latencies for latency in each)
    return sum(counts), time.perf_counter() - begun


def body(number: int, batch: int) -> bytes:
    """One NDJSON body of events of about 1.4 KB, as a chat gateway would send them."""
    return b"\n".join(event(number * batch + at) for at in range(batch))


def event(number: int) -> bytes:
    words = " ".join(f"word{(number * 31 + at * 7) % 9973}" for at in range(100))
    fields = {
        "kind": "prompt" if number % 2 else "response",
        "session_id": f"session-{number % 500}",
        "exchange_id": f"exchange-{number // 2}",
        "user_id": f"user-{number % 200}@example.com",
        "provider": "anthropic",
        "model_requested": "claude-sonnet-5",
        "operation": "chat",
        "input_tokens": 380 + number % 100,
        "output_tokens": 61,
        "client_ip": "10.2.3.4",
        "content": {"messages": [{"role": "user", "content": words}]},
    }
    line = json.dumps(fields)
    return (line + " " * max(0, EVENT_BYTES - len(line))).encode()


def probe(up: Running) -> Iterator[tuple[float, float]]:
    """Events sent alone in the middle of the load: seconds until each can be queried, and until it is signed."""
    for number in range(PROBES):
        name = f"probe-{number}"
        line = json.dumps({"kind": "session", "session_id": name, "content": {"probe": number}}).encode()
        connection = up.connect()
        headers = {"Authorization": f"Bearer {up.token}"}
        begun = time.perf_counter()
        connection.request("POST", "/v1/events", line, headers)
        item = json.loads(connection.getresponse().read())["items"][0]
        connection.close()
        offset = int(item["position"]["offset"])
        signed = seconds_until(begun, lambda offset=offset: up.signed() > offset)  # type: ignore[misc]
        sql = f"SELECT count() FROM events WHERE session_id = '{name}' AND offset = {offset}"
        yield seconds_until(begun, lambda sql=sql: up.ask(sql) == "1"), signed  # type: ignore[misc]


def seconds_until(begun: float, true: Callable[[], bool]) -> float:
    """Seconds from ``begun`` until ``true()``; looked at every 20 ms, for a minute at most."""
    while not true():
        if time.perf_counter() - begun > 60:
            raise RuntimeError("waited a minute for what should take a second")
        time.sleep(0.02)
    return time.perf_counter() - begun


def caught_up(up: Running, events: int) -> None:
    """Wait until everything sent is signed and in ClickHouse. (The archive's linger is minutes.)"""
    begun = time.perf_counter()
    while up.signed() < events or int(up.ask("SELECT count() FROM events WHERE topic = 'events'") or 0) < events:
        if time.perf_counter() - begun > 300:
            raise RuntimeError("the sinks did not catch up within five minutes")
        time.sleep(0.05)


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def size(data: Path, name: str) -> int:
    """Bytes of the files whose path has a part that begins with ``name``, as far as they are still there."""
    total = 0
    for folder, _, files in os.walk(data):
        for file in files:
            path = Path(folder, file)
            if any(part.startswith(name) for part in path.relative_to(data).parts):
                with contextlib.suppress(FileNotFoundError):  # a merge or a cut of the write-ahead log came between
                    total += path.stat().st_size
    return total
