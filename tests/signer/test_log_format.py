"""The bytes of ``docs/log-format.md``: made again, read back, and verified by somebody who read only the page."""

from __future__ import annotations

import asyncio
import json
import random
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from independent_verifier import exit_code, root_of, verify
from signed_ledger import ANCHOR_ORIGIN, EVENTS_ORIGIN, World

from schemas.entry import chain_next, decode_entry, encode_entry, leaf_hash
from schemas.parts import commit
from signer import merkle
from signer.checkpoint import open_checkpoint
from signer.checkpoint_set import decode_set, encode_set
from signer.cosignature import verify_cosignature
from signer.genesis import format_genesis, genesis_entry, parse_genesis
from signer.keyfile import deployment_vkey
from signer.ledger import ledger_key
from signer.note import parse_note, parse_vkey
from signer.staging import decode_staging, encode_staging

HERE = Path(__file__).resolve().parent
VECTORS: dict[str, Any] = json.loads((HERE / "vectors" / "log-format.json").read_text("utf-8"))
DOCUMENT = HERE.parents[1] / "docs" / "log-format.md"


def test_vectors_and_example_are_those_that_the_generator_makes() -> None:
    generator = runpy.run_path(str(HERE / "vectors" / "generate.py"))
    found = generator["vectors"]()
    assert json.loads(json.dumps(found)) == VECTORS
    text = DOCUMENT.read_text("utf-8")
    assert generator["document_with"](text, generator["example"](found)) == text


def test_entries_leaves_chain() -> None:
    chain = bytes(32)
    for index, (entry, leaf, value) in enumerate(
        zip(VECTORS["entries"], VECTORS["leaves"], VECTORS["chain"], strict=True)
    ):
        data = bytes.fromhex(entry)
        assert encode_entry(decode_entry(data)) == data
        assert leaf_hash(data).hex() == leaf
        chain = chain_next(index, chain, bytes.fromhex(leaf))
        assert chain.hex() == value
    for item in VECTORS["commitments"]:
        made = commit(bytes.fromhex(item["salt"]), item["type"], item["part"].encode())
        assert made.hex() == item["commitment"]
        assert item["commitment"] in VECTORS["entries"][1]


def test_tree_and_proofs() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
    roots = {int(size): bytes.fromhex(root) for size, root in VECTORS["roots"].items()}
    for size, root in roots.items():
        assert merkle.root_of(leaves[:size]) == root == root_of(leaves[:size])
    for name, proof in VECTORS["inclusion"].items():
        index, size = map(int, name.split(" in "))
        merkle.verify_inclusion(index, size, leaves[index], list(map(bytes.fromhex, proof)), root_of(leaves[:size]))
    for name, proof in VECTORS["consistency"].items():
        old, new = map(int, name.split(" to "))
        merkle.verify_consistency(old, new, root_of(leaves[:old]), roots[new], list(map(bytes.fromhex, proof)))


def test_documents_notes_and_sets() -> None:
    document = VECTORS["genesis"].encode()
    genesis = parse_genesis(document)
    assert format_genesis(genesis) == document
    assert genesis_entry(document, genesis.opened_ms).hex() == VECTORS["entries"][0]
    later = VECTORS["genesis_with_predecessor"].encode()
    assert format_genesis(parse_genesis(later)) == later
    key = parse_vkey(VECTORS["vkey"])
    for note in (VECTORS["checkpoint"], VECTORS["cosigned_checkpoint"]):
        checkpoint = open_checkpoint(note.encode(), VECTORS["origin"], [key])
        assert checkpoint.root.hex() == VECTORS["roots"]["3"]
    cosigned = parse_note(VECTORS["cosigned_checkpoint"].encode())
    assert verify_cosignature(cosigned, parse_vkey(VECTORS["witness_vkey"])) == genesis.opened_ms // 1000
    data = bytes.fromhex(VECTORS["checkpoint_set"])
    assert encode_set(decode_set(data)) == data
    staging = bytes.fromhex(VECTORS["staging"])
    assert encode_staging(decode_staging(staging)) == staging


# --- the independent verifier


@pytest.fixture(scope="module")
def ledger() -> World:
    async def build() -> World:
        world = World()
        for count in (3, 260, 4):
            await world.append_opaque(count)
            await world.append(1, "control")
            await world.sign()
            world.now += 1000
            await world.anchor()
        return world

    return asyncio.run(build())


def objects_of(world: World) -> dict[str, bytes]:
    return {info.key: world.objects.get(info.key) for info in world.objects.list("ledger/")}


def both(world: World) -> tuple[int, int]:
    """Exit codes of the independent verifier and of ours, without lock rows."""
    key = deployment_vkey(world.key, "audit.example.com")
    return exit_code(objects_of(world), key, world.now), world.verify(control=None).exit_code


def test_both_accept_an_honest_ledger(ledger: World) -> None:
    key = deployment_vkey(ledger.key, "audit.example.com")
    assert [str(problem) for problem in verify(objects_of(ledger), key, ledger.now)] == []
    assert both(ledger) == (0, 0)


def test_both_find_the_same_flipped_bits(ledger: World) -> None:
    world = ledger.copy()
    chosen = random.Random(7)
    for key in objects_of(world):
        good = world.objects.get(key)
        for _ in range(3):
            bad = bytearray(good)
            bad[chosen.randrange(len(bad))] ^= 1 << chosen.randrange(8)
            world.objects.put(key, bytes(bad))
            assert both(world) == (1, 1), key
        world.objects.put(key, good)


def test_both_miss_the_same_objects(ledger: World) -> None:
    world = ledger.copy()
    for key in objects_of(world):
        good = world.objects.get(key)
        world.objects.delete([key])
        theirs, ours = both(world)
        assert theirs == ours, key
        assert ours == 2 or (ours == 0 and ".p/" in key), key
        world.objects.put(key, good)


def test_both_notice_a_stale_head_and_an_older_checkpoint(ledger: World) -> None:
    world = ledger.copy()
    world.now += 60_001
    assert both(world) == (2, 2)

    async def older() -> bytes:
        fresh = World()
        await fresh.append_opaque(3)
        await fresh.sign()
        return fresh.ledger.checkpoint(EVENTS_ORIGIN)

    world = ledger.copy()
    world.objects.put(ledger_key(EVENTS_ORIGIN, "checkpoint"), asyncio.run(older()))
    assert both(world) == (1, 1), "a checkpoint of another log of the same name"
    world = ledger.copy()
    world.objects.delete([ledger_key(ANCHOR_ORIGIN, "genesis.json")])
    assert both(world) == (2, 2)


def test_the_independent_verifier_imports_nothing_of_ours() -> None:
    source = Path(sys.modules["independent_verifier"].__file__ or "").read_text("utf-8")
    for package in ("schemas", "signer", "stores", "sinks", "collector", "affidavit", "retention"):
        assert f"from {package}" not in source
        assert f"import {package}" not in source
