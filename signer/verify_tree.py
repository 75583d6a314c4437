"""Walking a log from its first entry to its checkpoint: steps 1 to 3, 6 to 8 and 11 to 14. Reads through the ledger.

One pass, in blocks of 256 entries, with O(log n) of memory. A caller that wants to do something with the entries (count
them, compare a destination) does it block by block while the walk goes on; what it concludes holds once the walk has
ended without an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.entry import ZERO
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from signer import merkle
from signer.batch import chain_values
from signer.checkpoint import Checkpoint, open_checkpoint
from signer.ledger import CHECKPOINT, GENESIS, Ledger
from signer.report import OnProgress, Progress
from signer.tiles import (
    ENTRIES,
    FULL_WIDTH,
    Tile,
    cut_tile,
    decode_bundle,
    format_tile_path,
    head_tiles,
    parse_tile_path,
    root_of_edge,
    split_tile,
    width_at,
)
from signer.trust import Trust
from signer.verified import VerifiedUpTo

PROGRESS_BLOCKS = 64
"""Progress is told every so many blocks: some 16,000 entries, some 30 ms."""


class Block(NamedTuple):
    """Up to 256 entries in order, the first with index ``first``, with their leaf hashes and chain values."""

    first: int
    entries: list[bytes]
    leaves: list[bytes]
    chains: list[bytes]


class KnownHead(NamedTuple):
    """What somebody else says of the log: at ``size`` leaves it had this root and chain (``b""``: not known).

    ``step`` is the step that compares it, ``source`` names who says so.
    """

    size: int
    root: bytes
    chain: bytes
    step: str
    source: str


class TreeWalk:
    """The walk over one log.

    Attributes:
        checkpoint: verified; available at once.
        chain: chain value after the last entry, once the walk has ended.
        ahead: objects beyond the checkpoint, once the walk has ended: a batch on its way, or a shortened checkpoint.
    """

    def __init__(
        self,
        ledger: Ledger,
        origin: str,
        trust: Trust,
        heads: Sequence[KnownHead] = (),
        progress: OnProgress = lambda progress: None,
        since: VerifiedUpTo | None = None,
    ) -> None:
        """Read and verify the checkpoint (steps 1 and 2). With ``since`` the walk begins behind what was verified
        before; heads up to there were compared then.

        Raises:
            VerificationError: malformed, wrongly signed, or of another origin.
            EvidenceIncomplete: it is not there, or says that the log is empty.
        """
        self._ledger, self._origin, self._progress = ledger, origin, progress
        self.checkpoint = read_checkpoint(ledger, origin, trust)
        self._heads = sorted({head for head in heads if since is None or head.size > since.size})
        self.chain = ZERO
        self.ahead = 0
        self._edge: list[list[bytes]] = [[]]
        self._first = 0
        self._whole = (0, ZERO)
        if since is not None:
            self._resume(since)

    def blocks(self) -> Iterator[Block]:
        """The log's entries. Exhaust it: the last steps run at its end.

        Raises:
            VerificationError: a step failed, see the module.
        """
        size = self.checkpoint.size
        at = 0
        for number in range(self._first // FULL_WIDTH, (size + FULL_WIDTH - 1) // FULL_WIDTH):
            block = self._block(number, width_at(size, 0, number))
            at = self._compare_heads(at, block)
            self._grow(block.leaves)
            self.chain = block.chains[-1]
            if len(block.entries) == FULL_WIDTH:
                self._whole = (block.first + FULL_WIDTH, self.chain)
            yield block
            if number % PROGRESS_BLOCKS == 0:
                self._progress(Progress(self._origin, block.first + len(block.entries), size))
        self._finish()
        self._progress(Progress(self._origin, size, size))
        if at < len(self._heads):
            head = self._heads[-1]
            raise EvidenceIncomplete(
                f"{self._origin}: ends at size {size}, and {head.source} has seen it at size {head.size}: its tail is "
                "not here",
                step=head.step,
            )

    @property
    def whole(self) -> tuple[int, bytes, bytes]:
        """Size, root and chain after the last full bundle, once the walk has ended; size 0 where there is none."""
        size, chain = self._whole
        return size, root_of_edge([[], *self._edge[1:]]) if size else ZERO, chain

    def _resume(self, since: VerifiedUpTo) -> None:
        """Stand where an earlier walk has ended, if the log still has that state."""
        if since.size > self.checkpoint.size:
            raise EvidenceIncomplete(
                f"{self._origin}: ends at size {self.checkpoint.size}, and size {since.size} was verified before: its "
                "tail is not here",
                step="S1",
            )
        edge: list[list[bytes]] = [[]]
        for tile in head_tiles(since.size):
            grown = self._tile(Tile(tile.level, tile.index, width_at(self.checkpoint.size, tile.level, tile.index)))
            try:
                hashes = split_tile(cut_tile(grown, tile.level, tile.width), tile.width)
            except MalformedInput as error:
                raise VerificationError(f"{self._origin}: {format_tile_path(tile)}: {error}", step="3") from None
            edge += [[] for _ in range(tile.level + 1 - len(edge))]
            edge[tile.level] = hashes
        root = root_of_edge(edge)
        if root != since.root:
            raise VerificationError(
                f"{self._origin}: at size {since.size} it had root {since.root.hex()} when it was verified before, and "
                f"has {root.hex()}",
                step="S1",
            )
        self._edge = edge
        self.chain, self._first, self._whole = since.chain, since.size, (since.size, since.chain)

    def _block(self, number: int, width: int) -> Block:
        first = number * FULL_WIDTH
        try:
            entries = decode_bundle(self._tile(Tile(ENTRIES, number, width)), width)
        except MalformedInput as error:
            path = format_tile_path(Tile(ENTRIES, number, width))
            raise VerificationError(f"{self._origin}: {path}: {error}", step="3") from None
        leaves = merkle.leaves(entries)
        self._compare(Tile(0, number, width), b"".join(leaves), "6")
        return Block(first, entries, leaves, chain_values(first, self.chain, leaves))

    def _tile(self, tile: Tile) -> bytes:
        try:
            return self._ledger.tile(self._origin, tile)
        except EvidenceIncomplete as error:
            raise EvidenceIncomplete(str(error), step="3") from None

    def _compare(self, tile: Tile, expected: bytes, step: str) -> None:
        """Compare a tile with what the level below gives."""
        got = self._tile(tile)
        if got == expected:
            return
        path = f"{self._origin}: {format_tile_path(tile)}"
        if len(got) != len(expected):
            raise VerificationError(f"{path}: got {len(got)} bytes, expected {len(expected)}", step="3")
        at = next(at for at in range(tile.width) if got[at * 32 : at * 32 + 32] != expected[at * 32 : at * 32 + 32])
        below = f"entry {tile.index * FULL_WIDTH + at}" if tile.level == 0 else f"the tile below its hash {at}"
        raise VerificationError(f"{path}: hash {at} is not that of {below}", step=step)

    def _grow(self, leaves: list[bytes]) -> None:
        """Add a block's leaves to the right edge; compare each upper tile that fills up (step 7)."""
        edge = self._edge
        edge[0] = leaves
        level = 0
        while len(edge[level]) == FULL_WIDTH:
            above = merkle.root_of(edge[level])
            if level:
                self._compare(self._last_tile(level, FULL_WIDTH), b"".join(edge[level]), "7")
            edge[level] = []
            level += 1
            if level == len(edge):
                edge.append([])
            edge[level].append(above)

    def _last_tile(self, level: int, width: int) -> Tile:
        """The tile of ``level`` that ends at the place that the walk has reached."""
        done = sum(len(hashes) << (8 * (above - level)) for above, hashes in enumerate(self._edge) if above > level)
        return Tile(level, done // FULL_WIDTH, width)

    def _compare_heads(self, at: int, block: Block) -> int:
        """Compare what others know of sizes within a block; return how many heads are done."""
        end = block.first + len(block.entries)
        while at < len(self._heads) and self._heads[at].size <= end:
            head = self._heads[at]
            count = head.size - block.first
            root = root_of_edge([block.leaves[:count], *self._edge[1:]])
            where = f"{self._origin}: at size {head.size} {head.source} has seen"
            if root != head.root:
                raise VerificationError(f"{where} root {head.root.hex()}, got {root.hex()}", step=head.step)
            if head.chain and block.chains[count - 1] != head.chain:
                got = block.chains[count - 1].hex()
                raise VerificationError(f"{where} chain {head.chain.hex()}, got {got}", step="11")
            at += 1
        return at

    def _finish(self) -> None:
        """Steps 7 and 8 at the right edge, then 14."""
        for level, hashes in enumerate(self._edge[1:], 1):
            if hashes:
                self._compare(self._last_tile(level, len(hashes)), b"".join(hashes), "7")
        root = root_of_edge(self._edge)
        if root != self.checkpoint.root:
            raise VerificationError(
                f"{self._origin}: the entries give root {root.hex()}, the checkpoint says {self.checkpoint.root.hex()}",
                step="8",
            )
        for path in self._ledger.paths(self._origin):
            if path not in (CHECKPOINT, GENESIS):
                self._explain(path)

    def _explain(self, path: str) -> None:
        """Step 14: an object is a tile of this log, or it should not lie here. Older partial tiles must agree."""
        try:
            tile = parse_tile_path(path)
        except MalformedInput as error:
            raise VerificationError(f"{self._origin}: an object that belongs to no log: {error}", step="14") from None
        width = width_at(self.checkpoint.size, tile.level, tile.index)
        if tile.width > width:
            self.ahead += 1
        elif tile.width < width:
            try:
                older = self._ledger.exact(self._origin, path)
            except KeyError:
                return  # superseded and deleted while we looked
            newer = self._tile(Tile(tile.level, tile.index, width))
            if cut_tile(newer, tile.level, tile.width) != older:
                raise VerificationError(f"{self._origin}: {path} is not the beginning of its tile", step="14")


def read_checkpoint(ledger: Ledger, origin: str, trust: Trust) -> Checkpoint:
    """Steps 1 and 2: the published checkpoint of a log, verified."""
    try:
        checkpoint = open_checkpoint(ledger.checkpoint(origin), origin, trust.keys(origin))
    except EvidenceIncomplete as error:
        raise EvidenceIncomplete(str(error), step="1") from None
    except VerificationError as error:
        raise VerificationError(str(error), step="1") from None
    if checkpoint.size == 0:
        raise EvidenceIncomplete(f"{origin}: the checkpoint is of an empty log", step="2")
    return checkpoint
