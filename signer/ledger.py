"""Reading a ledger from an object store: ``ledger/<origin>/checkpoint``, ``genesis.json``, ``tile/…``.

Nothing here is trusted or verified; an object that must exist and does not is
:class:`~schemas.errors.EvidenceIncomplete`.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from schemas.ids import Shard
from signer.batch import Head
from signer.merkle import Range, range_hash, root_of
from signer.origin import Origin, parse_origin, term_order
from signer.tiles import (
    ENTRIES,
    FULL_WIDTH,
    HEIGHT,
    Tile,
    cut_tile,
    decode_bundle,
    format_tile_path,
    head_tiles,
    split_tile,
    width_at,
)
from stores.objects import Objects

ROOT = "ledger/"
CHECKPOINT = "checkpoint"
GENESIS = "genesis.json"


def ledger_key(origin: str, path: str) -> str:
    """The object key of a path below a log."""
    return f"{ROOT}{origin}/{path}"


class Ledger:
    """A reader over an object store. Blocking, without state."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def checkpoint(self, origin: str) -> bytes:
        """The published checkpoint note."""
        return self._get(origin, CHECKPOINT)

    def published(self, origin: str) -> bytes | None:
        """The published checkpoint note, ``None`` when none was published yet."""
        try:
            return self._objects.get(ledger_key(origin, CHECKPOINT))
        except KeyError:
            return None

    def genesis(self, origin: str) -> bytes:
        """The genesis document."""
        return self._get(origin, GENESIS)

    def tile(self, origin: str, tile: Tile) -> bytes:
        """The bytes of a tile or bundle. A partial tile that was deleted is cut from the full one that replaced it."""
        try:
            return self._objects.get(ledger_key(origin, format_tile_path(tile)))
        except KeyError:
            if tile.is_full:
                raise EvidenceIncomplete(f"{origin}: {format_tile_path(tile)} is not there") from None
        try:
            full = self._objects.get(ledger_key(origin, format_tile_path(Tile(tile.level, tile.index))))
        except KeyError:
            raise EvidenceIncomplete(f"{origin}: {format_tile_path(tile)} is not there, nor the full one") from None
        return cut_tile(full, tile.level, tile.width)

    def exact(self, origin: str, path: str) -> bytes:
        """The bytes of one object; ``KeyError`` when it is not there."""
        return self._objects.get(ledger_key(origin, path))

    def paths(self, origin: str) -> Iterator[str]:
        """The paths of all objects of a log, in ascending order."""
        prefix = ledger_key(origin, "")
        for info in self._objects.list(prefix):
            yield info.key.removeprefix(prefix)

    def origins(self, deployment: str) -> list[Origin]:
        """The logs of a deployment that have a genesis document, without walking over their tiles."""
        prefix = f"{ROOT}{deployment}/"
        found: list[Origin] = []
        behind = ""
        while True:
            key = next((info.key for info in self._objects.list(prefix, start_after=behind)), None)
            if key is None:
                return found
            folder = _log_of(key, deployment)
            if folder is None:
                behind = key
                continue
            if self._objects.head(ledger_key(str(folder), GENESIS)) is not None:
                found.append(folder)
            behind = ledger_key(str(folder), "tile0")  # "0" follows "/", so this is behind every tile of the log

    def entry(self, origin: str, size: int, index: int) -> bytes:
        """The bytes of one entry of a log of ``size`` leaves."""
        tile = Tile(ENTRIES, index // FULL_WIDTH, width_at(size, ENTRIES, index // FULL_WIDTH))
        return decode_bundle(self.tile(origin, tile), tile.width)[index % FULL_WIDTH]

    def head(self, origin: str, size: int, chain: bytes) -> Head:
        """The state from which a log of ``size`` leaves grows. Its root is what the tiles say; compare it.

        Raises:
            EvidenceIncomplete: a tile of the right edge is not there.
            MalformedInput: a tile of the wrong length.
        """
        edge: dict[int, tuple[bytes, ...]] = {}
        for tile in head_tiles(size):
            edge[tile.level] = tuple(split_tile(self.tile(origin, tile), tile.width))
        levels = range(max(edge, default=0) + 1)
        width = size % FULL_WIDTH
        entries: list[bytes] = []
        if width:
            entries = decode_bundle(self.tile(origin, Tile(ENTRIES, size // FULL_WIDTH, width)), width)
        return Head(size, chain, tuple(edge.get(level, ()) for level in levels), tuple(entries))

    def hashes(self, origin: str, size: int, ranges: list[Range]) -> list[bytes]:
        """The hashes of the subtrees of a proof in a log of ``size`` leaves: a few tiles per level."""
        reader = _Subtrees(self, origin, size)
        return [range_hash(start, end, reader.full) for start, end in ranges]

    def _get(self, origin: str, path: str) -> bytes:
        try:
            return self._objects.get(ledger_key(origin, path))
        except KeyError:
            raise EvidenceIncomplete(f"{origin}: {path} is not there") from None


class _Subtrees:
    """Hashes of full subtrees, each from the tile of the level just below it."""

    def __init__(self, ledger: Ledger, origin: str, size: int) -> None:
        self._ledger, self._origin, self._size = ledger, origin, size
        self._tiles: dict[Tile, list[bytes]] = {}

    def full(self, start: int, end: int) -> bytes:
        height = (end - start).bit_length() - 1
        level = height // HEIGHT
        unit = 1 << (level * HEIGHT)
        first, count = start // unit, (end - start) // unit
        index = first // FULL_WIDTH
        tile = Tile(level, index, width_at(self._size, level, index))
        if tile not in self._tiles:
            try:
                self._tiles[tile] = split_tile(self._ledger.tile(self._origin, tile), tile.width)
            except MalformedInput as error:
                raise VerificationError(f"{self._origin}: {format_tile_path(tile)}: {error}") from None
        at = first % FULL_WIDTH
        return root_of(self._tiles[tile][at : at + count])


def shard_logs(origins: list[Origin], shard: Shard) -> list[Origin]:
    """The logs of one shard, the oldest term first."""
    return sorted((origin for origin in origins if origin.shard == shard), key=lambda origin: term_order(origin.term))


def _log_of(key: str, deployment: str) -> Origin | None:
    """The log that an object key belongs to, by the shape of the key."""
    rest = key.removeprefix(f"{ROOT}{deployment}/").split("/")
    for length in (2, 3):
        try:
            return parse_origin("/".join([deployment, *rest[:length]]))
        except MalformedInput:
            continue
    return None
