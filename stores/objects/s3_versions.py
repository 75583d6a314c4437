"""The versions of objects as a bucket lists them, and which of them is the object. Pure.

A bucket with Object Lock keeps every version of a key. Whoever may write to the bucket can put a newer version, or a
delete marker, on top of a locked one: S3 then shows the newer, and a plain read of the key is a lie. So:

* An object that is written once **is its first version**. Newer versions and markers change nothing that we read.
* An object that is replaced (a checkpoint) is its newest version that is no marker. It is signed, and says its size.

We never write delete markers: each one that is found was put there by somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Version(NamedTuple):
    """One version of an object, or a delete marker; ``key`` as in the bucket, ``size`` in bytes."""

    key: str
    version: str
    size: int
    marker: bool = False


class Place(NamedTuple):
    """Where in the order of versions a listing goes on: behind this version, or behind the whole key without one."""

    key: str
    version: str | None = None


class Page(NamedTuple):
    """A page of a listing: keys ascending, the versions of each from the newest to the first; markers apart."""

    versions: tuple[Version, ...]
    markers: tuple[Version, ...]
    next: Place | None


def read_page(answer: Mapping[str, Any]) -> Page:
    """The page in an answer to ListObjectVersions."""
    versions = tuple(Version(item["Key"], item["VersionId"], int(item["Size"])) for item in answer.get("Versions", ()))
    markers = tuple(Version(item["Key"], item["VersionId"], 0, True) for item in answer.get("DeleteMarkers", ()))
    onwards = None
    if answer.get("IsTruncated"):
        onwards = Place(answer["NextKeyMarker"], answer.get("NextVersionIdMarker") or None)
    return Page(versions, markers, onwards)


def the_object(history: Iterable[Version], *, newest: bool) -> Version | None:
    """Which of one key's versions, newest first, is the object."""
    found = None
    for item in history:
        if not item.marker:
            found = item
            if newest:
                break
    return found


def the_objects(
    ask: Callable[[Place | None], Page], start: Place | None, newest: Callable[[str], bool]
) -> Iterator[Version]:
    """The object of every key of a listing, in key order.

    Args:
        ask: gives the page behind a place.
        start: where to begin.
        newest: whether an object is the newest of its versions. The rest of its history is then stepped over, where the
            service lets us: some begin at the key that they were asked to go on behind.
    """
    found: Version | None = None
    tried = ""
    while True:
        page = ask(start)
        for item in page.versions:
            if found is not None and item.key != found.key:
                yield found
                found = None
            if found is None or not newest(item.key):
                found = item
        if page.next is None:
            break
        start = page.next
        if found is not None and found.key == start.key != tried and newest(start.key):
            tried, start = start.key, Place(start.key)
    if found is not None:
        yield found


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A key on which somebody wrote after us: the object is intact, and whoever reads without versions sees another.

    Attributes:
        key: of the object.
        versions: how many versions there are, with the object itself.
        markers: how many delete markers lie on it.
    """

    key: str
    versions: int
    markers: int


def shadowed(histories: Iterable[tuple[str, int, int]], newest: Callable[[str], bool]) -> Iterator[Shadowed]:
    """Those of ``(key, versions, markers)`` that we cannot have left like this."""
    for key, versions, markers in histories:
        if markers or (versions > 1 and not newest(key)):
            yield Shadowed(key, versions, markers)


def safe_marker(behind: str, prefix: str) -> str:
    """From where to list so that no key behind ``behind`` is left out; ``""`` from the start of ``prefix``.

    A service that keeps folders (SeaweedFS) goes on behind ``0.`` with the folders after ``0``, and leaves out ``0/0``,
    which S3 orders behind it. So where the last segment holds a character that sorts before the slash, the listing
    begins at its folder; what is not wanted of it is left out by the caller.
    """
    folder, slash, last = behind.rpartition("/")
    marker = behind if all(character > "/" for character in last) else folder + slash
    return marker if marker > prefix else ""
