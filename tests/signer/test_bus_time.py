"""Times that step back: what the signer signs, what it refuses, and that the verifiers think the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from independent_verifier import exit_code
from signed_ledger import DEPLOYMENT, EVENTS_ORIGIN, KEY, SHARD, START_MS, World

from schemas.errors import LedgerContradiction
from signer.bus_time import MAX_STEP_BACK_MS, KnownTimes, is_too_early, steps_back
from signer.keyfile import deployment_vkey
from signer.verify import verify_log

MINUTE = MAX_STEP_BACK_MS


def first_refused(times: Sequence[int]) -> int:
    """How many records the rule lets through, by its words: the highest time of the whole log decides."""
    high = 0
    for count, time_ms in enumerate(times):
        if time_ms < high - MINUTE:
            return count
        high = max(high, time_ms)
    return len(times)


async def timed(world: World, times: Sequence[int]) -> None:
    """Append records with these times, in milliseconds after the world's beginning."""
    await world.append_opaque(len(times))
    messages = world.bus._messages[SHARD]
    first = len(messages) - len(times)
    for number, time_ms in enumerate(times):
        messages[first + number] = messages[first + number]._replace(time_ms=START_MS + time_ms)


def test_steps_are_counted_against_the_highest_time() -> None:
    assert steps_back([], 7) == (0, 0, 7)
    assert steps_back([5, 5, 9], 5) == (0, 0, 9)
    assert steps_back([5, 9, 8, 9, 4, 10], 6) == (3, 5, 10)
    assert not is_too_early(40, MINUTE + 40)
    assert is_too_early(39, MINUTE + 40)


@given(st.lists(st.integers(0, 3 * MINUTE), min_size=1, max_size=40), st.integers(0, 40), st.integers(0, 3 * MINUTE))
def test_the_end_of_a_log_decides_as_the_whole_does(times: list[int], known: int, next_ms: int) -> None:
    """However little of the log is known: where it says that it can decide, it decides right."""
    signed = times[: first_refused(times)]
    first = max(1, len(signed) - known)
    end = signed[first - 1 :]
    tail = KnownTimes(first, end[0], max(end))
    if tail.settles(next_ms):
        assert is_too_early(next_ms, tail.high_ms) == is_too_early(next_ms, max(signed))


async def test_clocks_that_differ_are_signed_and_counted() -> None:
    world = World(shards=[SHARD])
    await timed(world, [0, 10, 1_000, 400, 1_001, 999, 1_002])
    await world.sign()
    await timed(world, [1_001, 1_003])
    await world.sign()
    await world.anchor()
    verified = verify_log(world.ledger, EVENTS_ORIGIN, world.trust)
    assert (verified.steps_back, verified.largest_step_ms) == (3, 600)
    assert (verified.first_ms, verified.last_ms) == (START_MS, START_MS + 1_003)
    report = world.verify()
    assert report.exit_code == 0
    log = report.logs[0]
    assert log.notes == (
        "the bus's time stepped back in 3 of 9 records, by at most 0.600 s: the brokers' clocks differ",
    )
    assert report.as_dict()["logs"][0]["notes"] == list(log.notes)
    assert report.as_dict()["logs"][0]["steps_back"] == 3
    assert report.anchors.notes == ()


async def test_a_signer_counts_them_too() -> None:
    world = World(shards=[SHARD])
    await timed(world, [500, 0, 501])
    signer = world.signer()
    stop = asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    while not signer.snapshot().shards or signer.snapshot().shards[0].records < 3:
        await asyncio.sleep(0.001)
    assert signer.snapshot().shards[0].steps_back == 1
    stop.set()
    await task


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from([0, 1, MINUTE // 2, MINUTE - 1, MINUTE, MINUTE + 1, 2 * MINUTE]), min_size=1, max_size=4
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([1, 200, 255, 256, 300]),
)
@example([[2 * MINUTE], [MINUTE], [MINUTE - 1]], 300)
@example([[2 * MINUTE], [MINUTE], [MINUTE], [MINUTE - 1, 0]], 256)
@example([[2 * MINUTE], [MINUTE, MINUTE + 1, MINUTE]], 255)
def test_a_restart_changes_nothing(runs: list[list[int]], filler: int) -> None:
    """A signer that has just started knows the end of its log alone, and still refuses what one that ran on would."""

    async def sign() -> None:
        world = World(shards=[SHARD])
        world.now += 2 * MINUTE
        times: list[int] = []
        for run in runs:
            grown = [time_ms for time_ms in run for _ in range(filler)]
            times += grown
            await timed(world, grown)
            if first_refused(times) < len(times):
                with pytest.raises(LedgerContradiction, match="before the highest time in the log"):
                    await world.sign()
                break
            await world.sign()
        lock = world.control.lock(EVENTS_ORIGIN)
        assert lock is not None
        assert lock.size - 1 == first_refused(times)
        await world.anchor()
        report = world.verify()
        assert report.exit_code == (0 if report.records else 2)
        objects = {info.key: world.objects.get(info.key) for info in world.objects.list("ledger/")}
        assert exit_code(objects, deployment_vkey(KEY, DEPLOYMENT), world.now) == report.exit_code
        signed = times[: first_refused(times)]
        assert report.logs[0].steps_back == steps_back(signed, 0).taken

    asyncio.run(sign())


async def test_the_anchor_log_does_not_follow_a_clock_that_is_set_back() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(1)
    await world.sign()
    await world.anchor()
    world.now -= 30_000
    await world.anchor()
    assert world.verify().anchors.last_ms == START_MS
    world.now += 90_000
    await world.anchor()
    report = world.verify()
    assert (report.exit_code, report.anchors.last_ms) == (0, START_MS + 60_000)
