"""The stores and the words by themselves: bus, objects, keys, and the codecs that run once per event.

Rates are per core: they count the processor time of the process, so that they say the same on a shared machine.
Latencies are by the wall clock, fsync and all.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure
from schemas.entry import pack_commitments
from schemas.fingerprints import RECORD_V1
from schemas.ids import EVENTS, EventId, KeyId, Offset
from schemas.metadata import Metadata
from schemas.metadata_binary import decode_metadata, encode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, Opener, PartKeys, Sealer, SubjectKey
from schemas.record import Record, decode_record, encode_record
from stores.bus import Outgoing
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys import KeyScope
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file
from stores.objects import NewObject
from stores.objects.local import LocalObjects

MESSAGES = 60_000
BATCH = 500
SINGLES = 300
VALUE_BYTES = 1400


def measure() -> Sequence[Figure]:
    """All of it, in about half a minute."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bus = asyncio.run(_bus(folder))
        size = (folder / "bus.db").stat().st_size / (MESSAGES + 2 * SINGLES)
        note = f"of {VALUE_BYTES} in the value and 99 of commitments"
        bus.append(Figure("bus: bytes per message", size, "bytes", note=note))
        return [*bus, *_objects(folder), *_keys(folder), *_words()]


async def _bus(folder: Path) -> list[Figure]:
    bus = SqliteBus(folder / "bus.db")
    try:
        wall, processor = await _append(bus)
        heads, wholes = await _read(bus, values=False), await _read(bus, values=True)
        alone = await _singles(bus)
        with _busy_thread():
            beside = await _singles(bus)
    finally:
        await bus.close()
    batches = f"{VALUE_BYTES} byte values, {BATCH} a call; {MESSAGES / wall:,.0f}/s by the wall clock"
    return [
        Figure("bus: append", MESSAGES / processor, "messages/s", 30_000, note=batches),
        Figure("bus: read headers", heads, "messages/s", 300_000, note="4096 a call, as the signer reads"),
        Figure("bus: read whole messages", wholes, "messages/s", note="4096 a call, as a sink reads"),
        Figure("bus: append one, p50", alone[SINGLES // 2] * 1000, "ms", note="one fsync"),
        Figure("bus: append one, p99", alone[SINGLES * 99 // 100] * 1000, "ms"),
        Figure("bus: append one beside a busy thread, p50", beside[SINGLES // 2] * 1000, "ms", note=_SWITCHES),
    ]


_SWITCHES = "the interpreter's default switch interval of 5 ms is what it waits for"


def _message(number: int) -> Outgoing:
    commitments = pack_commitments([(part, os.urandom(32)) for part in (METADATA, CONTENT, SOURCE)])
    value = os.urandom(VALUE_BYTES)
    return Outgoing(EVENTS, b"session %d" % (number % 97), value, 1, os.urandom(16), commitments, RECORD_V1)


async def _append(bus: SqliteBus) -> tuple[float, float]:
    batch = [_message(number) for number in range(BATCH)]
    lanes = asyncio.Semaphore(8)

    async def append() -> None:
        async with lanes:
            await bus.append(batch)

    wall, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*[append() for _ in range(MESSAGES // BATCH)])
    return time.perf_counter() - wall, time.process_time() - processor


async def _read(bus: SqliteBus, *, values: bool) -> float:
    count, begun = 0, time.process_time()
    for shard in await bus.shards(EVENTS):
        offset = 0
        while batch := await bus.read(shard, Offset(offset), max_records=4096, max_bytes=1 << 24, values=values):
            offset += len(batch)
        count += offset
    return count / (time.process_time() - begun)


async def _singles(bus: SqliteBus) -> list[float]:
    times = []
    for number in range(SINGLES):
        message = _message(number)
        begun = time.perf_counter()
        await bus.append([message])
        times.append(time.perf_counter() - begun)
    return sorted(times)


@contextmanager
def _busy_thread() -> Iterator[None]:
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _objects(folder: Path) -> list[Figure]:
    store = LocalObjects(folder / "objects")
    try:
        tiles = _seconds(lambda turn: store.create([NewObject(f"t/{turn}/{n}", bytes(8192)) for n in range(8)]), 60)
        checkpoint = _seconds(lambda turn: store.put("checkpoint", b"%d" % turn * 50), 200)
        listing = _processor(lambda _: list(store.list("")), 5)
    finally:
        store.close()
    return [
        Figure("objects: create 8 tiles of 8 KB", tiles * 1000, "ms", note="durable, one call"),
        Figure("objects: replace a checkpoint", checkpoint * 1000, "ms", note="durable"),
        Figure("objects: list", 481 / listing, "objects/s"),
    ]


def _keys(folder: Path) -> list[Figure]:
    create_kek_file(folder / "kek")
    control = ControlDatabase(f"sqlite:///{folder}/control.db")
    try:
        control.migrate()
        keys = DatabaseKeys(control, FileKek(folder / "kek"))
        scopes = [
            KeyScope("acme", f"user {number // 3}", "standard", 1 + number % 3, "2026-03") for number in range(6000)
        ]
        creating = _processor(lambda turn: keys.for_scopes(scopes[turn * 500 : turn * 500 + 500]), 12)
        cached = _processor(lambda _: keys.for_scopes(scopes), 50)
    finally:
        control.close()
    return [
        Figure("keys: create", 500 / creating, "keys/s", 5_000, note="500 a call, one transaction"),
        Figure("keys: cached", len(scopes) / cached, "keys/s", 1_000_000),
    ]


def _words() -> list[Figure]:
    metadata, content, source = encode_metadata(_METADATA), b'{"text":"%s"}' % (b"hello world " * 40), os.urandom(800)
    event, key = EventId(os.urandom(16)), SubjectKey(KeyId(os.urandom(16)), os.urandom(32))
    parts = ((METADATA, metadata), (CONTENT, content), (SOURCE, source))
    sealer, opener, part_keys = Sealer(), Opener(), PartKeys(key.secret)
    sealed = [sealer.seal(part, data, event, key) for part, data in parts]
    record = Record(event, "acme", "standard", tuple(part for part, _ in sealed))
    coded = encode_record(record)
    timed: dict[str, Callable[[int], object]] = {
        "encode metadata": lambda _: encode_metadata(_METADATA),
        "decode metadata": lambda _: decode_metadata(metadata),
        "seal 3 parts": lambda _: [sealer.seal(part, data, event, key) for part, data in parts],
        "open 3 parts": lambda _: [opener.open(one, c, event, part_keys.key(event, one.type)) for one, c in sealed],
        "encode record": lambda _: encode_record(record),
        "decode record": lambda _: decode_record(coded),
    }
    return [Figure(f"words: {name}", _processor(work, 5000) * 1e6, "µs") for name, work in timed.items()]


def _seconds(work: Callable[[int], object], turns: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds per turn, by the wall clock."""
    begun = clock()
    for turn in range(turns):
        work(turn)
    return (clock() - begun) / turns


def _processor(work: Callable[[int], object], turns: int) -> float:
    """Seconds of processor time per turn."""
    return _seconds(work, turns, time.process_time)


_METADATA: Metadata = {
    "event_id": "0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11",
    "kind": "response",
    "tenant": "acme",
    "exchange_id": "chatcmpl-9f2b1c",
    "session_id": "5d3f0b0e-5b0a-4d6c-8d1c-0f7a3c11",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
    "source_id": "chatcmpl-9f2b1c",
    "request_id_provider": "req_011CQ",
    "occurred_at": 1_764_014_400_123_456,
    "started_at": 1_764_014_399_000_000,
    "ended_at": 1_764_014_400_123_456,
    "received_at": 1_764_014_401_000_000,
    "time_precision": "us",
    "time_role": "end",
    "gateway": "litellm",
    "format": "litellm",
    "receiver": "http",
    "token_id": "tok_5f",
    "peer_ip": "192.0.2.10",
    "collector_id": "collector-1",
    "collector_sequence": 123_456,
    "body_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "media_type": "application/json",
    "actor_type": "user",
    "user_id": "user@example.com",
    "roles": ["analyst", "reader"],
    "team_id": "team-7",
    "assurance": "gateway_authenticated",
    "provider": "openai",
    "model_requested": "gpt-4o",
    "model_served": "gpt-4o-2024-11-20",
    "operation": "chat",
    "stream": False,
    "input_tokens": 1200,
    "output_tokens": 300,
    "total_tokens": 1500,
    "cost_amount": 0.0123,
    "latency_ms": 812.5,
    "outcome": "ok",
    "http_status": 200,
    "stop_reason": "stop",
    "retention_class": "standard",
    "extras": {"call_type": '"acompletion"', "cache_hit": "false"},
}
