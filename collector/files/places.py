"""How far each file was read, in a form that a file can be known again by, whatever it is called by then. Pure.

A file is known by what it says: the hash of its first bytes, and of those right before the place that was reached. So
a file that was renamed, copied before it was truncated, or compressed is not read twice, and one that was truncated and
written anew is read from its beginning. Two small files may say the same and be no copies, so below :data:`EDGE` bytes
only the same inode counts: a copy is then read again, and its lines get the event ids that they have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schemas.errors import MalformedInput

EDGE = 1024
"""Bytes at either end of what was read that a file is known by."""

Read = Callable[[int, int], bytes]
"""``(offset, size) → bytes``; fewer at the end of the file."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far one file was read.

    Attributes:
        device, inode: of the file system.
        path: where it was last seen; for people.
        origin: hash of its first line: stands for the file in the keys of lines.
        offset: bytes that were read, decompressed.
        head, tail: hashes of the first and the last :data:`EDGE` of those.
        skipping: whether the rest of the line at ``offset`` is to be passed over, its beginning having been recorded.
        packed: size and hash of a compressed file that was read to its end, else ``""``.
    """

    device: int
    inode: int
    path: str
    origin: str
    offset: int
    head: str
    tail: str
    skipping: bool = False
    packed: str = ""


def edges(offset: int, read: Read) -> tuple[str, str]:
    """``head`` and ``tail`` of the place at ``offset`` of what ``read`` reads."""
    edge = min(offset, EDGE)
    return digest(read(0, edge)), digest(read(offset - edge, edge))


def find_place(places: Iterable[Place], read: Read, inode: tuple[int, int]) -> Place | None:
    """The farthest place that fits what ``read`` reads; ``None`` for a file that is new."""
    start = read(0, EDGE)
    heads: dict[int, str] = {}
    for place in sorted(places, key=lambda one: one.offset, reverse=True):
        edge = min(place.offset, EDGE)
        if len(start) < edge or (edge < EDGE and (place.device, place.inode) != inode):
            continue
        if edge not in heads:
            heads[edge] = digest(start[:edge])
        if heads[edge] == place.head and fits(place, read):
            return place
    return None


def fits(place: Place, read: Read) -> bool:
    """Whether what ``read`` reads says the same as when it was read to this place."""
    edge = min(place.offset, EDGE)
    last = read(place.offset - edge, edge)
    return len(last) == edge and digest(last) == place.tail and digest(read(0, edge)) == place.head


def may_become(places: Iterable[Place], read: Read, size: int) -> bool:
    """Whether a file that fits no place may be an unfinished copy of one that was read farther than it goes."""
    if size < EDGE:
        return False
    head = digest(read(0, EDGE))
    return any(place.offset > size and place.head == head for place in places)


def digest(data: bytes) -> str:
    """128 bits of SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()[:32]


_VERSION = 1
_FIELDS = ("device", "inode", "path", "origin", "offset", "head", "tail", "skipping", "packed")


def format_places(places: Iterable[Place]) -> str:
    """What a cursor keeps. ``parse_places`` reads it."""
    rows = [[getattr(place, name) for name in _FIELDS] for place in places]
    return json.dumps([_VERSION, rows], separators=(",", ":"), ensure_ascii=True) if rows else ""


def parse_places(text: str) -> list[Place]:
    """The places of a cursor.

    Raises:
        MalformedInput: it is none of ours.
    """
    if not text:
        return []
    try:
        version, rows = json.loads(text)
        places = [Place(*row) for row in rows]
    except (ValueError, TypeError) as error:
        raise MalformedInput(f"got a cursor of files that cannot be read: {error}") from None
    if version != _VERSION or format_places(places) != text:
        raise MalformedInput("got a cursor of files that another version wrote")
    return places
