"""Tiles and entry bundles: how a log is cut into objects (C2SP tlog-tiles). Pure.

A tile of level ``L`` and index ``N`` holds the roots of 256 neighbouring subtrees of ``256**L`` leaves; a bundle holds
the entries under one tile of level 0. Full ones never change. Partial ones (``.p/W``) are new objects at every size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import MalformedInput
from signer.merkle import HASH_BYTES, root_of

HEIGHT = 8
FULL_WIDTH = 1 << HEIGHT
MAX_LEVEL = 63
ENTRIES = -1
"""The level of an entry bundle: below the hashes."""

MAX_ENTRY_BYTES = 0xFFFF
"""A bundle writes the length of an entry in two bytes."""

_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One tile, or with ``level`` :data:`ENTRIES` one bundle. ``width`` counts its hashes or entries, 1 to 256."""

    level: int
    index: int
    width: int = FULL_WIDTH

    @property
    def is_full(self) -> bool:
        return self.width == FULL_WIDTH


def format_tile_path(tile: Tile) -> str:
    """``tile/<level>/<index>[.p/<width>]``, the index in groups of three digits: 1234067 is ``x001/x234/067``."""
    level = "entries" if tile.level == ENTRIES else str(tile.level)
    if not ENTRIES <= tile.level <= MAX_LEVEL or tile.index < 0 or not 1 <= tile.width <= FULL_WIDTH:
        raise MalformedInput(f"got {tile}, expected level -1 to {MAX_LEVEL}, index >= 0, width 1 to {FULL_WIDTH}")
    return f"tile/{level}/{_format_index(tile.index)}" + ("" if tile.is_full else f".p/{tile.width}")


def parse_tile_path(path: str) -> Tile:
    """Read what :func:`format_tile_path` wrote; any other spelling is refused."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise MalformedInput(f"got {path!r}, expected tile/<level>/<index>[.p/<width>]")
    level, index, width = match.groups()
    tile = Tile(
        ENTRIES if level == "entries" else int(level),
        int(index.replace("x", "").replace("/", "")),
        FULL_WIDTH if width is None else int(width),
    )
    if tile.level > MAX_LEVEL or tile.width > FULL_WIDTH or format_tile_path(tile) != path:
        raise MalformedInput(f"got {path!r}, expected the shortest spelling of a tile path")
    return tile


def partial_prefix(tile: Tile) -> str:
    """What the paths of all partial tiles at this place begin with."""
    return format_tile_path(Tile(tile.level, tile.index)) + ".p/"


def new_tiles(old: int, new: int, *, height: int = HEIGHT) -> list[Tile]:
    """The hash tiles that a log growing from ``old`` to ``new`` leaves has to write, level by level.

    ``height`` is 8 in tlog-tiles; other heights exist in older logs and in their test vectors.
    """
    tiles: list[Tile] = []
    level, full = 0, 1 << height
    while new >> (height * level):
        before, after = old >> (height * level), new >> (height * level)
        if before != after:
            tiles += [Tile(level, index, full) for index in range(before >> height, after >> height)]
            if after % full:
                tiles.append(Tile(level, after >> height, after % full))
        level += 1
    return tiles


def head_tiles(size: int) -> list[Tile]:
    """The partial tiles at the right edge of a log of ``size`` leaves, level by level; full ones are left out."""
    tiles: list[Tile] = []
    level = 0
    while size >> (HEIGHT * level):
        count = size >> (HEIGHT * level)
        if count % FULL_WIDTH:
            tiles.append(Tile(level, count >> HEIGHT, count % FULL_WIDTH))
        level += 1
    return tiles


def width_at(size: int, level: int, index: int) -> int:
    """How many hashes (entries) of tile ``index`` a log of ``size`` leaves has: 0 to 256."""
    count = size >> (HEIGHT * max(level, 0))
    return max(0, min(FULL_WIDTH, count - index * FULL_WIDTH))


def split_tile(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile.

    Raises:
        MalformedInput: the tile does not hold exactly ``width`` hashes.
    """
    if len(data) != width * HASH_BYTES:
        raise MalformedInput(f"got a tile of {len(data)} bytes, expected {width} hashes of {HASH_BYTES}")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def root_of_edge(edge: Sequence[Sequence[bytes]]) -> bytes:
    """Root of the whole tree from the hashes of its partial tiles, ``edge[level]``, some of which may be empty.

    A smaller subtree hangs to the right of the larger ones, so each level adds the level below as its last node.
    """
    below: list[bytes] = []
    for hashes in edge:
        nodes = [*hashes, *below]
        below = [root_of(nodes)] if nodes else []
    return root_of(below)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """``u16be length ‖ entry`` for each entry."""
    pieces: list[bytes] = []
    for entry in entries:
        size = len(entry)
        if size > MAX_ENTRY_BYTES:
            raise MalformedInput(f"got an entry of {size} bytes, expected at most {MAX_ENTRY_BYTES}")
        pieces.append(size.to_bytes(2, "big"))
        pieces.append(entry)
    return b"".join(pieces)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle.

    Raises:
        MalformedInput: the bundle does not hold exactly ``width`` entries.
    """
    size = (data[0] << 8 | data[1]) if len(data) > 1 else 0
    step = size + 2
    if len(data) == width * step and data[::step] == data[:1] * width and data[1::step] == data[1:2] * width:
        return [data[at : at + size] for at in range(2, len(data) + 2, step)]  # all of one size: no need to walk
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end - 1:
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1])
        entries.append(data[start:at])
    if at != end or len(entries) != width:
        raise MalformedInput(f"got a bundle of {end} bytes with {len(entries)} entries, expected exactly {width}")
    return entries


def cut_tile(data: bytes, level: int, width: int) -> bytes:
    """The first ``width`` hashes (entries) of a tile (bundle): the bytes of the partial one at this place."""
    if level != ENTRIES:
        return data[: width * HASH_BYTES]
    at = 0
    for _ in range(width):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    return data[:at]


def _format_index(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))
