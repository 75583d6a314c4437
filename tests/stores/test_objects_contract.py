"""The contract of stores.objects.Objects, over every implementation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_objects import MemoryObjects

from schemas.errors import LedgerContradiction, MalformedInput, RetentionLocked
from stores.objects import NewObject, Objects
from stores.objects.local import LocalObjects
from stores.objects.s3 import S3Objects


class Clock:
    """The clock by which a store judges dates, moved by the test. ``soon`` is a short while on it."""

    soon = timedelta(days=1)

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move_to(self, moment: datetime) -> None:
        """Be at ``moment``, or as near to it as time can be moved."""
        self.now = moment


class ServiceClock(Clock):
    """The clock of a service: nobody moves it, so a short while is one that a test can wait for."""

    soon = timedelta(seconds=5)

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def move_to(self, moment: datetime) -> None:
        if moment <= self.now + self.soon:
            time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock(kind: str) -> Clock:
    return ServiceClock() if kind == "s3" else Clock()


@pytest.fixture
def make(kind: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Callable[[str], Objects]]:
    opened: list[LocalObjects | S3Objects] = []

    def make(name: str) -> Objects:
        match kind:
            case "memory":
                return MemoryObjects(clock)
            case "local":
                opened.append(LocalObjects(tmp_path / name, clock=clock))
            case _:
                opened.append(S3Objects(request.getfixturevalue("s3_server").config()))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def objects(make: Callable[[str], Objects]) -> Objects:
    return make("objects")


def keys(objects: Objects, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key for info in objects.list(prefix, start_after=start_after)]


def test_what_was_created_is_read_back(objects: Objects) -> None:
    objects.create([NewObject("a/b", b"one"), NewObject("a/c", b""), NewObject("d", b"x" * 1_000_000)])
    assert objects.get("a/b") == b"one"
    assert objects.get("a/c") == b""
    assert objects.get("d") == b"x" * 1_000_000
    info = objects.head("d")
    assert info is not None
    assert (info.key, info.size, info.retain_until, info.hold) == ("d", 1_000_000, None, False)


def test_a_file_is_written_and_read_in_pieces(objects: Objects, tmp_path: Path) -> None:
    data = b"0123456789abcdef" * 200_000
    with (tmp_path / "large").open("w+b") as file:
        file.write(data)
        objects.create_file("blobs/a", file)
        objects.create_file("blobs/a", file)
        file.write(b"more")
        with pytest.raises(LedgerContradiction, match="blobs/a: exists with other bytes"):
            objects.create_file("blobs/a", file)
        file.seek(5)
        file.write(b"X")
        file.truncate(len(data))
        with pytest.raises(LedgerContradiction, match="blobs/a: exists with other bytes"):
            objects.create_file("blobs/a", file)
    assert objects.get("blobs/a") == data
    assert b"".join(objects.open("blobs/a")) == data
    assert max(len(piece) for piece in objects.open("blobs/a")) <= 4 << 20


def test_an_empty_file_is_an_object(objects: Objects, tmp_path: Path) -> None:
    with (tmp_path / "empty").open("w+b") as file:
        objects.create_file("blobs/empty", file)
    assert objects.get("blobs/empty") == b""
    assert list(objects.open("blobs/empty")) == []


def test_an_object_written_from_a_file_is_locked_later(objects: Objects, clock: Clock, tmp_path: Path) -> None:
    with (tmp_path / "large").open("w+b") as file:
        file.write(b"x" * 3_000_000)
        objects.create_file("blobs/a", file)
    until = clock.now + clock.soon
    objects.extend_retention("blobs/a", until)
    info = objects.head("blobs/a")
    assert info is not None
    assert info.retain_until == until
    with pytest.raises(RetentionLocked, match="blobs/a: is locked"):
        objects.delete(["blobs/a"])
    assert objects.get("blobs/a") == b"x" * 3_000_000


def test_an_absent_object_has_no_pieces(objects: Objects) -> None:
    with pytest.raises(KeyError, match="none"):
        list(objects.open("none"))


@pytest.mark.parametrize("key", ["none", "a", "a/b/c", "none/none"])
def test_absent_objects(objects: Objects, clock: Clock, key: str) -> None:
    objects.create([NewObject("a/b", b"one")])
    with pytest.raises(KeyError, match=key):
        objects.get(key)
    assert objects.head(key) is None
    with pytest.raises(KeyError, match=key):
        objects.set_hold(key, True)
    with pytest.raises(KeyError, match=key):
        objects.extend_retention(key, clock.now)
    objects.delete([key])


def test_creating_again_with_equal_bytes_is_harmless(objects: Objects) -> None:
    objects.create([NewObject("a", b"one")])
    objects.create([NewObject("a", b"one"), NewObject("b", b"two")])
    assert keys(objects) == ["a", "b"]


def test_creating_again_with_other_bytes_is_a_contradiction(objects: Objects) -> None:
    objects.create([NewObject("a", b"one")])
    with pytest.raises(LedgerContradiction, match="object a: exists with other bytes"):
        objects.create([NewObject("a", b"two")])
    assert objects.get("a") == b"one"


def test_put_replaces(objects: Objects) -> None:
    objects.put("checkpoint", b"1")
    objects.put("checkpoint", b"22")
    assert objects.get("checkpoint") == b"22"
    assert keys(objects) == ["checkpoint"]


def test_a_date_locks_until_it_has_passed(objects: Objects, clock: Clock) -> None:
    until = clock.now + clock.soon
    objects.create([NewObject("a", b"one", retain_until=until)])
    info = objects.head("a")
    assert info is not None
    assert info.retain_until == until
    with pytest.raises(RetentionLocked, match=f"object a: is locked until {until:%Y-%m-%d}"):
        objects.delete(["a"])
    with pytest.raises(RetentionLocked, match=f"object a: is locked until {until:%Y-%m-%d}"):
        objects.put("a", b"two")
    if not isinstance(clock, ServiceClock):
        clock.move_to(until - timedelta(microseconds=1))
        with pytest.raises(RetentionLocked, match="locked until"):
            objects.delete(["a"])
    clock.move_to(until)
    objects.delete(["a"])
    assert objects.head("a") is None


def test_a_hold_beats_every_date(objects: Objects, clock: Clock) -> None:
    objects.create([NewObject("a", b"one", hold=True), NewObject("b", b"two")])
    objects.set_hold("b", True)
    clock.move_to(clock.now + timedelta(days=36500))
    for key in ("a", "b"):
        with pytest.raises(RetentionLocked, match=f"object {key}: is held"):
            objects.delete([key])
        with pytest.raises(RetentionLocked, match=f"object {key}: is held"):
            objects.put(key, b"x")
        objects.set_hold(key, False)
    objects.delete(["a", "b"])
    assert keys(objects) == []


def test_a_locked_object_stops_the_whole_delete(objects: Objects) -> None:
    objects.create([NewObject("a", b"one"), NewObject("b", b"two", hold=True)])
    with pytest.raises(RetentionLocked, match="object b: is held"):
        objects.delete(["a", "b"])
    assert keys(objects) == ["a", "b"]


def test_dates_only_move_later(objects: Objects, clock: Clock) -> None:
    objects.create([NewObject("a", b"one"), NewObject("b", b"two", retain_until=clock.now + timedelta(days=2))])
    objects.extend_retention("a", clock.now + timedelta(days=3))
    objects.extend_retention("b", clock.now + timedelta(days=4))
    for key, day in (("a", 2), ("b", 3)):
        with pytest.raises(RetentionLocked, match=f"object {key}: got retention date"):
            objects.extend_retention(key, clock.now + timedelta(days=day))
    assert [info.retain_until for info in objects.list("")] == [
        clock.now + timedelta(days=3),
        clock.now + timedelta(days=4),
    ]


def test_creating_again_never_loosens_a_lock(objects: Objects, clock: Clock) -> None:
    later = clock.now + timedelta(days=9)
    objects.create([NewObject("a", b"one", retain_until=later, hold=True)])
    objects.create([NewObject("a", b"one")])
    objects.create([NewObject("a", b"one", retain_until=clock.now + timedelta(days=1))])
    info = objects.head("a")
    assert info is not None
    assert (info.retain_until, info.hold) == (later, True)


def test_creating_again_adds_the_lock_that_a_crash_left_out(objects: Objects) -> None:
    objects.create([NewObject("a", b"one")])
    objects.create([NewObject("a", b"one", hold=True)])
    with pytest.raises(RetentionLocked, match="object a: is held"):
        objects.delete(["a"])


def test_dates_name_a_moment(objects: Objects) -> None:
    naive = datetime(2026, 5, 1)
    with pytest.raises(MalformedInput, match="without a time zone, expected UTC"):
        objects.create([NewObject("a", b"one", retain_until=naive)])
    objects.create([NewObject("b", b"one")])
    with pytest.raises(MalformedInput, match="without a time zone, expected UTC"):
        objects.extend_retention("b", naive)
    zone = timezone(timedelta(hours=5))
    objects.extend_retention("b", datetime(2050, 5, 1, tzinfo=zone))
    info = objects.head("b")
    assert info is not None
    assert info.retain_until == datetime(2050, 4, 30, 19, tzinfo=UTC)


TRAVERSALS = ["/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "~locks/a"]
STRANGE = ["", "a\\b", "a b", "ä", "a\n", "a\x00"]


@pytest.mark.parametrize("key", [*TRAVERSALS, *STRANGE, "x" * 201, "/".join(["x" * 100] * 11)])
def test_keys_that_are_refused(objects: Objects, clock: Clock, key: str) -> None:
    for refused in (
        lambda: objects.create([NewObject(key, b"x")]),
        lambda: objects.put(key, b"x"),
        lambda: objects.get(key),
        lambda: objects.head(key),
        lambda: objects.set_hold(key, True),
        lambda: objects.extend_retention(key, clock.now),
        lambda: objects.delete([key]),
    ):
        with pytest.raises(MalformedInput, match="got object key"):
            refused()
    assert keys(objects) == []


@pytest.mark.parametrize("key", ["a", ".hidden/..two/a..b", "A/z/0=9@+-_", "x" * 200])
def test_keys_that_are_accepted(objects: Objects, key: str) -> None:
    objects.create([NewObject(key, b"x")])
    assert keys(objects) == [key]


def test_listing_is_in_key_order_even_where_folders_sort_otherwise(objects: Objects) -> None:
    names = ["a", "a-b", "a.b", "a/b", "a/b-c", "a0", "b/c/d", "b/c/e", "b-c", "b0/a"]
    names.remove("a")  # a folder of that name is there
    objects.create([NewObject(key, key.encode()) for key in reversed(names)])
    assert keys(objects) == sorted(names)
    assert keys(objects, "a") == [key for key in sorted(names) if key.startswith("a")]
    assert keys(objects, "b/c/") == ["b/c/d", "b/c/e"]
    assert keys(objects, "b/c/d") == ["b/c/d"]
    assert keys(objects, "c") == []


SEGMENTS = st.text("ab-.0z", min_size=1, max_size=3).filter(lambda text: text not in (".", ".."))


@given(
    tree=st.sets(st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join), max_size=12),
    prefix=st.text("ab-./0", max_size=4),
    start_after=st.text("ab-./0", max_size=4),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_listing_any_tree(
    make: Callable[[str], Objects], names: Iterator[str], tree: set[str], prefix: str, start_after: str
) -> None:
    objects = make(next(names))
    files = sorted(key for key in tree if not any(other.startswith(key + "/") for other in tree))
    objects.create([NewObject(key, b"x") for key in files])
    expected = [key for key in files if key.startswith(prefix) and key > start_after]
    assert keys(objects, prefix, start_after) == expected


@pytest.fixture
def names() -> Iterator[str]:
    return (f"tree-{number}" for number in range(1000))


def test_of_two_that_create_at_once_one_wins(objects: Objects) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> str:
        barrier.wait()
        try:
            objects.create([NewObject("a/b", b"%d" % number)])
        except LedgerContradiction:
            return "lost"
        return str(number)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(create, range(8)))
    (winner,) = [result for result in results if result != "lost"]
    assert objects.get("a/b") == winner.encode()
