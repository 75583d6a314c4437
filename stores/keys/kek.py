"""Key-encryption keys: what wraps the subject keys. The Protocol, and the one that lies in a file."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import ConfigurationError, VerificationError

KEK_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

_ID_DOMAIN = b"affidavit/kek-id/v1\x00"


class Kek(Protocol):
    """A key that never leaves its keeper: a file, AWS KMS, Vault Transit.

    ``kek_id`` names the key and is stored beside everything it wrapped, so that several can be in use while one takes
    the place of another. ``context`` is bound to the ciphertext and must be given again to unwrap.
    """

    @property
    def kek_id(self) -> str: ...

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Encrypt ``secret``. Raises :class:`~schemas.errors.Unavailable` when the keeper cannot be reached."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Decrypt what :meth:`wrap` made with the same context.

        Raises:
            VerificationError: it was not made by this key with this context.
            Unavailable: the keeper cannot be reached.
        """
        ...


class FileKek:
    """A :class:`Kek` of 32 random bytes in a file that only its owner may read.

    Wrapped: ``nonce(12) ‖ AES-256-GCM(secret)`` with the context as associated data. Nonces are random: one file is
    good for 2³² subject keys (NIST SP 800-38D §8.3).

    Raises:
        ConfigurationError: no file, another size, or a mode that lets others read it; the message has the fix.
    """

    def __init__(self, path: Path | str) -> None:
        secret = _read_private(Path(path))
        self._cipher = AESGCM(secret)
        self._id = "file:" + hashlib.sha256(_ID_DOMAIN + secret).hexdigest()[:32]

    @property
    def kek_id(self) -> str:
        """``file:`` and a fingerprint of the key."""
        return self._id

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """See :meth:`Kek.wrap`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """See :meth:`Kek.unwrap`."""
        if len(wrapped) < NONCE_BYTES + TAG_BYTES:
            raise VerificationError(f"got a wrapped key of {len(wrapped)} bytes, expected at least 28")
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except InvalidTag:
            raise VerificationError("the wrapped key does not open under its KEK, name and scope") from None


def create_kek_file(path: Path | str) -> None:
    """Write 32 random bytes to a new file with mode 0600, durably.

    Raises:
        ConfigurationError: the file exists; a KEK that is overwritten takes every record with it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists: a key-encryption key is never overwritten") from None
    try:
        os.write(descriptor, os.urandom(KEK_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            secret = file.read(KEK_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist: run `affidavit init`, or restore it from its backup"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigurationError(f"{path} has mode {mode:04o}, expected 0600 at most: run `chmod 600 {path}`")
    if len(secret) != KEK_BYTES:
        raise ConfigurationError(f"{path} does not hold {KEK_BYTES} bytes: restore it from its backup")
    return secret
