"""Every sink behind one face, for the contract suite: a destination that outlives the sink, and what it holds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from memory_sink import Destination, MemorySink

from schemas.evidence import EvidenceSource
from schemas.ids import Offset, Shard
from sinks.archive import ArchiveEvidence, ArchiveSink
from sinks.clickhouse.engine import Engine
from sinks.contract import Limits, Sink
from sinks.description import Description
from sinks.forwarding import Transport
from stores.objects import Objects
from stores.objects.local import LocalObjects

Held = list[tuple[int, bytes, bytes]]
"""(offset, event id, exact record bytes) in offset order; ``b""`` where the destination keeps no sealed bytes."""


class Subject:
    """A destination.

    Args:
        keys: those under which the records of the test must be sealed.
        restart: makes a sink over the destination, as a process that starts does.
        held: what the destination holds of a shard.
        exact: whether it holds the sealed bytes.
    """

    def __init__(
        self, keys: MemoryKeys, restart: Callable[[], Sink], held: Callable[[Shard], Held], *, exact: bool
    ) -> None:
        self.keys = keys
        self.restart = restart
        self.held = held
        self.exact = exact


@contextmanager
def memory_subject(folder: Path) -> Iterator[Subject]:
    destination = Destination()
    yield Subject(MemoryKeys(), lambda: MemorySink(destination), _held(destination), exact=True)


@contextmanager
def archive_in_memory(folder: Path) -> Iterator[Subject]:
    yield _archive(MemoryObjects())


@contextmanager
def archive_in_a_folder(folder: Path) -> Iterator[Subject]:
    objects = LocalObjects(folder)
    try:
        yield _archive(objects)
    finally:
        objects.close()


@contextmanager
def clickhouse_subject(folder: Path) -> Iterator[Subject]:
    pytest.importorskip("chdb", reason="the embedded ClickHouse engine is not installed")
    from embedded_engine import database_of_its_own

    with closing(database_of_its_own()) as engine, _clickhouse(engine) as subject:
        yield subject


@contextmanager
def clickhouse_server_subject(folder: Path) -> Iterator[Subject]:
    pytest.importorskip("chdb", reason="the embedded ClickHouse engine is not installed")
    from clickhouse_server import process_server, served_database

    with served_database(process_server()) as engine, _clickhouse(engine) as subject:
        yield subject


@contextmanager
def _clickhouse(engine: Engine) -> Iterator[Subject]:
    from ledgered import log_start

    from sinks.clickhouse.sink import ClickHouseSink

    keys = MemoryKeys()
    client = engine.client()
    sinks: list[ClickHouseSink] = []

    def restart() -> Sink:
        sinks.append(ClickHouseSink(engine, keys, lambda shard: [log_start(shard)], linger=0.0))
        return sinks[-1]

    def held(shard: Shard) -> Held:
        query = "SELECT offset, event_id FROM {} WHERE topic = '{}' AND partition = {} ORDER BY offset"
        tables = [client.query(query.format(table, shard.topic, shard.partition)) for table in ("events", "contents")]
        rows = [[(int(offset), str(event_id)) for offset, event_id in table.result_rows] for table in tables]
        assert rows[0] == rows[1], "the tables of metadata and of content hold the same records"
        return [(offset, bytes.fromhex(event_id.replace("-", "")), b"") for offset, event_id in rows[0]]

    try:
        yield Subject(keys, restart, held, exact=False)
    finally:
        for sink in sinks:
            sink.close()
        client.close()


@contextmanager
def splunk_subject(folder: Path) -> Iterator[Subject]:
    from fake_splunk import FakeSplunk, Token, client
    from memory_control import MemoryControl

    from sinks.splunk.config import HecConfig
    from sinks.splunk.sink import SplunkSink
    from sinks.tls import Secret

    splunk = FakeSplunk({"token": Token(ack=True)})
    config = HecConfig("https://splunk.example:8088", Secret("token"), "audit.example.com", poll_seconds=0.0)
    keys, cursors = MemoryKeys(), MemoryControl()
    sinks: list[SplunkSink] = []

    def restart() -> Sink:
        sinks.append(SplunkSink(config, keys, cursors, linger=0.0, connect=lambda config: client(splunk)))
        return sinks[-1]

    def held(shard: Shard) -> Held:
        of = [event.envelope["event"] for event in splunk.events if event.envelope["event"]["shard"] == str(shard)]
        known = {event["offset"]: bytes.fromhex(event.get("event_id", "").replace("-", "")) for event in of}
        return [(offset, known[offset], b"") for offset in sorted(known)]

    try:
        yield Subject(keys, restart, held, exact=False)
    finally:
        for sink in sinks:
            sink.close()


@contextmanager
def _forwarding(connect: Callable[[Shard], Transport], held: Callable[[Shard], Held]) -> Iterator[Subject]:
    """A sink that forwards lines of OCSF."""
    from memory_control import MemoryControl

    from sinks.forwarding import ForwardingSink
    from sinks.ocsf.event import encode

    keys, cursors = MemoryKeys(), MemoryControl()
    sinks: list[Sink] = []

    def restart() -> Sink:
        def line(description: Description) -> bytes:
            return encode(description, "audit.example.com", "1", content=True)

        limits = Limits(100, 1 << 20, 0.0)
        sinks.append(ForwardingSink("lines", line, connect, keys, cursors, limits=limits, content=True))
        return sinks[-1]

    try:
        yield Subject(keys, restart, held, exact=False)
    finally:
        for sink in sinks:
            sink.close()


def _of_ocsf(events: Callable[[], list[dict[str, Any]]]) -> Callable[[Shard], Held]:
    def held(shard: Shard) -> Held:
        known: dict[int, bytes] = {}
        for event in events():
            if event["metadata"]["log_name"] == str(shard):
                uid = event["metadata"].get("uid", "").replace("-", "")
                known[event["metadata"]["sequence"]] = bytes.fromhex(uid)
        return [(offset, known[offset], b"") for offset in sorted(known)]

    return held


@contextmanager
def ocsf_http_subject(folder: Path) -> Iterator[Subject]:
    from line_receivers import JsonLines

    from sinks.ocsf.http import HttpConfig, HttpTransport

    lines = JsonLines()
    config = HttpConfig("https://pipeline.example/ocsf", max_body_bytes=20_000)
    events = _of_ocsf(lambda: lines.events)
    with _forwarding(lambda shard: HttpTransport(config, lambda config: lines.client()), events) as subject:
        yield subject


@contextmanager
def ocsf_files_subject(folder: Path) -> Iterator[Subject]:
    from sinks.ocsf.files import FileTransport

    def events() -> list[dict[str, Any]]:
        return [json.loads(line) for path in sorted(folder.rglob("*.jsonl")) for line in path.read_text().splitlines()]

    with _forwarding(lambda shard: FileTransport(folder, shard), _of_ocsf(events)) as subject:
        yield subject


@contextmanager
def syslog_subject(folder: Path) -> Iterator[Subject]:
    from line_receivers import syslog_receiver

    from sinks.syslog.stream import StreamConfig, StreamTransport

    with syslog_receiver() as receiver:

        def events() -> list[dict[str, Any]]:
            time.sleep(0.05)  # what the kernel has is still on its way to the list
            return [json.loads(message) for message in receiver.messages]

        config = StreamConfig("127.0.0.1", receiver.port, None)
        with _forwarding(lambda shard: StreamTransport(config), _of_ocsf(events)) as subject:
            yield subject


SUBJECTS = {
    "memory": memory_subject,
    "splunk": splunk_subject,
    "ocsf over http": ocsf_http_subject,
    "ocsf files": ocsf_files_subject,
    "syslog": syslog_subject,
    "archive in memory": archive_in_memory,
    "archive in a folder": archive_in_a_folder,
    "clickhouse": clickhouse_subject,
    "clickhouse server": clickhouse_server_subject,
}

OPEN = ("memory", "archive in memory", "archive in a folder", "splunk", "ocsf over http", "ocsf files", "syslog")
"""Those where two owners of a shard may go on side by side; a fenced one has each wait for the other."""

SHARED = (*OPEN, pytest.param("clickhouse", marks=pytest.mark.slow))
"""Those that claim clause 6: two sinks over one destination may deliver the same shard."""

REMEMBERING = ("memory", "archive in memory", "archive in a folder", "clickhouse")
"""Those whose sink is :class:`sinks.contract.Remembering`."""


def _archive(objects: Objects) -> Subject:
    return Subject(MemoryKeys(), lambda: ArchiveSink(objects), _held(ArchiveEvidence(objects)), exact=True)


def _held(evidence: EvidenceSource) -> Callable[[Shard], Held]:
    def held(shard: Shard) -> Held:
        return [(item.offset, item.event_id, item.record) for item in evidence.scan(shard, Offset(0), Offset(1 << 40))]

    return held
