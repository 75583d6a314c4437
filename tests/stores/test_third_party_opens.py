"""The consumer's way to open parts, without a bus: parts of every codec, and what an earlier message holds."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fastavro
import pytest

from collector.large.pieces import WholeBytes
from schemas.chunks import OWN, Manifest, Piece, Place, encode_manifest
from schemas.ids import EventId, KeyId
from schemas.metadata import schema
from schemas.metadata_binary import encode_metadata
from schemas.part_streams import blob_address, pack_run, run_key, seal_run, seal_shared
from schemas.parts import METADATA, SOURCE, ZSTD_METADATA, SealedPart, Sealer, SubjectKey
from schemas.shared import REST_CHUNKS, REST_RAW, Run, Shared

ROOT = Path(__file__).resolve().parents[2]
EVENT = EventId(bytes(range(16)))
KEY = SubjectKey(KeyId(b"k" * 16), bytes(32))
FIRST = b"what was sent before " * 300
WHOLE = b"head " + FIRST[100:6000] + b" and what is new"
MANIFEST = Manifest(
    (Place(3, 7),), (Piece(OWN, 0, 5), Piece(0, 100, 5900), Piece(OWN, 5, 16)), b"head  and what is new"
)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("consume", ROOT / "examples" / "consumer" / "consume.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def known(program: ModuleType) -> SimpleNamespace:
    folder = ROOT / "schemas" / "avro"
    schemas = {
        name.encode(): (name, fastavro.parse_schema(schema(name))) for name in ("metadata.v1", "chunks.v1", "shared.v1")
    }
    return SimpleNamespace(
        schemas=schemas, dictionary=program.load_dictionary(folder), keys={KEY.key_id: KEY.secret}, seen={}
    )


def read(program: ModuleType, known: SimpleNamespace, part: SealedPart, commitment: bytes, place: Any) -> Any:
    return program.read_part(part._asdict(), {"event_id": EVENT}, {part.type: commitment}, known, place)


def test_metadata_is_read_with_its_dictionary(program: ModuleType, known: SimpleNamespace) -> None:
    data = encode_metadata({"event_id": "0" * 36, "tenant": "acme", "received_at": 1, "occurred_at": 1})
    part, commitment = Sealer().seal(METADATA, data, EVENT, KEY)
    assert part.codec == ZSTD_METADATA
    assert read(program, known, part, commitment, (0, 0))["value"]["tenant"] == "acme"


def test_a_source_that_repeats_an_earlier_one_is_put_together(program: ModuleType, known: SimpleNamespace) -> None:
    (part,), (commitment,) = Sealer().seal_all([(SOURCE, WHOLE)], EVENT, [KEY], {SOURCE: MANIFEST})
    found = read(program, known, part, commitment[1], (3, 9))
    assert found == {"status": "REPEATS", "reason": "read partition 3 offset 7 first"}
    first, first_commitment = Sealer().seal(SOURCE, FIRST, EVENT, KEY)
    assert read(program, known, first, first_commitment, (3, 7))["status"] == "OK"
    assert read(program, known, part, commitment[1], (3, 9)) == {"status": "OK", "value": WHOLE.decode()}


@pytest.mark.parametrize("repeats", [False, True])
def test_a_source_with_shared_runs_is_put_together(
    program: ModuleType, known: SimpleNamespace, tmp_path: Path, repeats: bool
) -> None:
    image, packed, blob = bytes(range(256)) * 400, bytearray(), bytearray()
    key = run_key(KEY.secret, SOURCE, pack_run([image], len(image), packed.extend))
    seal_run(key, [bytes(packed)], blob.extend)
    address = blob_address(hashlib.sha256(blob).hexdigest())
    runs = (Run(5, 0, len(image), key), Run(len(WHOLE), 0, len(image), key))
    whole = WHOLE[:5] + image + WHOLE[5:] + image
    codec, rest = (REST_CHUNKS, encode_manifest(MANIFEST)) if repeats else (REST_RAW, WHOLE)
    shared = Shared(runs, codec, len(WHOLE), rest)
    part, commitment = seal_shared(SOURCE, WholeBytes(whole), shared, [address], EVENT, KEY)
    known.objects, known.seen = tmp_path, {(3, 7): FIRST}
    told = {"status": "ELSEWHERE", "address": address}
    assert read(program, known, part, commitment, (3, 9)) == told
    (tmp_path / "blobs").mkdir()
    (tmp_path / address).write_bytes(blob)
    found = read(program, known, part, commitment, (3, 9))
    assert found == {"status": "OK", "value": whole.decode("utf-8", "replace")}
    (tmp_path / address).write_bytes(bytes(blob[:-1]))
    assert read(program, known, part, commitment, (3, 9))["status"] == "MISMATCH"


def test_a_wrong_earlier_one_is_noticed(program: ModuleType, known: SimpleNamespace) -> None:
    (part,), (commitment,) = Sealer().seal_all([(SOURCE, WHOLE)], EVENT, [KEY], {SOURCE: MANIFEST})
    known.seen[3, 7] = FIRST.upper()
    assert read(program, known, part, commitment[1], (3, 9))["status"] == "MISMATCH"
