"""One batch of the signer: messages → entries → leaves, tiles, chain, root. Pure, and the same for the same messages.

The state of a log between batches is its *head*: the partial tiles at the right edge of the tree, the entries of the
partial bundle, and the chain value. All of it can be read back from the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from schemas.entry import (
    CHAIN_DOMAIN,
    COMMITMENT_BYTES,
    INVALID,
    MAX_COMMITMENTS,
    ZERO,
    invalid_commitments,
    pack_entry,
    valid_commitments,
)
from schemas.errors import LedgerContradiction
from schemas.ids import Shard
from signer import merkle
from signer.bus_time import MAX_STEP_BACK_MS, is_too_early
from signer.tiles import ENTRIES, FULL_WIDTH, Tile, encode_bundle, format_tile_path, root_of_edge
from stores.bus import Message

_sha256 = hashlib.sha256
_LAST_BYTES = [bytes((last,)) for last in range(256)]


@dataclass(frozen=True, slots=True)
class Head:
    """A log after ``size`` leaves.

    Attributes:
        size: number of leaves.
        chain: chain value after the last of them.
        edge: ``edge[level]`` are the hashes of the partial tile of that level, fewer than 256.
        entries: the entries of the partial bundle, as many as ``edge[0]``.
    """

    size: int
    chain: bytes
    edge: tuple[tuple[bytes, ...], ...]
    entries: tuple[bytes, ...]

    def root(self) -> bytes:
        """Root of the tree: at most 255 hashes per level."""
        return root_of_edge(self.edge)


EMPTY = Head(0, ZERO, ((),), ())


@dataclass(frozen=True, slots=True)
class Batch:
    """What growing from ``old_size`` leads to: the new head, its root, and the objects to write (path, bytes)."""

    old_size: int
    head: Head
    root: bytes
    objects: tuple[tuple[str, bytes], ...]


def entries_of(messages: Sequence[Message], kind: int, first_offset: int, high_ms: int) -> list[bytes]:
    """The entries of messages that follow each other on a shard.

    Args:
        messages: as read from the bus, in order.
        kind: ``EVENT`` or ``CONTROL``; a message without valid commitments becomes ``INVALID``.
        first_offset: where the log goes on.
        high_ms: the highest time in the log so far, 0 before its first record. It decides what is refused and nothing
            else: the same messages give the same bytes.

    Raises:
        LedgerContradiction: the offsets have a gap, or the bus's clock went back by more than
            :data:`~signer.bus_time.MAX_STEP_BACK_MS`. Both break what the log says of the bus, so the log ends before
            that message.
    """
    entries: list[bytes] = []
    append, pack = entries.append, pack_entry
    expected = first_offset
    for shard, offset, time_ms, key, value, _, _, commitments, headers in messages:
        if offset != expected:
            raise LedgerContradiction(
                f"{shard}: got offset {offset} after {expected - 1}, expected {expected}: offsets of a shard have no "
                "gaps unless the topic is compacted or written in transactions; close this log and open the next"
            )
        if time_ms < high_ms:
            _check_step(shard, offset, time_ms, high_ms)
        else:
            high_ms = time_ms
        if _are_commitments(len(commitments), commitments[::COMMITMENT_BYTES]):
            append(pack(kind, offset, time_ms, commitments))
        else:
            append(pack(INVALID, offset, time_ms, invalid_commitments(key, value, list(headers))))
        expected += 1
    return entries


def leading(messages: Sequence[Message], first_offset: int, high_ms: int) -> int:
    """How many of the messages come before the first that :func:`entries_of` refuses."""
    for count, message in enumerate(messages):
        if message.offset != first_offset + count or is_too_early(message.time_ms, high_ms):
            return count
        high_ms = max(high_ms, message.time_ms)
    return len(messages)


def _check_step(shard: Shard, offset: int, time_ms: int, high_ms: int) -> None:
    if is_too_early(time_ms, high_ms):
        raise LedgerContradiction(
            f"{shard} offset {offset}: got bus time {time_ms}, {(high_ms - time_ms) / 1000:.0f} s before the highest "
            f"time in the log, {high_ms}; expected at most {MAX_STEP_BACK_MS // 1000} s: set the brokers' clocks right "
            "(the topic must use log-append time), then close this log and open the next"
        )


@lru_cache(maxsize=1024)
def _are_commitments(size: int, types: bytes) -> bool:
    """:func:`schemas.entry.valid_commitments` by the only bytes that it looks at: a shard sees few combinations."""
    if size > MAX_COMMITMENTS * COMMITMENT_BYTES or size % COMMITMENT_BYTES:
        return False
    return valid_commitments(b"".join(bytes((part_type,)) + ZERO for part_type in types))


def extend(head: Head, entries: Sequence[bytes]) -> Batch:
    """Append entries: hash them, cut full and partial tiles and bundles, follow the chain."""
    leaves = merkle.leaves(entries)
    chain = chain_values(head.size, head.chain, leaves)[-1] if leaves else head.chain
    objects = [*_bundles(head, entries)]
    edge: list[tuple[bytes, ...]] = []
    grown: list[bytes] = leaves
    for level, waiting in enumerate(head.edge):
        grown, rest, tiles = _tiles(level, head.size, [*waiting, *grown], bool(grown))
        edge.append(rest)
        objects += tiles
    while grown:
        grown, rest, tiles = _tiles(len(edge), head.size, grown, True)
        edge.append(rest)
        objects += tiles
    tail = (*head.entries, *entries) if len(head.entries) + len(entries) < FULL_WIDTH else tuple(entries)
    after = Head(head.size + len(entries), chain, tuple(edge), tail[len(tail) - len(edge[0]) :])
    return Batch(head.size, after, after.root(), tuple(objects))


def chain_values(first_index: int, before: bytes, leaves: Sequence[bytes]) -> list[bytes]:
    """The chain after each of ``leaves``, of which the first has index ``first_index``: see
    :func:`schemas.entry.chain_next`, here without a call per leaf. Within 256 leaves only the last byte of the index
    changes, so the bytes before it are hashed once."""
    chains: list[bytes] = []
    append, value = chains.append, before
    at = 0
    while at < len(leaves):
        high, low = divmod(first_index + at, 256)
        copy = _sha256(CHAIN_DOMAIN + high.to_bytes(7, "big")).copy
        for byte, leaf in zip(_LAST_BYTES[low:], leaves[at : at + 256 - low], strict=False):
            state = copy()
            state.update(byte + value + leaf)
            value = state.digest()
            append(value)
        at += 256 - low
    return chains


def _tiles(
    level: int, old_size: int, hashes: list[bytes], grew: bool
) -> tuple[list[bytes], tuple[bytes, ...], list[tuple[str, bytes]]]:
    """Cut the hashes of one level, beginning at a tile's edge; return the hashes for the level above, what is left
    over, and the objects."""
    first = old_size >> (8 * (level + 1))
    above: list[bytes] = []
    objects: list[tuple[str, bytes]] = []
    full = len(hashes) - len(hashes) % FULL_WIDTH
    for at in range(0, full, FULL_WIDTH):
        tile = hashes[at : at + FULL_WIDTH]
        above.append(merkle.root_of(tile))
        objects.append((format_tile_path(Tile(level, first + at // FULL_WIDTH)), b"".join(tile)))
    rest = tuple(hashes[full:])
    if rest and grew:
        objects.append((format_tile_path(Tile(level, first + full // FULL_WIDTH, len(rest))), b"".join(rest)))
    return above, rest, objects


def _bundles(head: Head, entries: Sequence[bytes]) -> list[tuple[str, bytes]]:
    waiting = [*head.entries, *entries]
    first = head.size // FULL_WIDTH
    return [
        (
            format_tile_path(Tile(ENTRIES, first + at // FULL_WIDTH, min(FULL_WIDTH, len(waiting) - at))),
            encode_bundle(waiting[at : at + FULL_WIDTH]),
        )
        for at in range(0, len(waiting), FULL_WIDTH)
        if entries
    ]
