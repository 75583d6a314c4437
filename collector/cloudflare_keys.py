"""Private keys for the encrypted fields of Cloudflare's Logpush: PEM files to a function that opens fields.

While a key is replaced, lines under the old and under the new one arrive side by side, so there may be several.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from collector.gateways.cloudflare_fields import Decrypt, Encrypted
from schemas.errors import ConfigurationError

MIN_BITS = 2048
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_UNWRAPPED = 1024
"""Wrapped keys remembered: fields of one line share theirs, and RSA costs milliseconds."""

_KEY_SIZES = (16, 24, 32)


def load_private_keys(files: Sequence[Path]) -> Decrypt:
    """What opens a field under any of these keys: unencrypted PEM, PKCS#8 or PKCS#1, RSA.

    Raises:
        ConfigurationError: a file cannot be read, or holds no such key.
    """
    return decrypt_with([_load(file) for file in files])


def decrypt_with(keys: Sequence[rsa.RSAPrivateKey]) -> Decrypt:
    """What opens a field under any of these keys."""

    @lru_cache(_UNWRAPPED)
    def unwrap(wrapped: bytes) -> tuple[AESGCM, ...]:
        return tuple(cipher for key in keys if (cipher := _unwrap(key, wrapped)) is not None)

    def decrypt(field: Encrypted) -> bytes | None:
        for cipher in unwrap(field.key):
            try:
                return cipher.decrypt(field.iv, field.data, None)
            except (InvalidTag, ValueError):
                continue
        return None

    return decrypt


def _unwrap(key: rsa.RSAPrivateKey, wrapped: bytes) -> AESGCM | None:
    try:
        secret = key.decrypt(wrapped, _OAEP)
    except ValueError:
        return None
    return AESGCM(secret) if len(secret) in _KEY_SIZES else None


def _load(file: Path) -> rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"cannot read {file} as a private key in PEM without a passphrase: {error}") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_BITS:
        raise ConfigurationError(f"got a key in {file} that is not RSA of at least {MIN_BITS} bits; make another")
    return key
