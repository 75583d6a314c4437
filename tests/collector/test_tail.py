"""The file tail: growth, rotation, truncation, compression, long lines, globs; nothing skipped, repeats are repeats."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ailing_bus import AilingBus, Illness
from faults import Crash, Faults, FaultyBus, FaultyControl, matrix
from followed_files import SMALL, Tailing, append, close_all, line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_control import MemoryControl

from collector.files import ControlCursors
from collector.files.lines import cut_lines
from collector.files.places import Place, format_places, parse_places
from collector.gateways.docker_mcp import DockerMcpFormat
from schemas.errors import LockLost, MalformedInput, Unavailable


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    yield
    close_all()


def test_lines_are_recorded_as_they_come_each_with_its_bytes(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(tmp_path / "*.log")
    tailing.look()
    append(log, 1, 2)
    tailing.look()
    append(log, 3)
    tailing.look()
    assert tailing.numbers() == [1, 2, 3]
    metadata, _, source = tailing.events()[2]
    assert source == line(3).rstrip()
    assert (metadata["receiver"], metadata["gateway"]) == ("file", "files")
    assert json.loads(metadata["extras"]["file.path"]) == str(log)
    assert json.loads(metadata["extras"]["file.offset"]) == len(line(1)) + len(line(2))
    snapshot = tailing.tail.snapshot()
    assert (snapshot.files, snapshot.lines, snapshot.lag_bytes) == (1, 3, 0)


def test_a_line_that_is_not_whole_yet_waits(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(log)
    log.write_bytes(line(1) + line(2)[:20])
    tailing.look()
    assert tailing.numbers() == [1]
    assert tailing.tail.snapshot().lag_bytes == 20
    with log.open("ab") as file:
        file.write(line(2)[20:])
    tailing.look()
    assert tailing.numbers() == [1, 2]


def test_a_last_line_without_an_end_is_taken_when_nothing_has_come_for_long(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(line(1) + line(2).rstrip())
    os.utime(log, (1000, 1000))
    tailing = Tailing(log)
    tailing.now = 1000 + SMALL.settle_seconds
    tailing.look()
    assert tailing.numbers() == [1]
    tailing.now += 1
    tailing.look()
    assert tailing.numbers() == [1, 2]


def test_two_equal_lines_are_two_records(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(line(7) * 3)
    tailing = Tailing(tmp_path / "a.log")
    tailing.look()
    assert tailing.numbers() == [7, 7, 7]


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(log)
    append(log, 1, 2)
    tailing.look()
    append(log, 3)
    tailing.start()
    tailing.look()
    assert [content["n"] for _, content, _ in tailing.events()] == [1, 2, 3]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("count", [3, 100], ids=["small", "beyond an edge"])
def test_rotation_by_rename(tmp_path: Path, restart: bool, count: int) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(tmp_path / "a.log*")
    append(log, *range(count))
    tailing.look()
    append(log, 1000)
    log.rename(tmp_path / "a.log.1")
    append(log, 1001)
    if restart:
        tailing.start()
    tailing.look()
    append(tmp_path / "a.log.1", 1002)
    tailing.look()
    assert sorted(content["n"] for _, content, _ in tailing.events()) == [*range(count), 1000, 1001, 1002]
    if not restart:
        assert tailing.tail.snapshot().rotations >= 1


@pytest.mark.parametrize("restart", [False, True])
def test_rotation_by_copy_and_truncate(tmp_path: Path, restart: bool) -> None:
    """What was written between the last look and the copy is in the copy alone."""
    log = tmp_path / "a.log"
    tailing = Tailing(tmp_path / "a.log*")
    append(log, *range(100))
    tailing.look()
    append(log, 1000)
    shutil.copy(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    append(log, 1001)
    if restart:
        tailing.start()
    tailing.look()
    append(log, 1002)
    tailing.look()
    assert [content["n"] for _, content, _ in tailing.events()] in (
        [*range(100), 1000, 1001, 1002],
        [*range(100), 1001, 1000, 1002],
    )
    if not restart:
        assert tailing.tail.snapshot().truncations == 1


def test_a_small_copy_is_read_again_under_the_same_ids(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(tmp_path / "a.log*")
    append(log, 1, 2)
    tailing.look()
    shutil.copy(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    tailing.look()
    assert len(tailing.events()) == 4
    assert tailing.numbers() == [1, 2]


def test_a_copy_in_the_making_is_waited_for(tmp_path: Path) -> None:
    log, copy = tmp_path / "a.log", tmp_path / "a.log.1"
    tailing = Tailing(tmp_path / "a.log*")
    append(log, *range(100))
    tailing.look()
    whole = log.read_bytes()
    copy.write_bytes(whole[:3000])
    assert not asyncio.run(tailing.tail.round())
    copy.write_bytes(whole)
    os.truncate(log, 0)
    tailing.look()
    assert [content["n"] for _, content, _ in tailing.events()] == list(range(100))


def test_what_was_truncated_and_is_longer_again_is_a_new_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(log)
    append(log, 1, 2)
    tailing.look()
    log.write_bytes(b"".join(line(number) for number in range(10, 30)))
    tailing.look()
    assert tailing.numbers() == [1, 2, *range(10, 30)]
    assert tailing.tail.snapshot().truncations == 1


def test_a_file_that_is_deleted_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(tmp_path / "*.log")
    append(log, 1)
    tailing.look()
    append(log, 2)
    log.unlink()
    append(tmp_path / "b.log", 3)
    tailing.look()
    assert sorted(tailing.numbers()) == [1, 2, 3]
    assert tailing.tail.snapshot().files == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_was_read_and_then_compressed_is_not_read_again(tmp_path: Path, restart: bool) -> None:
    log = tmp_path / "a.log"
    tailing = Tailing(tmp_path / "a.log*")
    append(log, *range(100))
    tailing.look()
    append(log, 1000)
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    if restart:
        tailing.start()
    tailing.look()
    assert sorted(tailing.numbers()) == [*range(100), 1000]
    tailing.start()
    tailing.look()
    sent = len(tailing.events())
    assert sent == len(tailing.numbers()) or (sent == 102 and not restart), "1000 may have been read from both"


def test_a_compressed_file_is_read_once(tmp_path: Path) -> None:
    halves = [gzip.compress(b"".join(line(number) for number in numbers)) for numbers in (range(300), range(300, 600))]
    (tmp_path / "old.gz").write_bytes(b"".join(halves))
    tailing = Tailing(tmp_path / "*.gz")
    for _ in range(3):
        tailing.look()
        tailing.start()
    assert [content["n"] for _, content, _ in tailing.events()] == list(range(600))


def test_a_compressed_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(line(number) for number in range(50)))
    packed = tmp_path / "old.gz"
    tailing = Tailing(packed)
    for size in (10, 200, len(whole)):
        packed.write_bytes(whole[:size])
        assert not asyncio.run(tailing.tail.round())
    tailing.look()
    assert tailing.numbers() == list(range(50))


@pytest.mark.parametrize("damage", ["cut", "bytes"])
def test_of_a_damaged_file_what_can_be_read_is_and_the_rest_is_said(tmp_path: Path, damage: str) -> None:
    whole = bytearray(gzip.compress(b"".join(line(number, pad=os.urandom(9).hex()) for number in range(200)), mtime=0))
    if damage == "bytes":
        whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    (tmp_path / "old.gz").write_bytes(whole[:-60] if damage == "cut" else whole)
    tailing = Tailing(tmp_path / "old.gz")
    for _ in range(2):
        tailing.look()
        tailing.start()
    kinds = [metadata["kind"] for metadata, _, _ in tailing.events()]
    assert kinds.count("prompt") >= 20
    told = [metadata for metadata, _, _ in tailing.events() if "does not inflate" in metadata["error_message"]]
    assert len(told) == 1
    assert told[0]["content_state"] == "not_captured"


def test_a_line_beyond_the_limit_is_recorded_as_far_as_it_fits(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    long = b"x" * 50_000
    log.write_bytes(line(1) + long + b"\n" + line(2) + b"y" * 30_000)
    tailing = Tailing(log)
    tailing.look()
    with log.open("ab") as file:
        file.write(b"y" * 30_000)
    tailing.start()
    tailing.look()
    with log.open("ab") as file:
        file.write(b"y\n" + line(3))
    tailing.look()
    assert tailing.numbers() == [1, 2, 3]
    unparsed = [(metadata, source) for metadata, _, source in tailing.events() if metadata["kind"] == "unparsed"]
    assert [source for _, source in unparsed] == [b"x" * 20_000, b"y" * 20_000]
    assert all("more than 20000 bytes" in metadata["error_message"] for metadata, _ in unparsed)
    assert all(metadata["content_state"] == "truncated" for metadata, _ in unparsed)


def test_a_long_line_within_the_limit_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(line(1, pad="x" * 15_000) + line(2))
    tailing = Tailing(log)
    tailing.look()
    assert tailing.numbers() == [1, 2]


def test_what_is_no_event_is_kept_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(
        b"\xef\xbb\xbf"
        + line(1)
        + b'{"kind": "prompt"\n\n  \r\n\xff\xfe\n'
        + line(2).replace(b"\n", b"\r\n")
        + b"null\n"
    )
    tailing = Tailing(log)
    tailing.look()
    assert tailing.numbers() == [1, 2]
    broken = [source for metadata, _, source in tailing.events() if metadata["kind"] == "unparsed"]
    assert broken == [b'{"kind": "prompt"', b"\xff\xfe", b"null"]


def test_text_lines_without_a_time_are_known_by_their_place(tmp_path: Path) -> None:
    log = tmp_path / "mcp.log"
    log.write_bytes(b"- Calling tool search with arguments: object with 2 field(s)\n" * 2)
    tailing = Tailing(log, format=DockerMcpFormat())
    tailing.look()
    tailing.cursors.move("file:test", tailing.cursors.get("file:test"), "")  # type: ignore[attr-defined]
    tailing.start()
    tailing.look()
    ids = [metadata["event_id"] for metadata, _, _ in tailing.events()]
    assert len(ids) == 4
    assert len(set(ids)) == 2


def test_files_of_a_tree_are_found_as_they_appear(tmp_path: Path) -> None:
    tailing = Tailing(tmp_path / "**" / "*.ndjson")
    tailing.look()
    for number in range(3):
        folder = tmp_path / f"day-{number}"
        folder.mkdir()
        append(folder / "a.ndjson", number)
        append(folder / "other.txt", 99)
        tailing.look()
    assert tailing.numbers() == [0, 1, 2]


async def test_while_the_bus_is_away_nothing_moves(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, 1, 2)
    tailing = Tailing(log, bus=AilingBus)
    tailing.bus.ill = Illness.DOWN
    with pytest.raises(Unavailable, match="injected"):
        await tailing.tail.round()
    stop = asyncio.Event()
    running = asyncio.create_task(tailing.tail.run(stop))
    while not tailing.tail.snapshot().problem:
        await asyncio.sleep(0)
    tailing.bus.ill = Illness.NONE
    while tailing.tail.snapshot().lines < 2:
        await asyncio.sleep(0)
    stop.set()
    await running
    assert tailing.tail.snapshot().problem == ""
    assert len(await tailing._open()) == 2


async def test_two_processes_with_the_same_files_do_not_harm_each_other(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    append(log, 1)
    tailing = Tailing(log)
    other = Tailing(log, cursors=tailing.cursors)
    other.memory, other.bus, other.keys = tailing.memory, tailing.bus, tailing.keys
    other.start()
    await tailing.settle()
    await other.settle()
    append(log, 2)
    await tailing.settle()
    with pytest.raises(LockLost, match="no longer where it was"):
        await other.settle()
    other.tail.close()
    append(log, 3)
    await other.settle()
    found = {metadata["event_id"]: content["n"] for metadata, content, _ in await tailing._open()}
    assert sorted(found.values()) == [1, 2, 3]


PLACES = st.builds(
    Place,
    st.integers(0), st.integers(0), st.text(max_size=20), st.text(max_size=4), st.integers(0), st.text(max_size=4),
    st.text(max_size=4), st.booleans(), st.text(max_size=4),
)  # fmt: skip


@given(st.lists(PLACES, max_size=4))
def test_places_are_read_as_they_are_written(places: list[Place]) -> None:
    assert parse_places(format_places(places)) == places


@pytest.mark.parametrize("text", ["x", "[]", "[2,[]]", "[1,[[1]]]", "[1,[ ]]", "{}", "null"])
def test_another_cursor_is_refused(text: str) -> None:
    with pytest.raises(MalformedInput, match="got a cursor of files"):
        parse_places(text)


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"").rstrip(b"\r")), max_size=20),
    end=st.booleans(),
    block=st.integers(1, 30),
)
def test_every_byte_is_in_one_line(lines: list[bytes], end: bool, block: int) -> None:
    data = b"\n".join(lines) + (b"\n" if end and lines else b"")
    found, offset, scanned, skipping = [], 0, 0, False
    while True:
        cut = cut_lines(
            lambda at, size: data[at : at + size],
            offset, scanned=scanned, skipping=skipping, final=True, block=block, max_line=1000,
        )  # fmt: skip
        if not cut.lines and cut.offset == offset:
            break
        found += cut.lines
        offset, scanned, skipping = cut.offset, cut.scanned, cut.skipping
    assert offset == len(data)
    expected = data.split(b"\n")[: None if data and not data.endswith(b"\n") else -1] if data else []
    assert [one.data for one in found] == expected
    assert all(data[one.offset : one.offset + len(one.data)] == one.data for one in found)


ACTS = st.lists(
    st.sampled_from(["write", "half", "look", "kill", "rename", "copytruncate", "compress", "delete old"]), max_size=25
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_whatever_happens_every_line_is_there(tmp_path: Path, acts: list[str]) -> None:
    """Rotation happens after a look here: what nobody looked at before a truncation or a deletion cannot be had."""
    folder = Path(os.path.realpath(tmp_path)) / os.urandom(4).hex()
    folder.mkdir()
    log, tailing, written, rotated = folder / "a.log", Tailing(folder / "a.log*"), 0, 0
    for act in acts:
        if act in ("write", "half"):
            with log.open("ab") as file:
                for _ in range(60):
                    file.write(line(written))
                    written += 1
                if act == "half":
                    file.write(line(written)[:9])
                    file.flush()
                    tailing.look()
                    file.write(line(written)[9:])
                    written += 1
        elif act == "look":
            tailing.look()
        elif act == "kill":
            tailing.start()
        elif log.exists() and act != "delete old":
            tailing.look()
            rotated += 1
            if act == "rename":
                log.rename(folder / f"a.log.{rotated}")
            elif act == "copytruncate":
                shutil.copy(log, folder / f"a.log.{rotated}")
                os.truncate(log, 0)
            else:
                (folder / f"a.log.{rotated}.gz").write_bytes(gzip.compress(log.read_bytes()))
                log.unlink()
        elif act == "delete old":
            tailing.look()
            for old in folder.glob("a.log.*"):
                old.unlink()
    tailing.look()
    assert sorted(tailing.numbers()) == list(range(written))
    close_all()


def _story(folder: Path, faults: Faults) -> tuple[Tailing, list[int]]:
    """Growth and a rotation, with a process that starts anew whenever it died or its round failed."""
    folder.mkdir()
    log, written = folder / "a.log", list(range(300))
    control = ControlCursors(FaultyControl(MemoryControl(), faults))
    tailing = Tailing(folder / "a.log*", bus=lambda memory: FaultyBus(memory, faults), cursors=control)

    def look() -> None:
        for _ in range(3):
            try:
                tailing.look()
            except Unavailable:
                tailing.tail.close()
            except Crash:
                tailing.start()

    append(log, *written[:150])
    look()
    append(log, *written[150:240])
    look()
    log.rename(folder / "a.log.1")
    append(log, *written[240:])
    look()
    return tailing, written


@pytest.mark.slow
def test_dying_or_failing_at_any_write_skips_nothing_and_makes_no_record_twice(tmp_path: Path) -> None:
    faults = Faults()
    _story(tmp_path / "whole", faults)
    assert faults.writes >= 8, faults.trace
    for number, fault in matrix(faults.writes):
        tailing, written = _story(tmp_path / f"{number}-{fault.name}", Faults({number: fault}))
        assert sorted(tailing.numbers()) == written, (number, fault)
        if faults.trace[number - 1] == "bus.append" and not fault.writes:
            assert len(tailing.events()) == len(written), "what was not written needs no repeat"
        close_all()
