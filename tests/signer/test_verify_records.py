"""A destination against the ledger: every status, every finding, every exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sealed_records import strays
from signed_ledger import EVENTS_ORIGIN, SHARD, ListEvidence, World

from schemas.entry import chain_next, leaf_hash, unpack_commitments
from schemas.errors import EvidenceIncomplete, VerificationError
from schemas.evidence import Evidence, Status
from schemas.ids import KeyId, Offset, Shard
from schemas.parts import CONTENT, METADATA, OpenedPart, Opener, SealedPart, part_key
from schemas.record import decode_record, encode_record
from signer.clock import Clock
from signer.policy import policy_of
from signer.report import Finding, Progress, Report
from signer.verify_event import EventReport, verify_event
from signer.verify_ledger import Scope, verify_ledger
from signer.verify_records import Comparison

RECORDS = 300


@pytest.fixture(scope="module")
def signed() -> tuple[World, ListEvidence]:
    async def build() -> tuple[World, ListEvidence]:
        world = World(shards=[SHARD])
        await world.append(RECORDS - 2)
        await world.bus.append(strays()[:2])
        await world.sign()
        await world.anchor()
        return world, await world.evidence()

    return asyncio.run(build())


def held(evidence: ListEvidence) -> list[Evidence]:
    return list(evidence.held[SHARD])


def source(items: list[Evidence]) -> ListEvidence:
    return ListEvidence({SHARD: items})


def opened(world: World, items: list[Evidence]) -> list[Evidence]:
    """The same records as ClickHouse holds them: parts in the clear, leaf and chain in columns."""
    opener = Opener()
    found: list[Evidence] = []
    chain = bytes(32)
    for index in range(RECORDS + 1):
        entry = world.ledger.entry(EVENTS_ORIGIN, RECORDS + 1, index)
        chain = chain_next(index, chain, leaf_hash(entry))
        if index == 0:
            continue
        item = items[index - 1]
        if item.event_id:
            record, commitments = decode_record(item.record), unpack_commitments(entry[19:])
            keys = world.keys.by_id(part.key_id for part in record.parts)
            parts = tuple(
                opener.open(
                    part,
                    commitments[part.type],
                    record.event_id,
                    part_key(keys[part.key_id], record.event_id, part.type),
                )
                for part in record.parts
            )
            item = item._replace(record=b"", opened=parts)
        found.append(item._replace(leaf=leaf_hash(entry), chain=chain, where="events"))
    return found


def verified(world: World, items: list[Evidence], **scope: Any) -> Report:
    return world.verify(**{"source": source(items), "keys": world.keys, **scope})


def findings(report: Report) -> list[Finding]:
    return [*report.findings, *(finding for log in report.logs for finding in log.findings)]


def statuses(report: Report) -> dict[str, int]:
    return {status.value: count for status, count in report.statuses.items() if count}


def test_sealed_and_opened_records_verify(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    for items in (held(evidence), opened(world, held(evidence))):
        report = verified(world, items)
        assert findings(report) == []
        assert report.exit_code == 0
        assert statuses(report) == {"OK": (RECORDS - 2) * 3 + 2}
        assert report.logs[0].invalid == 2


def test_without_keys_parts_are_sealed_and_nothing_is_wrong(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    report = verified(world, held(evidence), keys=None)
    assert report.exit_code == 0
    assert statuses(report) == {"SEALED": (RECORDS - 2) * 3, "OK": 2}


def test_a_missing_record(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = held(evidence)
    del items[17]
    del items[99]
    report = verified(world, items)
    assert report.exit_code == 1
    assert [(finding.step, finding.offset) for finding in findings(report)] == [("R1", 17), ("R1", 100)]
    assert statuses(report)["MISSING"] == 6


def test_a_record_that_is_there_twice(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = held(evidence)
    items.insert(5, items[4])
    report = verified(world, items)
    assert (report.exit_code, findings(report)[0].offset) == (1, 4)
    assert findings(report)[0].message == "is there more than once"


def test_what_follows_the_commitments_and_what_does_not(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = held(evidence)
    record = decode_record(items[3].record)
    broken = record.parts[1]._replace(ciphertext=record.parts[1].ciphertext[:-1] + b"\x00")
    cases: list[tuple[Evidence, str]] = [
        (items[3]._replace(record=items[4].record), "filed under event id"),
        (items[3]._replace(event_id=b"\x01" * 16), "filed under event id"),
        (items[3]._replace(record=items[3].record[:-1]), "not a record"),
        (with_parts(items[3], record.parts[0], broken, record.parts[2]), "does not open"),
        (with_parts(items[3], record.parts[0], record.parts[2]), "is committed to and is not there"),
        (with_parts(items[3], *record.parts, record.parts[2]._replace(type=4)), "no commitment to this part"),
    ]
    for item, message in cases:
        report = verified(world, [*items[:3], item, *items[4:]])
        assert report.exit_code == 1
        assert message in findings(report)[0].message, findings(report)
        assert findings(report)[0].offset == 3


def with_parts(item: Evidence, *parts: SealedPart) -> Evidence:
    record = decode_record(item.record)
    return item._replace(record=encode_record(type(record)(record.event_id, record.tenant, "standard", parts)))


def test_one_byte_in_an_opened_destination(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = opened(world, held(evidence))
    metadata, content, origin = items[8].opened
    changed = content.data.replace(b"event 8", b"event 9")
    for parts, step, message in (
        ((metadata, OpenedPart(CONTENT, content.salt, changed), origin), "R2", "do not match their commitment"),
        ((metadata, OpenedPart(CONTENT, bytes(32), content.data), origin), "R2", "do not match their commitment"),
        ((metadata, OpenedPart(CONTENT, b"short", content.data), origin), "R2", "salt of 5 bytes"),
        ((metadata, OpenedPart(CONTENT, b"", b""), origin), "R2", "is not there"),
        ((metadata, origin), "R2", "is not there"),
        ((metadata, content, origin, OpenedPart(9, bytes(32), b"x")), "R2", "no commitment to this part"),
    ):
        report = verified(world, [*items[:8], items[8]._replace(opened=parts), *items[9:]])
        assert (report.exit_code, findings(report)[0].step) == (1, step)
        assert message in findings(report)[0].message
    for changes, message in (
        ({"leaf": b"\x01" * 32}, "got leaf 0101"),
        ({"chain": b"\x01" * 32}, "got chain 0101"),
    ):
        report = verified(world, [*items[:8], items[8]._replace(**changes), *items[9:]])  # type: ignore[arg-type]
        assert (report.exit_code, findings(report)[0].step) == (1, "R3")
        assert findings(report)[0].message.startswith(message)
    renamed = items[8]._replace(event_id=items[9].event_id)
    report = verified(world, [*items[:8], renamed, *items[9:]])
    assert (findings(report)[0].part, report.exit_code) == ("metadata", 1)


def test_a_raw_message_that_was_altered(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = held(evidence)
    report = verified(world, [*items[:-1], items[-1]._replace(key=b"other")])
    assert (report.exit_code, findings(report)[0].message) == (
        1,
        "MISMATCH: the raw message does not match its commitment",
    )


@dataclass
class Manifests:
    """Erasures of some (index, part type) pairs."""

    covered: set[tuple[int, int]]

    def covers(self, origin: str, index: int, part_type: int) -> bool:
        return origin == EVENTS_ORIGIN and (index, part_type) in self.covered


def test_erased_and_resurrected(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = held(evidence)
    record = decode_record(items[3].record)
    without = with_parts(items[3], record.parts[0], record.parts[2])
    gone = [*items[:3], without, *items[4:]]
    assert verified(world, gone).exit_code == 1
    report = verified(world, gone, erasures=Manifests({(4, CONTENT)}))
    assert (report.exit_code, statuses(report)["ERASED"]) == (0, 1)
    report = verified(world, items, erasures=Manifests({(4, CONTENT)}))
    assert (report.exit_code, statuses(report)["RESURRECTED"]) == (1, 1)
    clear = opened(world, items)
    report = verified(world, clear, erasures=Manifests({(4, CONTENT), (4, METADATA)}))
    assert (report.exit_code, statuses(report)["RESURRECTED"]) == (1, 2)
    absent = [*items[:3], *items[4:]]
    report = verified(world, absent, erasures=Manifests({(4, 1), (4, 2), (4, 3)}))
    assert (report.exit_code, statuses(report)["ERASED"]) == (0, 3)


def test_a_destroyed_key_is_sealed_until_a_manifest_says_why(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    record = decode_record(held(evidence)[3].record)
    keys = Without(world, record.parts[1].key_id)
    report = verified(world, held(evidence), keys=keys)
    sealed = statuses(report)["SEALED"]
    assert sealed > 0
    assert report.exit_code == 0
    report = verified(world, held(evidence), keys=keys, erasures=Manifests({(4, CONTENT)}))
    assert statuses(report)["ERASED"] == 1
    assert statuses(report)["SEALED"] == sealed - 1


class Without:
    """Keys of a world but for one."""

    def __init__(self, world: World, gone: KeyId) -> None:
        self._keys, self._gone = world.keys, gone
        self.for_scopes = world.keys.for_scopes

    def by_id(self, key_ids: Any) -> dict[KeyId, bytes]:
        return self._keys.by_id(key_id for key_id in key_ids if key_id != self._gone)


def test_parts_outside_their_record(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = held(evidence)
    record = decode_record(items[3].record)
    outside = record.parts[1]._replace(ciphertext=b"", address="blobs/x")
    item = with_parts(items[3], record.parts[0], outside, record.parts[2])
    moved = [*items[:3], item, *items[4:]]
    blobs = {"blobs/x": record.parts[1].ciphertext}
    assert statuses(verified(world, moved))["SEALED"] == 1
    assert verified(world, moved, fetch=blobs.__getitem__).exit_code == 0
    report = verified(world, moved, fetch={}.__getitem__)
    assert (report.exit_code, statuses(report)["MISSING"]) == (1, 1)


# --- tails


def test_a_destination_that_lags(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    world = world.copy()
    items = held(evidence)[:-50]
    report = verified(world, items)
    assert (report.exit_code, report.logs[0].undelivered) == (0, 50)
    world.now += 61_000
    report = verified(world, items, freshness_ms=1_000_000)
    assert (report.exit_code, findings(report)[0].step) == (2, "R4")
    assert "50 records are not there, the oldest of them 61 s old" in findings(report)[0].message
    assert verified(world, items, freshness_ms=1_000_000, delay_ms=600_000).exit_code == 0


def test_a_destination_that_is_ahead(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    world = world.copy()
    extra = held(evidence)[5]._replace(offset=Offset(RECORDS + 3))
    began = world.now
    report = verified(world, [*held(evidence), extra])
    assert (report.exit_code, findings(report)[0].step) == (2, "R5")
    assert report.logs[0].unsigned == 4
    assert 5_000 <= world.now - began < 10_000, "it waited for the signer, and no longer"


async def test_a_signer_that_is_alive_catches_up() -> None:
    world = World(shards=[SHARD])
    await world.append(10)
    await world.sign()
    await world.anchor()
    await world.append(5)
    evidence = await world.evidence()
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            asyncio.run(world.sign())

    report = await asyncio.to_thread(world.verify, source=evidence, keys=world.keys, clock=Clock(world.clock, wait))
    assert (report.exit_code, report.logs[0].unsigned, len(waited)) == (0, 5, 1)


@dataclass
class Broken(ListEvidence):
    """A destination that cannot be read behind some offset."""

    at: int = 0

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        for item in super().scan(shard, start, end):
            if item.offset == self.at:
                raise VerificationError("segments/7.avro: sync marker is not there", step="archive")
            yield item


def test_a_destination_that_cannot_be_read(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    report = world.verify(source=Broken(evidence.held, at=260), keys=world.keys)
    assert report.exit_code == 1
    assert "segments/7.avro: sync marker is not there; nothing behind it was compared" in findings(report)[0].message
    assert report.logs[0].size == RECORDS + 1, "the log itself is verified all the same"


def test_only_the_first_hundred_findings_are_kept(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    report = verified(world, held(evidence)[-1:])
    assert (len(report.logs[0].findings), report.logs[0].failures) == (100, RECORDS - 1)
    assert report.failures == RECORDS - 1


def test_the_report_as_json(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    told: list[Progress] = []
    scope = Scope(source=evidence, keys=world.keys, clock=Clock(world.clock, world.wait))
    report = verify_ledger(world.objects, world.trust, scope, told.append).as_dict()
    assert (report["exit_code"], report["records"], report["failures"], report["source"]) == (0, RECORDS, 0, "list")
    assert report["logs"][0]["origin"] == EVENTS_ORIGIN
    assert report["statuses"]["OK"] == (RECORDS - 2) * 3 + 2
    assert told[-1] == Progress(EVENTS_ORIGIN, RECORDS + 1, RECORDS + 1)


def test_a_shard_that_has_no_log(signed: tuple[World, ListEvidence]) -> None:
    report = signed[0].verify(shards=(Shard("events", 3),))
    assert report.exit_code == 2
    assert "shard events/3 has no log in the ledger" in [finding.message for finding in report.findings]


# --- one record


def proven(world: World, evidence: ListEvidence | None, offset: int, **options: Any) -> EventReport:
    comparison = Comparison(evidence, **{"keys": world.keys, **options}) if evidence else None
    return verify_event(world.objects, policy_of(world.trust), SHARD, offset, comparison)


def test_every_record_is_proven(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    for offset in (0, 1, 254, 255, 256, RECORDS - 3):
        report = proven(world, evidence, offset)
        assert (report.exit_code, report.index, report.origin) == (0, offset + 1, EVENTS_ORIGIN)
        assert set(report.statuses.values()) == {Status.OK}
        assert len(report.statuses) == 3
        assert len(report.proof) <= 9
    stray = proven(world, evidence, RECORDS - 1)
    assert (stray.exit_code, stray.kind, stray.statuses) == (0, "invalid", {"source": Status.OK})
    bare = proven(world, None, 7)
    assert (bare.exit_code, bare.statuses, bare.event_id) == (0, {}, "")
    assert bare.as_dict()["exit_code"] == 0


def test_a_record_that_is_altered_gone_or_doubled(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    items = held(evidence)
    altered = proven(world, source([items[3]._replace(record=items[4].record)]), 3)
    assert (altered.exit_code, set(altered.statuses.values())) == (1, {Status.MISMATCH})
    gone = proven(world, source([]), 3)
    assert (gone.exit_code, set(gone.statuses.values())) == (1, {Status.MISSING})
    doubled = proven(world, source([items[3], items[3]]), 3)
    assert (doubled.exit_code, doubled.findings[0].message) == (1, "MISMATCH: the record is there more than once")


def test_a_record_that_no_log_holds(signed: tuple[World, ListEvidence]) -> None:
    world, evidence = signed
    with pytest.raises(EvidenceIncomplete, match=r"step E1: .* is signed up to offset 299"):
        proven(world, evidence, RECORDS)
    with pytest.raises(EvidenceIncomplete, match=r"step E1: control/0 offset 0: no log of audit.example.com holds it"):
        verify_event(world.objects, policy_of(world.trust), Shard("control", 0), 0)


def test_a_tile_that_was_altered_breaks_the_proof(signed: tuple[World, ListEvidence]) -> None:
    world = signed[0].copy()
    key = f"ledger/{EVENTS_ORIGIN}/tile/0/000"
    good = world.objects.get(key)
    world.objects.put(key, good[:32] + b"\x01" * 32 + good[64:])
    with pytest.raises(VerificationError, match=r"step E3: .* got root"):
        proven(world, None, 7)
    world.objects.delete([key])
    with pytest.raises(EvidenceIncomplete, match=r"step E3: .* tile/0/000 is not there"):
        proven(world, None, 7)
    world.objects.put(key, good)
    bundle = f"ledger/{EVENTS_ORIGIN}/tile/entries/000"
    entries = world.objects.get(bundle)
    world.objects.put(bundle, entries[:-1] + b"\x01")
    with pytest.raises(VerificationError, match=r"step E3: .* got root"):
        proven(world, None, 254)
    world.objects.put(bundle, entries[:-1])
    with pytest.raises(VerificationError, match=r"step E2: .* expected exactly 256"):
        proven(world, None, 254)
