"""The spool before a bus: what is acknowledged reaches the bus, in order, whatever happens to the bus meanwhile."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ailing_bus import AilingBus, Illness
from bus_messages import COMMITMENTS, PRINT, message
from fake_clock import eventually
from hypothesis import given
from hypothesis import strategies as st
from memory_bus import MemoryBus
from spools import spooling

from schemas.errors import ConfigurationError, LimitExceeded, Unavailable
from schemas.ids import Offset, Shard
from stores.bus import Outgoing, Position
from stores.bus.batch import join, pack, unpack
from stores.bus.headers import Foreign, write_headers
from stores.bus.spool import PendingKeys
from stores.bus.spool.bus import SpoolingBus
from stores.bus.spool.circuit import Pace
from stores.bus.spool.reserve import Reserve
from stores.bus.spool.store import Spool
from stores.bus.sqlite import SqliteBus

ILL = [Illness.DOWN, Illness.REPORTED, Illness.HANGS, Illness.SILENT, Illness.HALF, Illness.MISCONFIGURED]


BYTES = st.binary(max_size=20)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["c", "id", "k", "s", "x"]), BYTES | st.just(COMMITMENTS)), max_size=5
).map(tuple)
OURS = st.builds(
    Outgoing,
    st.just("events"),
    BYTES,
    BYTES,
    st.integers(0, 255),
    st.just(bytes(16)) | BYTES,
    st.just(COMMITMENTS) | BYTES,
    st.just(PRINT) | BYTES,
)


class Clock:
    """Milliseconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def inner() -> AilingBus:
    return AilingBus(MemoryBus())


@pytest.fixture
async def bus(inner: AilingBus, tmp_path: Path) -> AsyncIterator[SpoolingBus]:
    opened = spooling(inner, tmp_path / "spool.db", answer_seconds=0.05)
    yield opened
    await opened.close()


def drained(bus: SpoolingBus) -> bool:
    now = bus.snapshot()
    return now.records == now.bytes == 0 and now.bus_state == "up"


def first_occurrences(taken: list[Outgoing]) -> list[Outgoing]:
    return list(dict.fromkeys(taken))


async def test_while_all_is_well_nothing_is_spooled(bus: SpoolingBus, inner: AilingBus) -> None:
    positions = await bus.append([message(0), message(1)])
    assert [position.offset for position in positions] == [0, 1]
    assert bus.snapshot().spooled_total == 0
    assert inner.attempts == 1


@pytest.mark.parametrize("ill", ILL)
async def test_what_the_bus_does_not_take_is_taken_and_comes_to_it_later(
    bus: SpoolingBus, inner: AilingBus, ill: Illness
) -> None:
    before, during, after = ([message(start + number) for number in range(20)] for start in (0, 100, 200))
    await bus.append(before)
    inner.ill = ill
    positions = await bus.append(during)
    assert all(position.spooled for position in positions)
    assert {(position.shard, position.offset) for position in positions} == {(Shard("events", -1), -1)}
    assert abs(positions[0].time_ms - time.time() * 1000) < 60_000
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert not any(position.spooled for position in await bus.append(after))
    assert first_occurrences(inner.taken) == before + during + after
    may_repeat = ill in (Illness.REPORTED, Illness.SILENT, Illness.HALF)
    assert may_repeat == (len(inner.taken) > 60)
    snapshot = bus.snapshot()
    assert (snapshot.spooled_total, snapshot.drained_total, snapshot.refused_total) == (20, 20, 0)


async def test_exact_bytes_and_headers_reach_the_bus(bus: SpoolingBus, inner: AilingBus) -> None:
    inner.ill = Illness.DOWN
    sent: list[Any] = [
        message(0, b"", value=b""),
        message(1, os.urandom(300), value=os.urandom(3_000_000), fingerprint=os.urandom(8), kind=255),
        message(2, commitments=b"not valid"),
        message(3, commitments=b"", event_id=b"short", fingerprint=b""),
        message(4, topic="control"),
        Foreign("deadletter", b"key", b"raw", (("x", b"1"), ("x", b"2"), ("ü", b"\xff"))),
        Foreign("deadletter", b"key", b"raw", ()),
    ]
    await bus.append(sent)
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    for topic in ("events", "control", "deadletter"):
        assert [one for one in inner.taken if one.topic == topic] == [one for one in sent if one.topic == topic]
    assert len(inner.taken) == len(sent)


async def test_a_bus_that_hangs_is_waited_for_once(inner: AilingBus, tmp_path: Path) -> None:
    bus = spooling(inner, tmp_path / "spool.db", answer_seconds=0.05, pace=Pace(0.001, 0.001, patience=60))
    inner.ill = Illness.HANGS
    begun = time.monotonic()
    await bus.append([message(0)])
    assert 0.05 <= time.monotonic() - begun < 5
    tried = inner.attempts  # one of an append, and at most one of the drainer, which hangs
    for number in range(1, 50):
        await bus.append([message(number)])
    assert inner.attempts <= tried + 1
    assert bus.snapshot().records == 50
    await bus.close()


async def test_what_is_new_goes_behind_what_is_being_moved(bus: SpoolingBus, inner: AilingBus) -> None:
    inner.ill = Illness.DOWN
    await bus.append([message(0)])
    inner.ill = Illness.HANGS
    tried = inner.attempts
    await eventually(lambda: inner.attempts > tried)  # the drainer is under way with the first, and not answered
    inner.ill = Illness.NONE  # for any append from now on
    (position,) = await bus.append([message(1)])
    assert position.spooled
    assert inner.taken == []


async def test_senders_during_outages_keep_the_order_of_their_keys(bus: SpoolingBus, inner: AilingBus) -> None:
    done = asyncio.Event()

    async def send(key: bytes) -> list[Outgoing]:
        sent = []
        while not done.is_set():
            sent.append(message(len(sent), key, value=key + b"%d" % len(sent)))
            await bus.append(sent[-1:])
            await asyncio.sleep(0)  # a bus in memory answers without letting anybody else run
        return sent

    sending = [asyncio.create_task(send(b"key %d" % number)) for number in range(8)]
    for ill in (Illness.DOWN, Illness.REPORTED, Illness.DOWN, Illness.HALF) * 3:
        inner.ill, spooled = ill, bus.snapshot().spooled_total
        await eventually(lambda spooled=spooled: bus.snapshot().spooled_total > spooled + 20)
        inner.ill = Illness.NONE
        await eventually(lambda: bus.snapshot().bus_state == "up")
        moved = bus.snapshot().drained_total
        await eventually(lambda moved=moved: bus.snapshot().drained_total > moved or drained(bus))
    done.set()
    sent = [await task for task in sending]
    await eventually(lambda: drained(bus))
    for own in sent:
        assert first_occurrences([one for one in inner.taken if one.key == own[0].key]) == own


async def test_a_spool_that_was_left_is_moved_first_after_a_restart(inner: AilingBus, tmp_path: Path) -> None:
    bus = spooling(inner, tmp_path / "spool.db", answer_seconds=0.05)
    inner.ill = Illness.DOWN
    await bus.append([message(number) for number in range(1000)])
    await bus.close()
    bus = spooling(inner, tmp_path / "spool.db", answer_seconds=0.05)
    assert bus.snapshot().records == 1000
    assert bus.snapshot().oldest_ms is not None
    assert (await bus.append([message(1000)]))[0].spooled
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert inner.taken == [message(number) for number in range(1001)]
    (outage,) = bus.take_outages()
    assert outage.records == 1001
    await bus.close()


async def test_callers_whose_loops_end_at_once(bus: SpoolingBus, inner: AilingBus) -> None:
    inner.ill = Illness.DOWN
    for number in range(5):
        (position,) = await asyncio.to_thread(asyncio.run, bus.append([message(number)]))
        assert position.spooled
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert inner.taken == [message(number) for number in range(5)]


async def test_a_cancelled_append_disturbs_nobody(bus: SpoolingBus, inner: AilingBus) -> None:
    inner.ill = Illness.DOWN
    await bus.append([message(0)])
    appending = [asyncio.create_task(bus.append([message(number)])) for number in range(1, 20)]
    await asyncio.sleep(0)
    for task in appending:
        task.cancel()
    await asyncio.gather(*appending, return_exceptions=True)
    await bus.append([message(20)])
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert {message(0), message(20)} <= set(inner.taken)
    assert len(inner.taken) == len(set(inner.taken))
    assert not (await bus.append([message(21)]))[0].spooled


async def test_bad_settings_are_reported_once_and_lose_nothing(
    bus: SpoolingBus, inner: AilingBus, caplog: pytest.LogCaptureFixture
) -> None:
    inner.ill = Illness.MISCONFIGURED
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            await bus.append([message(number)])
        tried = inner.attempts
        await eventually(lambda: inner.attempts > tried + 3)
    loud = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert [record.getMessage() for record in loud] == [
        "messages are spooled and cannot be delivered until somebody acts: ConfigurationError: "
        "the topic may not be written to: grant it"
    ]
    snapshot = bus.snapshot()
    assert (snapshot.bus_state, snapshot.last_error, snapshot.draining) == (
        "misconfigured",
        "ConfigurationError",
        False,
    )
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert inner.taken == [message(number) for number in range(10)]
    assert bus.snapshot().last_error == ""


async def test_a_full_spool_takes_no_more_and_drops_nothing(inner: AilingBus, tmp_path: Path) -> None:
    bus = spooling(inner, tmp_path / "spool.db", max_bytes=100_000)
    bus.require_room()
    inner.ill = Illness.DOWN
    for number in range(9):
        await bus.append([message(number, value=b"x" * 10_000)])
    with pytest.raises(Unavailable, match=r"the spool is full: got 10\d\d\d bytes more .* at most 100000") as refused:
        await bus.append([message(9, value=b"x" * 10_000)])
    assert refused.value.retry_after == 5
    assert bus.snapshot().refused_total == 1
    assert 90_000 < bus.snapshot().bytes <= 100_000
    bus.require_room()
    rest = 100_000 - bus.snapshot().bytes - 200
    await bus.append([message(9, value=b"x" * rest)])  # a small one still fits
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    bus.require_room()
    assert [one.event_id for one in inner.taken] == [message(number).event_id for number in range(10)]
    assert not (await bus.append([message(10)]))[0].spooled
    await bus.close()


async def test_what_is_too_old_is_kept_and_told(
    inner: AilingBus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    bus = spooling(inner, tmp_path / "spool.db", max_age_seconds=60, clock=clock)
    inner.ill = Illness.DOWN
    await bus.append([message(0)])
    clock.now += 60_000
    await bus.append([message(1)])
    bus.require_room()
    clock.now += 1
    with pytest.raises(Unavailable, match="has waited since 1000000 ms, expected at most 60 s"):
        await bus.append([message(2)])
    with pytest.raises(Unavailable, match="has waited since"):
        bus.require_room()
    await eventually(lambda: "waited for the bus for more than 60 s" in caplog.text)
    assert caplog.text.count("waited for the bus for more than 60 s") == 1
    assert bus.snapshot().oldest_ms == 1_000_000
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert inner.taken == [message(0), message(1)]
    assert bus.snapshot().oldest_ms is None
    await bus.close()


async def test_what_the_bus_would_never_take_is_not_acknowledged(inner: AilingBus, tmp_path: Path) -> None:
    bus = spooling(inner, tmp_path / "spool.db", max_message_bytes=1000)
    inner.ill = Illness.DOWN
    await bus.append([message(0, value=b"x" * 800)])
    with pytest.raises(LimitExceeded, match=r"got a message of \d+ bytes, expected at most 1000"):
        await bus.append([message(1), message(2, value=b"x" * 1000)])
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert [one.event_id for one in inner.taken] == [message(0).event_id]
    await bus.close()


async def test_the_oldest_is_the_front(inner: AilingBus, tmp_path: Path) -> None:
    clock = Clock()
    bus = spooling(inner, tmp_path / "spool.db", clock=clock)
    inner.ill = Illness.DOWN
    for number in range(4):
        await bus.append([message(number, value=b"x" * 600_000)])  # a row each
        clock.now += 1000
    assert bus.snapshot().oldest_ms == 1_000_000
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    inner.ill = Illness.DOWN
    await bus.append([message(9)])
    assert bus.snapshot().oldest_ms == 1_004_000
    await bus.close()


class OfflineKeys(PendingKeys):
    """Keys that wait for their database."""

    def __init__(self) -> None:
        self.pending, self.away = 0, True
        self.registered = threading.Event()

    def unregistered(self) -> int:
        return self.pending

    def register(self) -> int:
        if self.away:
            raise Unavailable("the control database is away")
        count, self.pending = self.pending, 0
        self.registered.set()
        return count


async def test_nothing_sealed_under_an_unregistered_key_is_on_the_bus(inner: AilingBus, tmp_path: Path) -> None:
    keys = OfflineKeys()
    bus = spooling(inner, tmp_path / "spool.db", keys=keys)
    assert not (await bus.append([message(0)]))[0].spooled
    keys.pending = 2
    assert (await bus.append([message(1)]))[0].spooled
    await eventually(lambda: bus.snapshot().last_error == "Unavailable")
    assert inner.taken == [message(0)]
    keys.away = False
    await eventually(lambda: drained(bus))
    assert keys.registered.is_set()
    assert inner.taken == [message(0), message(1)]
    assert not (await bus.append([message(2)]))[0].spooled
    await bus.close()


async def test_an_outage_is_told_once_when_it_is_over(inner: AilingBus, tmp_path: Path) -> None:
    clock = Clock()
    bus = spooling(inner, tmp_path / "spool.db", clock=clock)
    inner.ill = Illness.DOWN
    await bus.append([message(0)])
    clock.now += 5000
    await bus.append([message(1), message(2)])
    clock.now += 5000
    assert bus.take_outages() == []
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    (outage,) = bus.take_outages()
    assert (outage.from_ms, outage.to_ms, outage.records, outage.reason) == (1_000_000, 1_010_000, 3, "Unavailable")
    assert bus.take_outages() == []
    await bus.close()


async def test_a_spool_that_cannot_write_refuses_and_the_bus_is_tried_again(
    inner: AilingBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> list[Position]:
        raise Unavailable("the disk is full")

    bus = spooling(inner, tmp_path / "spool.db")
    inner.ill = Illness.DOWN
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "put", full)
        for number in range(3):
            with pytest.raises(Unavailable, match="the disk is full"):
                await bus.append([message(number)])
    assert bus.snapshot().refused_total == 3
    inner.ill = Illness.NONE  # there is nothing to move, so the drainer asks the bus whether it is there
    await eventually(lambda: drained(bus))
    assert not (await bus.append([message(3)]))[0].spooled
    await bus.close()


async def test_messages_that_cannot_be_removed_are_moved_once_all_the_same(
    inner: AilingBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def stuck(*_: Any) -> None:
        raise Unavailable("the disk is full")

    bus = spooling(inner, tmp_path / "spool.db")
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "remove_moved", stuck)
        for turn in range(2):
            inner.ill = Illness.DOWN
            await bus.append([message(turn * 1000 + number) for number in range(1000)])
            inner.ill = Illness.NONE
            await eventually(lambda turn=turn: bus.snapshot().drained_total == 1000 * (turn + 1))
        await eventually(lambda: "cannot be removed from the spool: the disk is full" in caplog.text)
        assert bus.snapshot().bytes > 0
    inner.ill = Illness.DOWN
    await bus.append([message(5000)])
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    assert inner.taken == [message(number) for number in (*range(2000), 5000)]
    await bus.close()


async def test_an_emptied_file_is_given_back_to_the_disk(inner: AilingBus, tmp_path: Path) -> None:
    bus = spooling(inner, tmp_path / "spool.db", answer_seconds=5)
    inner.ill = Illness.DOWN
    for number in range(60):
        await bus.append([message(number, value=os.urandom(1_000_000))])
    assert bus.snapshot().bytes > 60_000_000
    inner.ill = Illness.NONE
    await eventually(lambda: drained(bus))
    await eventually(lambda: sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_000_000)
    assert len(inner.taken) == 60
    await bus.close()


async def test_closing_does_not_wait_for_a_bus_that_hangs(inner: AilingBus, tmp_path: Path) -> None:
    bus = spooling(inner, tmp_path / "spool.db", answer_seconds=0.05)
    inner.ill = Illness.HANGS
    await bus.append([message(0)])
    begun = time.monotonic()
    await bus.close()
    await bus.close()
    assert time.monotonic() - begun < 10
    with pytest.raises(Unavailable, match="the bus is closed"):
        await bus.append([message(1)])
    left = Spool(tmp_path / "spool.db", reserve_bytes=0)
    assert left.census()[Shard("events", 0)][:2] == (0, 1)
    await left.close()


async def test_one_process_drains_a_spool(inner: AilingBus, bus: SpoolingBus, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="another process drains this spool"):
        Spool(tmp_path / "spool.db", reserve_bytes=0)


async def test_a_spool_is_no_bus_and_a_bus_no_spool(tmp_path: Path) -> None:
    spool, embedded = Spool(tmp_path / "spool.db", reserve_bytes=0), SqliteBus(tmp_path / "bus.db")
    with pytest.raises(ConfigurationError, match="is not an affidavit bus"):
        SqliteBus(tmp_path / "spool.db")
    with pytest.raises(ConfigurationError, match="is not an affidavit spool"):
        Spool(tmp_path / "bus.db", reserve_bytes=0)
    await spool.close()
    await embedded.close()


def test_only_the_spool_can_remove_messages_of_a_bus() -> None:
    # Decision 8: one choke point for destruction. The spool's messages move on to the bus; no other file of a bus has
    # a statement that removes one.
    package = Path(__file__).resolve().parents[2] / "stores" / "bus"
    deleting = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if "DELETE" in path.read_text()}
    assert deleting == {"spool/file.py"}
    assert not [name for name in dir(SqliteBus) if "remove" in name or "trim" in name or "delete" in name]


async def test_the_files_are_for_their_owner(bus: SpoolingBus, inner: AilingBus, tmp_path: Path) -> None:
    inner.ill = Illness.DOWN
    await bus.append([message(0)])
    files = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(files) >= {"spool.db", "spool.db-wal", "spool.db-reserve"}
    assert set(files.values()) == {0o600}


async def test_offsets_of_an_emptied_spool_go_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", reserve_bytes=0)
    events = Shard("events", 0)
    await spool.put(spool.pack([message(0), message(1)]))
    await spool.remove_moved(events, 2)
    assert spool.census()[events] == (2, 2, 0, None)
    (position,) = await spool.put(spool.pack([message(2)]))
    assert position.offset == 2
    assert (await spool.rows(events, Offset(2), 10, 10)).messages == [message(2)]
    await spool.close()


async def test_without_room_for_the_reserve_nothing_is_spooled_and_that_is_said(
    inner: AilingBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: Reserve) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Reserve, "_fill", full)
        bus = spooling(inner, tmp_path / "spool.db")
        assert "the disk of the spool is full" in caplog.text
        assert not (await bus.append([message(0)]))[0].spooled
        bus.require_room()  # the bus is there
        inner.ill = Illness.DOWN
        with pytest.raises(Unavailable, match="the disk of the spool is full"):
            await bus.append([message(1)])
        with pytest.raises(Unavailable, match="the disk of the spool is full"):
            bus.require_room()
    await eventually(lambda: bus._spool.reserve.whole)
    assert (await bus.append([message(2)]))[0].spooled
    await bus.close()


@given(st.lists(st.builds(Foreign, st.just("events"), BYTES, BYTES, HEADERS) | OURS, min_size=1, max_size=5))
def test_rows_come_back_as_they_went_in(messages: list[Any]) -> None:
    row = join([pack(one) for one in messages])
    found = unpack("events", row.records, row.head, row.body)
    for before, after in zip(messages, found, strict=True):
        assert after[:3] == before[:3]
        assert sorted(headers_of(after)) == sorted(headers_of(before))
        if isinstance(before, Outgoing):
            assert after == before


def headers_of(one: Outgoing | Foreign) -> tuple[tuple[str, bytes], ...]:
    return one.headers if isinstance(one, Foreign) else write_headers(one)
