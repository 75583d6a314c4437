"""Notes, checkpoints and cosignatures against bytes made by other implementations."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.errors import MalformedInput, VerificationError
from signer.checkpoint import Checkpoint, format_checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from signer.cosignature import cosign, cosignature_time, cosigned_message, verify_cosignature
from signer.merkle import leaf, root_of
from signer.note import (
    VerifierKey,
    format_note,
    format_vkey,
    key_id,
    parse_note,
    parse_vkey,
    sign_note,
    verify_note,
)


class Seed:
    """A signing key from the 32 bytes of a vector."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def go_key(text: str) -> tuple[str, Seed]:
    """Name and key of Go's private key form, ``PRIVATE+KEY+<name>+<key id>+<base64(1 ‖ seed)>``."""
    _, _, name, stated, encoded = text.split("+", 4)
    seed = Seed(base64.b64decode(encoded)[1:])
    assert key_id(name, seed.public_key).hex() == stated
    return name, seed


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_go_note(vectors: Path) -> None:
    case = load(vectors / "gomod-note.json")
    key = parse_vkey(case["vkey"])
    assert format_vkey(key) == case["vkey"]
    name, seed = go_key(case["skey"])
    assert VerifierKey(name, seed.public_key) == key
    assert sign_note(case["text"], name, seed).decode() == case["signed_note"]
    for text in (case["signed_note"], case["two_sigs"]):
        note = parse_note(text.encode())
        assert note.text == case["text"]
        assert format_note(note).decode() == text
        assert verify_note(note, [key]) == [key]
    other = parse_vkey(case["vkey2"])
    assert verify_note(parse_note(case["two_sigs"].encode()), [other, key]) == [key, other]
    with pytest.raises(VerificationError, match="expected one by a trusted key"):
        verify_note(parse_note(case["signed_note"].encode()), [other])


def test_go_note_refusals(vectors: Path) -> None:
    case = load(vectors / "gomod-note.json")
    for vkey in case["bad_vkeys"]:
        with pytest.raises(MalformedInput, match="expected"):
            parse_vkey(vkey)
    with pytest.raises(VerificationError, match="does not verify"):
        verify_note(parse_note(case["invalid_signature"].encode()), [parse_vkey(case["vkey"])])
    for text in case["malformed"]:
        with pytest.raises(MalformedInput, match="got"):
            parse_note(text.encode())
    many = case["too_many_signatures"]
    with pytest.raises(MalformedInput, match="with 101 signatures"):
        parse_note((case["text"] + "\n" + many["line"] * many["repeat"]).encode())


def test_specification_examples(vectors: Path) -> None:
    case = load(vectors / "c2sp-examples.json")
    key = parse_vkey(case["note_vkey"])
    assert verify_note(parse_note(case["note"].encode()), [key]) == [key]
    inner = parse_note(case["quasimodo_note_unverifiable_no_key"].encode())
    assert inner.text.endswith("\n\ned è subito sera.\n"), "the split is at the last empty line"
    for name in ("checkpoint_example_no_key", "cosigned_checkpoint_example_no_key"):
        note = parse_note(case[name].encode())
        checkpoint = parse_checkpoint(note.text)
        assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
        assert format_checkpoint(checkpoint) == note.text
    time = cosignature_time(note.signatures[1])
    assert time == 1679315147
    assert cosigned_message(note.text, time).decode() == case["cosigned_message_time_1679315147"]


def test_go_tree_head(vectors: Path) -> None:
    case = load(vectors / "gomod-tlog.json")["format_tree"]
    root = leaf(case["leaf_data"].encode())
    assert format_checkpoint(Checkpoint("go.sum database tree", case["size"], root)) == case["golden"]


def test_tessera_checkpoints_can_be_signed_again(vectors: Path) -> None:
    case = load(vectors / "tessera-checkpoints.json")
    name, seed = go_key(case["skey"])
    key = parse_vkey(case["vkey"])
    leaves = [leaf(text.encode()) for text in case["leaves"]]
    for size, text in case["checkpoints"].items():
        checkpoint = Checkpoint(name, int(size), root_of(leaves[: int(size)]))
        assert sign_checkpoint(checkpoint, seed).decode() == text
        assert open_checkpoint(text.encode(), name, [key]) == checkpoint


def test_sunlight_mirror_cosignature(vectors: Path) -> None:
    note = parse_note((vectors / "sunlight-mirror-checkpoint.txt").read_bytes())
    key = parse_vkey("mirror.example.org+3fb148ef+BAAjjch9GyYz0sJsJx7ALhbdAtz2ov0unbzSl1vMp94O")
    assert verify_cosignature(note, key) == 1767139200
    with pytest.raises(VerificationError, match="expected one by a trusted key"):
        verify_note(note, [key])


def test_torchwood_requests(vectors: Path) -> None:
    case = load(vectors / "torchwood-witness.json")
    log = VerifierKey(case["log_origin"], bytes.fromhex(case["log_pubkey_hex"]))
    witness = Seed(bytes.fromhex(case["witness_seed_hex"]))
    verdicts = []
    for request in case["sequence"]:
        note = parse_note(request["body"].partition("\n\n")[2].encode())
        try:
            verify_note(note, [log])
        except VerificationError as error:
            verdicts.append((request["body_contains"], "does not verify" in str(error)))
            continue
        line = cosign(note.text, case["witness_name"], 1_767_139_200, witness)
        cosigned = type(note)(note.text, (*note.signatures, line))
        key = VerifierKey(case["witness_name"], witness.public_key, algorithm=0x04)
        assert verify_cosignature(parse_note(format_note(cosigned)), key) == 1_767_139_200
    assert verdicts == [("invalid signature", True), ("unknown log", False)]
