"""Sessions that send everything again, from the request to archive and tables: byte for byte, and stored once."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from clickhouse_connect.driver.client import Client
from embedded_engine import Database, database_of_its_own
from signed_ledger import SHARD, World

from bench.agent_session import FORMATS, session
from collector.gateways import Format, Received
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.otlp import OtlpFormat
from collector.ingest import Ingest
from schemas.chunks import Place
from schemas.entry import unpack_commitments
from schemas.evidence import EvidenceSource, Status
from schemas.ids import Offset
from schemas.parts import CHUNKS, SOURCE, Opener, PartKeys
from schemas.record import decode_record
from signer.earlier import EarlierRecords
from signer.genesis import genesis_entry
from signer.policy import policy_of
from signer.report import Report
from signer.verify_event import verify_event
from signer.verify_records import Comparison
from sinks.archive import ArchiveEvidence, ArchiveSink
from sinks.clickhouse.catalogue import Catalogue
from sinks.clickhouse.evidence import ClickHouseEvidence
from sinks.clickhouse.integrity import failures
from sinks.clickhouse.sink import ClickHouseSink
from sinks.contract import Delivered
from sinks.proof import LogStart
from stores.bus import Message

TURNS = 200
TRANSCRIPT = 400_000
"""Bytes, of 100,000 tokens."""

MOST = 3.0
"""Times the bytes of the final transcript."""

SOURCES: dict[str, tuple[Format, str, str]] = {
    "litellm": (LiteLLMFormat(), "application/json", "http"),
    "claude-code": (OtlpFormat("logs"), "application/json", "otlp-http"),
    "otlp": (OtlpFormat("traces"), "application/x-protobuf", "otlp-http"),
}


class Stored(NamedTuple):
    """A session everywhere. ``sources`` are the units' bytes, in order."""

    world: World
    bodies: list[bytes]
    sources: list[bytes]
    messages: list[Message]
    database: Database
    client: Client
    archive: ArchiveEvidence

    def places(self) -> list[Message]:
        """The messages that carry a source."""
        return [message for message in self.messages if SOURCE in unpack_commitments(message.commitments)]

    def verify(self, source: EvidenceSource) -> Report:
        return self.world.verify(source=source, keys=self.world.keys)

    def close(self) -> None:
        self.client.close()
        self.database.close()


def received(world: World, name: str) -> Received:
    source, media_type, receiver = SOURCES[name]
    return Received("acme", name, "t-1", receiver, "192.0.2.1", media_type, "", world.now * 1000, source.name)


async def taken(world: World, name: str, turns: int, *, ingests: int = 1, twice: bool = False) -> list[bytes]:
    """Send a session, one request a turn, in turn to several collectors."""
    source = SOURCES[name][0]
    made = [Ingest(world.bus, world.keys, collector_id=f"c-{number}") for number in range(ingests)]
    bodies = [FORMATS[name](turn, "session-1") for turn in session(turns)]
    for number, body in enumerate(bodies):
        for _ in range(2 if twice else 1):
            world.now += 1000
            stored = await made[number % ingests].accept_body(body, source, received(world, name))
            assert not any(one.error for one in stored.accepted)
    for ingest in made:
        ingest.close()
    return bodies


def stored(name: str, turns: int, **how: Any) -> Stored:
    """Send it, sign it, archive it, put it into tables."""

    async def on_the_bus() -> tuple[list[bytes], list[Message]]:
        bodies = await taken(world, name, turns, **how)
        await world.sign()
        await world.anchor()
        return bodies, await world.bus.read(SHARD, Offset(0), max_records=1 << 20, max_bytes=1 << 40)

    world = World()
    bodies, messages = asyncio.run(on_the_bus())
    repeats = 2 if how.get("twice") else 1
    units = [unit.source for body in bodies for unit in SOURCES[name][0].read(body, received(world, name)).units]
    sources = [source for source in units for _ in range(repeats)]
    if repeats > 1 and len(units) > len(bodies):
        raise NotImplementedError("several units a body, sent twice")
    database = database_of_its_own()
    logs = [
        LogStart(log.origin, log.start_offset, genesis_entry(log.genesis, log.opened_ms))
        for log in world.control.logs()
        if log.shard == SHARD
    ]
    sink = ClickHouseSink(database, world.keys, lambda shard: logs)
    sink.open()
    archive = ArchiveSink(world.objects)
    for at in range(0, len(messages), 150):
        batch = messages[at : at + 150]
        assert sink.deliver(SHARD, batch) == Delivered()
        assert archive.deliver(SHARD, batch) == Delivered()
    sink.close()
    client = database.client({"mutations_sync": 2})
    return Stored(world, bodies, sources, messages, database, client, ArchiveEvidence(world.objects))


@pytest.fixture(scope="module", params=[*SOURCES])
def long(request: pytest.FixtureRequest) -> Iterator[Stored]:
    found = stored(request.param, TURNS)
    yield found
    found.close()


@pytest.fixture
def short() -> Iterator[Stored]:
    found = stored("litellm", 12)
    yield found
    found.close()


def codecs(messages: Sequence[Message]) -> list[int]:
    return [part.codec for message in messages for part in decode_record(message.value).parts if part.type == SOURCE]


def whole_sources(found: Stored, source: EvidenceSource) -> list[bytes]:
    """Every source from the sealed records of a destination, one by one, each without a memory of the others."""
    opener, whole = Opener(), []
    for message in found.places():
        (evidence,) = source.scan(SHARD, message.offset, Offset(message.offset + 1))
        part = next(part for part in decode_record(evidence.record).parts if part.type == SOURCE)
        keys = PartKeys(found.world.keys.by_id([part.key_id])[part.key_id])
        held = EarlierRecords(source).held(SHARD.topic, part, keys)
        commitment = unpack_commitments(message.commitments)[SOURCE]
        key = keys.key(message.event_id, SOURCE)
        whole.append(opener.open(part, commitment, message.event_id, key, held).data)
    return whole


@pytest.mark.slow
def test_the_archive_grows_with_the_transcript(long: Stored) -> None:
    transcript = len(long.bodies[-1])
    assert transcript >= TRANSCRIPT
    size = sum(info.size for info in long.world.objects.list("segments/"))
    assert size <= MOST * transcript, f"{size / transcript:.2f} times the transcript"


@pytest.mark.slow
def test_the_tables_grow_with_the_transcript(long: Stored) -> None:
    for table in ("events", "contents"):
        long.client.command(f"OPTIMIZE TABLE {table} FINAL")
    ((size,),) = long.client.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
    ).result_rows
    transcript = len(long.bodies[-1])
    assert size <= MOST * transcript, f"{size / transcript:.2f} times the transcript"


@pytest.mark.slow
def test_every_request_is_there_byte_for_byte(long: Stored) -> None:
    assert len(long.places()) == len(long.sources)
    in_rows = [
        part.data
        for evidence in ClickHouseEvidence(long.client).scan(SHARD, Offset(0), Offset(1 << 40))
        for part in evidence.opened
        if part.type == SOURCE
    ]
    assert in_rows == long.sources
    rows = long.client.query(
        "SELECT offset, missing, lower(hex(SHA256(whole_source))) FROM whole_sources "
        "WHERE session_id = 'session-1' AND source_status = 'ok' ORDER BY offset"
    ).result_rows
    assert [tuple(row) for row in rows] == [
        (message.offset, 0, hashlib.sha256(source).hexdigest())
        for message, source in zip(long.places(), long.sources, strict=True)
    ]


@pytest.mark.slow
def test_all_of_it_verifies(long: Stored) -> None:
    for source in (long.archive, ClickHouseEvidence(long.client)):
        report = long.verify(source)
        assert report.exit_code == 0, report
    assert failures(long.client) == []


@pytest.mark.slow
def test_each_verifies_alone(long: Stored) -> None:
    world = long.world
    for source in (long.archive, ClickHouseEvidence(long.client)):
        for message in (long.places()[0], long.places()[-1], long.places()[len(long.places()) // 2]):
            comparison = Comparison(source, world.keys)
            report = verify_event(world.objects, policy_of(world.trust), SHARD, message.offset, comparison)
            assert report.exit_code == 0
            assert report.statuses["source"] is Status.OK


@pytest.mark.slow
def test_the_content_tells_what_is_new(long: Stored) -> None:
    rows = long.client.query(
        "SELECT length(content), JSONExtractInt(content, 'history', 'messages'), "
        "JSONExtractString(content, 'history', 'of'), event_id FROM contents WHERE kind = 'prompt' ORDER BY offset"
    ).result_rows
    assert len(rows) == TURNS
    assert rows[0][1] == 0
    for turn, (before, row) in enumerate(itertools.pairwise(rows), 1):
        length, messages, of, _ = row
        assert length < 4000
        assert messages >= 2 * turn - 2
        assert of == before[3]
    ((gaps, state),) = long.client.query(
        "SELECT content_gaps, content_state FROM events WHERE kind = 'prompt' ORDER BY offset DESC LIMIT 1"
    ).result_rows
    assert '{"pointer":"/content/history","state":"by_ref","ref":"source"}' in gaps
    assert state in ("", "full")


def test_sources_come_back_from_the_archive_one_by_one(short: Stored) -> None:
    assert codecs(short.places()) == [1, *[CHUNKS] * 11]
    assert whole_sources(short, short.archive) == short.sources


def test_two_collectors_that_know_nothing_of_each_other() -> None:
    found = stored("litellm", 8, ingests=2)
    assert codecs(found.places()) == [1, 1, *[CHUNKS] * 6]
    assert whole_sources(found, found.archive) == found.sources
    assert found.verify(ClickHouseEvidence(found.client)).exit_code == 0
    found.close()


def test_a_gateway_that_sends_twice() -> None:
    found = stored("litellm", 5, twice=True)
    assert [message.event_id for message in found.places()[::2]] == [
        message.event_id for message in found.places()[1::2]
    ]
    assert whole_sources(found, found.archive) == found.sources
    assert found.verify(ClickHouseEvidence(found.client)).exit_code == 0
    found.close()


def referred_to(found: Stored) -> Place:
    """A record that the last one refers to."""
    ((pieces,),) = found.client.query(
        f"SELECT source_pieces FROM contents WHERE offset = {found.places()[-1].offset}"
    ).result_rows
    first = pieces[1]
    partition, offset = (first["partition"], first["offset"]) if isinstance(first, dict) else first[:2]
    return Place(int(partition), int(offset))


def test_a_row_that_is_gone_is_missed_by_those_that_repeat_it(short: Stored) -> None:
    place = referred_to(short)
    short.client.command(f"DELETE FROM contents WHERE offset = {place.offset}")
    last = short.places()[-1].offset
    report = verify_event(
        short.world.objects,
        policy_of(short.world.trust),
        SHARD,
        last,
        Comparison(ClickHouseEvidence(short.client), short.world.keys),
    )
    assert (report.exit_code, report.statuses["source"]) == (1, Status.MISSING)
    assert f"repeats bytes of partition 0 offset {place.offset}, which is not there" in report.findings[0].message
    told = [one.detail for one in failures(short.client, checks=("part",)) if one.offset == last]
    assert len(told) == 1
    assert told[0].endswith("pieces of rows that are gone")
    ((missing, whole),) = short.client.query(
        f"SELECT missing, whole_source FROM whole_sources WHERE session_id = 'session-1' AND offset = {last}"
    ).result_rows
    assert missing > 0
    assert whole == ""


def test_a_row_that_was_changed_shows_in_those_that_repeat_it(short: Stored) -> None:
    place = referred_to(short)
    short.client.command(
        f"ALTER TABLE contents UPDATE source = replaceAll(source, 'session', 'Session') WHERE offset = {place.offset}"
    )
    last = short.places()[-1].offset
    assert {one.offset for one in failures(short.client, checks=("part",))} >= {place.offset, last}
    assert short.verify(ClickHouseEvidence(short.client)).exit_code == 1


def test_a_segment_that_is_gone_is_missed_by_those_that_repeat_it() -> None:
    found = stored("litellm", 60)
    objects = found.world.objects
    first = min(info.key for info in objects.list("segments/") if info.key.endswith(".avro"))
    del objects._objects[first]
    last = found.places()[-1].offset
    comparison = Comparison(found.archive, found.world.keys)
    report = verify_event(found.world.objects, policy_of(found.world.trust), SHARD, last, comparison)
    assert report.statuses["source"] is Status.MISSING
    assert "which is not there" in report.findings[0].message
    found.close()


def test_a_destroyed_key_seals_all_of_a_session(short: Stored) -> None:
    for message in short.places()[:1]:
        part = next(part for part in decode_record(message.value).parts if part.type == SOURCE)
        short.world.keys.destroy(part.key_id)
    report = short.verify(short.archive)
    assert report.exit_code == 0
    (log,) = [log for log in report.logs if "/events/" in log.origin]
    assert log.statuses[Status.SEALED] == len(short.places())


def test_a_tenant_sees_its_own_whole_sources_and_no_others(short: Stored) -> None:
    catalogue = Catalogue(short.database)
    for tenant, count in (("acme", 12), ("globex", 0)):
        reader = catalogue.reader(tenant, content=True)
        ((rows, whole),) = short.client.query(
            f"SELECT count(), sum(length(whole_source)) FROM {reader.tables['whole_sources']} "
            "WHERE source_status = 'ok'"
        ).result_rows
        assert (rows, whole) == (count, sum(map(len, short.sources)) if count else 0)
        assert "whole_sources" in reader.content
        assert "whole_sources" not in catalogue.reader(tenant, content=False).tables
    catalogue.close()
