"""The memory that lanes share: shares, room, and who waits for it."""

from __future__ import annotations

import asyncio

import pytest

from sinks.budget import Account, Budget


@pytest.mark.parametrize(("lanes", "share"), [(0, 50), (1, 50), (2, 25), (5, 10), (1000, 1)])
def test_a_share_is_half_of_what_a_lane_may_hold(lanes: int, share: int) -> None:
    budget = Budget(100)
    budget.lanes = lanes
    assert budget.share == Account(budget).share == share


def test_what_is_reserved_is_held_until_it_is_given_back() -> None:
    budget = Budget(100)
    one, other = Account(budget), Account(budget)
    assert one.reserve(60)
    assert not other.reserve(41)
    assert budget.held == 60
    one.hold(-30)
    assert other.reserve(41)
    other.hold(5)
    assert budget.held == 76
    one.close()
    other.close()
    other.close()
    assert budget.held == 0


def test_one_record_may_be_larger_than_everything() -> None:
    budget = Budget(100)
    account = Account(budget)
    assert account.reserve(1000)
    assert not account.reserve(1)
    account.close()
    assert account.reserve(1)


async def test_whoever_waits_is_woken_by_what_is_given_back() -> None:
    budget = Budget(100)
    one, other = Account(budget), Account(budget)
    assert one.reserve(100)
    waiting = asyncio.create_task(other.room())
    cancelled = asyncio.create_task(other.room())
    await asyncio.sleep(0)
    cancelled.cancel()
    one.hold(1)
    await asyncio.sleep(0)
    assert not waiting.done()
    one.hold(-50)
    async with asyncio.timeout(10):
        await waiting
    assert cancelled.cancelled()
