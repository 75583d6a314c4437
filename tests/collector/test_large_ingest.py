"""Large bodies through the ingest: recorded whole, with a view that says what it left out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from faults import Fault, Faults, FaultyBus, FaultyObjects
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_bodies import body as some_body
from large_bodies import MIB, image_request, ndjson, text_request
from memory_bus import MemoryBus
from memory_keys import MemoryKeys
from memory_objects import MemoryObjects
from opened_parts import opened

from collector.formats import http_routes
from collector.gateways import Format, Reading, Received, Unit
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.native import NativeFormat
from collector.gateways.otlp import OtlpFormat
from collector.ingest import Ingest
from collector.large.blobs import Blobs
from collector.large.lighten import AtHand, Bounds, lighten
from collector.large.pieces import Pieces
from collector.large.restore import restore
from collector.large.spool import Spool, Spools
from collector.reading import look_into, read_body
from collector.routes import Stored
from schemas.entry import unpack_commitments
from schemas.errors import Unavailable
from schemas.ids import EVENTS, Offset
from schemas.metadata import Metadata
from schemas.metadata_binary import decode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, part_key
from schemas.record import Record, decode_record
from stores.bus import Message

RECEIVED = Received("acme", "large", "t-1", "http", "192.0.2.1", "application/json", "", 1_787_305_200_125_000, "x")


class World:
    """An ingest over stores in memory, and what lies in them."""

    def __init__(self, folder: Path, faults: Faults | None = None, max_bytes: int = 1 << 30) -> None:
        self.bus, self.keys, self.objects = MemoryBus(), MemoryKeys(), MemoryObjects()
        self.spools = Spools(folder / "large", max_bytes)
        objects = FaultyObjects(self.objects, faults) if faults else self.objects
        bus = FaultyBus(self.bus, faults) if faults else self.bus
        self.ingest = Ingest(
            bus,
            self.keys,
            collector_id="c-1",
            spools=self.spools,
            blobs=Blobs(objects, self.spools),  # type: ignore[arg-type]
        )

    async def accept(self, pieces: Iterable[bytes], source: Format) -> Stored:
        with self.spools.open() as spool:
            for piece in pieces:
                spool.write(piece)
            return await self.ingest.accept_spooled(spool, source, RECEIVED)

    async def messages(self) -> list[Message]:
        found: list[Message] = []
        for shard in await self.bus.shards(EVENTS):
            found += await self.bus.read(shard, Offset(0), max_records=1_000_000, max_bytes=1 << 30)
        return sorted(found, key=lambda message: self.metadata(message)["collector_sequence"])

    def part(self, message: Message, part_type: int) -> bytes:
        """A part in the clear, from the bus or the object store, compared with its commitment."""
        (part,) = [part for part in decode_record(message.value).parts if part.type == part_type]
        commitment = unpack_commitments(message.commitments)[part_type]
        key = part_key(self.keys.by_id([part.key_id])[part.key_id], message.event_id, part_type)
        return b"".join(opened(part, commitment, message.event_id, key, self.objects))

    def metadata(self, message: Message) -> Metadata:
        return decode_metadata(self.part(message, METADATA))

    def content(self, message: Message) -> Any:
        return json.loads(self.part(message, CONTENT))

    def record(self, message: Message) -> Record:
        return decode_record(message.value)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    made.ingest.close()
    assert made.spools.used == 0


async def test_a_request_with_an_image_is_recorded_whole(world: World) -> None:
    body = b"".join(image_request(6))
    stored = await world.accept([body], LiteLLMFormat())
    assert not stored.accepted[0].error
    prompt, context, response = await world.messages()
    assert world.part(prompt, SOURCE) == body
    assert [part.address for part in world.record(prompt).parts][:2] == ["", ""]
    (address,) = [part.address for part in world.record(prompt).parts if part.type == SOURCE]
    assert address == "blobs/" + hashlib.sha256(world.objects.get(address)).hexdigest()
    assert len(prompt.value) < 20_000
    assert world.metadata(prompt)["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert world.metadata(response)["stop_reason"] == "stop"
    image = base64.b64decode(json.loads(body)["messages"][0]["content"][1]["image_url"]["url"].partition(",")[2])
    told = world.metadata(context)
    assert told["document_sha256"] == hashlib.sha256(image).hexdigest()
    assert told["exchange_id"] == world.metadata(prompt)["exchange_id"]


async def test_what_the_view_leaves_out_is_stated(world: World) -> None:
    body = b"".join(image_request(2))
    await world.accept([body], LiteLLMFormat())
    prompt = (await world.messages())[0]
    metadata, content = world.metadata(prompt), world.content(prompt)
    (gap,) = json.loads(metadata["content_gaps"])
    assert gap["pointer"] == "/content/messages/0/content/1/image_url/url"
    assert gap["state"] == metadata["content_state"] == "by_ref"
    start, size = map(int, gap["ref"].removeprefix("source:").split("+"))
    data = world.part(prompt, SOURCE)[start : start + size]
    assert size == gap["original_size"] == len(data)
    assert hashlib.sha256(data).hexdigest() == gap["original_sha256"]
    decoded = hashlib.sha256(base64.b64decode(data)).hexdigest()
    assert gap["note"] == f"image/png base64 of {len(data) * 3 // 4} bytes with SHA-256 {decoded}"
    url = content["messages"][0]["content"][1]["image_url"]["url"]
    assert (
        url == f"data:image/png;base64,[{size} bytes of base64 with SHA-256 {gap['original_sha256']}: see the source]"
    )


async def test_a_small_body_says_the_same_of_its_image(world: World) -> None:
    head, image, tail = image_request(1)
    small = head + image[:20_000] + tail
    await world.ingest.accept_body(small, LiteLLMFormat(), RECEIVED)
    prompt, context, _ = await world.messages()
    assert world.part(prompt, SOURCE) == small
    (gap,) = json.loads(world.metadata(prompt)["content_gaps"])
    start, size = map(int, gap["ref"].removeprefix("source:").split("+"))
    assert hashlib.sha256(small[start : start + size]).hexdigest() == gap["original_sha256"]
    assert world.metadata(context)["document_sha256"]


async def test_a_record_has_one_id_in_a_small_and_in_a_large_body(world: World) -> None:
    record = b'{"kind":"prompt","content":["' + base64.b64encode(random.Random(5).randbytes(30_000)) + b'"]}'
    alone = await world.ingest.accept_body(record, NativeFormat(), RECEIVED)
    others = b"".join(ndjson(5))
    among = await world.accept([others, record], NativeFormat())
    assert among.accepted[-1].events[0].event_id == alone.accepted[0].events[0].event_id


@pytest.mark.parametrize("indent", [None, 2])
async def test_spans_with_images_are_cut_and_read_as_small_ones(world: World, indent: int | None) -> None:
    image = base64.b64encode(random.Random(8).randbytes(1 * MIB)).decode()
    parts = [{"type": "blob", "mime_type": "image/png", "content": image}, {"type": "text", "content": "what is it"}]
    messages = json.dumps([{"role": "user", "parts": parts}])
    spans = [
        {
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "name": "chat",
            "attributes": [
                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                {"key": "gen_ai.input.messages", "value": {"stringValue": messages}},
            ],
        }
        for number in (1, 2)
    ]
    request = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    body = json.dumps(request, indent=indent).encode()
    source = OtlpFormat("traces")
    stored = await world.accept([body], source)
    assert [accepted.error for accepted in stored.accepted] == ["", ""]
    plain = source.read(body, RECEIVED).units
    found = [message for message in await world.messages() if SOURCE in unpack_commitments(message.commitments)]
    assert [world.part(message, SOURCE) for message in found] == [unit.source for unit in plain]
    prompts = [world.content(message) for message in found]
    assert all("bytes of base64 with SHA-256" in json.dumps(prompt) and image not in prompt for prompt in prompts)
    assert all("what is it" in json.dumps(prompt) for prompt in prompts)


async def test_a_long_text_is_recorded_whole(world: World) -> None:
    body = b"".join(text_request(3))
    await world.accept([body], NativeFormat())
    (prompt,) = await world.messages()
    assert world.part(prompt, SOURCE) == body
    (gap,) = json.loads(world.metadata(prompt)["content_gaps"])
    assert (gap["state"], gap["note"]) == ("by_ref", "text")
    assert "bytes of text with SHA-256" in world.content(prompt)["messages"][0]["content"]


@pytest.mark.slow
async def test_many_small_records_are_read_some_at_a_time(world: World) -> None:
    body = b"".join(ndjson(9))
    lines = body.splitlines()
    stored = await world.accept([body], NativeFormat())
    assert [accepted.index for accepted in stored.accepted] == list(range(len(lines)))
    messages = await world.messages()
    assert [world.part(message, SOURCE) for message in messages] == lines
    counts = [(found["unit_index"], found["unit_count"]) for found in map(world.metadata, messages)]
    assert counts == [(at, len(lines)) for at in range(len(lines))]
    assert {found["body_sha256"] for found in map(world.metadata, messages)} == {hashlib.sha256(body).hexdigest()}
    assert all(unit.source == b"" and not unit.drafts for unit in stored.reading.units)


@pytest.mark.slow
async def test_nulls_far_apart_are_events_of_their_own(world: World) -> None:
    lines = b"".join(ndjson(5)).replace(b'"kind"', b'"call_type"').splitlines()
    await world.accept([b"[null," + b",".join(lines) + b",null]"], LiteLLMFormat())
    ids = [message.event_id for message in await world.messages()]
    assert len(ids) == len(set(ids))


class Broken:
    """A format with a bug."""

    name = "broken"
    light = True

    def read(self, body: bytes, received: Received) -> Reading:
        raise ZeroDivisionError


async def test_a_bug_in_a_format_costs_no_byte(world: World) -> None:
    body = b"".join(image_request(2))
    stored = await world.accept([body], Broken())
    assert stored.accepted[0].error == "internal error of format broken: ZeroDivisionError"
    (message,) = await world.messages()
    assert world.part(message, SOURCE) == body


class Careless:
    """A format that makes its own keys from what it is given, and quotes it in errors."""

    name = "careless"
    light = True

    def read(self, body: bytes, received: Received) -> Reading:
        value = json.loads(body)
        if "bad" in value:
            return Reading([Unit(body, error=f"got {value['bad']}")])
        unit = NativeFormat().read(body, received).units[0]
        unit.source_id = "sha256:" + hashlib.sha256(body).hexdigest()
        return Reading([unit])


async def test_keys_made_of_the_source_are_those_of_the_exact_source(world: World) -> None:
    body = b'{"kind":"prompt","content":["' + base64.b64encode(random.Random(5).randbytes(2 * MIB)) + b'"]}'
    await world.accept([body], Careless())
    (message,) = await world.messages()
    assert world.metadata(message)["source_id"] == "sha256:" + hashlib.sha256(body).hexdigest()


async def test_no_marker_leaves_the_process(world: World) -> None:
    data = base64.b64encode(random.Random(5).randbytes(30_000)).decode()
    body = json.dumps(
        {"kind": "prompt", "id": data, "user_id": data, "extras": {data: {data: [data]}}, "content": data}
    )
    await world.ingest.accept_body(body.encode(), NativeFormat(), RECEIVED)
    await world.ingest.accept_body(json.dumps({"bad": data}).encode(), Careless(), RECEIVED)
    prompt, unparsed = await world.messages()
    marker = lighten(AtHand(body.encode())).prefix[:3]
    shown = (
        json.dumps(world.metadata(prompt)) + json.dumps(world.metadata(unparsed)) + json.dumps(world.content(prompt))
    )
    assert world.metadata(prompt)["user_id"].startswith("[40000 bytes of base64 with SHA-256 ")
    assert marker == b"aff"
    assert not [word for word in shown.replace('"', " ").split() if word.startswith("aff") and len(word) > 30]
    assert data not in shown


async def test_ten_thousand_images_are_bounded_in_what_is_said_of_them(world: World) -> None:
    rnd = random.Random(6)
    parts = [
        {"type": "input_image", "image_url": "data:image/png;base64," + base64.b64encode(rnd.randbytes(6200)).decode()}
        for _ in range(1200)
    ]
    body = json.dumps(
        {"kind": "prompt", "id": "many", "content": {"input": [{"role": "user", "content": parts}]}}
    ).encode()
    await world.accept([body], NativeFormat())
    prompt, *contexts = await world.messages()
    assert world.part(prompt, SOURCE) == body
    gaps = json.loads(world.metadata(prompt)["content_gaps"])
    assert len(gaps) == 1000
    assert gaps[-1]["note"] == "and 201 more places, each as it says there"
    assert len(contexts) == 1200


@pytest.mark.parametrize("sizes", [(900_000, 900_000), (1_300_000, 10), (10, 1_300_000), (250_000, 3_000_000)])
async def test_no_record_is_larger_than_any_topic_takes(world: World, sizes: tuple[int, int]) -> None:
    rnd = random.Random(7)
    content, extra = (" ".join(rnd.randbytes(6).hex() for _ in range(size // 13)) for size in sizes)
    body = json.dumps({"kind": "prompt", "id": "a", "content": content, "extras": {"x": extra}}).encode()
    await world.ingest.accept_body(body, NativeFormat(), RECEIVED)
    (message,) = await world.messages()
    assert len(message.value) <= MIB
    assert world.part(message, SOURCE) == body
    told = json.loads(world.metadata(message)["extras"]["x"])
    assert told == extra if len(extra) < MIB else told.endswith(": see the source]")


async def test_without_an_object_store_large_parts_go_to_the_bus(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.ingest = Ingest(world.bus, world.keys, collector_id="c-1", spools=world.spools)
    body = b"".join(image_request(2))
    await world.accept([body], LiteLLMFormat())
    prompt = (await world.messages())[0]
    assert world.part(prompt, SOURCE) == body
    assert {part.address for part in world.record(prompt).parts} == {""}
    world.ingest.close()


@pytest.mark.parametrize("fault", list(Fault)[:2])
async def test_what_is_not_durable_is_not_acknowledged(tmp_path: Path, fault: Fault) -> None:
    body = b"".join(image_request(2))
    for write in (1, 2):
        world = World(tmp_path / f"{write}", Faults({write: fault}))
        with pytest.raises(Unavailable, match="injected at write"):
            await world.accept([body], LiteLLMFormat())
        before = [message.event_id for message in await world.messages()]
        assert bool(before) == (write == 2 and fault is Fault.REPORTED)
        await world.accept([body], LiteLLMFormat())  # the sender sends again
        messages = await world.messages()
        assert [message.event_id for message in messages[:-3]] == before
        assert world.part(messages[-3], SOURCE) == body
        world.ingest.close()


async def test_a_full_disk_is_said_to_the_sender_and_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, max_bytes=3 * MIB)
    with pytest.raises(Unavailable, match="of large bodies on disk, expected at most 3145728; send again later"):
        await world.accept(image_request(2), LiteLLMFormat())  # its ciphertext does not fit beside it
    assert world.spools.used == 0
    assert await world.messages() == []
    world.ingest.close()


async def test_several_at_once(world: World) -> None:
    bodies = [b"".join(image_request(2, seed)) for seed in range(1, 7)]
    await asyncio.gather(*(world.accept([body], LiteLLMFormat()) for body in bodies))
    sources = {
        world.part(message, SOURCE) for message in await world.messages() if world.metadata(message)["kind"] == "prompt"
    }
    assert sources == set(bodies)


seeds = st.integers(0, 2**32)


LIGHT = list(
    {route.format.name: route.format for route in http_routes() if getattr(route.format, "light", False)}.values()
)


def test_the_usual_formats_take_light_bodies() -> None:
    assert {source.name for source in LIGHT} >= {"native", "litellm", "otlp_traces", "otlp_logs", "kong", "portkey"}


@given(seeds, st.sampled_from(LIGHT))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_light_reading_has_the_units_of_the_plain_one(tmp_path: Path, seed: int, source: Format) -> None:
    body = some_body(random.Random(seed))
    plain = source.read(body, RECEIVED)
    light = lighten(AtHand(body), Bounds(64, 300))
    own = restore(source.read(light.read(0, light.size), RECEIVED), light)
    assert [unit.source for unit in own.units] == [unit.source for unit in plain.units]
    assert [bool(unit.error) for unit in own.units] == [bool(unit.error) for unit in plain.units]
    spool = Spools(tmp_path).open()
    spool.write(body)
    on_disk = lighten(spool, Bounds(64, 300))
    pieces = restore(source.read(on_disk.read(0, on_disk.size), RECEIVED), on_disk)
    wholes = [unit.whole.whole() if isinstance(unit.whole, Pieces) else unit.source for unit in pieces.units]
    assert wholes == [unit.source for unit in plain.units]
    spool.close()


@given(st.binary(max_size=3000), st.sampled_from(LIGHT))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_from_disk_as_from_memory(tmp_path: Path, body: bytes, source: Format) -> None:
    at_hand, _ = read_body(body, source, RECEIVED)
    with Spools(tmp_path).open() as spool:
        spool.write(body)
        found = look_into(spool, source, RECEIVED)
        (segment,) = found.segments
        assert found.read(segment, source, RECEIVED).units == at_hand.units


def test_a_spool_is_read_in_any_pieces(tmp_path: Path) -> None:
    spools = Spools(tmp_path / "new" / "folder")
    with spools.open() as spool:
        assert isinstance(spool, Spool)
        spool.write(b"0123456789" * 200_000)
        assert spool.read(5, 12) == b"5678901"
        assert spool.read(1_999_995, 3_000_000) == b"56789"
        assert b"".join(spool.chunks()) == b"0123456789" * 200_000
        assert spool.sha256 == hashlib.sha256(b"0123456789" * 200_000).hexdigest()
        assert spools.used == 2_000_000
        assert list((tmp_path / "new" / "folder").iterdir()) == []
    assert spools.used == 0
