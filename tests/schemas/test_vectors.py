"""Our code against tests/schemas/vectors, which were made without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.avro_binary import read_varint, varint
from schemas.chunks import Manifest, Piece, Place, assemble, encode_manifest
from schemas.entry import (
    ZERO,
    Entry,
    chain_next,
    decode_entry,
    encode_entry,
    invalid_commitments,
    leaf_hash,
    pack_commitments,
)
from schemas.ids import EventId, KeyId, event_id
from schemas.parts import CHUNKS, RAW, ZSTD_METADATA, OpenedPart, Opener, SealedPart, commit, part_key
from schemas.record import Record, decode_record, encode_record

FOLDER = Path(__file__).parent / "vectors"


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.fixture(scope="module")
def ledger() -> Any:
    return json.loads((FOLDER / "ledger.v1.json").read_text())


def sealed_part(given: Any, key_id: bytes) -> SealedPart:
    return SealedPart(
        given["type"], KeyId(key_id), RAW, raw(given["nonce"]), raw(given["ciphertext"]), len(raw(given["data"]))
    )


@pytest.mark.parametrize(
    ("generator", "name"), [("generate.py", "ledger.v1.json"), ("generate_chunks.py", "chunks.v1.json")]
)
def test_the_file_is_what_its_generator_writes(generator: str, name: str) -> None:
    written = subprocess.check_output([sys.executable, FOLDER / generator])
    assert written == (FOLDER / name).read_bytes()


def test_commitments_and_keys(ledger: Any) -> None:
    for given in ledger["parts"]:
        assert commit(raw(given["salt"]), given["type"], raw(given["data"])) == raw(given["commitment"])
        made = part_key(raw(given["subject_key"]), raw(ledger["record"]["event_id"]), given["type"])
        assert made == raw(given["part_key"])


def test_sealed_parts_open(ledger: Any) -> None:
    identity = raw(ledger["record"]["event_id"])
    for given in ledger["parts"]:
        part = sealed_part(given, bytes(16))
        opened = Opener().open(part, raw(given["commitment"]), identity, raw(given["part_key"]))
        assert opened == OpenedPart(given["type"], raw(given["salt"]), raw(given["data"]))


def test_parts_that_repeat_others_and_metadata_under_its_dictionary() -> None:
    given = json.loads((FOLDER / "chunks.v1.json").read_text())
    places = tuple(Place(one["partition"], one["offset"]) for one in given["records"])
    held = {place: raw(one["own"]) for place, one in zip(places, given["records"], strict=True)}
    manifest = Manifest(places, tuple(Piece(*piece) for piece in given["pieces"]), raw(given["own"]))
    for one in given["parts"]:
        data = raw(one["data"])
        part = SealedPart(
            one["type"], KeyId(bytes(16)), one["codec"], raw(one["nonce"]), raw(one["ciphertext"]), len(data)
        )
        opened = Opener().open(
            part, raw(one["commitment"]), raw(given["event_id"]), raw(one["part_key"]), lambda _: held
        )
        assert opened == OpenedPart(one["type"], raw(one["salt"]), data)
    assert [one["codec"] for one in given["parts"]] == [CHUNKS, ZSTD_METADATA]
    assert encode_manifest(manifest) == raw(given["manifest"])
    assert assemble(manifest, held) == raw(given["parts"][0]["data"])


def test_entries_leaves_and_chain(ledger: Any) -> None:
    chain = ZERO
    for index, given in enumerate(ledger["entries"]):
        commitments = pack_commitments([(int(kind), raw(digest)) for kind, digest in given["commitments"].items()])
        entry = Entry(given["kind"], given["offset"], given["time_ms"], commitments)
        assert encode_entry(entry) == raw(given["entry"])
        assert decode_entry(raw(given["entry"])) == entry
        assert leaf_hash(raw(given["entry"])) == raw(given["leaf"])
        chain = chain_next(index, chain, raw(given["leaf"]))
        assert chain == raw(given["chain"])


def test_messages_that_are_not_ours(ledger: Any) -> None:
    given = ledger["invalid"]
    headers = [(raw(name).decode(), raw(value)) for name, value in given["headers"]]
    for order in (headers, headers[::-1]):
        assert invalid_commitments(raw(given["key"]), raw(given["value"]), order) == b"\x03" + raw(given["digest"])


def test_the_record(ledger: Any) -> None:
    given = ledger["record"]
    parts = tuple(sealed_part(part, raw(given["key_id"])) for part in ledger["parts"])
    record = Record(EventId(raw(given["event_id"])), "acme", "standard", parts)
    assert encode_record(record) == raw(given["bytes"])
    assert decode_record(raw(given["bytes"])) == record


def test_event_ids(ledger: Any) -> None:
    for given in ledger["event_ids"]:
        tenant, gateway, source_id, kind, ordinal = given["parts"]
        assert event_id(tenant, gateway, source_id, kind, int(ordinal)) == raw(given["id"])


def test_longs(ledger: Any) -> None:
    for given in ledger["longs"]:
        assert varint(given["value"]) == raw(given["bytes"])
        assert read_varint(raw(given["bytes"]), 0) == (given["value"], len(raw(given["bytes"])))
