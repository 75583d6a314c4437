"""Two signers for one shard: whatever the slower one still does, nothing is damaged, and it stops."""

from __future__ import annotations

import pytest
from signed_ledger import DEPLOYMENT, EVENTS_ORIGIN, SHARD, World

from schemas.entry import EVENT
from schemas.errors import InvariantError, LedgerContradiction
from schemas.ids import Offset
from signer.batch import entries_of, extend
from signer.log import commit, publish
from signer.staging import Staged
from signer.startup import OpenLog, Stores, first_genesis, open_shard_log


def opened(world: World) -> OpenLog:
    stores = Stores(world.control, world.objects, world.key)
    return open_shard_log(stores, DEPLOYMENT, SHARD, first_genesis(world.key, DEPLOYMENT, SHARD, world.now), world.now)


async def entries(world: World, first: int) -> list[bytes]:
    messages = await world.bus.read(SHARD, Offset(first), max_records=1000, max_bytes=1 << 30)
    return entries_of(messages, EVENT, first, 0)


async def test_it_loses_the_swap() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(10)
    await world.sign()
    zombie = opened(world)
    await world.append_opaque(5)
    await world.sign()
    lock = world.control.lock(EVENTS_ORIGIN)
    with pytest.raises(LedgerContradiction, match="the lock is no longer the checkpoint of size 11"):
        zombie.writer.append(await entries(world, 10))
    with pytest.raises(InvariantError, match="this writer failed before"):
        zombie.writer.append(await entries(world, 10))
    assert world.control.lock(EVENTS_ORIGIN) == lock
    await world.append_opaque(300)
    await world.sign()
    await world.anchor()
    assert world.verify().exit_code == 0
    assert list(world.objects.list("staging/")) == [], "what it staged is gone"


async def test_it_wakes_between_swap_and_publishing() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(250)
    await world.sign()
    zombie = opened(world)
    await world.append_opaque(20)
    old = zombie.writer.lock
    head = world.ledger.head(EVENTS_ORIGIN, old.size, old.chain)
    batch = extend(head, await entries(world, 250))
    new = commit(world.control, world.objects, world.key, old, batch)
    await world.append_opaque(20)
    await world.sign()  # another signer finishes the zombie's batch, and goes on
    assert world.ledger.checkpoint(EVENTS_ORIGIN) != new.note
    with pytest.raises(LedgerContradiction, match="another signer went on from size 271"):
        publish(world.control, world.objects, new, Staged(batch.old_size, new.size, batch.objects))
    await world.anchor()
    assert world.verify().exit_code == 0


async def test_publishing_twice_changes_nothing() -> None:
    world = World(shards=[SHARD])
    await world.append_opaque(250)
    await world.sign()
    old = opened(world).writer.lock
    await world.append_opaque(20)
    batch = extend(world.ledger.head(EVENTS_ORIGIN, old.size, old.chain), await entries(world, 250))
    new = commit(world.control, world.objects, world.key, old, batch)
    staged = Staged(batch.old_size, new.size, batch.objects)
    publish(world.control, world.objects, new, staged)
    before = {info.key: world.objects.get(info.key) for info in world.objects.list("")}
    publish(world.control, world.objects, new, staged)
    assert {info.key: world.objects.get(info.key) for info in world.objects.list("")} == before
