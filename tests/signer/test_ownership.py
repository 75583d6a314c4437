"""Several signers share the shards: hand-over without a gap, a repeat or a fork, and rivals that do no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from fake_clock import eventually
from group_bus import Group, GroupBus
from hypothesis import given, settings
from hypothesis import strategies as st
from signed_ledger import ANCHOR_ORIGIN, CONTROL_SHARD, DEPLOYMENT, KEY, PACE, SHARD, World

from schemas.errors import ConfigurationError, InvariantError, LedgerContradiction
from schemas.ids import Shard
from signer.anchorer import Anchorer
from signer.loop import Pace, Signer
from signer.origin import ANCHOR_SHARD
from signer.verify_anchors import verify_anchors

PATIENT = replace(PACE, lost=0.05)
"""Whoever lost a swap waits for the group to speak."""


class Processes:
    """Signers that run as a group over one world."""

    def __init__(self, world: World, count: int, pace: Pace = PATIENT) -> None:
        self.world, self.group = world, Group()
        self.buses = [GroupBus(world.bus, self.group) for _ in range(count)]
        self.signers = [self._signer(bus, pace) for bus in self.buses]
        self.stops = [asyncio.Event() for _ in range(count)]

    def _signer(self, bus: GroupBus, pace: Pace) -> Signer:
        world = self.world
        anchorer = Anchorer(
            world.control, world.objects, KEY, DEPLOYMENT, clock=world.clock, interval=0.01, lost_seconds=pace.lost
        )
        return Signer(
            bus,  # type: ignore[arg-type]
            world.control,
            world.objects,
            KEY,
            DEPLOYMENT,
            anchorer=anchorer,
            clock=world.clock,
            pace=pace,
        )

    async def assign(self, *plans: Sequence[Shard]) -> None:
        await self.group.assign(dict(zip(self.buses, plans, strict=False)))

    async def all_signed(self) -> None:
        ends = {shard: (await self.world.bus.bounds(shard)).end for shard in self.world.shards}
        # Whoever lost a swap leaves its staging to the next start.
        await eventually(lambda: self.world.is_signed(ends, tidy=False))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Processes]:
        tasks = [asyncio.ensure_future(signer.run(stop)) for signer, stop in zip(self.signers, self.stops, strict=True)]
        await eventually(lambda: len(self.group.members) == len(tasks))
        try:
            yield self
        finally:
            for stop in self.stops:
                stop.set()
            await asyncio.gather(*tasks)


def world_of(shards: int = 3) -> World:
    return World(partitions=shards)


def owned(signer: Signer) -> list[Shard]:
    return [state.shard for state in signer.snapshot().shards]


async def test_shards_are_handed_over() -> None:
    world = world_of()
    async with Processes(world, 2).running() as processes:
        one, two = processes.signers
        await processes.assign(world.shards, [])
        await world.append_opaque(500)
        await processes.all_signed()
        await processes.assign([SHARD], [shard for shard in world.shards if shard != SHARD])
        await world.append_opaque(500)
        await processes.all_signed()
        assert owned(one) == [SHARD]
        await eventually(
            lambda: {state.state for state in (*one.snapshot().shards, *two.snapshot().shards)} == {"signing"}
        )
        assert sum(state.records for state in one.snapshot().shards + two.snapshot().shards) < 1000
    assert owned(one) == owned(two) == []
    assert world.verify().exit_code == 0
    assert world.verify().records == 1000


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_exactly_once_however_shards_move(data: Any) -> None:
    async def move() -> None:
        world = world_of()
        await world.append_opaque(1)
        async with Processes(world, 3).running() as processes:
            for _ in range(data.draw(st.integers(1, 6))):
                await world.append_opaque(data.draw(st.integers(0, 400)))
                owners = [data.draw(st.integers(0, 2)) for _ in world.shards]
                plans = [
                    [shard for shard, owner in zip(world.shards, owners, strict=True) if owner == n] for n in range(3)
                ]
                plan = dict(zip(processes.buses, plans, strict=True))
                zombie = data.draw(st.sampled_from([None, *processes.buses]))
                if zombie is None:
                    await processes.group.assign(plan)
                else:
                    survivors = [bus for bus in processes.buses if bus is not zombie]
                    plan[survivors[0]] = [*plan[survivors[0]], *plan.pop(zombie)]
                    await processes.group.seize(plan, paused=zombie)
                    await world.append_opaque(data.draw(st.integers(0, 100)))
                    await asyncio.sleep(0)
                    await processes.group.wake(zombie)
            await processes.assign(world.shards, [], [])
            await processes.all_signed()
            assert [signer.halted for signer in processes.signers] == [{}, {}, {}]
        world.now += 1
        await world.anchor()
        report = world.verify(source=None)
        assert report.exit_code == 0, report.as_dict()
        ends = [(await world.bus.bounds(shard)).end for shard in world.shards]
        assert report.records == sum(ends), "each message has one entry"

    asyncio.run(move())


async def test_a_zombie_loses_quietly_and_stays_available() -> None:
    world = world_of(1)
    async with Processes(world, 2, replace(PACE, lost=30.0)).running() as processes:
        zombie, heir = processes.signers
        await processes.assign(world.shards, [])
        await world.append_opaque(10)
        await processes.all_signed()
        await processes.group.seize({processes.buses[1]: world.shards}, paused=processes.buses[0])
        for _ in range(40):
            await world.append_opaque(10)
            await processes.all_signed()
            if any(state.swap_losses for state in zombie.snapshot().shards + heir.snapshot().shards):
                break
        await processes.group.wake(processes.buses[0])
        assert owned(zombie) == []
        assert zombie.halted == {}
        await processes.assign(world.shards, [])
        await world.append_opaque(10)
        await processes.all_signed()
        assert owned(zombie) == sorted(world.shards)
    assert world.verify().exit_code == 0


async def test_a_zombie_whose_log_has_grown_lets_go_when_nothing_comes() -> None:
    world = world_of(1)
    async with Processes(world, 1, replace(PACE, poll=0.01, lost=30.0)).running() as processes:
        await processes.assign(world.shards)
        await world.append_opaque(10)
        await processes.all_signed()
        signer = processes.signers[0]
        before = world.control.lock(world.origin(SHARD))
        assert before is not None
        world.control._locks[before.origin] = replace(before, size=11, note=b"of another")
        await eventually(lambda: "lost" in [state.state for state in signer.snapshot().shards])
        lost = next(state for state in signer.snapshot().shards if state.state == "lost")
        assert (lost.shard, lost.last_error, lost.swap_losses) == (SHARD, "LockLost", 1)
        world.control._locks[before.origin] = before


async def test_losing_time_after_time_halts() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(1)
    signer = world.signer()
    losing = 0

    def lose(old: object, new: object) -> None:
        nonlocal losing
        losing += 1
        raise LedgerContradiction("the lock is no longer the checkpoint of size 1")

    world.control.replace_lock = lose  # type: ignore[method-assign, assignment]
    with pytest.raises(
        LedgerContradiction, match=r"events/0: lost the swap 3 times within ten minutes .* find it and stop"
    ):
        await signer.sign([SHARD], asyncio.Event())
    assert losing == 3
    assert signer.halted.keys() == {SHARD}


async def test_two_signers_by_mistake_do_no_damage() -> None:
    world = World(shards=[SHARD])
    stop = asyncio.Event()
    rivals = [world.signer(), world.signer()]
    tasks = [asyncio.ensure_future(rival.sign([SHARD], stop)) for rival in rivals]
    for _ in range(200):
        await world.append_opaque(3)
        await asyncio.sleep(0.001)
    end = {SHARD: (await world.bus.bounds(SHARD)).end}
    await eventually(lambda: world.is_signed(end, tidy=False))
    stop.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(error, LedgerContradiction) for error in ends) <= 1, "one of them goes on"
    await world.anchor()
    report = world.verify()
    assert (report.exit_code, report.records) == (0, 600)


async def test_one_process_of_several_anchors_and_another_takes_over_at_once() -> None:
    world = world_of(1)
    async with Processes(world, 2).running() as processes:
        one, two = processes.signers
        await processes.assign([CONTROL_SHARD], [SHARD])
        await eventually(lambda: one.snapshot().anchors.sets >= 3)
        assert (one.snapshot().anchors.owned, two.snapshot().anchors.owned) == (True, False)
        assert two.snapshot().anchors.sets == 0
        await processes.assign([SHARD], [CONTROL_SHARD])
        assert not one.snapshot().anchors.owned
        taken = one.snapshot().anchors.sets
        await eventually(lambda: two.snapshot().anchors.sets >= 2)
        assert one.snapshot().anchors.sets == taken
        state = two.snapshot().anchors
        assert (state.state, state.origin, state.logs) == ("signing", ANCHOR_ORIGIN, 2)
    anchors = verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust)
    assert anchors.sets >= taken + 2


async def test_a_second_anchorer_loses_and_halts_when_nobody_stops_it() -> None:
    world = World()
    await world.sign()
    stop = asyncio.Event()

    def anchorer() -> Anchorer:
        return Anchorer(
            world.control, world.objects, KEY, DEPLOYMENT, clock=world.clock, interval=0.0, lost_seconds=0.0
        )

    rivals = [anchorer(), anchorer()]
    tasks = [asyncio.ensure_future(rival.run(stop)) for rival in rivals]
    await eventually(lambda: any(task.done() for task in tasks))
    await eventually(lambda: sum(rival.snapshot().state == "signing" for rival in rivals) == 1)
    stop.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    halted = [error for error in ends if error is not None]
    assert len(halted) == 1
    assert "another process anchors that is not of this group" in str(halted[0])
    assert verify_anchors(world.ledger, ANCHOR_ORIGIN, world.trust).sets > 0


async def test_a_halt_of_the_anchor_log_is_told_with_the_others() -> None:
    world = world_of(1)
    await world.sign()
    await world.anchor()
    del world.control._locks[ANCHOR_ORIGIN]
    processes = Processes(world, 1)

    async def halt() -> None:
        async with processes.running():
            await processes.assign(world.shards)
            await eventually(lambda: ANCHOR_SHARD in processes.signers[0].halted)
            assert processes.signers[0].snapshot().anchors.state == "halted"

    with pytest.raises(LedgerContradiction, match=r"H1 .* its lock row is gone"):
        await halt()


async def test_a_bus_that_lost_its_group_is_asked_again() -> None:
    world = world_of(1)
    async with Processes(world, 1).running() as processes:
        bus, signer = processes.buses[0], processes.signers[0]
        await processes.assign(world.shards)
        await world.append_opaque(10)
        await processes.all_signed()
        bus.disconnect()
        await eventually(lambda: owned(signer) == [] and bus in processes.group.members)
        await processes.assign(world.shards)
        await world.append_opaque(10)
        await processes.all_signed()
    assert world.verify().exit_code == 0


async def test_the_whole_bus_at_once() -> None:
    """The bus of one process gives all shards to whoever asks."""
    world = World()
    await world.append_opaque(10)
    stop = asyncio.Event()
    signer = world.signer()
    task = asyncio.ensure_future(signer.run(stop))
    ends = {shard: (await world.bus.bounds(shard)).end for shard in world.shards}
    await eventually(lambda: world.is_signed(ends))
    state = next(state for state in signer.snapshot().shards if state.shard == SHARD)
    assert (state.state, state.size, state.next_offset, state.bus_end) == ("signing", 11, 10, 10)
    assert (state.last_batch, state.batches, state.records, state.unsigned_age_seconds) == (10, 1, 10, 0.0)
    stop.set()
    await task


async def test_a_halted_shard_shows_what_is_waiting() -> None:
    world = World()
    await world.append_opaque(5)
    await world.sign()
    await world.append_opaque(2)
    world.bus._identities["events"] = "another"
    stop = asyncio.Event()
    signer = world.signer(poll=0.01)
    task = asyncio.ensure_future(signer.run(stop))
    await eventually(lambda: SHARD in signer.halted)
    world.now += 9_000
    await world.append_opaque(1)

    def seen() -> tuple[object, ...]:
        state = next(state for state in signer.snapshot().shards if state.shard == SHARD)
        return state.state, state.bus_end, state.last_error

    await eventually(lambda: seen() == ("halted", 8, "LedgerContradiction"))
    stop.set()
    with pytest.raises(LedgerContradiction, match=r"H7 .* the topic was deleted and created again"):
        await task


async def test_only_a_signer_that_runs_takes_shards() -> None:
    signer = World().signer()
    with pytest.raises(InvariantError, match="taken by a signer that does not run"):
        await signer.take([SHARD])
    with pytest.raises(ConfigurationError, match="got shards deadletter/0"):
        await signer.take([Shard("deadletter", 0)])
