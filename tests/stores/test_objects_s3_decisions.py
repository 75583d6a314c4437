"""The S3 store's pure parts: configuration, which version is the object, and what an answer means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import AffidavitError, ConfigurationError, LimitExceeded, Refused, Unavailable
from stores.objects.s3 import whole_second
from stores.objects.s3_config import S3Config
from stores.objects.s3_errors import BUSY, EXPIRED, REMEDIES, Answer, classify
from stores.objects.s3_versions import (
    Page,
    Place,
    Shadowed,
    Version,
    read_page,
    safe_marker,
    shadowed,
    the_object,
    the_objects,
)

MARKER = -1
"""Stands for a delete marker where sizes stand for versions."""


def history(key: str, sizes: Sequence[int]) -> list[Version]:
    """Versions of a key, newest first."""
    return [Version(key, f"{key}-{len(sizes) - at}", max(size, 0), size == MARKER) for at, size in enumerate(sizes)]


class Listing:
    """ListObjectVersions over given histories, ``limit`` at a time. ``inclusive``: a place without a version begins at
    its key and not behind it, as some services have it."""

    def __init__(self, histories: dict[str, Sequence[int]], limit: int, *, inclusive: bool = False) -> None:
        self._items = [item for key in sorted(histories) for item in history(key, histories[key])]
        self._limit, self._inclusive = limit, inclusive
        self.asked = 0

    def ask(self, place: Place | None) -> Page:
        self.asked += 1
        assert self.asked < 1000, "the listing does not come to its end"
        items = self._items[self._start(place) :]
        some = items[: self._limit]
        onwards = Place(some[-1].key, some[-1].version) if len(items) > self._limit else None
        return Page(
            tuple(item for item in some if not item.marker), tuple(item for item in some if item.marker), onwards
        )

    def _start(self, place: Place | None) -> int:
        if place is None:
            return 0
        if place.version is not None:
            return next(at for at, item in enumerate(self._items) if item.version == place.version) + 1
        before = [
            item for item in self._items if item.key < place.key or (item.key == place.key and not self._inclusive)
        ]
        return len(before)


HISTORIES = st.dictionaries(
    st.sampled_from(["a", "b/checkpoint", "b/d", "c", "checkpoint", "z"]),
    st.lists(st.integers(-1, 9), min_size=1, max_size=9),
)


def is_checkpoint(key: str) -> bool:
    return S3Config("bucket").is_replaceable(key)


@given(histories=HISTORIES, limit=st.integers(1, 7), inclusive=st.booleans())
def test_a_listing_has_the_object_of_every_key(histories: dict[str, list[int]], limit: int, inclusive: bool) -> None:
    listing = Listing(histories, limit, inclusive=inclusive)
    expected = {}
    for key in sorted(histories):
        sizes = [size for size in histories[key] if size != MARKER]
        if sizes:
            expected[key] = sizes[0] if is_checkpoint(key) else sizes[-1]
    found = list(the_objects(listing.ask, None, is_checkpoint))
    assert {item.key: item.size for item in found} == expected
    assert [item.key for item in found] == list(expected)


def test_a_long_history_is_stepped_over() -> None:
    listing = Listing({"checkpoint": [1] * 5000, "z": [2]}, 1000)
    assert [item.key for item in the_objects(listing.ask, None, is_checkpoint)] == ["checkpoint", "z"]
    assert listing.asked == 2


@pytest.mark.parametrize(
    ("sizes", "first", "newest"),
    [([], None, None), ([MARKER], None, None), ([1], 1, 1), ([3, 2, 1], 1, 3), ([MARKER, 2, MARKER, 1, MARKER], 1, 2)],
)
def test_which_version_is_the_object(sizes: list[int], first: int | None, newest: int | None) -> None:
    found = [the_object(history("a", sizes), newest=which) for which in (False, True)]
    assert [item and item.size for item in found] == [first, newest]


def test_what_is_shadowed() -> None:
    counts = [("a", 1, 0), ("b", 2, 0), ("c", 1, 1), ("checkpoint", 9, 0), ("d/checkpoint", 9, 1), ("e", 0, 1)]
    assert [item.key for item in shadowed(counts, is_checkpoint)] == ["b", "c", "d/checkpoint", "e"]
    assert next(shadowed(counts, is_checkpoint)) == Shadowed("b", 2, 0)


def test_an_answer_is_read() -> None:
    assert read_page({}) == Page((), (), None)
    answered = {
        "Versions": [{"Key": "a", "VersionId": "2", "Size": 7, "IsLatest": False}],
        "DeleteMarkers": [{"Key": "a", "VersionId": "3"}],
        "IsTruncated": True,
        "NextKeyMarker": "a",
        "NextVersionIdMarker": "2",
    }
    assert read_page(answered) == Page((Version("a", "2", 7),), (Version("a", "3", 0, True),), Place("a", "2"))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        *[(Answer(code, 400, ""), Unavailable) for code in sorted(BUSY | EXPIRED)],
        *[(Answer(code, 403, ""), ConfigurationError) for code in sorted(REMEDIES)],
        (Answer("AccessDenied", 403, ""), Refused),
        (Answer("403", 403, ""), Refused),
        (Answer("EntityTooLarge", 400, ""), LimitExceeded),
        (Answer("Strange", 500, ""), Unavailable),
        (Answer("Strange", 599, ""), Unavailable),
        (Answer("Strange", 409, ""), Unavailable),
        (Answer("Strange", 429, ""), Unavailable),
        (Answer("InvalidArgument", 400, ""), Refused),
        (Answer("NotImplemented", 501, ""), Refused),
        (Answer("", 0, ""), Refused),
    ],
)
def test_what_an_answer_means(answer: Answer, kind: type[AffidavitError]) -> None:
    error = classify(answer, "s3://audit/a")
    assert type(error) is kind
    assert str(error).startswith(f"s3://audit/a: S3 answered {answer.status} {answer.code}")


def test_how_long_to_wait() -> None:
    errors = [classify(Answer("SlowDown", 503, "", after), "a") for after in (None, 0.0, 30.0)]
    assert [error.retry_after for error in errors if isinstance(error, Unavailable)] == [1.0, 0.0, 30.0]


def test_secrets_are_not_shown() -> None:
    config = S3Config("audit", access_key="known", secret_key="hidden-1", session_token="hidden-2")
    assert "known" in repr(config)
    assert "hidden" not in repr(config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bucket": ""}, "got no bucket name"),
        ({"bucket": "b", "access_key": "a"}, "got one of access key and secret key, expected both"),
        ({"bucket": "b", "secret_key": "a"}, "got one of access key and secret key, expected both"),
        ({"bucket": "b", "prefix": "a/"}, "prefix in bucket b: got object key 'a/'"),
        ({"bucket": "b", "prefix": "../a"}, "prefix in bucket b: got object key"),
        ({"bucket": "b", "attempts": 0}, "got 0 attempts and 16 parallel requests, expected at least 1 of each"),
    ],
)
def test_configurations_that_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        S3Config(**fields)  # type: ignore[arg-type]


def test_keys_in_the_bucket() -> None:
    plain, prefixed = S3Config("b"), S3Config("b", prefix="tenant/audit")
    assert [plain.full_key("a/b"), prefixed.full_key("a/b")] == ["a/b", "tenant/audit/a/b"]
    assert [plain.own_key("a/b"), prefixed.own_key("tenant/audit/a/b")] == ["a/b", "a/b"]
    assert [is_checkpoint(key) for key in ("checkpoint", "x/checkpoint", "checkpoint/x", "x-checkpoint")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_lock_never_ends_before_it_was_asked_to() -> None:
    moment = datetime(2026, 3, 1, 12, 0, 59, tzinfo=timezone(timedelta(hours=2)))
    assert whole_second(moment) == datetime(2026, 3, 1, 10, 0, 59, tzinfo=UTC)
    assert whole_second(moment + timedelta(microseconds=1)) == datetime(2026, 3, 1, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("behind", "prefix", "marker"),
    [
        ("", "", ""),
        ("plans/events-0/007", "plans/", "plans/events-0/007"),
        ("plans/events-0/007.avro", "plans/", "plans/events-0/"),
        ("tree/0.", "tree/", ""),
        ("tree/0/1", "tree/", "tree/0/1"),
        ("a-b", "", ""),
        ("a/b", "c", ""),
    ],
)
def test_where_a_listing_begins(behind: str, prefix: str, marker: str) -> None:
    assert safe_marker(behind, prefix) == marker
