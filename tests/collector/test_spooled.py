"""What senders are told, and what is on the log, when the bus is away and the collector spools."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ailing_bus import AilingBus, Illness
from collector_server import RunningCollector, collector_server
from fake_clock import eventually
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from spools import spooling

from collector.internal import Act, SelfAudit
from collector.outages import record_outages
from schemas.entry import unpack_commitments
from schemas.errors import Unavailable
from schemas.ids import CONTROL, Offset, Shard, event_id, format_event_id
from schemas.metadata import KIND_CODES
from schemas.metadata_binary import decode_metadata
from schemas.parts import METADATA, SOURCE, Opener, part_key
from schemas.record import decode_record
from stores.bus.spool import Outage
from stores.bus.spool.bus import SpoolingBus

CONTROL0 = Shard(CONTROL, 0)


class Spooled:
    """A running collector whose bus is away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.inner: AilingBus
        self.bus: SpoolingBus

    def before(self, bus: MemoryBus) -> SpoolingBus:
        self.inner = AilingBus(bus)
        self.inner.ill = Illness.DOWN
        self.bus = spooling(self.inner, self._folder / "spool.db", max_bytes=200_000)
        return self.bus

    def recover(self) -> None:
        self.inner.ill = Illness.NONE
        asyncio.run(eventually(lambda: self.bus.snapshot().records == 0))


@pytest.fixture
def spooled(tmp_path: Path) -> Spooled:
    return Spooled(tmp_path)


@pytest.fixture
def collector(spooled: Spooled) -> Iterator[RunningCollector]:
    with collector_server("native", before=spooled.before) as running:
        yield running
        asyncio.run(spooled.bus.close())


def post(collector: RunningCollector, path: str, body: Any) -> httpx.Response:
    return httpx.post(collector.url + path, json=body, headers=collector.headers)


def test_a_spooled_event_is_acknowledged_without_a_place(collector: RunningCollector, spooled: Spooled) -> None:
    response = post(collector, "/v1/events", [{"kind": "prompt", "id": "a"}, {"kind": "no such kind"}])
    assert response.status_code == 200
    first, second = response.json()["items"]
    assert (first["position"], first["spooled"], first["status"]) == (None, True, "accepted")
    assert (second["position"], second["spooled"], second["status"]) == (None, True, "unparsed")
    assert first["event_id"] == format_event_id(event_id("acme", "native", "a", "prompt", 0))
    assert collector.opened() == []
    spooled.recover()
    assert [event.metadata["kind"] for event in collector.opened()] == ["prompt", "unparsed"]
    item = post(collector, "/v1/events", {"kind": "prompt", "id": "b"}).json()["items"][0]
    assert item["position"]["offset"] >= 0
    assert "spooled" not in item


def test_litellm_and_otlp_are_answered_as_ever(collector: RunningCollector, spooled: Spooled) -> None:
    litellm = post(collector, "/v1/litellm", [{"id": "x", "call_type": "acompletion", "messages": [], "response": {}}])
    assert (litellm.status_code, litellm.json()["accepted"]) == (200, 1)
    record = {"timeUnixNano": "1764014400000000000", "body": {"stringValue": "hello"}}
    logs = post(collector, "/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    assert (logs.status_code, logs.json()) == (200, {})
    assert collector.opened() == []
    assert spooled.bus.snapshot().records > 1
    spooled.recover()
    assert {event.metadata["format"] for event in collector.opened()} > {"litellm"}


def test_a_full_spool_is_a_503_with_the_time_to_come_back(collector: RunningCollector, spooled: Spooled) -> None:
    accepted = 0
    for number in range(100):
        content = {"text": "".join(chr(0x4E00 + (number * 7919 + at * 104_729) % 20_000) for at in range(3000))}
        response = post(collector, "/v1/events", {"kind": "prompt", "id": str(number), "content": content})
        if response.status_code != 200:
            break
        accepted += 1
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "the spool is full" in response.json()["error"]
    assert accepted > 3
    spooled.recover()
    assert len(collector.opened()) == accepted


def test_the_api_is_described_as_it_answers(collector: RunningCollector) -> None:
    document = httpx.get(collector.url + "/openapi.json").json()
    item = document["components"]["schemas"]["Item"]["properties"]
    assert item["position"]["type"] == ["object", "null"]
    assert item["spooled"]["type"] == "boolean"


async def test_acts_are_spooled_and_the_outage_is_an_act(tmp_path: Path) -> None:
    memory, keys = MemoryBus(), MemoryKeys()
    inner = AilingBus(memory)
    bus = spooling(inner, tmp_path / "spool.db")
    audit, stop = SelfAudit(bus, keys, "c-1"), asyncio.Event()
    recording = asyncio.create_task(record_outages(bus.take_outages, audit, stop, look_seconds=0.005))
    inner.ill = Illness.DOWN
    before = int(time.time() * 1000)
    (position,) = await audit.record(Act("token.create", "admin", "dana"))
    assert position.spooled
    inner.ill = Illness.NONE
    await eventually(lambda: len(inner.taken) == 2)
    stop.set()
    await recording
    await bus.close()
    created, outage = await memory.read(CONTROL0, Offset(0), max_records=10, max_bytes=1 << 24)
    assert (created.kind, outage.kind) == (KIND_CODES["admin"], KIND_CODES["session"])
    assert opened(created, keys, METADATA)["operation"] == "token.create"
    assert opened(outage, keys, METADATA)["operation"] == "collector.spool"
    details = opened(outage, keys, SOURCE)["details"]
    assert (details["records"], details["reason"]) == (1, "Unavailable")
    assert before <= details["from_ms"] <= details["to_ms"]


def opened(message: Any, keys: MemoryKeys, part_type: int) -> Any:
    """The metadata or the source of an act."""
    (part,) = [part for part in decode_record(message.value).parts if part.type == part_type]
    commitment = unpack_commitments(message.commitments)[part_type]
    key = part_key(keys.by_id([part.key_id])[part.key_id], message.event_id, part.type)
    data = Opener().open(part, commitment, message.event_id, key).data
    return decode_metadata(data) if part_type == METADATA else json.loads(data)


async def test_an_outage_that_cannot_be_recorded_yet_is_recorded_later() -> None:
    memory = MemoryBus()
    inner = AilingBus(memory)
    inner.ill = Illness.DOWN
    audit, stop = SelfAudit(inner, MemoryKeys(), "c-1"), asyncio.Event()
    outages = [Outage(1, 2, 3, "Unavailable"), Outage(4, 5, 6)]

    def take() -> list[Outage]:
        taken, outages[:] = list(outages), []
        return taken

    recording = asyncio.create_task(record_outages(take, audit, stop, look_seconds=0.005))
    await eventually(lambda: inner.attempts > 2)
    with pytest.raises(Unavailable, match="injected"):
        await audit.record(Act("token.create", "admin", "dana"))
    inner.ill = Illness.NONE
    await eventually(lambda: len(inner.taken) == 2)
    stop.set()
    await recording
    assert (await memory.bounds(CONTROL0)).end == 2
