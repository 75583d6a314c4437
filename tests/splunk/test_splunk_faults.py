"""Random faults, deaths and successors, for as long as wanted: every record is in the index or in the dead letter."""

from __future__ import annotations

import random

import pytest
from fake_splunk import FakeSplunk, Fault, Token
from fake_splunk.hec import POISON
from splunk_way import SHARD, SplunkWay, altered

from schemas.errors import Unavailable
from schemas.ids import Offset
from sinks.contract import Accepted, Pause, Retry, Wait

MODES = ("required", "reconcile")
"""Those that lose nothing whatever Splunk does with what it took."""

REFUSALS = (Fault.NUMBERLESS, Fault.LYING, Fault.TOO_LARGE)
"""Two of these in a row on one good event would convict it."""


def survive(seed: int, mode: str, count: int) -> None:
    """One life of a shard: faults strike requests at random, processes die between any two calls."""
    dice = random.Random(seed)
    splunk = FakeSplunk(
        {"token": Token(ack=mode == "required")},
        commit_seconds=dice.choice([0.0, 3.0, 20.0]),
        max_body=dice.choice([4000, 30_000, 1_000_000]),
        indexers=dice.choice([1, 3]),
        search_token="searcher",
    )
    way = SplunkWay(splunk, ack=mode, ack_seconds=60.0, poll_seconds=dice.choice([0.0, 5.0]), concurrency=3)
    bad = set(dice.sample(range(count), 3))
    batch = altered(way, count, **{f"n{at}": POISON for at in bad})
    ours = [fault for fault in Fault if mode == "required" or fault not in (Fault.NO_ACK, Fault.NO_ACK_ID)]
    buried: set[int] = set()
    position = int(way.sink.resume(SHARD, Offset(0)))
    settled: int | None = 0
    turns = 0
    while settled != count:
        turns += 1
        assert turns < 5000, f"seed {seed}: stands at {settled}"
        calm = turns > 300
        if not calm and dice.random() < 0.3:
            splunk.script = [dice.choice(ours), dice.choice([one for one in ours if one not in REFUSALS])]
        if not calm and dice.random() < 0.03:
            position = int(way.restart().resume(SHARD, Offset(0)))
        if not calm and dice.random() < 0.03:
            splunk.restart()
        splunk.queues_full = not calm and dice.random() < 0.05
        end = min(count, position + dice.choice([1, 7, 30]))
        if position < count:
            match way.deliver(batch[position:end]):
                case Accepted(rejected):
                    buried |= {offset for offset, _ in rejected}
                    position = end
                case Retry(_, after) | Pause(_, after) | Wait(_, after):
                    way.now += after
                case other:
                    raise AssertionError(other)
        way.now += dice.choice([0.1, 1.0, 5.0])
        try:
            settled = way.sink.settle(SHARD)
        except Unavailable:
            continue
        if settled is None:
            position = int(way.sink.resume(SHARD, Offset(0)))
    found = {int(event.fields["affidavit_offset"]) for event in splunk.found(way.now + 100)}
    assert buried == bad, f"seed {seed}"
    assert found == set(range(count)) - bad, f"seed {seed}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(12))
def test_every_record_is_delivered_or_dead_lettered(seed: int, mode: str) -> None:
    survive(seed, mode, 150)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("round_", range(100))
def test_for_hours(round_: int, mode: str) -> None:
    for seed in range(round_ * 60, round_ * 60 + 60):
        survive(1000 + seed, mode, 400)
