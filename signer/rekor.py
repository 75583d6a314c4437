"""Entries of a Rekor v2 log (sigstore rekor-tiles): hashedrekord over the anchored bytes. Pure.

The log takes no pure Ed25519, so the anchor has an ECDSA key of its own; what counts is that the log includes an entry
with the digest of the anchored bytes, in a tree that its checkpoint signs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from schemas.errors import MalformedInput, VerificationError
from signer.checkpoint import parse_checkpoint
from signer.merkle import leaf, verify_inclusion
from signer.note import parse_note, verify_note
from signer.policy import RekorLog

KEY_DETAILS = "PKIX_ECDSA_P256_SHA_256"


def format_request(message: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The body of ``POST /api/v2/log/entries``."""
    return json.dumps(
        {
            "hashedRekordRequestV002": {
                "digest": _b64(hashlib.sha256(message).digest()),
                "signature": {
                    "content": _b64(key.sign(message, ec.ECDSA(hashes.SHA256()))),
                    "verifier": {"publicKey": {"rawBytes": _b64(public_der(key))}, "keyDetails": KEY_DETAILS},
                },
            }
        }
    ).encode()


def public_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half, SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def verify_entry(entry: bytes, message: bytes, log: RekorLog) -> int:
    """Check a TransparencyLogEntry (protobuf's JSON) over ``message``; return its index in the log.

    Root and size are taken from the checkpoint, once its signature holds; what the entry says of them is not read.

    Raises:
        VerificationError: it does not parse, is over other bytes, or is not in the tree that the log signed.
    """
    try:
        found = json.loads(entry)
        body = _raw(found["canonicalizedBody"])
        index = int(found["inclusionProof"]["logIndex"])
        path = [_raw(one) for one in found["inclusionProof"].get("hashes", ())]
        note = parse_note(found["inclusionProof"]["checkpoint"]["envelope"].encode())
        checkpoint = parse_checkpoint(note.text)
        _check_body(json.loads(body), message)
    except (ValueError, KeyError, TypeError, AttributeError, MalformedInput) as error:
        raise VerificationError(f"the entry of Rekor log {log.name} does not parse: {error!r}") from None
    if checkpoint.origin != log.key.name:
        raise VerificationError(f"got an entry of Rekor log {checkpoint.origin!r}, expected {log.key.name!r}")
    verify_note(note, [log.key])
    if not 0 <= index < checkpoint.size:
        raise VerificationError(f"got index {index} in Rekor log {log.name} of size {checkpoint.size}")
    verify_inclusion(index, checkpoint.size, leaf(body), path, checkpoint.root)
    return index


def _check_body(body: dict[str, Any], message: bytes) -> None:
    """That an entry's body is over the message, and signed by the key that it names."""
    if (body["kind"], body["apiVersion"]) != ("hashedrekord", "0.0.2"):
        raise VerificationError(f"got a Rekor entry of kind {body['kind']} {body['apiVersion']}, expected hashedrekord")
    spec = body["spec"]["hashedRekordV002"]
    data, signature = spec["data"], spec["signature"]
    if data["algorithm"] != "SHA2_256" or _raw(data["digest"]) != hashlib.sha256(message).digest():
        raise VerificationError("the Rekor entry is over other bytes than these")
    key = _verifier(signature["verifier"])
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise VerificationError("the Rekor entry is signed with another kind of key than ECDSA")
    try:
        key.verify(_raw(signature["content"]), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise VerificationError("the signature in the Rekor entry does not verify") from None


def _verifier(verifier: dict[str, Any]) -> object:
    """The public key, which an entry gives bare or in a certificate."""
    try:
        if "publicKey" in verifier:
            return serialization.load_der_public_key(_raw(verifier["publicKey"]["rawBytes"]))
        return x509.load_der_x509_certificate(_raw(verifier["x509Certificate"]["rawBytes"])).public_key()
    except UnsupportedAlgorithm as error:
        raise VerificationError(f"the Rekor entry is signed with another kind of key than ECDSA: {error}") from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
