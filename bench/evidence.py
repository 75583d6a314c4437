"""Evidence: proofs of single records from 10³ to 10⁸ leaves, what anchors cost, bundles, verification side by side.

The large trees are simulated: all leaves are alike, so every tile of every level is known without a log of that size.
Reading, parsing and verifying are the real thing: real tiles, a real proof, a real root.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Figure
from schemas.ids import Shard
from signer import merkle
from signer.checkpoint_set import CheckpointSet, LogHead, encode_set
from signer.ledger import Ledger
from signer.tiles import ENTRIES, parse_tile_path
from stores.objects import NewObject, ObjectInfo, Objects
from stores.objects.local import LocalObjects

if TYPE_CHECKING:
    from outside_world import Outside

SUPPORT = Path(__file__).resolve().parents[1] / "tests/support"
"""The real authority and the witness that tests use."""

ENTRY = bytes(118)
PROOFS = 200
BUNDLED = 200
SHARDS = 8
RECORDS = 60_000


class AlikeTree:
    """An object store with the tiles of a log of any size whose entries are all alike. Counts what is read."""

    def __init__(self, size: int) -> None:
        self.size, self.read = size, 0
        self._full = [merkle.leaf(ENTRY)]
        while len(self._full) < 64:
            self._full.append(merkle.node(self._full[-1], self._full[-1]))

    def get(self, key: str) -> bytes:
        tile = parse_tile_path(key[key.index("tile/") :])
        if tile.level == ENTRIES:
            data = (len(ENTRY).to_bytes(2, "big") + ENTRY) * tile.width
        else:
            data = self._full[8 * tile.level] * tile.width
        self.read += len(data)
        return data

    def root(self) -> bytes:
        """The root: full subtrees from the largest to the smallest."""
        found: bytes | None = None
        for height in range(64):
            if self.size >> height & 1:
                found = self._full[height] if found is None else merkle.node(self._full[height], found)
        assert found is not None
        return found

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        return iter(())


def measure() -> Sequence[Figure]:
    """All of them."""
    sys.path.insert(0, str(SUPPORT))
    return [*_proofs(), *_anchors(), *_side_by_side()]


def _proofs() -> Iterator[Figure]:
    for exponent in range(3, 9):
        size = 10**exponent
        tree = AlikeTree(size)
        ledger, root = Ledger(tree), tree.root()  # type: ignore[arg-type]
        step = size // PROOFS
        began = time.perf_counter()
        longest = 0
        for index in range(0, step * PROOFS, step):
            entry = ledger.entry("log", size, index)
            proof = ledger.hashes("log", size, merkle.inclusion_ranges(index, size))
            merkle.verify_inclusion(index, size, merkle.leaf(entry), proof, root)
            longest = max(longest, len(proof))
        each = (time.perf_counter() - began) / PROOFS * 1000
        note = f"{longest} hashes, {longest * 32} bytes; {tree.read // PROOFS:,} bytes of tiles read"
        yield Figure(f"one record among 10^{exponent} leaves: read, prove, verify", each, "ms", note=note)


def _anchors() -> Iterator[Figure]:
    """What an hour of sets and attestations is, by day; and a bundle."""
    from bundles import write
    from outside_world import outside
    from signed_ledger import SHARD

    with tempfile.TemporaryDirectory() as folder, outside(Path(folder)) as made:
        asyncio.run(made.live(sets=12, records=400))
        sizes = _evidence_sizes(made)
        heads = [LogHead(f"audit.example.com/events/{at}/2026q4", 1, bytes(32), bytes(32)) for at in range(SHARDS)]
        one_set = len(encode_set(CheckpointSet(1, 1, tuple(sorted(heads))))) + 2 + 32
        yield Figure("anchor log per day", one_set * 8640 / 1e6, "MB", note=f"{SHARDS} shards, a set every 10 s")
        for kind, each, calls in (
            ("tsa", 60, 1440),
            ("witness", 10, 8640),
            ("lock", 10, 8640),
            ("checkpoint", 10, 8640),
        ):
            note = f"{sizes[kind]:,} bytes each, every {each} s"
            yield Figure(f"attestations per day: {kind}", sizes[kind] * calls / 1e6, "MB", note=note)
        path = Path(folder) / "bundle.zip"
        began = time.perf_counter()
        summary = write(made, path, [(Shard("events", 0), offset) for offset in range(BUNDLED)])
        seconds = time.perf_counter() - began
        yield Figure(
            "bundle: written", BUNDLED / seconds, "records/s", note="verified, opened and vouched for as it is"
        )
        own = _own_bytes(path)
        note = f"{own:,} of it content, of {summary.size:,} in all; the verifiers take {_verifiers(path):,}"
        yield Figure("bundle: bytes per record", (summary.size - _verifiers(path)) / BUNDLED, "bytes", note=note)
        yield Figure("bundle: verified by verify.py", BUNDLED / _standalone(path), "records/s", note="three parts each")
        assert SHARD.topic == "events"


def _evidence_sizes(made: Outside) -> dict[str, int]:
    sizes: dict[str, list[int]] = {"tsa": [], "witness": [], "lock": [], "checkpoint": []}
    for info in made.world.objects.list("anchor/"):
        kind = info.key.rpartition("/")[2].partition("-")[0]
        if not info.key.endswith(".tsq"):
            sizes[kind].append(info.size)
    return {kind: sum(found) // max(1, len(found)) for kind, found in sizes.items()}


def _own_bytes(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(info.compress_size for info in archive.infolist() if info.filename.startswith("parts/"))


def _verifiers(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(info.compress_size for info in archive.infolist() if info.filename.startswith("verify."))


def _standalone(path: Path) -> float:
    from affidavit.bundle.standalone import Bundle, Verification

    began = time.perf_counter()
    assert Verification(Bundle(path), None).run() == 0
    return time.perf_counter() - began


@dataclass(frozen=True)
class _Folder:
    """Opens the store in another process."""

    path: Path

    def __call__(self) -> Objects:
        return LocalObjects(self.path)


def _side_by_side() -> Iterator[Figure]:
    """The structure of eight logs, by processes."""
    from signed_ledger import World

    with tempfile.TemporaryDirectory() as folder:
        world = World(partitions=SHARDS)
        for _ in range(SHARDS):
            asyncio.run(world.append_opaque(RECORDS))
        asyncio.run(world.sign())
        asyncio.run(world.anchor())
        store = LocalObjects(Path(folder))
        store.create([NewObject(info.key, world.objects.get(info.key)) for info in world.objects.list("ledger/")])
        world.objects = store  # type: ignore[assignment]
        alone = _seconds(lambda: world.verify())
        entries = SHARDS * RECORDS
        yield Figure("verify: structure, one process", entries / alone, "entries/s", note=f"{SHARDS} logs")
        for jobs in sorted({2, os.cpu_count() or 1}):
            took = _seconds(lambda jobs=jobs: world.verify(jobs=jobs, opener=_Folder(Path(folder))))  # type: ignore[misc]
            note = f"{alone / took:.2f} times one process, start of the processes included"
            yield Figure(f"verify: structure, {jobs} processes", entries / took, "entries/s", note=note)
        since = {log.origin: log.up_to for log in world.verify().logs if log.up_to is not None}
        took = _seconds(lambda: world.verify(since=since))
        yield Figure("verify: structure, nothing new", took * 1000, "ms", note=f"--since, {entries:,} entries before")
        store.close()


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
