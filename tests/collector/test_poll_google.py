"""Vertex AI's audit entries and logged rows, asked of Google: late ones, pages, searches and queries that take long,
tokens and jobs that are forgotten, deaths."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from collector_server import OpenedEvent
from fake_clock import eventually
from fake_google import PROJECT, TABLE, FakeGoogle, problem
from faults import Fault, Faults
from polling import START, Process, World, live, reached, until
from starlette.responses import JSONResponse, Response

from collector.poll import Feed
from collector.poll.bigquery import MAX_FAILURES, bigquery_feed
from collector.poll.bigquery import SCOPE as BIGQUERY_SCOPE
from collector.poll.cloud_logging import SCOPE as LOGGING_SCOPE
from collector.poll.cloud_logging import cloud_logging_feed
from schemas.errors import ConfigurationError, MalformedInput

KINDS = ("entries", "rows")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def google(world: World) -> FakeGoogle:
    return FakeGoogle(world.clock)


def feed(kind: str, world: World, google: FakeGoogle, **settings: Any) -> Feed:
    told = {"begin": START, "per_minute": 6e6, "interval": 60.0, "lag": 120, "overlap": 600} | settings
    told |= {"transport": google.transport, "clock": world.clock}
    if kind == "entries":
        resources = [f"projects/{PROJECT}"]
        return cloud_logging_feed("audit", "acme", resources=resources, auth=google.auth(LOGGING_SCOPE), **told)
    return bigquery_feed("rows", "acme", table=TABLE, auth=google.auth(BIGQUERY_SCOPE), **told)


def add(kind: str, google: FakeGoogle, number: int, happened: float, shown: float | None = None) -> None:
    if kind == "entries":
        google.entry(f"e{number:05}", happened, happened, shown)
    else:
        google.row(number, happened, shown)


def texts(kind: str, google: FakeGoogle) -> list[str]:
    return sorted(one.text for one in (google.entries if kind == "entries" else google.rows))


def sources(found: Sequence[OpenedEvent]) -> list[str]:
    """The exact texts that were recorded, each once. Of a row there are two events, and the first has the text."""
    return sorted({event.source.decode() for event in found if event.source})


def assert_same_ids(found: Sequence[OpenedEvent]) -> None:
    """What was recorded again has the event id that it had."""
    named = {(event.metadata["source_id"], event.metadata["kind"], event.metadata["event_id"]) for event in found}
    assert len(named) == len({(source_id, kind) for source_id, kind, _ in named})


@pytest.mark.parametrize("kind", KINDS)
async def test_what_shows_late_is_recorded_and_counted(kind: str, world: World, google: FakeGoogle) -> None:
    for number in range(40):
        add(kind, google, number, START + 20 * number, START + 20 * number + 60)
    await until(world.pollers(feed(kind, world, google, page=7)), world, reached(START + 900))
    assert sources(await world.records()) == texts(kind, google)
    assert sum(act["records"] for act in await world.stretches()) == 40


@pytest.mark.parametrize("kind", KINDS)
async def test_what_shows_later_than_promised_is_found_by_the_overlap(
    kind: str, world: World, google: FakeGoogle
) -> None:
    add(kind, google, 1, START + 100, START + 600)
    await until(world.pollers(feed(kind, world, google)), world, reached(START + 900))
    assert sources(await world.records()) == texts(kind, google)


async def test_an_entry_about_something_old_is_recorded_when_it_is_received(world: World, google: FakeGoogle) -> None:
    google.entry("old", START - 5 * 3600, START + 300)
    google.entry("ahead", START + 3600, START + 300)
    await until(world.pollers(feed("entries", world, google)), world, reached(START + 900))
    assert sources(await world.records()) == texts("entries", google)


@pytest.mark.parametrize("kind", KINDS)
async def test_equal_times_across_the_edge_of_a_page(kind: str, world: World, google: FakeGoogle) -> None:
    for number in range(25):
        add(kind, google, number, START + 10)
    await until(world.pollers(feed(kind, world, google, page=4)), world, reached(START + 100))
    found = await world.records()
    assert_same_ids(found)
    assert sources(found) == texts(kind, google)


async def test_a_search_that_takes_long_is_gone_on_with(world: World, google: FakeGoogle) -> None:
    for number in range(30):
        google.entry(f"e{number}", START + number)
    google.searching = 2
    await until(world.pollers(feed("entries", world, google, page=4)), world, reached(START + 200))
    assert sources(await world.records()) == texts("entries", google)


async def test_a_query_that_is_not_ready_is_waited_for(world: World, google: FakeGoogle) -> None:
    for number in range(30):
        google.row(number, START + number)
    google.slow = 4
    await until(world.pollers(feed("rows", world, google, page=7)), world, reached(START + 200))
    assert sources(await world.records()) == texts("rows", google)
    queries = [asked for asked in google.asked if "query" in asked]
    assert all(asked["useQueryCache"] is False for asked in queries)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_google_has_forgotten_is_asked_anew(kind: str, world: World, google: FakeGoogle) -> None:
    for number in range(100):
        add(kind, google, number, START + number)
    world.clock.advance(1000)
    google.forgets_after = 6
    refusals = iter([False, False, True, False, True, True] + [False] * 1000)
    google.on_request = lambda: google.answers.append(problem(400, "INVALID_ARGUMENT") if next(refusals) else None)
    await until(world.pollers(feed(kind, world, google, page=15)), world, reached(START + 880))
    assert sources(await world.records()) == texts(kind, google)
    assert sum(act["records"] for act in await world.stretches()) == 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        problem(429, "RESOURCE_EXHAUSTED"),
        problem(403, "PERMISSION_DENIED", "rateLimitExceeded"),
        problem(403, "PERMISSION_DENIED", "quotaExceeded"),
        problem(503, "UNAVAILABLE"),
        problem(500, "INTERNAL", "backendError"),
    ],
)
async def test_a_quota_costs_time_alone(kind: str, answer: Response, world: World, google: FakeGoogle) -> None:
    add(kind, google, 1, START + 10)
    google.answers.extend([answer, None, answer])
    await until(world.pollers(feed(kind, world, google)), world, reached(START + 300))
    assert sources(await world.records()) == texts(kind, google)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_missing_right_is_for_a_person_and_moves_nothing(kind: str, world: World, google: FakeGoogle) -> None:
    add(kind, google, 1, START + 10)
    google.answers.extend([problem(403, "PERMISSION_DENIED", "accessDenied")] * 3)
    async with world.pollers(feed(kind, world, google)).running() as pollers:
        world.clock.advance(300)
        await eventually(lambda: pollers.snapshot()[0].state == "refused", world.clock)
        assert pollers.snapshot()[0].reached in (None, START * 1_000_000)
        google.answers.clear()
        await eventually(lambda: reached(START + 100)(pollers), world.clock)
    assert sources(await world.records()) == texts(kind, google)


NO_PAGES = [
    Response(b"<html>", 200),
    JSONResponse([1]),
    JSONResponse({"entries": {}, "rows": {}}),
    JSONResponse({"nextPageToken": 7, "rows": 7}),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", NO_PAGES)
async def test_an_answer_that_is_no_page_moves_nothing(
    kind: str, answer: Response, world: World, google: FakeGoogle
) -> None:
    add(kind, google, 1, START + 10)
    google.answers.append(answer)
    asking = feed(kind, world, google)
    world.clock.advance(1000)
    with pytest.raises(MalformedInput, match="the source answers 200 with"):
        await asking.page("")
    await until(world.pollers(asking), world, reached(START + 800))
    assert sources(await world.records()) == texts(kind, google)


def result(texts: Sequence[str], total: object, **other: object) -> Response:
    told = {
        "jobReference": {"projectId": PROJECT, "jobId": "job_x", "location": "EU"},
        "jobComplete": True,
        "totalRows": total,
        "rows": [{"f": [{"v": text}]} for text in texts],
    }
    return JSONResponse(told | other)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (JSONResponse({"jobComplete": True}), "does not say which job"),
        (result([], "0", jobReference={"jobId": "../../evil"}), "does not say which job"),
        (result([], "0", rows=[{"f": [{"v": "{}"}, {"v": "2"}]}]), "not the one column"),
        (result([], "0", rows=[{"f": [{"v": None}]}]), "not the one column"),
    ],
)
async def test_a_result_that_is_none_moves_nothing(
    answer: Response, says: str, world: World, google: FakeGoogle
) -> None:
    google.answers.append(answer)
    world.clock.advance(1000)
    with pytest.raises(MalformedInput, match=says):
        await feed("rows", world, google).page("")


async def test_a_result_that_is_shorter_than_it_says_is_asked_for_again(world: World, google: FakeGoogle) -> None:
    google.row(1, START + 10)
    google.row(2, START + 11)
    google.answers.append(result([google.rows[0].text], "2"))
    await until(world.pollers(feed("rows", world, google)), world, reached(START + 300))
    assert sources(await world.records()) == texts("rows", google)


async def test_a_query_that_fails_time_after_time_is_asked_anew(world: World, google: FakeGoogle) -> None:
    for number in range(10):
        google.row(number, START + number)
    google.answers = deque([None, *[problem(500, "INTERNAL")] * MAX_FAILURES])
    world.clock.advance(900)
    await until(world.pollers(feed("rows", world, google, page=4)), world, reached(START + 700))
    assert sources(await world.records()) == texts("rows", google)


async def test_a_filter_of_ones_own_cannot_hide_the_times(world: World, google: FakeGoogle) -> None:
    world.clock.advance(1000)
    asking = feed("entries", world, google, filter='protoPayload.serviceName="aiplatform.googleapis.com"')
    await asking.page("")
    lines = google.asked[-1]["filter"].split("\n")
    assert (lines[0], lines[2]) == ("(", ")")
    assert [line.partition(">=")[0].partition("<")[0] for line in lines[3:]] == ["receiveTimestamp"] * 2 + [
        "timestamp"
    ] * 2


@pytest.mark.parametrize("resources", [[], ["proj"], ["projects/p"] * 101])
def test_resources_that_are_none(resources: list[str], google: FakeGoogle) -> None:
    with pytest.raises(ConfigurationError, match="expected some like projects/ID"):
        cloud_logging_feed("audit", "acme", resources=resources, begin=START, auth=google.auth(LOGGING_SCOPE))


@pytest.mark.parametrize("table", ["", "dataset.table", "p.d.t` WHERE 1 --", "P.d.t"])
def test_tables_that_are_none(table: str, google: FakeGoogle) -> None:
    with pytest.raises(ConfigurationError, match=r"expected PROJECT\.DATASET\.TABLE"):
        bigquery_feed("rows", "acme", table=table, begin=START, auth=google.auth(BIGQUERY_SCOPE))


def traffic(kind: str, rng: random.Random, seconds: int, google: FakeGoogle) -> None:
    for number in range(rng.randrange(50, 200)):
        happened = START + rng.choice((rng.random() * seconds, float(rng.randrange(seconds))))
        add(kind, google, number, happened, happened + rng.choice((0, rng.random() * 60)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
async def test_deaths_at_any_write_skip_nothing(kind: str, seed: int) -> None:
    rng, world = random.Random(seed), World()
    google = FakeGoogle(world.clock, searching=rng.choice((0, 3)), slow=rng.choice((0, 2)))
    google.forgets_after = rng.choice((None, 12))
    traffic(kind, rng, 900, google)
    settings = {"page": rng.choice((25, 50)), "interval": rng.choice((15.0, 60.0))}

    def process(faults: Faults | None = None) -> Process:
        return world.pollers(feed(kind, world, google, **settings), faults=faults)

    deaths = 0
    while True:
        crash = rng.choice((Fault.CRASHED_BEFORE, Fault.CRASHED_AFTER))
        other = rng.choice((Fault.LOST, Fault.REPORTED))
        faults = Faults({rng.randrange(1, 16): other, rng.randrange(3, 20): crash} if deaths < 15 else {})
        if await live(process(faults), world, START + 1000):
            break
        deaths += 1
    async with process().running() as pollers:
        await eventually(lambda: reached(START + 1000)(pollers), world.clock)
    assert deaths > 0
    found = await world.records()
    assert sources(found) == texts(kind, google)
    assert_same_ids(found)
    stretches = await world.stretches()
    assert stretches[0]["from"] == START * 1_000_000
    assert [act["from"] for act in stretches[1:]] == [act["to"] for act in stretches[:-1]]
    counted = google.entries if kind == "entries" else google.rows
    for act in stretches:
        assert act["records"] == sum(act["from"] <= one.windowed * 1e6 < act["to"] for one in counted), act


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_in_is_an_event_of_vertex(kind: str, world: World, google: FakeGoogle) -> None:
    add(kind, google, 1, START + 10)
    await until(world.pollers(feed(kind, world, google)), world, reached(START + 100))
    for event in await world.records():
        assert (event.metadata["format"], event.metadata["receiver"], event.metadata["tenant"]) == (
            "vertex",
            "poll",
            "acme",
        )
    (text,) = sources(await world.records())
    assert json.loads(text)
