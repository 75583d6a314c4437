"""The tree against bytes made by other implementations."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import VerificationError
from signer.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    leaf,
    node,
    range_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from signer.tiles import (
    ENTRIES,
    Tile,
    decode_bundle,
    encode_bundle,
    format_tile_path,
    head_tiles,
    new_tiles,
    parse_tile_path,
    root_of_edge,
    split_tile,
)


def cases(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def hashes(encoded: list[str] | None) -> list[bytes]:
    return [base64.b64decode(item) for item in encoded or []]


def test_eight_leaves(vectors: Path) -> None:
    case = json.loads((vectors / "merkle-rfc6962-8leaf.json").read_text())
    leaves = [leaf(bytes.fromhex(data)) for data in case["leaf_inputs_hex"]]
    assert [item.hex() for item in leaves] == case["level_hashes_hex"][0]
    frontier = Frontier()
    for size, root in enumerate(case["roots_by_size_hex"]):
        assert root_of(leaves[:size]).hex() == root
        assert frontier.root().hex() == root
        if size < len(leaves):
            frontier.append(leaves[size])
    single = case["single"]
    assert single["empty_root"] == EMPTY_ROOT.hex()
    assert leaf(b"").hex() == single["leaf_empty"]
    assert leaf(b"L123456").hex() == single["leaf_L123456"]
    assert node(b"N123", b"N456").hex() == single["node_N123_N456"]


def test_inclusion(vectors: Path) -> None:
    checked = cases(vectors / "merkle-inclusion.jsonl")
    for case in checked:
        arguments = (
            case["leafIdx"],
            case["treeSize"],
            base64.b64decode(case["leafHash"] or ""),
            hashes(case["proof"]),
            base64.b64decode(case["root"] or ""),
        )
        if case["wantErr"]:
            with pytest.raises(VerificationError, match="inclusion of leaf"):
                verify_inclusion(*arguments)
        else:
            verify_inclusion(*arguments)
    assert len(checked) == 98


def test_consistency(vectors: Path) -> None:
    checked = cases(vectors / "merkle-consistency.jsonl")
    for case in checked:
        arguments = (
            case["size1"],
            case["size2"],
            base64.b64decode(case["root1"] or ""),
            base64.b64decode(case["root2"] or ""),
            hashes(case["proof"]),
        )
        if case["wantErr"]:
            with pytest.raises(VerificationError, match="consistency of size"):
                verify_consistency(*arguments)
        else:
            verify_consistency(*arguments)
    assert len(checked) == 98


def test_tessera_log(vectors: Path) -> None:
    case = json.loads((vectors / "tessera-checkpoints.json").read_text())
    bundle = (vectors / "tessera-entries-000.p-15.bin").read_bytes()
    entries = decode_bundle(bundle, 15)
    assert [entry.decode() for entry in entries] == case["leaves"]
    assert encode_bundle(entries) == bundle
    tile = (vectors / "tessera-tile-0-000.p-15.bin").read_bytes()
    assert b"".join(leaf(entry) for entry in entries) == tile
    for size, checkpoint in case["checkpoints"].items():
        root = base64.b64decode(checkpoint.split("\n")[2])
        assert root_of_edge([split_tile(tile, 15)[: int(size)]]) == root


def test_sunlight_mirror(vectors: Path) -> None:
    leaves = [leaf(b"record %d" % index) for index in range(300)]
    lower = b"".join(leaves)
    assert (vectors / "sunlight-mirror-tile-0-000.bin").read_bytes() == lower[:8192]
    assert (vectors / "sunlight-mirror-tile-0-001.p-44.bin").read_bytes() == lower[8192:]
    upper = (vectors / "sunlight-mirror-tile-1-000.p-1.bin").read_bytes()
    assert upper == root_of(leaves[:256])
    root = base64.b64decode((vectors / "sunlight-mirror-checkpoint.txt").read_text().split("\n")[2])
    assert root_of_edge([leaves[256:], [upper]]) == root
    assert root_of(leaves) == root


def test_tiles_of_the_specification(vectors: Path) -> None:
    case = json.loads((vectors / "c2sp-examples.json").read_text())
    assert format_tile_path(Tile(0, 1234067)) == "tile/0/" + case["tile_path_1234067"]
    assert parse_tile_path("tile/entries/" + case["tile_path_1234067"]) == Tile(ENTRIES, 1234067)
    tree = case["tree_70000"]
    assert (tree["level0_full"], tree["level1_full"]) == (70000 // 256, 70000 // 65536)
    assert head_tiles(70000) == [
        Tile(0, tree["level0_full"], tree["level0_partial"]),
        Tile(1, tree["level1_full"], tree["level1_partial"]),
        Tile(2, 0, tree["level2_partial"]),
    ]
    assert new_tiles(0, 256) == [Tile(0, 0), Tile(1, 0, case["tree_256"]["level1_partial"])]
    assert case["empty_root_hex"] == EMPTY_ROOT.hex()


def test_new_tiles_of_height_ten(vectors: Path) -> None:
    case = json.loads((vectors / "gomod-tlog.json").read_text())
    for old, new, count in case["new_tiles_count_height10"]:
        assert len(new_tiles(old, new, height=10)) == count


def test_every_proof_of_a_hundred_leaves() -> None:
    leaves = [leaf(b"leaf %d" % index) for index in range(100)]

    def hash_of(start: int, end: int) -> bytes:
        return root_of(leaves[start:end])

    for size in range(1, 101):
        root = root_of(leaves[:size])
        for index in range(size):
            proof = [range_hash(start, end, hash_of) for start, end in inclusion_ranges(index, size)]
            verify_inclusion(index, size, leaves[index], proof, root)
        for old in range(1, size + 1):
            proof = [range_hash(start, end, hash_of) for start, end in consistency_ranges(old, size)]
            verify_consistency(old, size, root_of(leaves[:old]), root, proof)
