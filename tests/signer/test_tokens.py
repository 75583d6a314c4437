"""Time-stamp tokens of a real authority (``openssl ts``), and those that must not pass."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tsa_server import TimeStampServer

from schemas.errors import MalformedInput, Refused, Unavailable, VerificationError
from signer.anchors import AnchoredHead
from signer.anchors.tsa import TimeStampAnchor
from signer.policy import Authority
from signer.tokens import read_authority, verify_token

HEAD = AnchoredHead("audit.example.com/anchor/2026q4", 9, b"text\n\nsignature\n")


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeStampServer]:
    with TimeStampServer(tmp_path_factory.mktemp("tsa")) as server:
        yield server


@pytest.fixture
def anchor(tsa: TimeStampServer) -> Iterator[TimeStampAnchor]:
    tsa.broken, tsa.alter = 0, lambda reply: reply
    anchor = TimeStampAnchor(read_authority("clock", tsa.chain), tsa.url, httpx.Client(timeout=10))
    yield anchor
    anchor.close()


def no_proof(old: int) -> list[bytes]:
    raise AssertionError("an authority needs no proof")


def test_an_authority_stamps_a_head(tsa: TimeStampServer, anchor: TimeStampAnchor) -> None:
    attestation = anchor.attest(HEAD, no_proof)
    time_ms = verify_token(attestation.evidence, HEAD.note, read_authority("clock", tsa.chain))
    assert time_ms == attestation.time_ms
    assert abs(time_ms - time.time() * 1000) < 60_000
    assert [ending for ending, _ in attestation.further] == [".tsq"]


def test_other_bytes_are_not_what_was_stamped(tsa: TimeStampServer, anchor: TimeStampAnchor) -> None:
    evidence = anchor.attest(HEAD, no_proof).evidence
    with pytest.raises(VerificationError, match=r"the token of clock is over [0-9a-f]{64}, not over these bytes"):
        verify_token(evidence, HEAD.note + b"\n", read_authority("clock", tsa.chain))


@pytest.mark.parametrize("place", [0.5, 0.97])
def test_a_changed_token_does_not_verify(tsa: TimeStampServer, anchor: TimeStampAnchor, place: float) -> None:
    evidence = bytearray(anchor.attest(HEAD, no_proof).evidence)
    evidence[int(len(evidence) * place)] ^= 1
    with pytest.raises(VerificationError):
        verify_token(bytes(evidence), HEAD.note, read_authority("clock", tsa.chain))


def test_another_authority_is_not_the_pinned_one(tsa: TimeStampServer, anchor: TimeStampAnchor, tmp_path: Path) -> None:
    evidence = anchor.attest(HEAD, no_proof).evidence
    other = TimeStampServer(tmp_path, "Other TSA").chain
    with pytest.raises(VerificationError, match="the token of other does not verify"):
        verify_token(evidence, HEAD.note, read_authority("other", other))


def test_another_certificate_of_the_same_root_is_not_the_pinned_one(tsa: TimeStampServer, tmp_path: Path) -> None:
    """The root signs whom it likes; the policy says which of them."""
    second = TimeStampServer(tmp_path, "Second TSA", root=tsa.folder)
    assert verify_token(second.stamp(query(HEAD.note)), HEAD.note, read_authority("second", second.chain)) > 0
    with pytest.raises(VerificationError, match="the token of clock does not verify"):
        verify_token(second.stamp(query(HEAD.note)), HEAD.note, read_authority("clock", tsa.chain))


def query(message: bytes) -> bytes:
    from signer.tokens import make_request

    return make_request(message).as_bytes()


def test_an_answer_to_another_request_is_refused(tsa: TimeStampServer, anchor: TimeStampAnchor) -> None:
    old = tsa.stamp(query(HEAD.note))
    tsa.alter = lambda reply: old
    with pytest.raises(Refused, match="answered another request: its nonce is not ours"):
        anchor.attest(HEAD, no_proof)


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (429, Unavailable), (401, Refused), (404, Refused)])
def test_http_errors(tsa: TimeStampServer, anchor: TimeStampAnchor, status: int, kind: type[Exception]) -> None:
    tsa.broken = status
    with pytest.raises(kind, match=f"answered with HTTP status {status}"):
        anchor.attest(HEAD, no_proof)


def test_a_rejection_says_why(tsa: TimeStampServer, anchor: TimeStampAnchor) -> None:
    tsa.alter = lambda reply: tsa.stamp(b"no request")
    with pytest.raises(Refused, match=r"answered with status"):
        anchor.attest(HEAD, no_proof)


def test_an_endless_answer_is_refused(tsa: TimeStampServer, anchor: TimeStampAnchor) -> None:
    tsa.alter = lambda reply: bytes(1 << 20)
    with pytest.raises(Refused, match="answered with more than 262144 bytes"):
        anchor.attest(HEAD, no_proof)


def test_nobody_there(tmp_path: Path, tsa: TimeStampServer) -> None:
    anchor = TimeStampAnchor(read_authority("clock", tsa.chain), "http://127.0.0.1:9/", httpx.Client(timeout=2))
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9/: "):
        anchor.attest(HEAD, no_proof)


def test_a_root_inside_the_response_is_not_trusted(vectors: Path) -> None:
    """The attack that versions of the library before 1.0.9 let through: the attacker's whole chain in the response."""
    attack = json.loads((vectors / "rfc3161-embedded-root-attack.json").read_text())
    trusted = read_authority("t", attack["trusted_tsa_pem"].encode() + attack["trusted_root_pem"].encode())
    message = base64.b64decode(attack["message_b64"])
    assert verify_token(base64.b64decode(attack["good_tsr_b64"]), message, trusted) > 0
    with pytest.raises(VerificationError, match="the token of t does not verify"):
        verify_token(base64.b64decode(attack["evil_tsr_b64"]), message, trusted)


def test_another_implementations_token_verifies(vectors: Path) -> None:
    """Bytes of the sigstore time-stamping authority."""
    chain = x509.load_pem_x509_certificates((vectors / "rfc3161-ts_chain.pem").read_bytes())
    authority = Authority("sigstore", tuple(one.public_bytes(Encoding.DER) for one in chain))
    assert verify_token((vectors / "rfc3161-response.tsr").read_bytes(), b"hello", authority) > 0


def test_a_root_alone_is_no_authority(tsa: TimeStampServer) -> None:
    with pytest.raises(MalformedInput, match="authority clock: no certificate of a time-stamping authority"):
        read_authority("clock", (tsa.folder / "ca.pem").read_bytes())


def test_no_certificates() -> None:
    with pytest.raises(MalformedInput, match="authority clock: got no PEM certificates"):
        read_authority("clock", b"nothing")
