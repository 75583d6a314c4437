"""Every write of the signer goes wrong once, in every way; and after each step everything is verified again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from faults import Crash, Fault, Faults, matrix
from signed_ledger import ANCHOR_ORIGIN, EVENTS_ORIGIN, SHARD, World

from schemas.entry import EVENT
from signer.batch import EMPTY, entries_of, extend
from signer.genesis import genesis_entry
from stores.bus import Message

STEPS = (254, 1, 1, 3)
"""Records per step: up to one short of a full tile, over its edge, and a little further."""


async def step(world: World, count: int, faults: Faults) -> None:
    """Append, sign, anchor. A crash is survived by starting again on the same stores, without faults."""
    await world.append_opaque(count)
    world.now += 1000
    for act in (world.sign, world.anchor):
        if not await survives(act, faults):
            check(world, after_crash=True)
            await act()
    check(world)


async def survives(act: Callable[[Faults], Awaitable[None]], faults: Faults) -> bool:
    """False when the process died."""
    alive = True
    try:
        await act(faults)
    except* Crash:
        alive = False
    return alive


def check(world: World, *, after_crash: bool = False) -> None:
    """A crash may leave the ledger behind its lock row; it never leaves it wrong, and a restart leaves it whole."""
    report = world.verify(freshness_ms=10_000_000)
    found = [finding.message for log in (report.anchors, *report.logs) for finding in log.findings]
    found += [finding.message for finding in report.findings]
    assert report.exit_code in ((0, 2) if after_crash else (0,)), found


async def reference(world: World) -> tuple[bytes, bytes]:
    """Root and chain of the log, computed from the bus and nothing else."""
    messages: list[Message] = await world.bus.read(SHARD, 0, max_records=1 << 20, max_bytes=1 << 40)  # type: ignore[arg-type]
    log = next(log for log in world.control.logs() if log.shard == SHARD)
    entries = [genesis_entry(log.genesis, log.opened_ms), *entries_of(messages, EVENT, 0, 0)]
    batch = extend(EMPTY, entries)
    return batch.root, batch.head.chain


async def run(faults: Faults) -> World:
    world = World(shards=[SHARD])
    for count in STEPS:
        await step(world, count, faults)
    lock = world.control.lock(EVENTS_ORIGIN)
    assert lock is not None
    assert (lock.root, lock.chain) == await reference(world)
    assert lock.size == 1 + sum(STEPS)
    assert list(world.objects.list("staging/")) == [], "nothing is left in staging"
    return world


@pytest.fixture(scope="module")
def plan() -> list[tuple[int, Fault]]:
    faults = Faults()
    asyncio.run(run(faults))
    assert any("replace_lock" in name for name in faults.trace)
    assert any(re.search(r"delete ledger/.*\.p/", name) for name in faults.trace)
    return list(matrix(faults.writes))


async def test_a_good_day_needs_each_kind_of_write() -> None:
    faults = Faults()
    await run(faults)
    kinds = {name.split(" ")[0] for name in faults.trace}
    assert kinds == {
        "control.open_log",
        "control.replace_lock",
        "objects.create",
        "objects.put",
        "objects.delete",
    }
    assert any(ANCHOR_ORIGIN in name for name in faults.trace)


@pytest.mark.slow
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
async def test_any_write_may_fail(fault: Fault, plan: list[tuple[int, Fault]]) -> None:
    numbers = [number for number, planned in plan if planned is fault]
    assert len(numbers) > 40
    for number in numbers:
        faults = Faults({number: fault})
        await run(faults)
        assert faults.writes >= number


@pytest.mark.slow
async def test_two_writes_in_a_row_may_fail(plan: list[tuple[int, Fault]]) -> None:
    writes = max(number for number, _ in plan)
    for number in range(1, writes, 3):
        await run(Faults({number: Fault.REPORTED, number + 1: Fault.LOST}))
        await run(Faults({number: Fault.CRASHED_AFTER, number + 1: Fault.CRASHED_BEFORE}))
