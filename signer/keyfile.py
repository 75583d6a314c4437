"""The signing key in a file: Ed25519, PEM PKCS#8, mode 0600, optionally under a passphrase.

One key signs all logs of a deployment. Each log's key *name* is its origin, as C2SP asks, so that a signature on one
log's checkpoint means nothing on another's; and an auditor is given one line for all of them, the *deployment key*: the
same public key under the name of the deployment (:func:`deployment_vkey`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.errors import ConfigurationError
from signer.note import SigningKey, VerifierKey, format_vkey
from signer.origin import check_deployment

MODE = 0o600


class FileKey:
    """A :class:`~signer.note.SigningKey` held in memory."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes_raw()

    @property
    def public_key(self) -> bytes:
        return self._public

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"FileKey({fingerprint(self._public)})"


class KeyText(NamedTuple):
    """What may be shown of a key: the line for auditors, and the fingerprint to compare by telephone."""

    vkey: str
    fingerprint: str


def create_key(path: Path, passphrase: bytes | None = None) -> FileKey:
    """Make a new key and write it, durably, to a file that must not exist.

    Raises:
        ConfigurationError: there is a file already: a key is never overwritten, its log could not go on.
    """
    key = Ed25519PrivateKey.generate()
    protection: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(scratch, path)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists already: a signing key is never overwritten") from None
    finally:
        scratch.unlink()
        _sync_folder(path.parent)
    return FileKey(key)


def load_key(path: Path, passphrase: bytes | None = None) -> FileKey:
    """Read a key file.

    Raises:
        ConfigurationError: absent, readable by others, not an Ed25519 key, or the passphrase is missing or wrong.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        pem = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"signing key {path}: {reason.lower()}; make one with affidavit keys init") from None
    if mode & 0o077:
        raise ConfigurationError(f"signing key {path} has mode {mode:04o}, expected 0600: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError:
        need = "needs a passphrase" if passphrase is None else "is not encrypted, so leave the passphrase away"
        raise ConfigurationError(f"signing key {path} {need}") from None
    except (ValueError, UnsupportedAlgorithm):
        what = "does not open with this passphrase" if passphrase else "is not a PEM PKCS#8 key"
        raise ConfigurationError(f"signing key {path} {what}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"signing key {path} is of another algorithm, expected Ed25519")
    return FileKey(key)


def show_key(key: SigningKey, deployment: str) -> KeyText:
    """The public half of a key, as text."""
    return KeyText(deployment_vkey(key, deployment), fingerprint(key.public_key))


def deployment_vkey(key: SigningKey, deployment: str) -> str:
    """The verifier key that auditors pin: the public key under the deployment's name."""
    return format_vkey(VerifierKey(check_deployment(deployment), key.public_key))


def fingerprint(public_key: bytes) -> str:
    """``SHA256:`` and the hex digest of the 32 public bytes, in groups of four."""
    digest = hashlib.sha256(public_key).hexdigest()
    return "SHA256:" + " ".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
