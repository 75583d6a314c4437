"""Lists that show the newest first: windows, overlap, late records, shifting pages, equal times, expired cursors."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from collector_server import opened_events
from fake_clock import FakeClock, eventually
from fake_lists import KEY, FakeSource, broken, error_page, too_many
from hypothesis import given
from hypothesis import strategies as st
from polling import START, World, ids, reached, until
from starlette.responses import JSONResponse, Response

from collector.poll import Counted
from collector.poll.anthropic_compliance import compliance_feed
from collector.poll.api import MAX_BYTES, MAX_RETRY_AFTER, Api, CursorExpired
from collector.poll.listing import ListingFeed
from collector.poll.openai_audit import audit_feed
from collector.poll.windows import (
    Listed,
    Rules,
    Window,
    current,
    finished,
    format_window,
    parse_window,
    restarted,
    seen,
)
from collector.server import serve
from schemas.errors import (
    AccessDenied,
    ConfigurationError,
    LedgerContradiction,
    LimitExceeded,
    MalformedInput,
    Unavailable,
)

RULES = Rules(lag=90, overlap=600, longest=86_400, begin=START)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def source(world: World) -> FakeSource:
    return world.source()


def audit(world: World, source: FakeSource, **settings: Any) -> ListingFeed:
    settings = {"begin": START, "key": KEY, "per_minute": 6e6} | settings
    return audit_feed("audit", "acme", transport=httpx.ASGITransport(source.app), clock=world.clock, **settings)


async def test_no_window_comes_nearer_to_now_than_the_source_needs(world: World, source: FakeSource) -> None:
    asked_at: list[float] = []
    source.on_request = lambda: asked_at.append(world.clock.time())
    await until(world.pollers(world.activities(source)), world, reached(START + 600))
    for now, asked in zip(asked_at, source.asked, strict=True):
        assert asked["created_at.lt"] <= as_text(now - 90)
        assert set(asked) == {"limit", "created_at.gte", "created_at.lt"}


def as_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_a_record_that_shows_a_minute_late_is_recorded(world: World, source: FakeSource) -> None:
    for number in range(30):
        source.add(f"activity_{number:02}", START + 20 * number, START + 20 * number + 59.9)
    await until(world.pollers(world.activities(source)), world, reached(START + 700))
    assert ids(await world.records()) == [f"activity_{number:02}" for number in range(30)]


async def test_a_record_that_shows_later_than_promised_is_found_by_the_overlap(
    world: World, source: FakeSource
) -> None:
    source.add("activity_late", START + 100, START + 100 + 500)
    await until(world.pollers(world.activities(source)), world, reached(START + 900))
    assert ids(await world.records()) == ["activity_late"]


async def test_overlap_does_not_record_again_what_is_known(world: World, source: FakeSource) -> None:
    source.add("activity_1", START)
    await until(world.pollers(world.activities(source)), world, reached(START + 500))
    assert ids(await world.records()) == ["activity_1"]
    await until(world.pollers(world.activities(source)), world, reached(START + 580))
    found = await world.records()
    assert ids(found) == ["activity_1"] * 2
    assert len({event.metadata["event_id"] for event in found}) == 1


async def test_a_record_that_changes_is_recorded_again(world: World, source: FakeSource) -> None:
    source.add("activity_1", START)
    async with world.pollers(world.activities(source)).running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].records > 0, world.clock)
        source.rows[0].record["claude_chat_id"] = "claude_chat_1"
        await eventually(lambda: pollers.snapshot()[0].records > 1, world.clock)
    assert len(await world.records()) == 2


async def test_pages_that_shift_while_they_are_read_hide_nothing(world: World, source: FakeSource) -> None:
    for number in range(20):
        source.add(f"activity_{number:02}", START + number)
    world.clock.advance(600)
    late = iter(range(100))

    def shift() -> None:
        number = next(late)
        if number < 12:
            source.add(f"late_{number:02}", START + 5 + number / 2, world.clock.time())

    source.on_request = shift
    await until(world.pollers(world.activities(source, page=3)), world, reached(START + 1000))
    assert set(ids(await world.records())) == {row.record_id for row in source.rows}


@pytest.mark.parametrize("feed", ["activities", "audit"])
async def test_equal_times_across_the_edge_of_a_page(world: World, source: FakeSource, feed: str) -> None:
    for number in range(25):
        source.add(f"record_{number:02}", START + 10)
    asking = world.activities(source, page=4) if feed == "activities" else audit(world, source, page=4)
    await until(world.pollers(asking), world, reached(START + 100))
    assert ids(await world.records()) == [f"record_{number:02}" for number in range(25)]
    assert sum(act["records"] for act in await world.stretches()) == 25


@pytest.mark.parametrize("feed", ["activities", "audit"])
async def test_a_cursor_that_expires_costs_time_and_no_record(world: World, source: FakeSource, feed: str) -> None:
    for number in range(100):
        source.add(f"record_{number:03}", START + number)
    source.forgets_after = 4
    limits = iter([False, False, True, False, True, True] + [False] * 1000)
    source.on_request = lambda: source.answers.append(error_page(400, "invalid") if next(limits) else None)
    world.clock.advance(1000)
    asking = world.activities(source, page=7) if feed == "activities" else audit(world, source, page=7)
    await until(world.pollers(asking), world, reached(START + 900))
    assert set(ids(await world.records())) == {f"record_{number:03}" for number in range(100)}
    assert sum(act["records"] for act in await world.stretches()) == 100


async def test_a_source_that_forgets_the_bounds_is_read_no_further_than_needed(
    world: World, source: FakeSource
) -> None:
    source.ignores_bounds = True
    for number in range(400):
        source.add(f"activity_{number:03}", START - 100_000 + 10 * number)
    source.add("activity_new", START + 5)
    world.clock.advance(200)
    await until(world.pollers(world.activities(source, page=10)), world, reached(START + 100))
    assert "activity_new" in ids(await world.records())
    assert len(source.asked) < 5


async def test_years_are_caught_up_with_day_by_day(world: World, source: FakeSource) -> None:
    for day in range(40):
        source.add(f"activity_{day:02}", START - 86_400 * day)
    feed = world.activities(source, begin=START - 40 * 86_400)
    await until(world.pollers(feed), world, reached(START - 90))
    assert ids(await world.records()) == [f"activity_{day:02}" for day in range(1, 40)]
    assert len(source.asked) == 40
    stretches = await world.stretches()
    assert stretches[0]["from"] == (START - 40 * 86_400) * 1_000_000


@pytest.mark.parametrize(
    "answer",
    [
        Response("<html>sign in</html>"),
        JSONResponse({"data": "none", "has_more": False}),
        JSONResponse({"data": []}),
        JSONResponse({"data": [], "has_more": True}),
        JSONResponse([]),
    ],
)
async def test_an_answer_that_is_no_page_moves_nothing(world: World, source: FakeSource, answer: Response) -> None:
    world.clock.advance(100)
    source.add("activity_1", START)
    source.answers.append(answer)
    async with world.pollers(world.activities(source)).running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].errors.get("MalformedInput") == 1)
        assert world.control.cursor("feed/activities") == ""
        await eventually(lambda: pollers.snapshot()[0].records == 1, world.clock)


async def test_a_page_that_points_at_itself_is_not_followed(world: World, source: FakeSource) -> None:
    page = {"data": [{"id": "a", "type": "t", "created_at": as_text(START)}], "has_more": True, "last_id": "a"}
    source.answers.extend([JSONResponse(page), JSONResponse(page)])
    world.clock.advance(100)
    feed = world.activities(source)
    first = await feed.page("")
    assert first is not None
    world.clock.advance(1)
    with pytest.raises(MalformedInput, match="says that there is more, and not behind which record"):
        await feed.page(first.cursor)
    await feed.close()


async def test_a_record_that_cannot_be_read_is_kept_as_it_is(world: World, source: FakeSource) -> None:
    source.answers.append(Response('{"data": [{"odd" : 1}, 7], "has_more": false, "first_id": null, "last_id": null}'))
    world.clock.advance(100)
    await until(world.pollers(world.activities(source)), world, reached(START))
    found = await world.records()
    assert {event.metadata["kind"] for event in found} == {"unparsed"}
    assert sorted(event.source or b"" for event in found) == [b"7", b'{"odd" : 1}']


def test_windows_follow_each_other_and_overlap() -> None:
    window = current(None, START + 200.7, RULES)
    assert window == Window(START, START + 110)
    assert window.start == START
    following = current(finished(window), START + 300, RULES)
    assert following == Window(START + 110, START + 210, 110)
    assert following.start == START
    later = current(Window(START + 5000, START + 5000), START + 9000, RULES)
    assert later is not None
    assert later.start == START + 4400
    assert current(finished(window), START + 200, RULES) is None
    assert current(finished(window), START - 10_000, RULES) is None


def test_a_begun_window_keeps_its_end() -> None:
    window = Window(START, START + 110, 0, "a")
    assert current(window, START + 10_000, RULES) == window


def test_what_overlap_shows_again_does_not_count() -> None:
    window = Window(START + 100, START + 200)
    page = [Listed("c", START + 150), Listed("b", START + 100), Listed("a", START + 99), Listed("x", None)]
    following, complete = seen(window, page, "x", False)
    assert complete
    assert following.counted == Counted(3, "c", "x")


def test_a_restart_takes_half_and_at_least_a_second() -> None:
    assert restarted(Window(10, 20, 8, "a", Counted(3, "b", "c"))) == Window(10, 15, 4)
    assert restarted(Window(10, 11, 0, "a")) == Window(10, 11)


@given(st.integers(), st.integers(), st.text(), st.integers(), st.text(), st.text())
def test_a_cursor_is_what_it_was(done: int, end: int, after: str, records: int, first: str, last: str) -> None:
    window = Window(done, end, 7, after, Counted(records, first, last), "m")
    assert parse_window(format_window(window), "f") == window


@pytest.mark.parametrize("cursor", ["x", "[]", "[1,2]", "{}", '[1,2,"",0,"","",""] ', "null"])
def test_a_cursor_is_read_strictly(cursor: str) -> None:
    with pytest.raises(LedgerContradiction, match="feed f: its cursor is not one of a list"):
        parse_window(cursor, "f")


@pytest.mark.parametrize("rules", [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_rules_that_cannot_be(rules: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match="expected seconds"):
        Rules(*rules, begin=0)


def api(*answers: Response, clock: FakeClock | None = None, **settings: Any) -> Api:
    source = FakeSource(clock or FakeClock())
    source.answers.extend(answers)
    settings = {"per_minute": 6e6, "headers": {"x-api-key": KEY}} | settings
    transport = httpx.ASGITransport(source.app)
    return Api("https://api.example.com", transport=transport, clock=source.clock, **settings)  # type: ignore[arg-type]


BOUNDS = [("limit", "1"), ("created_at.gte", as_text(0)), ("created_at.lt", as_text(1))]


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (error_page(401, "authentication_error"), AccessDenied, "answers 401 authentication_error: check the key"),
        (error_page(400, "invalid_request_error"), CursorExpired, "answers 400 invalid_request_error"),
        (error_page(404, "not_found_error"), CursorExpired, "answers 404"),
        (error_page(418, "teapot\n"), ConfigurationError, "answers 418, expected 200"),
        (Response("", 302, {"location": "https://elsewhere.example"}), ConfigurationError, "answers 302, expected 200"),
        (broken(500), Unavailable, "api.example.com answers 500"),
        (broken(529), Unavailable, "answers 529"),
    ],
)
async def test_answers_are_classified(answer: Response, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        await api(answer).get("/v1/compliance/activities", BOUNDS)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("12", 12.0),
        ("0", 1.0),
        ("-5", 1.0),
        ("1e9", MAX_RETRY_AFTER),
        ("nan", 1.0),
        ("soon", 1.0),
        ("Mon, 24 Nov 2025 16:00:30 GMT", 30.0),
        ("Mon, 24 Nov 2025 15:00:30 GMT", 1.0),
    ],
)
async def test_when_to_come_back_is_bounded(header: str, seconds: float) -> None:
    with pytest.raises(Unavailable, match="answers 429 rate_limit_error") as caught:
        await api(too_many(header)).get("/v1/compliance/activities", BOUNDS)
    assert caught.value.retry_after == seconds


async def test_requests_are_spread_over_the_minute() -> None:
    clock = FakeClock()
    asking = api(clock=clock, per_minute=120)

    async def three() -> None:
        for _ in range(3):
            await asking.get("/v1/compliance/activities", BOUNDS)

    task = asyncio.create_task(three())
    await eventually(task.done, clock)
    await task
    assert clock.slept == [0.5, 0.5]


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    with pytest.raises(LimitExceeded, match="ask for fewer records"):
        await api(Response(b" " * (MAX_BYTES + 1))).get("/v1/compliance/activities", BOUNDS)


async def test_no_answer_is_a_reason_to_come_back() -> None:
    asking = Api("https://127.0.0.1:1", {"x-api-key": KEY}, per_minute=60)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 gives no answer: ConnectError"):
        await asking.get("/", [])
    await asking.close()


@pytest.mark.parametrize(
    "url", ["http://api.example.com", "api.example.com", "ftp://127.0.0.1x", "https://", "https://\x00"]
)
def test_a_key_does_not_travel_in_the_clear(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected https"):
        Api(url, {"x-api-key": KEY}, per_minute=60)


@pytest.mark.parametrize("key", ["", "a\nb", "schlüssel"])
def test_a_key_that_no_header_may_have(key: str) -> None:
    with pytest.raises(ConfigurationError, match="the key for") as caught:
        compliance_feed("a", "acme", key=key, begin=0)
    assert not key or key not in str(caught.value)


async def test_over_a_real_connection(world: World, source: FakeSource) -> None:
    """The same over sockets of loopback, as a client of the library that speaks to the real thing."""
    rng = random.Random(1)
    for number in range(50):
        source.add(f"record_{number:02}", START + rng.randrange(100))
    world.clock.advance(400)
    stop, ports = asyncio.Event(), asyncio.Queue[int]()
    server = asyncio.create_task(serve(source.app, "127.0.0.1", 0, stop, started=ports.put_nowait))
    try:
        url = f"http://127.0.0.1:{await ports.get()}"
        settings: dict[str, Any] = {"key": KEY, "begin": START, "base_url": url, "per_minute": 6e6, "page": 7}
        feeds = [
            compliance_feed("activities", "acme", clock=world.clock, **settings),
            audit_feed("audit", "acme", clock=world.clock, **settings),
        ]
        await until(world.pollers(*feeds), world, reached(START + 250))
    finally:
        stop.set()
        await server
    found = await opened_events(world.bus, world.keys)
    by_gateway = {
        gateway: ids([event for event in found if event.metadata["gateway"] == gateway])
        for gateway in ("anthropic-compliance", "openai-audit")
    }
    assert all(names == [f"record_{number:02}" for number in range(50)] for names in by_gateway.values())
