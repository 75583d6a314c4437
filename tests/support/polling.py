"""Pollers over stores in memory and sources that are not there, on a clock that stands still."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from collector_server import OpenedEvent, opened_events
from fake_clock import FakeClock, eventually
from fake_lists import KEY, FakeSource
from faults import Crash, Faults, FaultyBus, FaultyControl
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from collector.ingest import Ingest
from collector.internal import SelfAudit
from collector.poll import Feed
from collector.poll.anthropic_compliance import compliance_feed
from collector.poll.runner import Pollers
from schemas.ids import CONTROL

START = 1_764_000_000
"""What a :class:`FakeClock` shows at first."""


@dataclass(slots=True)
class World:
    """What outlives a process."""

    clock: FakeClock = field(default_factory=FakeClock)
    bus: MemoryBus = field(default_factory=MemoryBus)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    control: MemoryControl = field(default_factory=MemoryControl)
    starts: int = 0

    def source(self) -> FakeSource:
        return FakeSource(self.clock)

    def activities(self, source: FakeSource, **settings: Any) -> Feed:
        """The feed of activities over a source."""
        settings = {"begin": START, "key": KEY, "per_minute": 6e6} | settings
        transport = httpx.ASGITransport(source.app)
        return compliance_feed("activities", "acme", transport=transport, clock=self.clock, **settings)

    def pollers(self, *feeds: Feed, faults: Faults | None = None, lease_seconds: float = 120.0) -> Process:
        """A process that polls, as if just started."""
        self.starts += 1
        faults = faults or Faults()
        bus, owner = FaultyBus(self.bus, faults), f"poller-{self.starts}"
        ingest = Ingest(bus, self.keys, collector_id=owner)
        audit = SelfAudit(bus, self.keys, owner, now_micros=lambda: int(self.clock.time() * 1e6))
        pollers = Pollers(
            feeds,
            ingest,
            FaultyControl(self.control, faults),
            owner=owner,
            report=audit.record,
            clock=self.clock,
            rng=random.Random(7),
            lease_seconds=lease_seconds,
        )
        return Process(pollers, ingest)

    async def records(self) -> list[OpenedEvent]:
        """What was recorded, repeats among it."""
        return await opened_events(self.bus, self.keys)

    async def stretches(self) -> list[dict[str, Any]]:
        """The acts that say what was covered, each once, in order."""
        acts = {
            event.metadata["event_id"]: {name: json.loads(text) for name, text in event.metadata["extras"].items()}
            for event in await opened_events(self.bus, self.keys, CONTROL)
            if event.metadata["operation"] == "feed_covered"
        }
        return sorted(acts.values(), key=lambda act: (act["from"], act["to"]))


@dataclass(slots=True)
class Process:
    """Pollers, and what must be released after them."""

    pollers: Pollers
    ingest: Ingest

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pollers]:
        """Polls until the block ends, and stops as told."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.pollers.run(stop))
        try:
            yield self.pollers
        finally:
            stop.set()
            await task
            self.ingest.close()


async def until(process: Process, world: World, condition: Callable[[Pollers], bool]) -> None:
    """Poll, as fast as everybody sleeps, until ``condition`` holds; then stop."""
    async with process.running() as pollers:
        await eventually(lambda: condition(pollers), world.clock)


async def live(process: Process, world: World, end: float) -> bool:
    """Poll until ``end``, or until the process dies; whether it lived."""
    task = asyncio.create_task(process.pollers.run(asyncio.Event()))
    try:
        await eventually(lambda: task.done() or reached(end)(process.pollers), world.clock)
    finally:
        process.ingest.close()
    if not task.done():
        task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(result, BaseExceptionGroup):
        assert result.split(Crash)[1] is None
        return False
    return True


def reached(seconds: float) -> Callable[[Pollers], bool]:
    """Whether all feeds were read up to a moment."""
    return lambda pollers: all((status.reached or 0) >= seconds * 1e6 for status in pollers.snapshot())


def ids(events: Sequence[OpenedEvent]) -> list[str]:
    """The sources' ids, in no order of note."""
    return sorted(event.metadata["source_id"] for event in events)
