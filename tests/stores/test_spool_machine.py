"""Any order of appends, outages, crashes, restarts and recoveries: what is promised of the spool holds after each."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from ailing_bus import AilingBus, Illness
from bus_messages import message
from fake_clock import eventually
from faults import Crash
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from memory_bus import MemoryBus
from spools import spooling

from stores.bus import Outgoing
from stores.bus.spool.bus import SpoolingBus
from stores.bus.spool.store import Spool

UNKNOWN = (Illness.REPORTED, Illness.SILENT, Illness.HALF, Illness.CRASH_AFTER)
"""Illnesses after which a message that is on the bus is sent again."""

LASTING = [Illness.NONE, Illness.DOWN, Illness.REPORTED, Illness.HANGS, Illness.SILENT, Illness.HALF]


class Spooling(RuleBasedStateMachine):
    """One bus that stays, and processes that come and go before it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.inner = AilingBus(MemoryBus())
        self.number = 0
        self.sent: list[Outgoing] = []  # in the order of the appends
        self.acknowledged: set[Outgoing] = set()
        self.doubtful = False  # whether anything may be on the bus twice
        self.bus: SpoolingBus = self.runner.run(self._start())

    async def _start(self) -> SpoolingBus:
        return spooling(self.inner, Path(self.folder.name) / "spool.db", answer_seconds=0.02)

    @rule(sizes=st.lists(st.sampled_from([1, 1, 2, 5, 400]), min_size=1, max_size=3), keys=st.integers(1, 3))
    def append(self, sizes: list[int], keys: int) -> None:
        """Appends one after another, each with several keys."""

        async def append() -> None:
            for size in sizes:
                batch = [
                    message(self.number + at, b"key %d" % (at % keys), ("events", "control")[at % 7 == 6])
                    for at in range(size)
                ]
                self.number += size
                self.sent += batch
                positions = await self.bus.append(batch)
                assert len(positions) == size
                self.acknowledged.update(batch)

        self.runner.run(append())

    @rule(ill=st.sampled_from(LASTING))
    def ail(self, ill: Illness) -> None:
        """The bus falls ill, or recovers."""
        self.inner.ill = ill
        self.doubtful |= ill in UNKNOWN

    @rule()
    def drain(self) -> None:
        """The bus is well for long enough."""
        self.inner.ill = Illness.NONE
        self.runner.run(eventually(lambda: self.bus.snapshot().records == 0))

    @rule()
    def restart(self) -> None:
        """The process ends as it should."""
        # It may end in the middle of an attempt that is not answered.
        self.doubtful |= self.inner.ill in UNKNOWN
        self.runner.run(self.bus.close())
        self.bus = self.runner.run(self._start())

    @rule(after=st.booleans())
    def crash_while_moving(self, after: bool) -> None:
        """The process dies while a batch is moved, before or after it is written."""
        if not self.bus.snapshot().records:
            return
        attempts = self.inner.attempts
        self.inner.ill = Illness.CRASH_AFTER if after else Illness.CRASH_BEFORE
        self.doubtful |= after
        self.runner.run(eventually(lambda: self.inner.attempts > attempts or not self.bus.snapshot().records))
        self._bury()

    @rule()
    def crash_before_removing(self) -> None:
        """The process dies when a batch is on the bus and still in the spool."""
        if not self.bus.snapshot().records:
            return
        died = asyncio.Event()

        async def die(*_: object) -> None:
            died.set()
            raise Crash("before removing")

        self.doubtful = True
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Spool, "remove_moved", die)
            self.inner.ill = Illness.NONE
            self.runner.run(eventually(lambda: died.is_set()))
        self._bury()  # the next process may remove again

    def _bury(self) -> None:
        self.inner.ill = Illness.NONE
        self.runner.run(self.bus.close())
        self.bus = self.runner.run(self._start())

    @invariant()
    def nothing_is_twice_without_cause(self) -> None:
        if not self.doubtful:
            assert len(self.inner.taken) == len(set(self.inner.taken))

    @invariant()
    def first_occurrences_are_in_order(self) -> None:
        for topic in ("events", "control"):
            for key in {one.key for one in self.sent}:
                taken = dict.fromkeys(one for one in list(self.inner.taken) if (one.topic, one.key) == (topic, key))
                sent = [one for one in self.sent if (one.topic, one.key) == (topic, key)]
                assert list(taken) == sent[: len(taken)]

    def teardown(self) -> None:
        self.drain()
        assert self.acknowledged <= set(self.inner.taken)
        self.first_occurrences_are_in_order()
        self.runner.run(self.bus.close())
        self.runner.close()
        self.folder.cleanup()


Spooling.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSpooling = pytest.mark.slow(Spooling.TestCase)
