"""The Splunk sink beside syslog-ng's HTTP destination, over the same Splunk with the same faults, in one run.

syslog-ng is Debian's (``syslog-ng-core``, ``syslog-ng-mod-http``), as its documentation sets it up for HEC: batches of
500 lines, four workers, a disk buffer, reliable. Both get envelopes of which three cannot be parsed by Splunk, and meet
the same faults in the same places: busy, errors, cut connections, answers that are lost.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figures import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

RECORDS = 20_000
POISONED = (4_321, 11_111, 17_777)
SILENT_SECONDS = 8.0
"""Nothing more comes when nothing came for so long."""

CONFIG = """
@version: current
options {{ log-msg-size(1048576); }};
source events {{ network(ip("127.0.0.1") port({port}) transport("tcp") flags(no-parse) log-iw-size(100000)); }};
destination hec {{
  http(
    url("{url}/services/collector/event") method("POST") headers("Authorization: Splunk plain")
    body("${{MSG}}") delimiter("\\n") batch-lines(500) batch-bytes(1000000) batch-timeout(500) workers(4) retries(10)
    disk-buffer(reliable(yes) dir("{folder}") disk-buf-size(200000000) mem-buf-size(20000000))
  );
}};
log {{ source(events); destination(hec); flags(flow-control); }};
"""


def measure() -> Sequence[Figure]:
    """Rate, events lost and events repeated, without faults and with them."""
    figures: list[Figure] = []
    for faults in (False, True):
        words = "under faults" if faults else "without faults"
        for name, run in (("Affidavit", _ours), ("syslog-ng", _syslog_ng)):
            found = run(faults)
            if found is None:
                continue
            took, stored = found
            wanted = set(range(RECORDS)) - set(POISONED if faults else ())
            lost = len(wanted - stored.keys())
            repeated = sum(stored.values()) - len(stored)
            note = f"{lost} of {RECORDS:,} lost, {repeated} repeated"
            figures.append(Figure(f"Splunk HEC {words}: {name}", RECORDS / took, "events/s", note=note))
    return figures


def _ours(faults: bool) -> tuple[float, Counter[int]] | None:
    from memory_control import MemoryControl
    from memory_keys import MemoryKeys
    from sealed_records import messages

    from schemas.errors import Unavailable
    from schemas.ids import EVENTS, Offset, Shard
    from sinks.contract import Accepted
    from sinks.splunk.config import HecConfig
    from sinks.splunk.sink import SplunkSink
    from sinks.tls import Secret

    shard, keys = Shard(EVENTS, 0), MemoryKeys()
    batch = messages(_sealed(keys, faults), shard)
    with _splunk(faults) as (url, ask):
        sink = SplunkSink(
            HecConfig(url, Secret("acked"), "bench", poll_seconds=0.2, ack_seconds=20.0),
            keys,
            MemoryControl(),
            linger=0.0,
        )
        began = time.monotonic()
        position, end = int(sink.resume(shard, Offset(0))), len(batch)
        while True:
            if position < end:
                outcome = sink.deliver(shard, batch[position : position + 2_000])
                if isinstance(outcome, Accepted):
                    position = min(end, position + 2_000)
                else:
                    time.sleep(getattr(outcome, "after", 0.1))
            try:
                settled = sink.settle(shard)
            except Unavailable:
                continue
            if settled is None:
                position = int(sink.resume(shard, Offset(0)))
            elif settled >= end:
                break
            elif position >= end:
                time.sleep(0.02)
        took = time.monotonic() - began
        sink.close()
        return took, Counter(ask()["affidavit_offset"])


def _sealed(keys: Any, faults: bool) -> Any:
    from dataclasses import replace

    from fake_splunk.hec import POISON
    from sealed_records import events

    from collector.sealing import Sealing

    made = events(RECORDS, sessions=400)
    for at in POISONED if faults else ():
        made[at] = replace(made[at], content=json.dumps({"text": POISON}).encode())
    return Sealing(keys).seal(made)


def _syslog_ng(faults: bool) -> tuple[float, Counter[int]] | None:
    from debian import install
    from fake_splunk.hec import POISON

    if not install("syslog-ng", "syslog-ng-core", "syslog-ng-mod-http"):
        print("syslog-ng is not installed, and may not be: it is left out", file=sys.stderr)
        return None
    lines = []
    for at in range(RECORDS):
        text = POISON if faults and at in POISONED else f"text of event {at} " * 4
        event = {"number": at, "content": {"messages": [{"role": "user", "content": text}]}, "padding": "x" * 400}
        lines.append(json.dumps({"event": event, "fields": {"affidavit_offset": at}}).encode() + b"\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="affidavit-syslog-ng-"))
    with _splunk(faults) as (url, ask):
        (folder / "syslog-ng.conf").write_text(CONFIG.format(port=port, url=url, folder=folder))
        names = {"cfgfile": "syslog-ng.conf", "persist-file": "persist", "pidfile": "pid", "control": "control"}
        asked = ["syslog-ng", "-F", "--no-caps", *(f"--{name}={folder / file}" for name, file in names.items())]
        with subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            stream = _connected(port)
            began = time.monotonic()
            stream.sendall(b"".join(lines))
            last, seen = began, 0
            while time.monotonic() - last < SILENT_SECONDS:
                time.sleep(0.2)
                if (now := ask()["count"]) != seen:
                    seen, last = now, time.monotonic()
            stored = Counter(ask()["affidavit_offset"])
            stream.close()
            process.send_signal(signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    return last - began, stored


def _connected(port: int) -> socket.socket:
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextmanager
def _splunk(faults: bool) -> Iterator[tuple[str, Any]]:
    """A Splunk in a process of its own, with a fault in every fourth request; ``ask()`` says what it holds."""
    pipe, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, faults), daemon=True)
    process.start()
    url = pipe.recv()

    def ask() -> Any:
        pipe.send("?")
        return pipe.recv()

    yield url, ask
    process.kill()
    process.join()


def _serve(pipe: Any, faults: bool) -> None:
    from fake_splunk import FakeSplunk, Fault, Token, served

    splunk = FakeSplunk({"acked": Token(ack=True), "plain": Token(ack=False)})
    if faults:
        kinds = (Fault.BUSY, Fault.ERROR, Fault.CUT, Fault.ANSWER_LOST, Fault.PAGE)
        for at in range(200):
            splunk.script += [None, None, None, kinds[at % len(kinds)]]
    with served(splunk) as server:
        pipe.send(server.url)
        while pipe.recv():
            offsets = [event.fields["affidavit_offset"] for event in splunk.events]
            pipe.send({"count": len(offsets), "affidavit_offset": offsets})
    threading.Event().wait()


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.path}: {figure.value:,.0f} {figure.unit} ({figure.note})")
