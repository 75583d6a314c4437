"""Polling: what is recorded, what moves when, and what is said of it; leases, pauses and refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from fake_clock import FakeClock, eventually
from fake_lists import FakeSource, broken, error_page, too_many
from faults import Fault, Faults
from polling import START, World, ids, reached, until

from collector.gateways import Format
from collector.gateways.native import NativeFormat
from collector.poll import Page
from collector.poll.coverage import BUSY_SECONDS, IDLE_SECONDS, Progress, format_progress, parse_progress
from collector.poll.runner import REFUSED_SECONDS, Pollers
from schemas.errors import ConfigurationError, LedgerContradiction


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def source(world: World) -> FakeSource:
    return world.source()


@dataclass
class Scripted:
    """A feed that gives what it was told to give: pages, nothing, or an error."""

    script: list[Page | Exception | None]
    name: str = "scripted"
    tenant: str = "acme"
    gateway: str = "scripted"
    format: Format = field(default_factory=NativeFormat)
    receiver: str = "objects"
    interval: float = 10.0
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    async def page(self, cursor: str) -> Page | None:
        self.asked.append(cursor)
        given = self.script.pop(0) if self.script else None
        if isinstance(given, Exception):
            raise given
        return given

    async def close(self) -> None:
        self.closed = True


def event(name: str) -> bytes:
    return json.dumps({"kind": "prompt", "id": name, "content": name}).encode()


async def test_records_are_durable_with_who_asked_and_how(world: World, source: FakeSource) -> None:
    for number in range(5):
        source.add(f"activity_{number}", START + number)
    await until(world.pollers(world.activities(source, page=2)), world, reached(START + 100))
    found = await world.records()
    assert ids(found) == [f"activity_{number}" for number in range(5)]
    metadata = found[0].metadata
    assert (metadata["tenant"], metadata["gateway"], metadata["receiver"]) == ("acme", "anthropic-compliance", "poll")
    assert (metadata["token_id"], metadata["collector_id"]) == ("feed/activities", "poller-1")
    assert json.loads(found[0].source or b"")["id"] == metadata["source_id"]


async def test_that_we_asked_is_recorded_as_all_else_is(world: World, source: FakeSource) -> None:
    source.narrates = True
    await until(world.pollers(world.activities(source)), world, reached(START + 300))
    operations = {event.metadata["operation"] for event in await world.records()}
    assert operations == {"compliance_api_accessed"}


async def test_what_was_covered_is_on_the_log_without_a_gap(world: World, source: FakeSource) -> None:
    for number in range(20):
        source.add(f"activity_{number:02}", START + 30 * number)
    await until(world.pollers(world.activities(source)), world, reached(START + 400))
    await until(world.pollers(world.activities(source)), world, reached(START + 800))
    stretches = await world.stretches()
    assert stretches[0]["from"] == START * 1_000_000
    assert [act["from"] for act in stretches[1:]] == [act["to"] for act in stretches[:-1]]
    assert sum(act["records"] for act in stretches) == 20
    assert stretches[0]["first_id"] == "activity_00"
    assert {act["feed"] for act in stretches} == {"activities"}
    assert set(stretches[0]) == {"feed", "from", "to", "records", "first_id", "last_id"}


async def test_an_idle_feed_says_so_seldom_and_a_busy_one_once_a_minute(world: World) -> None:
    def pages(body: bytes) -> list[Page | Exception | None]:
        edges = [(second * 10_000_000, (second + 1) * 10_000_000) for second in range(360)]
        return [Page(body and event(str(start)), str(end), covered=(start, end)) for start, end in edges]

    idle, busy = Scripted(pages(b""), "idle"), Scripted(pages(b"x"), "busy")
    await until(world.pollers(idle, busy), world, lambda _: not idle.script and not busy.script)
    counts = {name: [act for act in await world.stretches() if act["feed"] == name] for name in ("idle", "busy")}
    elapsed = world.clock.time() - START
    assert len(counts["idle"]) <= elapsed / IDLE_SECONDS + 2
    assert len(counts["idle"]) < len(counts["busy"]) <= elapsed / BUSY_SECONDS + 2
    assert sum(act["records"] for act in counts["busy"]) == 360


async def test_a_gap_that_a_feed_leaves_shows(world: World) -> None:
    feed = Scripted(
        [Page(b"", "a", covered=(10, 20)), Page(b"", "b", covered=(30, 40)), Page(b"", "c", covered=(35, 50))]
    )
    await until(world.pollers(feed), world, lambda _: not feed.script)
    assert [(act["from"], act["to"]) for act in await world.stretches()] == [(10, 20), (30, 50)]


async def test_pages_that_complete_nothing_count_for_the_one_that_does(world: World) -> None:
    feed = Scripted(
        [Page(event("a"), "1", more=True), Page(event("b"), "2", more=True), Page(b"", "3", covered=(0, 9))]
    )
    await until(world.pollers(feed), world, lambda _: not feed.script)
    (act,) = await world.stretches()
    assert (act["records"], act["first_id"], act["last_id"]) == (2, "a", "b")
    assert feed.asked[:3] == ["", "1", "2"]
    assert feed.closed
    assert [one.metadata["receiver"] for one in await world.records()] == ["objects", "objects"]


async def test_the_cursor_moves_after_the_bus_has_the_page_and_not_before(world: World) -> None:
    feed = Scripted([Page(event("a"), "1"), Page(event("a"), "1"), Page(event("b"), "2")])
    await until(world.pollers(feed, faults=Faults({2: Fault.LOST})), world, lambda _: not feed.script)
    assert feed.asked[:3] == ["", "", "1"]
    assert ids(await world.records()) == ["a", "b"]


async def test_a_swap_that_was_reported_as_failed_is_read_again(world: World) -> None:
    feed = Scripted([Page(event("a"), "1"), Page(event("b"), "2")])
    await until(world.pollers(feed, faults=Faults({3: Fault.REPORTED})), world, lambda _: not feed.script)
    assert feed.asked[:2] == ["", "1"]


async def test_a_limit_is_obeyed_for_as_long_as_the_source_says(world: World, source: FakeSource) -> None:
    source.add("activity_1", START)
    source.answers.extend([too_many("70"), broken(503), broken(529)])
    world.clock.advance(100)
    async with world.pollers(world.activities(source)).running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].state == "failing", world.clock)
        failing = pollers.snapshot()[0]
        assert failing.error == "api.anthropic.com answers 429 rate_limit_error (request req_1)"
        await eventually(lambda: pollers.snapshot()[0].records == 1, world.clock)
        assert pollers.snapshot()[0].errors == {"Unavailable": 3}
        assert pollers.snapshot()[0].error == ""
    assert max(world.clock.slept) >= 70
    assert ids(await world.records()) == ["activity_1"]


async def test_what_a_person_must_mend_is_shown_and_looked_at_again(world: World, source: FakeSource) -> None:
    source.add("activity_1", START)
    source.answers.extend([error_page(403, "permission_error"), error_page(400, "invalid_request_error")])
    world.clock.advance(100)
    async with world.pollers(world.activities(source)).running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].records == 1, world.clock)
        (status,) = pollers.snapshot()
    assert status.errors == {"AccessDenied": 1, "ConfigurationError": 1}
    assert world.clock.slept.count(REFUSED_SECONDS) == 2


async def test_a_key_is_in_no_message(world: World, source: FakeSource, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    world.clock.advance(100)
    async with world.pollers(world.activities(source, key="sk-ant-api01-wrong")).running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].state == "refused")
        assert "check the key and its scopes" in pollers.snapshot()[0].error
        assert "sk-ant" not in pollers.snapshot()[0].error
    assert "sk-ant" not in caplog.text


async def test_a_feed_is_polled_by_one_process_and_taken_up_after_its_end(world: World, source: FakeSource) -> None:
    world.clock.advance(1000)
    source.add("activity_1", START)
    first, second = world.pollers(world.activities(source)), world.pollers(world.activities(source))
    async with first.running() as one:
        await eventually(lambda: one.snapshot()[0].pages > 0, world.clock)
        async with second.running() as two:
            await eventually(lambda: two.snapshot()[0].state == "elsewhere", world.clock)
            assert two.snapshot()[0].pages == 0
    assert one.snapshot()[0].state == "stopped"
    await until(world.pollers(world.activities(source)), world, reached(START + 950))


async def test_two_that_both_believe_to_have_the_feed_skip_nothing(world: World, source: FakeSource) -> None:
    """Leases that have always ended: only the swap is left to keep them apart."""
    for number in range(200):
        source.add(f"activity_{number:03}", START + 5 * number)
    one = world.pollers(world.activities(source, page=3), lease_seconds=0.001)
    two = world.pollers(world.activities(source, page=3), lease_seconds=0.001)
    async with one.running() as first, two.running() as second:
        await eventually(
            lambda: (
                max(status.reached or 0 for each in (first, second) for status in each.snapshot())
                > (START + 1000) * 1e6
            ),
            world.clock,
        )
    assert set(ids(await world.records())) == {row.record_id for row in source.rows}
    stretches = await world.stretches()
    assert [act["from"] for act in stretches[1:]] == [act["to"] for act in stretches[:-1]]
    assert sum(act["records"] for act in stretches) == 200


async def test_a_feed_with_a_bug_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    broken_feed, good = Scripted([RuntimeError("the bug")], "bad"), Scripted([Page(event("a"), "1")], "good")
    await until(world.pollers(broken_feed, good), world, lambda _: len(broken_feed.asked) > 1 and not good.script)
    assert "feed bad failed" in caplog.text
    assert ids(await world.records()) == ["a"]


async def test_a_row_that_is_not_ours_is_not_guessed_at(world: World, source: FakeSource) -> None:
    world.control.move_cursor("feed/activities", "", '{"cursor":"1"}', "")
    world.clock.advance(100)
    async with world.pollers(world.activities(source)).running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].state == "refused")
        assert "what the control database remembers of it is not ours" in pollers.snapshot()[0].error
    assert world.control.cursor("feed/activities") == '{"cursor":"1"}'


def test_feeds_have_names_of_their_own(world: World) -> None:
    with pytest.raises(ConfigurationError, match="got feeds named one, one, expected each name once"):
        world.pollers(Scripted([], "one"), Scripted([], "one"))


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", format_progress(Progress("x")) + " "])
def test_progress_is_read_strictly(text: str) -> None:
    with pytest.raises(LedgerContradiction, match="feed a: what the control database remembers"):
        parse_progress(text, "a")
    assert parse_progress(format_progress(Progress("x")), "a") == Progress("x")


async def test_stopping_does_not_wait_for_an_answer(world: World) -> None:
    class Hanging(Scripted):
        async def page(self, cursor: str) -> Page | None:
            self.asked.append(cursor)
            await FakeClock().sleep(1)
            return None

    feed = Hanging([])
    await until(world.pollers(feed), world, lambda _: bool(feed.asked))
    assert feed.closed


async def test_lag_is_from_what_was_read_to_now(world: World, source: FakeSource) -> None:
    async with world.pollers(world.activities(source)).running() as pollers:
        assert isinstance(pollers, Pollers)
        assert pollers.snapshot()[0].lag_seconds is None
        await eventually(lambda: pollers.snapshot()[0].reached is not None, world.clock)
        status = pollers.snapshot()[0]
        assert status.lag_seconds == pytest.approx(world.clock.time() - (status.reached or 0) / 1e6)
