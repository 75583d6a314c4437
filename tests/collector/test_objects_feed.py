"""The feed over a bucket: nothing is skipped, whatever appears when and wherever the process dies."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from fake_clock import eventually
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_bucket import MemoryBucket
from polling import World

from collector.gateways.bedrock import BedrockFormat
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.object_notices import DAMAGED, NOTICE
from collector.poll import Page
from collector.poll.object_layout import ANY, BEDROCK, CLOUDFLARE, LITELLM, VERTEX, Layout
from collector.poll.object_pages import PAGE_BYTES
from collector.poll.objects import ObjectsFeed, Source
from schemas.errors import ConfigurationError, LedgerContradiction, Unavailable

ROOT = "bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/"
HOUR = 3600
LATE = 2 * HOUR


def key_of(seconds: int, name: str, root: str = ROOT) -> str:
    return root + datetime.fromtimestamp(seconds, UTC).strftime("%Y/%m/%d/%H/") + name


def feed_of(bucket: MemoryBucket, layout: Layout = BEDROCK, prefix: str = "bedrock/", **more: int) -> ObjectsFeed:
    source = Source("logs", "acme", "bedrock", prefix, layout, late=LATE, **more)  # type: ignore[arg-type]
    return ObjectsFeed(bucket, source, BedrockFormat(), now=lambda: bucket.now)


async def drain(feed: ObjectsFeed, cursor: str = "") -> tuple[list[Page], str]:
    """Pages until there are no more, and the cursor behind them."""
    pages: list[Page] = []
    while (page := await feed.page(cursor)) is not None:
        pages.append(page)
        cursor = page.cursor
    return pages, cursor


def names(pages: list[Page]) -> list[str]:
    return [page.name.rsplit("/", 1)[-1] for page in pages if page.body]


async def test_what_is_there_is_read_once_and_then_what_comes() -> None:
    bucket = MemoryBucket()
    bucket.put(key_of(bucket.now - 30 * HOUR, "old"), b'{"a": 1}')
    bucket.put(key_of(bucket.now - HOUR, "b"), b'{"b": 1}')
    bucket.now += 10
    feed = feed_of(bucket)
    pages, cursor = await drain(feed)
    assert names(pages) == ["old", "b"]
    assert [page.body for page in pages if page.body] == [b'{"a": 1}', b'{"b": 1}']
    assert (await drain(feed, cursor))[0] == []
    bucket.put(key_of(bucket.now - HOUR, "a-late-one-with-a-smaller-key"), b'{"c": 1}')
    bucket.now += 10
    again, cursor = await drain(feed_of(bucket), cursor)
    assert names(again) == ["a-late-one-with-a-smaller-key"]
    await feed.close()
    assert bucket.closed


async def test_an_object_that_shows_after_later_ones_were_read_is_found_by_the_sums() -> None:
    bucket = MemoryBucket()
    bucket.put(key_of(bucket.now, "slow"), b'{"slow": 1}', visible_in=300)
    for number in range(20):
        bucket.now += 5
        bucket.put(key_of(bucket.now, f"{number}"), b"{}")
    bucket.now += 5
    pages, cursor = await drain(feed_of(bucket))
    assert len(names(pages)) == 20
    bucket.now += 400
    late, cursor = await drain(feed_of(bucket), cursor)
    assert names(late) == ["slow"]  # exactly that one, nothing again


async def test_many_that_show_late_at_once_cost_repeats_of_their_stretch_and_no_loss() -> None:
    bucket = MemoryBucket()
    for number in range(4):
        bucket.put(key_of(bucket.now, f"slow-{number}"), b'{"slow": 1}', visible_in=300)
    for number in range(5):
        bucket.put(key_of(bucket.now, f"{number}"), b"{}")
    bucket.now += 5
    _, cursor = await drain(feed_of(bucket))
    bucket.now += 400
    late, cursor = await drain(feed_of(bucket), cursor)
    assert {f"slow-{number}" for number in range(4)} <= set(names(late))
    assert (await drain(feed_of(bucket), cursor))[0] == []


async def test_what_is_behind_the_last_hour_is_not_listed_again() -> None:
    bucket = MemoryBucket(page=100)
    for number in range(3000):
        bucket.put(key_of(bucket.now - 100 * HOUR + number * 60, f"{number:05}"), b"{}")
    bucket.now += 10
    pages, cursor = await drain(feed_of(bucket))
    assert len(names(pages)) == 3000
    bucket.requests.clear()
    feed = feed_of(bucket)
    for _ in range(5):
        bucket.now += 90
        page = await feed.page(cursor)
        assert page is not None
        assert page.body == b""
        cursor = page.cursor
    assert bucket.requests["list"] <= 5
    assert len(cursor) < 1000


async def test_covered_time_is_contiguous_and_never_ahead_of_what_is_read() -> None:
    bucket = MemoryBucket()
    start = bucket.now - 50 * HOUR
    bucket.put(key_of(start, "first"), b"{}")
    bucket.now += 10
    pages, cursor = await drain(feed_of(bucket))
    bucket.now += 2 * HOUR
    more, _ = await drain(feed_of(bucket), cursor)
    stretches = [page.covered for page in [*pages, *more] if page.covered]
    assert stretches[0][0] == start // HOUR * HOUR * 1_000_000
    assert [end for _, end in stretches[:-1]] == [begin for begin, _ in stretches[1:]]
    assert stretches[-1][1] == (bucket.now - LATE) * 1_000_000


async def test_every_account_and_region_is_found_also_one_that_comes_later() -> None:
    bucket = MemoryBucket()
    bucket.put(key_of(bucket.now, "one"), b"{}")
    bucket.now += 10
    feed = feed_of(bucket)
    pages, cursor = await drain(feed)
    other = "bedrock/AWSLogs/000000000001/BedrockModelInvocationLogs/eu-west-1/"
    bucket.put(key_of(bucket.now, "two", other), b"{}")
    bucket.now += 10
    more, cursor = await drain(feed, cursor)
    assert (names(pages), names(more)) == (["one"], ["two"])


async def test_bodies_the_permission_check_and_empty_objects_are_no_records() -> None:
    bucket = MemoryBucket()
    for name in ("data/6f9e_input.json.gz", "amazon-bedrock-logs-permission-check", "empty"):
        bucket.put(key_of(bucket.now, name), b"" if name == "empty" else b"{}")
    bucket.put(ROOT + "amazon-bedrock-logs-permission-check", b"x")
    bucket.put("bedrock/readme.txt", b"x")
    bucket.put(key_of(bucket.now, "records"), b"{}")
    bucket.now += 10
    pages, _ = await drain(feed_of(bucket))
    assert names(pages) == ["records"]


async def test_an_object_that_vanishes_after_it_was_listed_is_on_record() -> None:
    bucket = MemoryBucket()
    for name in ("a", "b", "c"):
        bucket.put(key_of(bucket.now, name), b"{}")
    bucket.now += 10
    feed = feed_of(bucket)
    page = await feed.page("")
    while page is not None and not page.body:
        page = await feed.page(page.cursor)
    assert page is not None
    bucket.remove(key_of(bucket.now, "b"))
    rest, cursor = await drain(feed, page.cursor)
    assert [page.media_type for page in rest] == [NOTICE, "application/json"]
    notice = json.loads(rest[0].body)
    assert (notice["notice"], notice["ref"]) == ("object_vanished", f"s3://logs/{key_of(bucket.now, 'b')}")
    assert (await drain(feed_of(bucket), cursor))[0] == []  # and it is not in the sums


async def test_an_object_that_was_replaced_while_it_waited_is_on_record_and_the_new_one_is_read() -> None:
    bucket = MemoryBucket()
    bucket.put(key_of(bucket.now, "a"), b"{}")
    bucket.put(key_of(bucket.now, "b"), b"{}")
    bucket.now += 10
    feed = feed_of(bucket)
    page = await feed.page("")
    while page is not None and not page.body:
        page = await feed.page(page.cursor)
    assert page is not None
    bucket.put(key_of(bucket.now, "b"), b'{"new": 1}')
    bucket.now += 10
    rest, _ = await drain(feed, page.cursor)
    assert [page.media_type for page in rest] == [NOTICE, "application/json"]
    assert rest[1].body == b'{"new": 1}'


@pytest.mark.parametrize("packed", [True, False])
async def test_a_large_object_comes_in_pages_between_lines_with_the_process_dying_at_each(packed: bool) -> None:
    lines = b"".join(json.dumps({"n": number, "text": "x" * 900}).encode() + b"\n" for number in range(10_000))
    bucket = MemoryBucket(chunk=70_000)
    bucket.put(key_of(bucket.now, "large"), gzip.compress(lines) if packed else lines)
    bucket.put(key_of(bucket.now, "small"), b"{}")
    bucket.now += 10
    cursor, bodies = "", []
    while (page := await feed_of(bucket).page(cursor)) is not None:
        bodies.append(page.body)
        cursor = page.cursor
    assert b"".join(bodies) == lines + b"{}"
    assert len([body for body in bodies if body]) == 6
    assert all(body.endswith(b"\n") for body in bodies if len(body) > 2)
    assert max(map(len, bodies)) <= PAGE_BYTES


async def test_json_that_is_no_lines_is_one_page_however_large() -> None:
    pretty = json.dumps({"rows": ["x" * 1000] * 6000}, indent=1).encode()
    bucket = MemoryBucket()
    bucket.put(key_of(bucket.now, "pretty"), pretty)
    bucket.now += 10
    pages, _ = await drain(feed_of(bucket))
    assert [page.body for page in pages if page.body] == [pretty]


@pytest.mark.parametrize("cut", [1, 40, -3])
async def test_gzip_that_does_not_inflate_is_kept_as_it_is_stored(cut: int) -> None:
    stored = gzip.compress(b'{"a": 1}\n' * 1000)
    damaged = stored[:cut] if cut < 0 or cut == 40 else stored[:20] + b"\xff" + stored[21:]
    bucket = MemoryBucket()
    bucket.put(key_of(bucket.now, "damaged"), damaged)
    bucket.put(key_of(bucket.now, "next"), b"{}")
    bucket.now += 10
    pages, _ = await drain(feed_of(bucket))
    found = [page for page in pages if page.body]
    assert (found[0].body, found[0].media_type) == (damaged, DAMAGED)
    assert names(pages) == ["damaged", "next"]


async def test_what_fails_is_asked_for_again_and_nothing_is_lost() -> None:
    bucket = MemoryBucket()
    for number in range(3):
        bucket.put(key_of(bucket.now, f"{number}"), b"{}")
    bucket.now += 10
    feed = feed_of(bucket)
    cursor, found = "", []
    for _ in range(60):
        bucket.faults = [Unavailable("not now")] if bucket.requests.total() % 3 == 1 else []
        try:
            page = await feed.page(cursor)
        except Unavailable:
            continue
        if page is None:
            break
        found.append(page)
        cursor = page.cursor
    assert names(found) == ["0", "1", "2"]


async def test_a_cursor_that_is_not_ours_is_refused() -> None:
    with pytest.raises(LedgerContradiction, match="expected one that we wrote"):
        await feed_of(MemoryBucket()).page('{"v":1}')


def test_a_prefix_without_its_slash_would_find_nothing_and_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ends with a slash"):
        feed_of(MemoryBucket(), prefix="bedrock")


async def test_the_layouts_of_other_senders() -> None:
    bucket = MemoryBucket()
    day = datetime.fromtimestamp(bucket.now, UTC)
    bucket.put(day.strftime("litellm/%Y-%m-%d/time-09-00-00_a.json"), b"{}")
    bucket.put(day.strftime("litellm/team-b/%Y-%m-%d/time-09-00-00_b.json"), b"{}")
    bucket.put(day.strftime("litellm/2026/%Y-%m-%d/c.json"), b"{}")  # a team may be called so
    bucket.put(day.strftime("cf/%Y%m%d/20260821T090000Z_x.log.gz"), b"{}")
    bucket.put("cf/ownership-challenge.txt", b"x")
    bucket.put(day.strftime("audit/cloudaudit.googleapis.com/data_access/%Y/%m/%d/%H:00:00_%H:59:59_S0.json"), b"{}")
    bucket.put(day.strftime("audit/cloudaudit.googleapis.com/activity/%Y/%m/%d/%H:00:00_%H:59:59_A0:99.json"), b"{}")
    bucket.put("any/x", b"{}")
    bucket.now += 10
    assert sorted(names((await drain(feed_of(bucket, LITELLM, "litellm/")))[0])) == [
        "c.json",
        "time-09-00-00_a.json",
        "time-09-00-00_b.json",
    ]
    assert names((await drain(feed_of(bucket, CLOUDFLARE, "cf/")))[0]) == ["20260821T090000Z_x.log.gz"]
    assert sorted(names((await drain(feed_of(bucket, VERTEX, "audit/")))[0])) == [
        day.strftime("%H:00:00_%H:59:59_A0:99.json"),
        day.strftime("%H:00:00_%H:59:59_S0.json"),
    ]
    assert names((await drain(feed_of(bucket, ANY, "any/")))[0]) == ["x"]


async def test_records_before_the_beginning_that_was_asked_for_are_left_out() -> None:
    bucket = MemoryBucket()
    for hours in (90, 50, 30):
        bucket.put(key_of(bucket.now - hours * HOUR, f"{hours}"), b"{}")
    bucket.now += 10
    pages, _ = await drain(feed_of(bucket, since=bucket.now - 60 * HOUR))
    assert names(pages) == ["50", "30"]


class LateWorld:
    """Objects appear late, out of order and under random keys, while a reader dies and comes back."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.bucket = MemoryBucket(page=self.random.choice([10, 1000]))
        self.queue = self.random.choice([1, 3, 50])
        self.expected: set[str] = set()
        self.recorded: Counter[str] = Counter()
        self.stretches: list[tuple[int, int]] = []
        self.cursor = ""
        self.feed = self._start()
        self._last_appears = self.bucket.now
        for _ in range(self.random.randrange(30)):
            self._put(self.bucket.now - self.random.randrange(200 * HOUR))

    def _start(self) -> ObjectsFeed:
        return feed_of(self.bucket, queue=self.queue)

    def appear(self) -> None:
        """Up to a few objects, each up to LATE after the moment in its key, visible at once or later."""
        for _ in range(self.random.choice([0, 1, 1, 2, 6])):
            delay = self.random.choice([0, 0, 0, 1, 3, 700])
            self._put(self.bucket.now - self.random.randrange(LATE - 800), visible_in=delay)
        self.bucket.now += self.random.choice([0, 0, 1, 1, 2, 60, 900])

    def _put(self, moment: int, visible_in: int = 0) -> None:
        region = self.random.choice(["us-east-1", "eu-west-1"])
        root = f"bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/{region}/"
        key = key_of(moment, f"{self.random.getrandbits(40):010x}.json.gz", root)
        self.bucket.put(key, json.dumps({"key": key}).encode(), visible_in=visible_in)
        self.expected.add(key)

    async def step(self) -> bool:
        """One page, with the process dying before it is recorded, or after, before the cursor moves."""
        page = await self.feed.page(self.cursor)
        if page is None:
            return False
        fate = self.random.random()
        if fate < 0.05:
            self.feed = self._start()
            return True
        if page.body:
            self.recorded[json.loads(page.body)["key"]] += 1
        if fate < 0.1:
            self.feed = self._start()
            return True
        self.cursor = page.cursor
        if page.covered:
            self.stretches.append(page.covered)
        if fate < 0.15:
            self.feed = self._start()
        return True


@pytest.mark.parametrize("seed", range(25))
async def test_nothing_is_skipped_in_a_world_where_everything_is_late(seed: int) -> None:
    world = LateWorld(seed)
    for _ in range(80):
        world.appear()
        for _ in range(world.random.choice([0, 1, 5])):
            await world.step()
    world.bucket.now += LATE
    while await world.step():
        pass
    assert set(world.recorded) == world.expected
    assert [end for _, end in world.stretches[:-1]] == [begin for begin, _ in world.stretches[1:]]
    assert len(world.cursor) < 2500


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(min_value=1000))
async def test_nothing_is_skipped_in_any_of_many_worlds(seed: int) -> None:
    await test_nothing_is_skipped_in_a_world_where_everything_is_late(seed)


def test_a_litellm_format_needs_no_references() -> None:
    source = Source("logs", "acme", "litellm", layout=LITELLM)
    assert ObjectsFeed(MemoryBucket(), source, LiteLLMFormat()).format.name == "litellm"


async def test_what_could_not_be_read_is_an_event_that_names_the_object() -> None:
    bucket = MemoryBucket()
    for name in ("a", "b"):
        bucket.put(key_of(bucket.now, name), b'{"b": 1}')
    stored = gzip.compress(b"{}" * 100)[:-4]
    bucket.put(key_of(bucket.now, "c"), stored)
    bucket.now += 10
    world = World()
    feed = Vanishing(bucket, Source("logs", "acme", "bedrock", "bedrock/", BEDROCK, late=LATE), BedrockFormat())
    process = world.pollers(feed)
    async with process.running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].records >= 3, world.clock)
    events = await world.records()
    (gone,) = [event for event in events if event.metadata["error_code"] == "object_vanished"]
    (damaged,) = [event for event in events if event.source == stored]
    assert {gone.metadata["kind"], damaged.metadata["kind"]} == {"unparsed"}
    assert gone.metadata["document_source"] == f"s3://logs/{key_of(bucket.now, 'b')}"
    assert (gone.metadata["content_state"], gone.metadata["outcome"]) == ("not_captured", "error")
    assert "cut short" in damaged.metadata["error_message"]


class Vanishing(ObjectsFeed):
    """Loses the second object as soon as the first was read."""

    async def page(self, cursor: str) -> Page | None:
        page = await super().page(cursor)
        bucket = self._bucket
        assert isinstance(bucket, MemoryBucket)
        if page is not None and page.name.endswith("/a"):
            bucket.remove(page.name[:-1] + "b")
        return page
