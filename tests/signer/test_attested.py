"""Verifying what vouches from outside: a real authority, a witness, locked copies; and each way to tamper with them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from outside_world import Outside, outside
from signed_ledger import SHARD, World

from schemas.entry import ZERO
from signer.anchors import StoredHead, head_folder, stored_heads
from signer.anchors.object_lock import copy_key
from signer.checkpoint_set import decode_set, encode_set
from signer.ledger import Ledger
from signer.origin import ANCHOR_SHARD
from signer.policy import Revoked
from signer.report import Report
from stores.objects import NewObject


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("outside")) as made:
        asyncio.run(made.live(sets=6))
        asyncio.run(made.live(sets=6))
        yield made


@pytest.fixture
def made(live: Outside) -> Outside:
    """A copy of the ledger, to be tampered with."""
    other = live.world.copy()
    for info in live.world.objects.list("anchor/"):
        other.objects.put(info.key, live.world.objects.get(info.key))
    other.now = live.clock()
    vault = live.vault.__class__()
    for info in live.vault.list(""):
        vault.put(info.key, live.vault.get(info.key))
    return replace(live, world=other, vault=vault)


def heads(made: Outside) -> list[StoredHead]:
    return list(stored_heads(made.world.objects, made.anchor_origin))


def found(report: Report) -> list[tuple[str, int]]:
    every = [*report.findings, *report.anchors.findings, *(item for log in report.logs for item in log.findings)]
    return sorted({(item.step, item.exit_code) for item in every})


def words(report: Report) -> str:
    return "; ".join(item.message for item in [*report.findings, *report.anchors.findings])


def test_all_is_well(made: Outside) -> None:
    report = made.verify()
    assert found(report) == []
    assert report.exit_code == 0
    assert report.outside is not None
    assert report.policy == made.policy.digest
    counts = {(one.kind, one.name): one for one in report.outside.anchors}
    assert counts.keys() == {("tsa", "clock"), ("witness", "witness")}
    assert all(one.attestations >= 4 and one.failed == 0 for one in counts.values())
    assert report.outside.unlisted[0][:2] == ("lock", "far")
    assert 0 < report.outside.covered <= report.outside.heads
    events = next(log for log in report.logs if log.origin == made.world.origin(SHARD))
    assert events.vouched[0][0] == 0
    assert events.vouched[-1][1] <= events.size - 1
    assert [first for first, _, _, _ in events.vouched[1:]] == [last + 1 for _, last, _, _ in events.vouched[:-1]]
    assert events.vouched[0][3] == "clock, witness"
    assert report.as_dict()["outside"]["demands"] == "quorum witness and 1 of the authorities clock"


def test_without_a_policy_attestations_are_counted_and_prove_nothing(made: Outside) -> None:
    report = made.world.verify()
    assert report.exit_code == 0
    assert report.outside is not None
    assert report.outside.covered == 0
    assert {(kind, name) for kind, name, _ in report.outside.unlisted} == {
        ("lock", "far"),
        ("tsa", "clock"),
        ("witness", "witness"),
    }


def test_stripped_cosignatures(made: Outside) -> None:
    """Downgrade: evidence is taken away so that less is demanded."""
    for head in heads(made):
        made.world.objects.delete([head.key("witness-witness")])
    report = made.verify()
    assert report.exit_code == 2
    assert ("A10", 2) in found(report)
    assert "no head of the anchor log is vouched for by quorum witness and 1 of the authorities clock" in words(report)


def test_deleted_tokens(made: Outside) -> None:
    for head in heads(made)[:-1]:
        made.world.objects.delete([head.key(file) for file in head.files])
    report = made.verify()
    assert report.exit_code == 2
    assert "attestations that checkpoint sets name are not here: they were deleted" in words(report)


def test_a_changed_token(made: Outside) -> None:
    head = next(one for one in heads(made) if "tsa-clock.tsr" in one.files)
    key = head.key("tsa-clock.tsr")
    evidence = bytearray(made.world.objects.get(key))
    evidence[-5] ^= 1
    made.world.objects.put(key, bytes(evidence))
    report = made.verify()
    assert ("A7", 1) in found(report)
    assert f"{key}: the token of clock does not verify" in words(report)


def test_a_token_of_another_head(made: Outside) -> None:
    first, second = [one for one in heads(made) if "tsa-clock.tsr" in one.files][:2]
    made.world.objects.put(second.key("tsa-clock.tsr"), made.world.objects.get(first.key("tsa-clock.tsr")))
    report = made.verify()
    assert ("A7", 1) in found(report)
    assert "not over these bytes" in words(report)


def test_an_archived_checkpoint_of_another_history(made: Outside) -> None:
    """What a witness has seen, and the ledger has not: the ledger is the fork."""
    fork = World()
    fork.now = made.world.now
    asyncio.run(fork.append(1))
    asyncio.run(fork.sign())
    for _ in range(4):
        asyncio.run(fork.anchor())
    note = fork.ledger.checkpoint(made.anchor_origin)
    made.world.objects.put(head_folder(made.anchor_origin, 5) + "checkpoint", note)
    report = made.verify()
    assert ("A6", 1) in found(report)
    assert "at size 5 an archived checkpoint has seen root" in words(report)


def test_an_archived_checkpoint_under_another_size(made: Outside) -> None:
    first, second = heads(made)[:2]
    made.world.objects.put(second.key("checkpoint"), made.world.objects.get(first.key("checkpoint")))
    assert f"states size {first.size}" in words(made.verify())


def test_a_folder_without_its_checkpoint(made: Outside) -> None:
    made.world.objects.delete([heads(made)[0].key("checkpoint")])
    report = made.verify()
    assert found(report)[0] == ("A6", 2)


def test_a_truncated_anchor_log_with_its_attestations(made: Outside) -> None:
    """Whoever owns ledger and attestations cuts both back alike; the copies in the other store say so."""
    middle = heads(made)[len(heads(made)) // 2]
    cut_back(made.world, middle.size)
    for head in heads(made):
        if head.size > middle.size:
            made.world.objects.delete([head.key(file) for file in head.files])
    made.world.now = made.clock()
    without = made.verify(copies=False, control=None)
    assert "A11" not in dict(found(without))
    report = made.verify(control=None)
    assert report.exit_code == 2
    assert "a locked copy in s3://far/away has seen it at size" in words(report)


def cut_back(world: World, size: int) -> None:
    """Publish an earlier checkpoint of the anchor log, as the operator can: it was signed once."""
    origin = world.origin(ANCHOR_SHARD)
    note = world.objects.get(head_folder(origin, size) + "checkpoint")
    world.objects.put(f"ledger/{origin}/checkpoint", note)


def test_copies_of_strangers_say_nothing(made: Outside) -> None:
    made.vault.create([NewObject(copy_key(made.anchor_origin, 10**6), b"no note of ours\n\nx")])
    assert made.verify().exit_code == 0


def test_an_old_head_is_not_enough(made: Outside) -> None:
    made.world.now += 3_600_000
    report = made.verify(freshness_ms=10**9)
    assert found(report) == [("A10", 2)]
    assert "vouched for was seen 36" in words(report)


def test_what_a_revoked_key_signed_counts_where_it_was_vouched_for_before(made: Outside) -> None:
    """The key was stolen tomorrow: all is well. It was stolen before the last heads were seen: those do not count."""
    key = made.world.key.public_key
    tomorrow = replace(made.policy, revoked=(Revoked(key, made.world.now + 86_400_000),))
    report = made.verify(tomorrow)
    assert {step for step, _ in found(report)} <= {"A12"}, "but what is too young to be vouched for"
    covered = made.verify().outside
    assert covered is not None
    early = replace(made.policy, revoked=(Revoked(key, covered.first_ms),))
    report = made.verify(early)
    assert report.exit_code == 1
    findings = [item for log in (report.anchors, *report.logs) for item in log.findings]
    assert {item.step for item in findings} == {"A12"}
    assert re.search(
        r"leaves 0 to \d+ are signed with a key that is revoked since .* existed before", findings[0].message
    )


def test_a_policy_that_demands_another_authority(made: Outside, tmp_path: Path) -> None:
    from tsa_server import TimeStampServer

    from signer.tokens import read_authority

    other = read_authority("clock", TimeStampServer(tmp_path).chain)
    policy = replace(made.policy, authorities=(other,))
    report = made.verify(policy)
    assert ("A7", 1) in found(report)


@pytest.mark.parametrize(("shift", "message"), [(-600_000, "ran behind, or was set back"), (600_000, "ran ahead")])
async def test_a_clock_that_lies(tmp_path: Path, shift: int, message: str) -> None:
    """Ten minutes early: sets name tokens from their future. Ten minutes late: an authority saw heads before them."""
    with outside(tmp_path) as made:
        made.clock = lambda: real(made, shift)  # type: ignore[method-assign]
        await made.live(sets=12)
        report = made.verify(freshness_ms=10**9)
        assert report.exit_code == 1
        assert message in words(report)


def real(made: Outside, shift: int) -> int:
    import time

    made.world.now = time.time_ns() // 1_000_000 + shift
    return made.world.now


def test_tokens_stand_in_sets(made: Outside) -> None:
    ledger = Ledger(made.world.objects)
    lock = made.world.control.lock(made.anchor_origin)
    assert lock is not None
    tokens = [decode_set(ledger.entry(made.anchor_origin, lock.size, index)).token for index in range(1, lock.size)]
    assert tokens[0] == ZERO
    assert len(set(tokens)) > 2
    assert encode_set(decode_set(ledger.entry(made.anchor_origin, lock.size, 1)))
