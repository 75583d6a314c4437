"""Polling while records appear late and the process dies anywhere: each record is recorded, and none is left out of the
account."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import poll_process
import pytest
from collector_server import OpenedEvent, opened_events
from fake_clock import eventually
from fake_lists import FakeSource
from faults import Fault, Faults
from poll_process import PARTITIONS
from polling import START, World, live, reached

from collector.server import serve
from schemas.ids import CONTROL
from sinks.pace import SystemClock
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file


def assert_each_once(found: Sequence[OpenedEvent], source: FakeSource, below: float) -> None:
    """Every record of the source that happened before a moment is there, and has one event id, also when repeated."""
    expected = {row.record_id for row in source.rows if row.happened < below}
    by_record: dict[str, set[str]] = {}
    for event in found:
        by_record.setdefault(event.metadata["source_id"], set()).add(event.metadata["event_id"])
    assert expected <= by_record.keys()
    assert {len(names) for names in by_record.values()} == {1}
    assert len({next(iter(names)) for names in by_record.values()}) == len(by_record)
    exact = {row.record_id: row.record for row in source.rows}
    assert all(json.loads(event.source or b"") == exact[event.metadata["source_id"]] for event in found)


def assert_no_gap(stretches: Sequence[dict[str, Any]], source: FakeSource) -> None:
    """The stretches follow each other, and count what happened in them."""
    assert [act["from"] for act in stretches[1:]] == [act["to"] for act in stretches[:-1]]
    for act in stretches:
        happened = sum(act["from"] <= row.happened * 1e6 < act["to"] for row in source.rows)
        assert act["records"] == happened, act


def traffic(rng: random.Random, seconds: int, source: FakeSource) -> None:
    """Records at random times, many in the same second, that show up to a minute later."""
    for number in range(rng.randrange(50, 300)):
        happened = START + rng.choice((rng.random() * seconds, float(rng.randrange(seconds))))
        source.add(f"activity_{number:05}", happened, happened + rng.choice((0, rng.random() * 60)))


@pytest.mark.parametrize("seed", range(10))
async def test_deaths_at_any_write_skip_nothing(seed: int) -> None:
    rng, world = random.Random(seed), World()
    source = world.source()
    source.narrates = seed % 2 == 0
    settings: dict[str, Any] = {"page": 50, "interval": 60.0}
    if not source.narrates:  # for then what overlap shows again must need fewer pages than it makes records
        settings = {"page": rng.choice((2, 7, 50)), "interval": rng.choice((5.0, 60.0))}
        source.forgets_after = rng.choice((None, 3)) if settings["page"] > 2 else None
    traffic(rng, 900, source)
    deaths = 0
    while True:
        crash = rng.choice((Fault.CRASHED_BEFORE, Fault.CRASHED_AFTER))
        other = rng.choice((Fault.LOST, Fault.REPORTED))
        faults = Faults({rng.randrange(1, 16): other, rng.randrange(3, 20): crash} if deaths < 20 else {})
        if await live(world.pollers(world.activities(source, **settings), faults=faults), world, START + 1000):
            break
        deaths += 1
    async with world.pollers(world.activities(source, **settings)).running() as pollers:
        await eventually(lambda: reached(START + 1000)(pollers), world.clock)
    (status,) = pollers.snapshot()
    assert deaths > 0
    assert_each_once(await world.records(), source, START + 1000)
    stretches = await world.stretches()
    assert_no_gap(stretches, source)
    assert (stretches[0]["from"], stretches[-1]["to"]) == (START * 1_000_000, status.reached)


async def test_a_repeated_act_is_the_same_act() -> None:
    """Death after the act is on the log, and before that is remembered: one event id, one content."""
    world = World()
    source = world.source()
    source.add("activity_1", START)
    writes = Faults()
    world.clock.advance(1000)
    await live(world.pollers(world.activities(source), faults=writes), world, START + 960)
    number = next(at for at, name in enumerate(writes.trace, 1) if at > 4 and name == "bus.append")
    again = World()
    source.clock = again.clock
    again.clock.advance(1000)
    faults = Faults({number: Fault.CRASHED_AFTER})
    assert not await live(again.pollers(again.activities(source), faults=faults), again, START + 5000)
    async with again.pollers(again.activities(source)).running() as pollers:
        await eventually(lambda: reached(START + 950)(pollers), again.clock)
    acts = [event.metadata for event in await opened_events(again.bus, again.keys, CONTROL)]
    counts = Counter(act["event_id"] for act in acts)
    assert max(counts.values()) == 2
    assert len({(act["event_id"], json.dumps(act["extras"], sort_keys=True)) for act in acts}) == len(counts)


@pytest.mark.slow
@pytest.mark.alone
async def test_a_dozen_kills_skip_nothing(tmp_path: Path) -> None:
    """The same with SIGKILL, on files, over sockets, while records appear."""
    create_kek_file(tmp_path / "kek")
    with closing(ControlDatabase(f"sqlite:///{tmp_path}/control.db")) as control:
        control.migrate()
    rng, source = random.Random(4), FakeSource(SystemClock())
    begin = int(time.time()) - 5
    numbers, shown_from = iter(range(10**6)), [time.time()]

    def appear() -> None:
        """Six records a second, also while nobody asks."""
        while shown_from[0] < time.time():
            source.add(f"activity_{next(numbers):06}", shown_from[0], shown_from[0] + rng.random() * 0.9)
            shown_from[0] += rng.random() / 3

    source.on_request = appear
    stop, ports = asyncio.Event(), asyncio.Queue[int]()
    server = asyncio.create_task(serve(source.app, "127.0.0.1", 0, stop, started=ports.put_nowait))
    command = [
        sys.executable,
        poll_process.__file__,
        str(tmp_path),
        f"http://127.0.0.1:{await ports.get()}",
        str(begin),
    ]
    try:
        for _ in range(12):
            asked = len(source.asked) + rng.randrange(1, 12)
            child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
            await eventually(lambda asked=asked: len(source.asked) >= asked, seconds=60)  # type: ignore[misc]
            child.kill()
            await child.wait()
        last = time.time()
        child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        await eventually(lambda: bool(source.asked) and starts_after(source.asked[-1], last), seconds=60)
        child.terminate()
        assert await child.wait() == 0
    finally:
        stop.set()
        await server
    with closing(ControlDatabase(f"sqlite:///{tmp_path}/control.db")) as control:
        bus, keys = SqliteBus(tmp_path / "bus.sqlite", PARTITIONS), DatabaseKeys(control, FileKek(tmp_path / "kek"))
        found, acts = await opened_events(bus, keys), await opened_events(bus, keys, CONTROL)
        await bus.close()
    unique = {act.metadata["event_id"]: act.metadata["extras"] for act in acts}
    stretches = [{name: json.loads(text) for name, text in extras.items()} for extras in unique.values()]
    stretches.sort(key=lambda act: (act["from"], act["to"]))
    assert stretches[0]["from"] == begin * 1_000_000
    assert stretches[-1]["to"] >= int(last) * 1_000_000
    assert_each_once(found, source, last)
    assert_no_gap(stretches, source)


def starts_after(asked: dict[str, str], moment: float) -> bool:
    """Whether the source was asked about nothing but what lies behind ``moment``: all before it is done."""
    return asked["created_at.gte"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
