"""A monitor: what it remembers, and each thing that it raises an alert for."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from outside_world import outside
from signed_ledger import ANCHOR_ORIGIN, DEPLOYMENT, EVENTS_ORIGIN, World

from schemas.errors import MalformedInput
from signer.policy import Policy, policy_of
from signer.tiles import ENTRIES, Tile, format_tile_path
from signer.watching import Bounds, Round, WatchState, format_state, parse_state, watch
from stores.objects import NewObject


async def growing(world: World, rounds: int = 1, count: int = 300) -> None:
    for _ in range(rounds):
        await world.append_opaque(count)
        await world.sign()
        await world.anchor()
        world.now += 10_000


def look(world: World, state: WatchState, policy: Policy | None = None, bounds: Bounds | None = None) -> Round:
    chosen = policy or policy_of(world.trust)
    return watch(world.objects, chosen, state, world.now, bounds or Bounds(), random.Random(1))


def alerts(found: Round) -> list[tuple[str, str]]:
    return sorted({(alert.step, alert.kind) for alert in found.alerts})


async def test_a_ledger_that_grows_is_followed() -> None:
    world, state = World(), WatchState(DEPLOYMENT)
    await growing(world)
    first = look(world, state)
    assert (alerts(first), first.logs, first.new) == ([], 3, first.leaves)
    await growing(world, rounds=3, count=500)
    second = look(world, state)
    assert alerts(second) == []
    assert second.new == second.leaves - first.leaves
    assert second.set_age_ms == 10_000
    assert parse_state(format_state(state)) == state
    third = look(world, state)
    assert (third.new, alerts(third)) == (0, [])


async def test_rollback() -> None:
    world, state = World(), WatchState(DEPLOYMENT)
    await growing(world)
    old = world.objects.get(f"ledger/{EVENTS_ORIGIN}/checkpoint")
    await growing(world)
    look(world, state)
    world.objects.put(f"ledger/{EVENTS_ORIGIN}/checkpoint", old)
    found = look(world, state)
    assert alerts(found) == [("W1", "rollback")]
    assert "has 301 leaves, and had 601: its tail was cut off" in found.alerts[0].message
    assert alerts(look(world, state)) == [("W1", "rollback")], "the alert stands"


async def test_a_fork_of_the_same_size_and_a_longer_one() -> None:
    world, fork = World(), World()
    await growing(world)
    await growing(fork)
    for rounds in (0, 2):
        state = WatchState(DEPLOYMENT)
        look(world, state)
        await growing(fork, rounds)
        fork.now = world.now
        found = look(fork, state, bounds=Bounds(10**9, 10**9))
        assert ("W2", "fork") in alerts(found)
        assert state.logs[EVENTS_ORIGIN].size == 301, "what contradicts is not taken up"


async def test_another_key() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from signer.keyfile import FileKey

    world, state = World(), WatchState(DEPLOYMENT)
    await growing(world)
    policy = policy_of(world.trust)
    world.key = FileKey(Ed25519PrivateKey.generate())
    other = World()
    other.key = world.key
    await growing(other)
    assert ("W2", "fork") in alerts(look(other, state, policy))


async def test_a_whole_log_is_deleted() -> None:
    world, state = World(), WatchState(DEPLOYMENT)
    await growing(world)
    look(world, state)
    for info in list(world.objects.list(f"ledger/{EVENTS_ORIGIN}/")):
        world.objects.delete([info.key])
    found = look(world, state)
    assert ("W3", "deletion") in alerts(found)
    assert EVENTS_ORIGIN in {alert.origin for alert in found.alerts}


async def test_silence_also_of_a_ledger_without_sets() -> None:
    world, state = World(), WatchState(DEPLOYMENT)
    await world.append_opaque(3)
    await world.sign()
    assert alerts(look(world, state)) == [("W4", "silence")]
    await world.anchor()
    assert alerts(look(world, state)) == []
    world.now += 61_000
    found = look(world, state)
    assert alerts(found) == [("W4", "silence")]
    assert f"{ANCHOR_ORIGIN}" == found.alerts[0].origin


async def test_late_records() -> None:
    world, state = World(), WatchState(DEPLOYMENT)
    await growing(world)
    look(world, state)
    await world.append_opaque(5)
    world.now += 50_000
    await world.anchor()
    assert alerts(look(world, state)) == []
    world.now += 50_000
    await world.anchor()
    look(world, state)
    world.now += 50_000
    await world.sign()
    await world.anchor()
    found = look(world, state)
    assert alerts(found) == [("W6", "late")]
    assert found.alerts[0].message.startswith("5 records were signed more than 60 s after")


async def test_old_entries_are_taken_away_or_changed() -> None:
    world = World()
    await growing(world, count=2000)
    bundle = f"ledger/{EVENTS_ORIGIN}/{format_tile_path(Tile(ENTRIES, 3))}"
    for change, kind in ((None, "deletion"), (b"x", "fork")):
        state, copy = WatchState(DEPLOYMENT), world.copy()
        look(copy, state)
        data = copy.objects.get(bundle)
        copy.objects.delete([bundle])
        if change is not None:
            copy.objects.put(bundle, data[:-1] + change)
        rounds = [look(copy, state, bounds=Bounds(10**9, 10**9)) for _ in range(1)]
        seen = {alert for one in rounds for alert in alerts(one)}
        for number in range(40):
            seen |= set(alerts(watch(copy.objects, policy_of(world.trust), state, copy.now, rng=random.Random(number))))
        assert ("W7", kind) in seen


async def test_an_archived_object_vanishes() -> None:
    world, state = World(), WatchState(DEPLOYMENT)
    await growing(world)
    world.objects.create([NewObject("segments/acme/default/2025-11-24/events-0/0-9.avro", b"x")])
    assert alerts(look(world, state)) == []
    world.objects.delete(["segments/acme/default/2025-11-24/events-0/0-9.avro"])
    for _ in range(2):
        found = look(world, state)
        assert alerts(found) == [("W8", "deletion")]


async def test_nobody_vouches(tmp_path: Path) -> None:
    with outside(tmp_path) as made:
        await made.live(sets=3)
        state = WatchState(DEPLOYMENT)
        found = look(made.world, state, made.policy)
        assert alerts(found) == []
        assert 0 <= found.vouched_age_ms < 60_000
        made.world.now += 700_000
        found = look(made.world, state, made.policy, Bounds(10**9, 10**9))
        assert alerts(found) == [("W5", "unvouched")]
        assert "quorum witness and 1 of the authorities clock has not vouched for 7" in found.alerts[0].message


@pytest.mark.parametrize("data", [b"", b"{}", b'{"schema": "affidavit.watch/1"}', b'{"schema": "other"}'])
def test_a_state_that_is_none(data: bytes) -> None:
    with pytest.raises(MalformedInput, match="got a state"):
        parse_state(data)
