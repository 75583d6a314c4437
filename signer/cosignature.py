"""Cosignatures: what a witness says of a checkpoint, "as of this time, the largest consistent tree that I have seen"
(C2SP tlog-cosignature, Ed25519). Pure."""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.errors import MalformedInput, VerificationError
from signer.note import COSIGNATURE_V1, Note, Signature, SigningKey, VerifierKey, key_id

MAX_TIME = 2**63 - 1
_PAYLOAD = struct.Struct(">Q64s")


def cosigned_message(text: str, time: int) -> bytes:
    """The bytes that an Ed25519 cosigner signs; ``time`` is in seconds since 1970 UTC."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosignature_time(signature: Signature) -> int:
    """The POSIX seconds inside a cosignature line; nothing is verified.

    Raises:
        MalformedInput: the line's payload is not a time and an Ed25519 signature.
    """
    if len(signature.payload) != _PAYLOAD.size:
        raise MalformedInput(
            f"got a cosignature of {len(signature.payload)} bytes by {signature.name}, expected {_PAYLOAD.size}"
        )
    time: int = _PAYLOAD.unpack(signature.payload)[0]
    if not 0 < time <= MAX_TIME:
        raise MalformedInput(f"got cosignature time {time} by {signature.name}, expected 1 to 2^63 - 1")
    return time


def cosign(text: str, name: str, time: int, key: SigningKey) -> Signature:
    """Cosign a note's text."""
    payload = _PAYLOAD.pack(time, key.sign(cosigned_message(text, time)))
    return Signature(name, key_id(name, key.public_key, COSIGNATURE_V1), payload)


def verify_cosignature(note: Note, key: VerifierKey) -> int:
    """Check the cosignature of one witness; return its time in POSIX seconds.

    Raises:
        VerificationError: the witness has not cosigned, or its cosignature does not verify.
    """
    for signature in note.signatures:
        if (signature.name, signature.key_id) != (key.name, key.key_id):
            continue
        try:
            time = cosignature_time(signature)
            message = cosigned_message(note.text, time)
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature.payload[8:], message)
        except (InvalidSignature, MalformedInput) as error:
            raise VerificationError(f"the cosignature of {key.name} does not verify: {error}") from None
        return time
    raise VerificationError(f"got no cosignature by {key.name} ({key.key_id.hex()}), expected one")
