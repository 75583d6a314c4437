"""A source that repeats earlier ones of its session is stored as references, and comes back byte for byte."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import history
from collector.history import History, Plan
from collector.matching import SHORTEST, stretches
from schemas.chunks import MAX_RECORDS, Place, assemble, decode_manifest, encode_manifest
from schemas.ids import EVENTS, KeyId, Offset, Shard
from stores.bus import Position

KEY = KeyId(b"k" * 16)
NOON = 1_787_313_600_000_000
DAY = 86_400_000_000


def words(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size // 2).hex().encode()


class Store:
    """What a reader of the bus has: the own bytes of each record, one shard."""

    def __init__(self, made: History) -> None:
        self.history = made
        self.own: dict[Place, bytes] = {}
        self.stored = 0

    def put(self, data: bytes, *, session: bytes = b"s", at: int = NOON, key: KeyId = KEY, learn: bool = True) -> Plan:
        plan = self.history.plan(key, session, at, data)
        assert plan is not None
        place = Place(0, len(self.own))
        if plan.manifest is None:
            self.own[place] = data
        else:
            manifest = decode_manifest(encode_manifest(plan.manifest), len(data))
            assert assemble(manifest, self.own) == data
            self.own[place] = manifest.own
        self.stored += len(self.own[place])
        if learn:
            self.history.learn(plan, Position(Shard(EVENTS, 0), Offset(place.offset), at // 1000))
        return plan


@pytest.fixture
def store() -> Store:
    return Store(History())


def refers(plan: Plan) -> Sequence[Place]:
    return plan.manifest.records if plan.manifest else ()


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.data())
def test_stretches_are_in_both_and_in_order(base: bytes, more: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(base)))
    other = more[:500] + base[:cut] + more[500:] + base[cut:]
    low = data.draw(st.integers(0, len(other)))
    high = data.draw(st.integers(low, len(other)))
    at = start = 0
    at = low
    for one in stretches(base, other, low, high):
        assert one.at >= at
        assert one.start >= start
        assert one.length >= SHORTEST
        assert base[one.start : one.start + one.length] == other[one.at : one.at + one.length]
        at, start = one.at + one.length, one.start + one.length
    assert at <= high


def test_what_is_inserted_dropped_and_appended_leaves_the_rest_found() -> None:
    base = words(1, 60_000)
    data = words(2, 700) + base[:20_000] + words(3, 900) + base[25_000:] + words(4, 500)
    found = list(stretches(base, data, 0, len(data)))
    assert sum(one.length for one in found) == 55_000


@pytest.mark.parametrize("unit", [b"a", b"ab", b'},{"role":"user","content":"'])
def test_bodies_that_repeat_themselves_cost_no_more(unit: bytes) -> None:
    base = unit * (200_000 // len(unit))
    data = unit * (100_000 // len(unit)) + b"!" + unit * (100_000 // len(unit))
    assert sum(1 for _ in stretches(base, data, 0, len(data))) < 200


def test_a_session_is_stored_about_once(store: Store) -> None:
    body = words(0, 30_000)
    for turn in range(150):
        body += words(turn + 1, 2000)
        plan = store.put(b'{"id": %d, "messages": [' % turn + body + b"]}")
        assert len(refers(plan)) <= history.MOST_RECORDS < MAX_RECORDS
    assert store.stored < 3 * len(body)
    assert refers(plan)


def test_a_long_session_of_large_turns_stays_small_on_the_bus(store: Store) -> None:
    body = words(0, 400_000)
    for turn in range(100):
        body += words(turn + 1, 30_000)
        plan = store.put(body)
        assert turn == 0 or (plan.manifest is not None and len(plan.manifest.own) <= history.MOST_OWN)
    assert store.stored < 3 * len(body)


def test_what_is_mostly_new_and_large_is_stored_as_it_is(store: Store) -> None:
    store.put(words(1, 20_000))
    assert not refers(store.put(words(1, 20_000) + words(2, history.MOST_OWN + 1000)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9000), st.integers(0, 6000)), max_size=12))
def test_any_history_comes_back(changes: list[tuple[int, int, int]]) -> None:
    store = Store(History())
    bodies = [words(7, 9000)]
    for number, (which, at, size) in enumerate(changes):
        body = bodies[which % len(bodies)]
        body = body[:at] + words(number + 100, size) + body[at + size // 2 :] + b"x" * 4096
        bodies.append(body)
        store.put(body)


def test_nothing_is_referred_to_that_was_not_acknowledged(store: Store) -> None:
    store.put(words(1, 9000), learn=False)
    assert not refers(store.put(words(1, 9000), learn=False))


def test_a_record_in_the_spool_is_not_referred_to(store: Store) -> None:
    plan = store.put(words(1, 9000), learn=False)
    store.history.learn(plan, Position(Shard(EVENTS, -1), Offset(-1), NOON // 1000))
    assert not refers(store.put(words(1, 9000)))


def test_sessions_keys_and_days_share_nothing(store: Store) -> None:
    store.put(words(1, 9000))
    assert not refers(store.put(words(1, 9000), session=b"other"))
    assert not refers(store.put(words(1, 9000), key=KeyId(b"o" * 16)))
    assert not refers(store.put(words(1, 9000), at=NOON + DAY))
    assert refers(store.put(words(1, 9000)))


def test_a_record_whose_day_on_the_bus_is_another_is_not_referred_to(store: Store) -> None:
    plan = store.put(words(1, 9000), learn=False)
    store.history.learn(plan, Position(Shard(EVENTS, 0), Offset(0), (NOON + DAY) // 1000))
    assert not refers(store.put(words(1, 9000)))


def test_in_the_last_minute_of_a_day_nothing_is_referred_to(store: Store) -> None:
    store.put(words(1, 9000))
    assert refers(store.put(words(1, 9000), at=NOON + DAY // 2 - 61_000_000))
    assert not refers(store.put(words(1, 9000), at=NOON + DAY // 2 - 59_000_000))


def test_a_short_source_refers_to_long_ones_of_its_session_and_nothing_to_it(store: Store) -> None:
    body = words(1, 9000)
    assert store.history.plan(KEY, b"s", NOON, body[:2000]) is None
    store.put(body)
    plan = store.put(body[:1500] + words(2, 300))
    assert refers(plan) == (Place(0, 0),)
    assert refers(store.put(words(3, 4200) + body[:1500] + words(2, 300))) == (Place(0, 0),)
    assert store.history.plan(KEY, b"s", NOON, words(5, 2000)) is None


def test_short_and_huge_sources_and_those_without_a_session_are_left_alone() -> None:
    made = History()
    assert made.plan(KEY, b"s", NOON, b"x" * (history.SHORTEST_SOURCE - 1)) is None
    assert made.plan(KEY, b"s", NOON, b"x" * (history.LONGEST_SOURCE + 1)) is None
    assert made.plan(KEY, b"", NOON, b"x" * 9000) is None


def test_agents_that_share_a_session_do_not_push_each_other_out(store: Store) -> None:
    agents = [words(seed, 20_000) for seed in range(3)]
    for turn in range(12):
        for number, body in enumerate(agents):
            agents[number] = body + words(100 * turn + number, 500)
            plan = store.put(agents[number])
            assert turn == 0 or refers(plan)
    assert store.stored < 2 * sum(map(len, agents))


def test_a_topic_that_begins_anew_is_noticed(store: Store) -> None:
    for _ in range(3):
        plan = store.put(words(1, 9000))
    store.history.learn(plan, Position(Shard(EVENTS, 0), Offset(0), NOON // 1000))
    assert store.history.held == 0
    assert not refers(store.put(words(1, 9000)))


def test_memory_is_bounded() -> None:
    store = Store(History(memory=100_000))
    for number in range(50):
        store.put(words(number, 9000), session=b"%d" % number)
        assert store.history.held <= 100_000
    assert refers(store.put(words(49, 9000), session=b"49"))
    assert not refers(store.put(words(1, 9000), session=b"1"))


def test_what_is_larger_than_the_memory_is_not_kept() -> None:
    store = Store(History(memory=5000))
    store.put(words(1, 9000))
    assert store.history.held == 0


def test_a_repeat_of_the_same_source_stores_nothing(store: Store) -> None:
    store.put(words(1, 9000))
    plan = store.put(words(1, 9000))
    assert plan.manifest is not None
    assert plan.manifest.own == b""
    assert store.stored == 9000
