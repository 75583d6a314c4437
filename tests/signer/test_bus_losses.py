"""What a bus loses while the signer runs: the shard halts, the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fake_clock import eventually
from signed_ledger import CONTROL_SHARD, SHARD, World

from schemas.errors import ConfigurationError, LedgerContradiction
from schemas.ids import Offset, Shard
from signer.loop import Signer
from signer.losses import Losses
from signer.state import ShardState
from stores.bus import Bounds


def created_again(world: World) -> None:
    world.bus._identities["events"] = "another"


def deleted(world: World) -> None:
    async def gone(topic: str) -> str:
        if topic == "events":
            raise ConfigurationError("the bus has no topic 'events'")
        return identity[topic]

    identity = dict(world.bus._identities)
    world.bus.identity = gone  # type: ignore[method-assign]


def truncated(world: World) -> None:
    del world.bus._messages[SHARD][-4:]


def rewritten(world: World) -> None:
    last = world.bus._messages[SHARD][-1]
    world.bus._messages[SHARD][-1] = last._replace(commitments=b"\x01" + b"\x07" * 32)


def truncated_and_grown(world: World) -> None:
    truncated(world)
    there = world.bus._messages[SHARD]
    for number in range(9):
        there.append(there[0]._replace(offset=Offset(len(there)), commitments=b"\x01" + bytes((number,)) * 32))


LOSSES: dict[Callable[[World], None], str] = {
    created_again: "H7 .* the topic was deleted and created again",
    deleted: "H7 .* the bus has no topic 'events': the topic or its shard was deleted",
    truncated: "H7 .* the bus ends at offset 6, expected at least 10: it has lost messages",
    rewritten: "H7 .* the message at offset 9 is not the one that was signed",
}


def state(signer: Signer, shard: Shard = SHARD) -> ShardState:
    return next((one for one in signer.snapshot().shards if one.shard == shard), ShardState(shard))


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_loss_while_it_runs_halts_the_shard(lose: Callable[[World], None]) -> None:
    world = World()
    await world.append_opaque(10)
    signer, stop = world.signer(poll=0.01), asyncio.Event()
    task = asyncio.ensure_future(signer.sign(world.shards, stop))
    await eventually(lambda: state(signer).next_offset == 10)
    lose(world)
    await eventually(lambda: SHARD in signer.halted)
    await world.append(3, "control")
    await eventually(lambda: state(signer, CONTROL_SHARD).next_offset == 3)
    assert (state(signer).state, state(signer, CONTROL_SHARD).state) == ("halted", "signing")
    stop.set()
    with pytest.raises(LedgerContradiction, match=LOSSES[lose]):
        await task
    assert state(signer).size == 0, "what is not owned is not shown"


async def test_a_loss_under_load_is_noticed_before_long() -> None:
    """Messages come all the time, so there is no quiet moment to compare in."""
    world = World(shards=[SHARD])
    await world.append_opaque(10)
    signer, stop = world.signer(poll=60.0, compare=0.05), asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await eventually(lambda: state(signer).next_offset == 10)
    world.bus._identities["events"] = "another"
    while SHARD not in signer.halted:
        await world.append_opaque(1)
        await asyncio.sleep(0.001)
    stop.set()
    with pytest.raises(LedgerContradiction, match=r"H7 .* the topic was deleted and created again"):
        await task


async def test_what_was_lost_and_replaced_is_noticed_when_the_log_is_opened_again() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(10)
    await world.sign()
    truncated_and_grown(world)
    with pytest.raises(LedgerContradiction, match=r"H7 .* the message at offset 9 is not the one that was signed"):
        await world.sign()


async def test_a_bus_that_refuses_in_its_own_words_is_quoted_in_ours() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(10)
    signer, stop = world.signer(), asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await eventually(lambda: state(signer).next_offset == 10)

    async def refuse(shard: Shard, offset: Offset, timeout: float) -> bool:
        raise LedgerContradiction("the topic has another id now")

    world.bus.wait = refuse  # type: ignore[method-assign]
    world.bus._identities["events"] = "another"
    await world.append_opaque(1)
    with pytest.raises(LedgerContradiction, match=r"H7 .* the topic was deleted and created again"):
        await task


async def test_whoever_stops_does_not_wait_for_a_bus_that_does_not_answer() -> None:
    world = World(shards=[SHARD])
    asked = asyncio.Event()

    async def silent(shard: Shard) -> Bounds:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.bus.bounds = silent  # type: ignore[method-assign]
    signer, stop = world.signer(), asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await asked.wait()
    stop.set()
    await task
    assert signer.halted == {}


async def test_an_end_that_comes_back_is_no_loss() -> None:
    """A replica that has just become the leader may give out an older end for a moment."""
    world = World(shards=[SHARD])
    await world.append_opaque(10)
    await world.sign()
    later = world.bus._messages[SHARD][6:]
    truncated(world)
    signer, stop = world.signer(settle=20.0), asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await asyncio.sleep(0.01)
    world.bus._messages[SHARD] += later
    await eventually(lambda: state(signer).state == "signing")
    await world.append_opaque(1)
    await eventually(lambda: state(signer).next_offset == 11)
    stop.set()
    await task


async def test_a_signer_that_is_stopped_while_it_waits_for_the_end_has_not_halted() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(10)
    await world.sign()
    truncated(world)
    signer, stop = world.signer(settle=20.0), asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await asyncio.sleep(0.01)
    stop.set()
    await task
    assert signer.halted == {}


async def test_a_checkpoint_that_was_set_back_is_published_again_without_new_messages() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(3)
    await world.sign()
    older = world.ledger.checkpoint(world.origin(SHARD))
    await world.append_opaque(3)
    signer, stop = world.signer(poll=0.01), asyncio.Event()
    task = asyncio.ensure_future(signer.sign([SHARD], stop))
    await eventually(lambda: state(signer).next_offset == 6)
    newer = world.ledger.checkpoint(world.origin(SHARD))
    world.objects.put(f"ledger/{world.origin(SHARD)}/checkpoint", older)
    await eventually(lambda: world.ledger.checkpoint(world.origin(SHARD)) == newer)
    stop.set()
    await task


def test_losses_are_counted_within_their_window() -> None:
    losses = Losses(3, 600.0)
    assert [losses.add(now) for now in (0.0, 100.0, 601.0, 650.0, 1300.0)] == [False, False, False, True, False]
