"""Where a signing key can live other than in a file: a key management service or an HSM, which sign and never give it
out. Each is a :class:`~signer.note.SigningKey` of Ed25519; a wrong answer of theirs is caught before it is used."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from schemas.errors import ConfigurationError, Refused


def checked(public_key: bytes, signature: bytes, message: bytes, who: str) -> bytes:
    """``signature``, once it verifies.

    Raises:
        Refused: it does not: the service signs with another key than the one that it showed, or in another way.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        raise Refused(f"{who} gave a signature that is not of its own public key") from None
    return signature


def raw_public_key(der: bytes, who: str) -> bytes:
    """The 32 bytes of an Ed25519 key in DER (SubjectPublicKeyInfo).

    Raises:
        ConfigurationError: a key of another kind.
    """
    try:
        key = load_der_public_key(der)
    except ValueError as error:
        raise ConfigurationError(f"{who}: no public key in DER: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{who} is of another algorithm, expected Ed25519")
    return key.public_bytes_raw()
