"""Subject keys under a key-encryption key: made, and opened again."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.errors import ConfigurationError
from schemas.ids import KeyId
from stores.keys import KeyScope
from stores.keys.kek import Kek

SECRET_BYTES = 32
KEY_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A subject key as it is stored: its name (16 bytes), its scope, its secret under the KEK named ``kek_id``, and
    when it was made, in milliseconds since 1970 UTC."""

    key_id: KeyId
    scope: KeyScope
    kek_id: str
    wrapped: bytes
    created_ms: int


class Wrapping:
    """Makes and opens subject keys.

    Args:
        kek: wraps new keys.
        retired: further KEKs that may have wrapped older ones.
    """

    def __init__(self, kek: Kek, retired: Sequence[Kek] = ()) -> None:
        self._kek = kek
        self._keks = {one.kek_id: one for one in (*retired, kek)}

    def new(self, scope: KeyScope) -> WrappedKey:
        """A new random key for a scope."""
        random = os.urandom(KEY_ID_BYTES + SECRET_BYTES)
        key_id, secret = KeyId(random[:KEY_ID_BYTES]), random[KEY_ID_BYTES:]
        wrapped = self._kek.wrap(secret, key_context(key_id, scope))
        return WrappedKey(key_id, scope, self._kek.kek_id, wrapped, time.time_ns() // 1_000_000)

    def secret(self, key: WrappedKey) -> bytes:
        """The 32 secret bytes.

        Raises:
            ConfigurationError: its KEK is not at hand.
            VerificationError: the row was changed.
        """
        kek = self._keks.get(key.kek_id)
        if kek is None:
            raise ConfigurationError(
                f"subject key {key.key_id.hex()} is wrapped by {key.kek_id}, which is not among the configured "
                "key-encryption keys: configure it as a retired one"
            )
        return kek.unwrap(key.wrapped, key_context(key.key_id, key.scope))


def key_context(key_id: bytes, scope: KeyScope) -> bytes:
    """What a wrapped key is bound to: its name and scope, each text with its length in front. A row whose scope was
    changed, or that was given another row's secret, does not unwrap."""
    texts = (scope.tenant, scope.subject, scope.retention_class, str(scope.part_type), scope.month)
    raw = [text.encode("utf-8") for text in texts]
    return b"affidavit/subject-key/v1\x00" + key_id + b"".join([len(one).to_bytes(4, "big") + one for one in raw])
