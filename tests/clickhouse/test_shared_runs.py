"""Sessions with images that every turn sends again: each image is stored once, and every turn byte for byte."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clickhouse_connect.driver.client import Client
from embedded_engine import Database, database_of_its_own
from opened_parts import opened
from signed_ledger import SHARD, World

from collector.gateways import Received
from collector.gateways.litellm import LiteLLMFormat
from collector.ingest import Ingest
from collector.large.blobs import Blobs
from collector.large.spool import Spools
from schemas.entry import unpack_commitments
from schemas.evidence import EvidenceSource, Status
from schemas.ids import Offset
from schemas.parts import SHARED, SOURCE, PartKeys, SealedPart
from schemas.record import decode_record
from signer.earlier import EarlierRecords
from signer.genesis import genesis_entry
from signer.policy import policy_of
from signer.verify_event import verify_event
from signer.verify_records import Comparison
from sinks.archive import ArchiveEvidence, ArchiveSink
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from sinks.proof import LogStart
from stores.bus import Message

IMAGE_BYTES = 900_000
TURNS = 24
MOST = 3.0
"""Times the bytes of the final transcript."""


def image(number: int) -> str:
    return base64.b64encode(random.Random(number).randbytes(IMAGE_BYTES)).decode()


IMAGES = [image(number) for number in range(3)]


def body(turn: int, session: str = "s-1", user: str = "dana", images: Sequence[str] = IMAGES) -> bytes:
    """Turn after turn the whole conversation, with an image more at turns 0, 8 and 16."""
    rng = random.Random(1)
    messages: list[dict[str, Any]] = []
    for number in range(turn + 1):
        words = " ".join(f"{rng.getrandbits(32):x}" for _ in range(400))
        parts: list[dict[str, Any]] = [{"type": "text", "text": f"question {number} {words}"}]
        if number % 8 == 0:
            url = f"data:image/png;base64,{images[number // 8]}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        messages += [{"role": "user", "content": parts}]
        messages += [{"role": "assistant", "content": f"answer {number}"}] if number < turn else []
    record = {
        "id": f"{session}-{turn}",
        "call_type": "acompletion",
        "status": "success",
        "startTime": 1787305200.125 + turn,
        "session_id": session,
        "end_user": user,
        "messages": messages,
        "response": {"id": f"r{turn}", "choices": [{"message": {"role": "assistant", "content": f"answer {turn}"}}]},
    }
    return json.dumps(record).encode()


class Stored(NamedTuple):
    """What was sent, and where it is."""

    world: World
    bodies: list[bytes]
    messages: list[Message]
    client: Client
    archive: ArchiveEvidence

    def prompts(self) -> list[Message]:
        return [message for message in self.messages if SOURCE in unpack_commitments(message.commitments)]

    def blobs(self) -> dict[str, int]:
        return {info.key: info.size for info in self.world.objects.list("blobs/")}

    def verify(self, source: EvidenceSource, offset: int) -> Any:
        """One record alone."""
        comparison = Comparison(source, self.world.keys, self.world.objects.open)
        return verify_event(self.world.objects, policy_of(self.world.trust), SHARD, Offset(offset), comparison)

    def verify_all(self, source: EvidenceSource) -> Any:
        return self.world.verify(source=source, keys=self.world.keys, fetch=self.world.objects.open)


async def send(world: World, folder: Path, bodies: Sequence[bytes], collectors: int = 1) -> None:
    spools = Spools(folder)
    made = [
        Ingest(world.bus, world.keys, collector_id=f"c-{n}", spools=spools, blobs=Blobs(world.objects, spools))
        for n in range(collectors)
    ]
    for number, one in enumerate(bodies):
        world.now += 1000
        received = Received(
            "acme", "gw", "t-1", "http", "192.0.2.1", "application/json", "", world.now * 1000, "litellm"
        )
        with spools.open() as spool:
            spool.write(one)
            stored = await made[number % collectors].accept_spooled(spool, LiteLLMFormat(), received)
        assert not any(item.error for item in stored.accepted)
    for ingest in made:
        ingest.close()


def stored(stack: ExitStack, folder: Path, bodies: list[bytes], collectors: int = 1) -> Stored:
    async def on_the_bus() -> list[Message]:
        await send(world, folder, bodies, collectors)
        await world.sign()
        await world.anchor()
        return await world.bus.read(SHARD, Offset(0), max_records=1 << 20, max_bytes=1 << 40)

    world = World()
    messages = asyncio.run(on_the_bus())
    database: Database = database_of_its_own()
    logs = [
        LogStart(log.origin, log.start_offset, genesis_entry(log.genesis, log.opened_ms))
        for log in world.control.logs()
        if log.shard == SHARD
    ]
    sink = ClickHouseSink(database, world.keys, lambda shard: logs, fetch=world.objects.open)
    sink.open()
    archive = ArchiveSink(world.objects)
    for at in range(0, len(messages), 20):
        assert sink.deliver(SHARD, messages[at : at + 20]) == Delivered()
        assert archive.deliver(SHARD, messages[at : at + 20]) == Delivered()
    sink.close()
    client = database.client({"mutations_sync": 2})
    stack.callback(database.close)
    stack.callback(client.close)
    return Stored(world, bodies, messages, client, ArchiveEvidence(world.objects))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    with ExitStack() as stack:
        yield stored(stack, tmp_path_factory.mktemp("spools"), [body(turn) for turn in range(TURNS)])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def source_part(message: Message) -> SealedPart:
    return next(part for part in decode_record(message.value).parts if part.type == SOURCE)


def sources(found: Stored, source: EvidenceSource) -> list[bytes]:
    """Every source, one by one, each without a memory of the others."""
    whole = []
    for message in found.prompts():
        part = source_part(message)
        keys = PartKeys(found.world.keys.by_id([part.key_id])[part.key_id])
        held = EarlierRecords(source).held(SHARD.topic, part, keys)
        commitment = unpack_commitments(message.commitments)[SOURCE]
        key = keys.key(message.event_id, SOURCE)
        whole.append(b"".join(opened(part, commitment, message.event_id, key, found.world.objects, held)))
    return whole


def test_each_image_is_stored_once_and_all_grows_with_the_transcript(session: Stored) -> None:
    assert [source_part(message).codec for message in session.prompts()] == [SHARED] * TURNS
    blobs = session.blobs()
    assert len(blobs) == len(IMAGES)
    segments = sum(info.size for info in session.world.objects.list("segments/"))
    transcript = len(session.bodies[-1])
    assert sum(blobs.values()) + segments <= MOST * transcript
    beside = transcript - sum(map(len, IMAGES))
    assert segments <= MOST * beside, f"{segments / beside:.2f} times the transcript without its images"
    for table in ("events", "contents"):
        session.client.command(f"OPTIMIZE TABLE {table} FINAL")
    ((size,),) = session.client.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
    ).result_rows
    assert size < len(IMAGES[0])


@pytest.mark.parametrize("where", ["archive", "clickhouse"])
def test_every_turn_is_there_byte_for_byte(session: Stored, where: str) -> None:
    source = session.archive if where == "archive" else ClickHouseEvidence(session.client)
    assert sources(session, source) == session.bodies


@pytest.mark.parametrize("where", ["archive", "clickhouse"])
def test_all_of_it_verifies_and_each_alone(session: Stored, where: str) -> None:
    source = session.archive if where == "archive" else ClickHouseEvidence(session.client)
    report = session.verify_all(source)
    assert report.exit_code == 0, report
    assert failures(session.client) == []
    for message in (session.prompts()[0], session.prompts()[-1], session.prompts()[9]):
        alone = session.verify(source, message.offset)
        assert (alone.exit_code, alone.statuses["source"]) == (0, Status.OK)


def test_the_tables_tell_the_words_and_where_the_rest_is(session: Stored) -> None:
    rows = session.client.query(
        "SELECT content_status, source_status, source_object FROM contents WHERE kind = 'prompt' ORDER BY offset"
    ).result_rows
    assert {(row[0], row[1]) for row in rows} == {("ok", "elsewhere")}
    assert [len(row[2].split(" ")) for row in rows] == [1] * 8 + [2] * 8 + [3] * 8


def test_the_archive_locks_what_its_records_name(session: Stored) -> None:
    from sinks.archive.addressed import addresses

    named = {address for message in session.messages for address in addresses(message)}
    assert named == session.blobs().keys()


def test_collectors_that_know_nothing_of_each_other_share(stack: ExitStack, tmp_path: Path) -> None:
    found = stored(stack, tmp_path, [body(turn) for turn in range(4)], collectors=2)
    assert len(found.blobs()) == 1
    assert sources(found, found.archive) == found.bodies


def test_other_people_share_nothing_and_other_sessions_of_one_person_do(stack: ExitStack, tmp_path: Path) -> None:
    bodies = [body(0, "a", "dana"), body(0, "b", "dana"), body(0, "c", "lee")]
    found = stored(stack, tmp_path, bodies)
    assert len(found.blobs()) == 2
    assert sources(found, found.archive) == bodies


def test_an_image_that_was_encoded_anew_is_another(stack: ExitStack, tmp_path: Path) -> None:
    other = [IMAGES[0][:-8] + "AAAAAAA=", *IMAGES[1:]]
    found = stored(stack, tmp_path, [body(0), body(1, images=other)])
    assert len(found.blobs()) == 2
    assert sources(found, found.archive) == found.bodies


@pytest.mark.parametrize(("deed", "status"), [("delete", Status.MISSING), ("change", Status.MISMATCH)])
def test_what_happens_to_a_blob_shows_in_every_turn(
    stack: ExitStack, tmp_path: Path, deed: str, status: Status
) -> None:
    found = stored(stack, tmp_path, [body(turn) for turn in range(3)])
    (address,) = found.blobs()
    objects = found.world.objects._objects
    if deed == "delete":
        del objects[address]
    else:
        changed = bytearray(objects[address].data)
        changed[1000] ^= 1
        objects[address] = objects[address]._replace(data=bytes(changed))
    for source in (found.archive, ClickHouseEvidence(found.client)):
        for message in found.prompts():
            report = found.verify(source, message.offset)
            assert (report.exit_code, report.statuses["source"]) == (1, status)


def test_a_destroyed_key_seals_images_and_words(stack: ExitStack, tmp_path: Path) -> None:
    found = stored(stack, tmp_path, [body(turn) for turn in range(3)])
    found.world.keys.destroy(source_part(found.prompts()[0]).key_id)
    for source in (found.archive, ClickHouseEvidence(found.client)):
        report = found.verify(source, found.prompts()[-1].offset)
        assert (report.exit_code, report.statuses["source"]) == (0, Status.SEALED)
