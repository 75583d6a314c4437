"""Going on behind what was verified before, and verifying side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from signed_ledger import CONTROL_SHARD, DEPLOYMENT, EVENTS_ORIGIN, SHARD, World

from schemas.errors import MalformedInput
from signer.report import Report
from signer.tiles import ENTRIES, Tile, format_tile_path
from signer.verified import VerifiedUpTo, format_verified, parse_verified
from stores.objects import NewObject, Objects
from stores.objects.local import LocalObjects


async def grown(world: World, count: int) -> None:
    await world.append(count)
    await world.sign()
    await world.anchor()
    world.now += 10_000


def saved(report: Report, before: dict[str, VerifiedUpTo] | None = None) -> dict[str, VerifiedUpTo]:
    state = dict(before or {}) | {log.origin: log.up_to for log in report.logs if log.up_to is not None}
    return parse_verified(format_verified(DEPLOYMENT, report.checked_ms, state), DEPLOYMENT)


def steps(report: Report) -> list[tuple[str, int]]:
    return [(item.step, item.exit_code) for log in report.logs for item in log.findings]


@pytest.mark.parametrize("counts", [(300, 1), (255, 1), (256, 300), (600, 0), (5, 70_000 // 100)])
async def test_what_is_new_is_verified_and_the_result_is_that_of_the_whole(counts: tuple[int, int]) -> None:
    world = World()
    await grown(world, counts[0])
    state = saved(world.verify())
    for _ in range(2):
        await grown(world, counts[1])
        before = {origin: one.size for origin, one in state.items()}
        whole, part = world.verify(), world.verify(since=state)
        assert (steps(part), part.exit_code) == ([], 0)
        for one, other in zip(whole.logs, part.logs, strict=True):
            assert replace(other, since=0) == one
        assert saved(part) == saved(whole)
        state = saved(part)
        assert [log.since for log in part.logs] == [before.get(log.origin, 0) for log in part.logs]


async def test_what_was_verified_before_was_changed() -> None:
    """All of it, under the real key: the new tree is sound, and is not the one that was verified."""
    world, fork = World(), World()
    await grown(world, 600)
    state = saved(world.verify())
    await grown(fork, 900)
    report = fork.verify(since=state)
    assert ("S1", 1) in steps(report)
    assert "it had root" in next(item.message for log in report.logs for item in log.findings)


async def test_what_was_verified_before_is_shorter_now() -> None:
    world, short = World(), World()
    await grown(world, 600)
    await grown(short, 10)
    report = short.verify(since=saved(world.verify()))
    assert ("S1", 2) in steps(report)


async def test_a_tile_of_the_right_edge_is_gone() -> None:
    world = World()
    await grown(world, 70_000 // 100)
    state = saved(world.verify())
    await grown(world, 300)
    key = f"ledger/{EVENTS_ORIGIN}/{format_tile_path(Tile(ENTRIES, 3))}"
    world.objects.delete([info.key for info in list(world.objects.list(key))])
    assert ("3", 2) in steps(world.verify(since=state))


async def test_a_log_with_a_failure_is_not_saved() -> None:
    world = World()
    await grown(world, 600)
    key = f"ledger/{EVENTS_ORIGIN}/{format_tile_path(Tile(ENTRIES, 0))}"
    data = world.objects.get(key)
    world.objects.put(key, data[:-1] + b"x")
    report = world.verify()
    assert report.exit_code == 1
    assert EVENTS_ORIGIN not in saved(report)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "does not parse"),
        (b'{"schema": "other", "deployment": "x", "logs": {}}', "expected audit.example.com"),
        (format_verified("other.example", 1, {}), "got a state of other.example"),
    ],
)
def test_a_state_that_is_none(data: bytes, words: str) -> None:
    with pytest.raises(MalformedInput, match=words):
        parse_verified(data, DEPLOYMENT)


@dataclass(frozen=True)
class Folder:
    """Opens a local store in another process."""

    path: Path

    def __call__(self) -> Objects:
        return LocalObjects(self.path)


@pytest.mark.slow
async def test_logs_side_by_side(tmp_path: Path) -> None:
    world = World(shards=[SHARD, CONTROL_SHARD], partitions=4)
    await grown(world, 1000)
    store = LocalObjects(tmp_path)
    store.create([NewObject(info.key, world.objects.get(info.key)) for info in world.objects.list("ledger/")])
    world.objects = store  # type: ignore[assignment]
    alone: dict[str, Any] = world.verify().as_dict()
    together = world.verify(jobs=2, opener=Folder(tmp_path)).as_dict()
    assert together == alone
    assert len(together["logs"]) == 5
    store.close()
