"""A signing key in an HSM, over PKCS#11 3.0: an Edwards key (``CKK_EC_EDWARDS``) and ``CKM_EDDSA``."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError, Unavailable
from signer.custody import checked


class Pkcs11Key:
    """A :class:`~signer.note.SigningKey` in an HSM. One session, one call at a time; a session that the HSM has closed
    is opened again.

    Args:
        module: path of the vendor's PKCS#11 library.
        token: label of the token.
        label: of the key pair on it.
        pin: of the token's user.
    """

    def __init__(self, module: Path, token: str, label: str, pin: str) -> None:
        try:
            import pkcs11
        except ImportError as error:
            raise ConfigurationError(
                f"custody is pkcs11, and {error.name} is missing: install affidavit[hsm]"
            ) from None
        self._token_label, self._label, self._pin = token, label, pin
        self._lock = threading.Lock()
        try:
            self._library: Any = pkcs11.lib(str(module))
        except pkcs11.PKCS11Error as error:
            raise ConfigurationError(f"PKCS#11 library {module}: {error!r}") from None
        except RuntimeError as error:
            raise ConfigurationError(f"PKCS#11 library {module}: {error}") from None

    @cached_property
    def public_key(self) -> bytes:
        """32 raw bytes, asked for once."""
        from pkcs11 import Attribute, KeyType, ObjectClass

        with self._lock:
            key = self._get(ObjectClass.PUBLIC_KEY, KeyType.EC_EDWARDS)
            point = bytes(key[Attribute.EC_POINT])
        # A DER OCTET STRING around the 32 bytes, as PKCS#11 3.0 has it; older modules give them bare.
        raw = point[2:] if len(point) == 34 and point[:2] == b"\x04\x20" else point
        if len(raw) != 32:
            raise ConfigurationError(f"PKCS#11 key {self._label}: a point of {len(raw)} bytes, expected Ed25519")
        return raw

    def sign(self, message: bytes) -> bytes:
        """See :class:`~signer.note.SigningKey`."""
        from pkcs11 import KeyType, Mechanism, ObjectClass, PKCS11Error

        public_key = self.public_key
        with self._lock:
            try:
                key = self._get(ObjectClass.PRIVATE_KEY, KeyType.EC_EDWARDS)
                signature = bytes(key.sign(message, mechanism=Mechanism.EDDSA))
            except PKCS11Error as error:
                self.__dict__.pop("_session", None)
                raise Unavailable(f"PKCS#11 key {self._label}: {error!r}", retry_after=2.0) from None
        return checked(public_key, signature, message, f"PKCS#11 key {self._label}")

    def _get(self, kind: Any, key_type: Any) -> Any:
        from pkcs11 import NoSuchKey, PKCS11Error

        try:
            return self._session.get_key(object_class=kind, key_type=key_type, label=self._label)
        except NoSuchKey:
            raise ConfigurationError(
                f"token {self._token_label} holds no Edwards key pair with label {self._label}"
            ) from None
        except PKCS11Error as error:
            raise Unavailable(f"PKCS#11 token {self._token_label}: {error!r}", retry_after=2.0) from None

    @cached_property
    def _session(self) -> Any:
        from pkcs11 import NoSuchToken, PinIncorrect, PKCS11Error, UserAlreadyLoggedIn

        try:
            token = self._library.get_token(token_label=self._token_label)
            try:
                return token.open(user_pin=self._pin)
            except UserAlreadyLoggedIn:
                return token.open()  # a login is of the whole process
        except NoSuchToken:
            raise ConfigurationError(f"there is no token {self._token_label}: is the HSM attached?") from None
        except PinIncorrect:
            raise ConfigurationError(
                f"token {self._token_label} does not take this PIN; it locks after a few tries"
            ) from None
        except PKCS11Error as error:
            raise Unavailable(f"PKCS#11 token {self._token_label}: {error!r}", retry_after=2.0) from None
