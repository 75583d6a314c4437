"""Rekor v2 entries: another implementation's, ours, and those that must not pass."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from rekor_server import RekorServer

from schemas.errors import Refused, Unavailable, VerificationError
from signer.anchors import AnchoredHead
from signer.anchors.rekor import RekorAnchor
from signer.note import VerifierKey
from signer.policy import RekorLog
from signer.rekor import verify_entry

HEAD = AnchoredHead("audit.example.com/anchor/2026q4", 9, b"text\n\nsignature\n")


@pytest.fixture
def rekor() -> Iterator[RekorServer]:
    with RekorServer() as server:
        yield server


@pytest.fixture
def anchor(rekor: RekorServer) -> Iterator[RekorAnchor]:
    key = ec.generate_private_key(ec.SECP256R1())
    anchor = RekorAnchor(rekor.log, rekor.url, key, httpx.Client(timeout=10, trust_env=False))
    yield anchor
    anchor.close()


def no_proof(old: int) -> list[bytes]:
    raise AssertionError("Rekor needs no proof")


def test_the_public_logs_own_entry_verifies(vectors: Path) -> None:
    """An entry of the staging log of sigstore, with its key."""
    vector = json.loads((vectors / "sigstore-rekor-v2-bundle.json").read_text())
    raw = load_der_public_key(base64.b64decode(vector["tlog"][0]["publicKey"]["rawBytes"]))
    origin = vector["tlog"][0]["baseUrl"].removeprefix("https://")
    log = RekorLog("staging", VerifierKey(origin, raw.public_bytes_raw()))  # type: ignore[union-attr]
    entry = json.dumps(vector["bundle"]["verificationMaterial"]["tlogEntries"][0]).encode()
    artifact = base64.b64decode(vector["artifact_b64"])
    assert verify_entry(entry, artifact, log) == 645
    with pytest.raises(VerificationError, match="over other bytes than these"):
        verify_entry(entry, artifact + b".", log)


def test_a_head_is_published(rekor: RekorServer, anchor: RekorAnchor) -> None:
    for number in range(3):
        attestation = anchor.attest(HEAD, no_proof)
        assert verify_entry(attestation.evidence, HEAD.note, rekor.log) == 5 + number


def changed(entry: dict[str, Any], how: str) -> dict[str, Any]:
    proof = entry["inclusionProof"]
    match how:
        case "index":
            proof["logIndex"] = "0"
        case "path":
            proof["hashes"][0] = proof["hashes"][-1][::-1].strip("=") + "="
        case "body":
            body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
            body["extra"] = 1
            entry["canonicalizedBody"] = base64.b64encode(json.dumps(body).encode()).decode()
        case "signature":
            body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
            body["spec"]["hashedRekordV002"]["signature"]["content"] = base64.b64encode(
                b"0\x06\x02\x01\x01\x02\x01\x01"
            ).decode()
            entry["canonicalizedBody"] = base64.b64encode(json.dumps(body).encode()).decode()
        case "checkpoint":
            proof["checkpoint"]["envelope"] = proof["checkpoint"]["envelope"].replace("\n6\n", "\n7\n")
        case "nothing":
            del entry["canonicalizedBody"]
    return entry


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("index", "."),
        ("path", "."),
        ("body", "."),
        ("signature", "the signature in the Rekor entry does not verify"),
        ("checkpoint", "does not verify"),
        ("nothing", "does not parse"),
    ],
)
def test_a_changed_entry_does_not_verify(rekor: RekorServer, anchor: RekorAnchor, how: str, words: str) -> None:
    entry = json.loads(anchor.attest(HEAD, no_proof).evidence)
    with pytest.raises(VerificationError, match=words):
        verify_entry(json.dumps(changed(entry, how)).encode(), HEAD.note, rekor.log)


def test_another_log_is_not_the_pinned_one(rekor: RekorServer, anchor: RekorAnchor) -> None:
    evidence = anchor.attest(HEAD, no_proof).evidence
    other = RekorLog("other", VerifierKey("other.example", bytes(32)))
    with pytest.raises(
        VerificationError, match=r"got an entry of Rekor log 'log2026-1\.rekor\.example', expected 'oth"
    ):
        verify_entry(evidence, HEAD.note, other)


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (429, Unavailable), (400, Refused)])
def test_http_errors(rekor: RekorServer, anchor: RekorAnchor, status: int, kind: type[Exception]) -> None:
    rekor.broken = status
    with pytest.raises(kind, match=f"HTTP status {status}"):
        anchor.attest(HEAD, no_proof)
