"""The parity statement: what it finds, what it says, who signed it, and that it is made each night."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from memory_objects import MemoryObjects
from traffic import Stopped

from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.exhibits import Exhibits
from affidavit.layout import Layout
from affidavit.parity import Held, compare, day_bounds, digest_of, parse_day, ranges
from affidavit.parity_job import ParityKeeper, check_statement, read_statement, statement_key
from affidavit.settings import Settings, load
from schemas.errors import MalformedInput, Unavailable, VerificationError
from schemas.ids import EVENTS, Offset, Shard
from signer.keyfile import FileKey
from signer.note import parse_note

LEAVES = [(at, bytes([at]) * 32) for at in range(20)]


def test_the_same_everywhere() -> None:
    held = compare(LEAVES, LEAVES)
    assert held.agrees
    assert (held.records, held.digest) == (20, digest_of(LEAVES)[0])
    assert digest_of(LEAVES) == (
        hashlib.sha256(b"".join(at.to_bytes(8, "big") + leaf for at, leaf in LEAVES)).hexdigest(),
        20,
    )


def test_what_differs_is_named() -> None:
    there = [one for one in LEAVES if one[0] not in (3, 4, 19)]
    there[5] = (there[5][0], b"x" * 32)
    there.insert(9, there[8])
    there.append((25, b"y" * 32))
    held = compare(LEAVES, there)
    assert not held.agrees
    assert (held.missing, held.altered, held.repeated) == ([3, 4, 19], [there[5][0], 25], 1)
    assert held.digest != digest_of(LEAVES)[0]
    assert held.as_dict()["missing_ranges"] == [[3, 4], [19, 19]]


def test_a_repeat_that_says_something_else_is_altered() -> None:
    held = compare(LEAVES, [*LEAVES[:5], (4, b"z" * 32), *LEAVES[5:]])
    assert (held.altered, held.repeated) == ([4], 1)


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_any_two_sets(signed: set[int], there: set[int]) -> None:
    def leaves(offsets: set[int]) -> list[tuple[int, bytes]]:
        return [(offset, bytes([offset]) * 32) for offset in sorted(offsets)]

    held = compare(leaves(signed), leaves(there))
    assert held.missing == sorted(signed - there)
    assert sorted(held.altered) == sorted(there - signed)
    assert held.records == len(signed & there)
    assert sum(b - a + 1 for a, b in ranges(held.missing)) == len(held.missing)


def test_days() -> None:
    today = date(2026, 11, 27)
    assert parse_day("yesterday", today) == date(2026, 11, 26)
    begin, end = day_bounds(today)
    assert end - begin == 86_400_000
    assert datetime.fromtimestamp(begin / 1000, UTC) == datetime(2026, 11, 27, tzinfo=UTC)
    for text in ("2026-11-28", "tomorrow", ""):
        with pytest.raises(MalformedInput, match="got day"):
            parse_day(text, today)
    assert Held(reason="away").agrees is False


@pytest.fixture
def directory(stopped: Stopped, tmp_path: Path) -> Path:
    return shutil.copytree(stopped.data, tmp_path / "data", symlinks=True)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, expect: int) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["parity", *arguments, "--json"]) == expect
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_a_deployment_whose_places_agree(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = datetime.now(UTC).date()
    found = shown(capsys, "--data", str(directory), "--day", "today", expect=exits.DONE)
    assert found["signed"] is False, "a day that is not over is not signed"
    said = found["statement"]
    assert said["records"] > 20
    assert said["day"] == day.isoformat()
    for log in said["logs"]:
        assert {one["digest"] for one in log["destinations"].values()} == {log["digest"]}
    assert {name for log in said["logs"] for name in log["destinations"]} == {"archive", "clickhouse"}
    assert run(["parity", "--data", str(directory), "--day", "today"]) == exits.DONE
    assert "are the same everywhere" in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_destination_lost_or_changed_is_named(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout(directory)
    with Exhibits(layout, None) as exhibits:
        assert exhibits.wiring is not None
        client = exhibits.wiring.engine.client()
        client.command(
            "ALTER TABLE events DELETE WHERE topic = 'events' AND offset IN (2, 3) SETTINGS mutations_sync = 1"
        )
        client.command(
            "ALTER TABLE events UPDATE leaf = unhex(repeat('ab', 32)) WHERE topic = 'events' AND offset = 5 "
            "SETTINGS mutations_sync = 1"
        )
        client.close()
    said = shown(capsys, "--data", str(directory), "--day", "today", expect=exits.INCOMPLETE)["statement"]
    (events,) = [log for log in said["logs"] if log["shard"] == "events/0"]
    clickhouse, archive = events["destinations"]["clickhouse"], events["destinations"]["archive"]
    assert clickhouse["missing_ranges"] == [[2, 3]]
    assert clickhouse["altered_ranges"] == [[5, 5]]
    assert archive["agrees"] is True
    assert run(["parity", "--data", str(directory), "--day", "today"]) == exits.INCOMPLETE
    out = capsys.readouterr()
    assert "clickhouse, events/0: missing: offset 2 to 3" in out.out
    assert "the places differ" in out.err


@pytest.mark.slow
def test_it_is_made_each_night_once_and_chained(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = Layout(directory)
    settings = load(layout)
    now = datetime.now(UTC) + timedelta(days=1)
    clock = [now.replace(hour=0, minute=10)]
    with Exhibits(layout, None) as exhibits:
        assert exhibits.wiring is not None
        key = exhibits.wiring.signing_key
        keeper = ParityKeeper(layout, settings, key, 20.0, lambda: clock[0])
        before = now.date() - timedelta(days=2)
        assert keeper.look() in (before, None), "yesterday is not due yet; who ran it may have made the day before"
        clock[0] = now.replace(hour=0, minute=21)
        day = now.date() - timedelta(days=1)
        assert keeper.look() == day
        assert keeper.look() is None
        kept = read_statement(exhibits.objects, day)
        assert kept is not None
        data, note = kept
        said = json.loads(data)
        assert said["agrees"]
        assert said["records"] > 20
        first = read_statement(exhibits.objects, before)
        assert first is not None
        assert said["previous"] == {"day": before.isoformat(), "sha256": hashlib.sha256(first[0]).hexdigest()}
        name, keys = settings.deployment.name, list(exhibits.trust.public_keys)
        check_statement(name, day, data, note, keys)
        assert parse_note(note).text.splitlines()[:2] == [f"{name}/parity", day.isoformat()]
        for changed in ((day, data.replace(b'"agrees": true', b'"agrees": false'), note), (before, data, note)):
            with pytest.raises(VerificationError, match="not the one that was signed"):
                check_statement(name, *changed, keys)
        with pytest.raises(VerificationError, match="expected one by a trusted key"):
            check_statement(name, day, data, note, [bytes(32)])
        exhibits.objects.get(statement_key(before))
    capsys.readouterr()
    assert run(["parity", "--data", str(directory), "--day", before.isoformat()]) == exits.DONE
    assert "signed and kept" in capsys.readouterr().err


@pytest.mark.slow
def test_a_destination_that_is_away_is_waited_for(directory: Path) -> None:
    shutil.rmtree(directory / "clickhouse")
    layout = Layout(directory)
    now = datetime.now(UTC) + timedelta(days=1)
    clock = [now.replace(hour=1)]
    with Exhibits(layout, None) as exhibits:
        assert exhibits.wiring is not None
        keeper = ParityKeeper(layout, load(layout), exhibits.wiring.signing_key, 20.0, lambda: clock[0])
        day = now.date() - timedelta(days=1)
        with pytest.raises(Unavailable, match="clickhouse: EvidenceIncomplete: there is no ClickHouse"):
            keeper.look()
        assert read_statement(exhibits.objects, day) is None
        clock[0] = now.replace(hour=7)
        assert keeper.look() == day
        kept = read_statement(exhibits.objects, day)
    assert kept is not None
    said = json.loads(kept[0])
    assert said["agrees"] is False


async def test_a_stop_does_not_wait_for_a_comparison(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A day of ten million records takes minutes; a signer that is told to end has seconds."""
    keeper = ParityKeeper(Layout(tmp_path), Settings(), FileKey(Ed25519PrivateKey.generate()), 20.0)
    counted = [0]

    def endless(exhibits: Any, day: date, made_at: datetime, told: Any) -> bytes:
        while True:
            counted[0] += 1
            told(counted[0], None, "records")

    monkeypatch.setattr("affidavit.parity_job.Exhibits", FakeExhibits)
    monkeypatch.setattr("affidavit.parity_job.make_statement", endless)
    stop = asyncio.Event()
    running = asyncio.create_task(keeper.run(stop))
    while not counted[0]:
        await asyncio.sleep(0.001)
    stop.set()
    await asyncio.wait_for(running, 10)


class FakeExhibits:
    """Nothing is kept yet."""

    def __init__(self, *given: Any) -> None:
        self.objects = MemoryObjects()

    def __enter__(self) -> FakeExhibits:
        return self

    def __exit__(self, *error: object) -> None: ...


@pytest.mark.slow
def test_archive_and_clickhouse_state_the_leaves_of_the_ledger(directory: Path) -> None:
    with Exhibits(Layout(directory), None) as exhibits:
        shard, everything = Shard(EVENTS, 0), (Offset(0), Offset(1 << 40))
        archive: Any = exhibits.source("archive")
        clickhouse: Any = exhibits.source("clickhouse")
        found = list(archive.leaves(shard, *everything))
        assert found
        assert list(clickhouse.leaves(shard, Offset(0), Offset(len(found)))) == found
        assert list(archive.leaves(shard, Offset(3), Offset(7))) == found[3:7]
