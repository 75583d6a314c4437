"""What only the SQLite bus does: its file, group commit, other processes, kill -9, full and locked disks."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bus_messages import message

from schemas.errors import ConfigurationError, EvidenceIncomplete, InvariantError, MalformedInput, Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Bounds, Message, sqlite_file
from stores.bus.sqlite import SqliteBus
from stores.bus.sqlite_file import BusFile

EVENTS0 = Shard("events", 0)
ONE_SHARD = {"events": 1}


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[SqliteBus]:
    opened = SqliteBus(tmp_path / "bus.db", ONE_SHARD, busy_seconds=0.05)
    yield opened
    await opened.close()


async def contents(path: Path) -> dict[Shard, list[Message]]:
    """Everything on an existing bus, after checking that offsets and times are as promised."""
    with closing(sqlite3.connect(path)) as database:
        partitions = dict(database.execute("SELECT name, partitions FROM topics").fetchall())
    bus = SqliteBus(path, partitions)
    found: dict[Shard, list[Message]] = {}
    try:
        for shard in [shard for topic in partitions for shard in await bus.shards(topic)]:
            there = found[shard] = []
            while batch := await bus.read(shard, Offset(len(there)), max_records=5000, max_bytes=1 << 26):
                there += batch
            assert [one.offset for one in there] == list(range((await bus.bounds(shard)).end))
            assert there == sorted(there, key=lambda one: one.time_ms)
    finally:
        await bus.close()
    return found


async def test_reopening_finds_everything(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bus.db"
    bus = SqliteBus(path)
    positions = await bus.append([message(number, b"%d" % number) for number in range(50)])
    await bus.commit("sink", EVENTS0, Offset(3))
    identity = await bus.identity("events")
    await bus.close()
    bus = SqliteBus(path)
    assert await bus.identity("events") == identity
    assert await bus.committed("sink", EVENTS0) == 3
    (again,) = await bus.append([message(50, b"0")])
    assert again.offset == 1 + max(one.offset for one in positions if one.shard == again.shard)
    await bus.close()


async def test_another_file_has_another_identity(tmp_path: Path) -> None:
    buses = [SqliteBus(tmp_path / name) for name in ("a.db", "b.db")]
    assert len({await bus.identity("events") for bus in buses}) == 2
    for bus in buses:
        await bus.close()


def test_other_partition_counts_are_refused(tmp_path: Path) -> None:
    SqliteBus(tmp_path / "bus.db", {"events": 2})
    for partitions in ({"events": 3}, {"events": 2, "control": 1}, {}):
        with pytest.raises(ConfigurationError, match="partition counts are fixed when the bus is created"):
            SqliteBus(tmp_path / "bus.db", partitions)


@pytest.mark.parametrize("partitions", [{"events": 0}, {"other": 1}])
def test_partitions_that_cannot_be(tmp_path: Path, partitions: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="expected 1 or more of events, control, deadletter"):
        SqliteBus(tmp_path / "bus.db", partitions)
    SqliteBus(tmp_path / "bus.db", {"events": 1})


def test_files_that_are_no_bus(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE topics (name, partitions, identity)")
        other.commit()
    with pytest.raises(ConfigurationError, match="is not an affidavit bus of format 1"):
        SqliteBus(tmp_path / "other.db")
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(Unavailable, match="file is not a database"):
        SqliteBus(tmp_path / "text")


async def test_only_its_owner_reads_the_files(bus: SqliteBus, tmp_path: Path) -> None:
    await bus.append([message(0)])
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("bus.db*")} == {0o600}


async def test_every_commit_is_fsynced(bus: SqliteBus, tmp_path: Path) -> None:
    file = BusFile(tmp_path / "bus.db", busy_seconds=1)
    try:
        assert file._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert file._db.execute("PRAGMA synchronous").fetchone() == (2,)
    finally:
        file.close()


async def test_appends_that_wait_share_a_transaction(tmp_path: Path) -> None:
    commits: list[int] = []
    bus = SqliteBus(tmp_path / "bus.db", ONE_SHARD, clock=lambda: commits.append(1) or len(commits))
    await asyncio.gather(*[bus.append([message(number)]) for number in range(500)])
    await bus.close()
    assert len(commits) < 100
    assert len((await contents(tmp_path / "bus.db"))[EVENTS0]) == 500


async def test_a_cancelled_append_is_written_all_the_same(bus: SqliteBus, tmp_path: Path) -> None:
    append = asyncio.create_task(bus.append([message(0)]))
    await asyncio.sleep(0)
    append.cancel()
    await asyncio.gather(append, return_exceptions=True)
    await bus.append([message(1)])
    assert (await bus.bounds(EVENTS0)).end == 2


async def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path / "bus.db", ONE_SHARD)
    appends = [asyncio.create_task(bus.append([message(number)])) for number in range(100)]
    await asyncio.sleep(0)
    await bus.close()
    await bus.close()
    assert [(await append)[0].offset for append in appends] == list(range(100))
    with pytest.raises(Unavailable, match="the bus is closed"):
        await bus.append([message(0)])
    assert len((await contents(tmp_path / "bus.db"))[EVENTS0]) == 100


async def test_several_loops_in_several_threads(bus: SqliteBus, tmp_path: Path) -> None:
    async def work(number: int) -> None:
        for turn in range(20):
            (position,) = await bus.append([message(turn, b"%d" % number)])
            assert await bus.wait(EVENTS0, position.offset, 10)
            (found,) = await bus.read(EVENTS0, position.offset, max_records=1, max_bytes=1)
            assert found.key == b"%d" % number

    threads = [threading.Thread(target=asyncio.run, args=(work(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    await work(9)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert (await bus.bounds(EVENTS0)).end == 100


async def test_time_does_not_go_back_across_a_restart(tmp_path: Path) -> None:
    for now, expected in ((2000, 2000), (1000, 2000), (3000, 3000)):
        bus = SqliteBus(tmp_path / "bus.db", ONE_SHARD, clock=lambda now=now: now)
        (position,) = await bus.append([message(0)])
        assert position.time_ms == expected
        await bus.close()


async def test_what_retention_took_is_gone_and_said_so(bus: SqliteBus, tmp_path: Path) -> None:
    for number in range(3):
        await bus.append([message(number), message(number)])
    with closing(sqlite3.connect(tmp_path / "bus.db")) as other:
        other.execute('DELETE FROM "events/0" WHERE first < 4')
        other.commit()
        assert await bus.bounds(EVENTS0) == Bounds(Offset(4), Offset(6))
        with pytest.raises(EvidenceIncomplete, match="events/0 offset 3: no longer on the bus, which begins at 4"):
            await bus.read(EVENTS0, Offset(3), max_records=1, max_bytes=1)
        other.execute("UPDATE shards SET start = 6, time_ms = 9999999999999")
        other.execute('DELETE FROM "events/0"')
        other.commit()
    assert await bus.bounds(EVENTS0) == Bounds(Offset(6), Offset(6))
    with pytest.raises(EvidenceIncomplete, match="begins at 6"):
        await bus.read(EVENTS0, Offset(5), max_records=1, max_bytes=1)
    assert await bus.read(EVENTS0, Offset(6), max_records=1, max_bytes=1) == []
    (position,) = await bus.append([message(0)])
    assert (position.offset, position.time_ms) == (6, 9999999999999)


async def test_a_row_that_does_not_add_up_is_malformed(bus: SqliteBus, tmp_path: Path) -> None:
    await bus.append([message(0), message(1)])
    with closing(sqlite3.connect(tmp_path / "bus.db")) as other:
        for change in ("count = 3", "count = 2000", "body = body || x'00'", "head = substr(head, 1, 30)"):
            other.execute("BEGIN")
            other.execute(f'UPDATE "events/0" SET {change}')
            other.commit()
            with pytest.raises(MalformedInput, match="events/0 offset 0: got"):
                await bus.read(EVENTS0, Offset(0), max_records=10, max_bytes=1 << 20)


async def test_a_locked_file_is_unavailable_and_nothing_is_half_written(bus: SqliteBus, tmp_path: Path) -> None:
    await bus.append([message(0)])
    with closing(sqlite3.connect(tmp_path / "bus.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="database is locked"):
            await bus.append([message(1), message(2)])
        assert len(await bus.read(EVENTS0, Offset(0), max_records=9, max_bytes=1000)) == 1
        other.execute("ROLLBACK")
    (position,) = await bus.append([message(3)])
    assert position.offset == 1


async def test_a_swamped_writer_is_unavailable(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path / "bus.db", ONE_SHARD, queue_records=10, queue_bytes=10_000)
    with closing(sqlite3.connect(tmp_path / "bus.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        # The first is taken by the writer, which waits for the lock; the others fill the queue behind it.
        results = [asyncio.create_task(bus.append([message(number)] * 3)) for number in range(9)]
        done, pending = await asyncio.wait(results, return_when=asyncio.FIRST_EXCEPTION)
        refused = [task for task in done if isinstance(task.exception(), Unavailable)]
        with pytest.raises(Unavailable, match="messages waiting to be written"):
            await refused[0]
        other.execute("ROLLBACK")
    await asyncio.wait(pending)
    refused = [task for task in results if task.exception() is not None]
    assert 3 <= len(refused) <= 6
    assert (await bus.bounds(EVENTS0)).end == 3 * (9 - len(refused))
    await bus.append([message(0, value=b"x" * 20_000)])  # larger than the queue, but alone
    await bus.close()


async def test_readers_do_not_make_the_log_grow(
    bus: SqliteBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOG_BYTES", 200_000)
    log, longest = tmp_path / "bus.db-wal", 0
    with closing(sqlite3.connect(tmp_path / "bus.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute('SELECT count(*) FROM "events/0"').fetchone()  # a snapshot that keeps the log from starting over
        for number in range(60):
            await bus.append([message(number, value=b"x" * 10_000)])
        longest = log.stat().st_size
        reader.execute("ROLLBACK")
    assert longest > 500_000
    for number in range(200):
        await bus.append([message(number, value=b"x" * 10_000)])
        assert log.stat().st_size < 2.5 * longest
    assert log.stat().st_size < 1_000_000
    assert (await bus.bounds(EVENTS0)).end == 260


FULL = """
import asyncio, resource, sys
from bus_messages import message
from schemas.errors import Unavailable
from stores.bus.sqlite import SqliteBus

async def main():
    bus = SqliteBus(sys.argv[1], {"events": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    refused = 0
    for number in range(100):
        try:
            await bus.append([message(number, value=b"x" * 20_000)] * 2)
            print(number)
        except Unavailable as error:
            assert "disk" in str(error), error
            refused += 1
    assert refused > 10, refused
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await bus.append([message(100)])
    print(100)
    await bus.close()

asyncio.run(main())
"""


async def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    # A limit on file size fails writes as a full disk does, and can be lifted again.
    command = [sys.executable, "-c", FULL, str(tmp_path / "bus.db")]
    done = await asyncio.to_thread(subprocess.run, command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    acknowledged = [int(line) for line in done.stdout.split()]
    assert acknowledged[-1] == 100
    found = [int.from_bytes(one.event_id, "big") for one in (await contents(tmp_path / "bus.db"))[EVENTS0]]
    assert set(acknowledged) <= set(found)
    assert all(found.count(number) == (1 if number == 100 else 2) for number in found)


APPENDER = """
import asyncio, sys
from bus_messages import message
from stores.bus.sqlite import SqliteBus

async def main(path, writer, appends):
    bus = SqliteBus(path, {"events": 2})
    async def lane(lane):
        for number in range(lane, appends, 4):
            size = 1 + (number * 7) % 40
            messages = [message(number, b"%d/%d" % (writer, number), value=b"%d" % one * 300) for one in range(size)]
            positions = await bus.append(messages)
            lines = [f"{p.shard} {p.offset} {writer}/{number} {one}\\n" for one, p in enumerate(positions)]
            print("".join(lines), end="", flush=True)
    await asyncio.gather(*[lane(one) for one in range(4)])
    await bus.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def environment() -> dict[str, str]:
    """Lets a child process import what this one can."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}


def start_appender(path: Path, writer: int, appends: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(path), str(writer), str(appends)],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    )


def check_acknowledged(found: dict[Shard, list[Message]], acknowledged: str) -> None:
    """Each acknowledged message lies where its producer was told."""
    whole = acknowledged[: acknowledged.rfind("\n") + 1]  # the last line may have been cut by the kill
    for line in whole.splitlines():
        shard, offset, key, one = line.split()
        there = found[Shard("events", int(shard[-1]))][int(offset)]
        assert (there.key, there.value) == (key.encode(), one.encode() * 300)


def check_no_half_appends(found: dict[Shard, list[Message]]) -> None:
    """Each append is there once and whole, or not at all."""
    counts: dict[bytes, int] = {}
    for one in [one for messages in found.values() for one in messages]:
        counts[one.key] = counts.get(one.key, 0) + 1
    for key, count in counts.items():
        assert count == 1 + (int(key.split(b"/")[1]) * 7) % 40


async def test_processes_append_side_by_side(tmp_path: Path) -> None:
    children = [start_appender(tmp_path / "bus.db", writer, 60) for writer in range(3)]
    outputs = [(await asyncio.to_thread(child.communicate))[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    found = await contents(tmp_path / "bus.db")
    for output in outputs:
        check_acknowledged(found, output)
    check_no_half_appends(found)
    assert sum(map(len, found.values())) == sum(output.count("\n") for output in outputs)


async def kill_and_check(path: Path, kills: int, chance: random.Random) -> None:
    acknowledged = ""
    for writer in range(kills):
        with start_appender(path, writer, 100_000) as child:
            assert child.stdout is not None
            lines = chance.randrange(1, 3000)  # four lanes are under way, so the point of death is anywhere in theirs
            first = await asyncio.to_thread("".join, (child.stdout.readline() for _ in range(lines)))
            child.send_signal(signal.SIGKILL)
            rest = await asyncio.to_thread(child.stdout.read)
        acknowledged += (first + rest)[: (first + rest).rfind("\n") + 1]
        found = await contents(path)
        check_acknowledged(found, acknowledged)
        check_no_half_appends(found)


@pytest.mark.slow
async def test_killed_at_any_point_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    await kill_and_check(tmp_path / "bus.db", 20, random.Random(1))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
async def test_killed_at_any_point_many_times(tmp_path: Path, seed: int) -> None:
    await kill_and_check(tmp_path / "bus.db", 50, random.Random(seed))


async def test_another_process_wakes_a_waiter(bus: SqliteBus, tmp_path: Path) -> None:
    other = SqliteBus(tmp_path / "bus.db", ONE_SHARD)  # shares nothing with the first but the file
    try:
        for offset in range(5):
            waiting = asyncio.create_task(bus.wait(EVENTS0, Offset(offset), 10))
            await asyncio.sleep(0)
            assert not waiting.done()
            await other.append([message(offset)])
            written = time.monotonic()
            assert await waiting
            assert time.monotonic() - written < 5  # woken, that is: whoever is not waits for ten seconds
    finally:
        await other.close()


async def test_a_bug_in_the_writer_is_told_and_not_hung_on(
    bus: SqliteBus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(BusFile, "append", broken)
    for _ in range(2):
        with pytest.raises(InvariantError, match="the writer of the bus died"):
            await bus.append([message(0)])
