"""Subject keys in memory: the contract of :class:`stores.keys.Keys` without a database.

``MemoryKeys().destroy(key_id)`` forgets a key, as a purge does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence

from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.keys import KeyScope


class MemoryKeys:
    """Implements :class:`stores.keys.Keys`."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._keys: dict[KeyScope, SubjectKey] = {}

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        with self._mutex:
            for scope in scopes:
                if scope not in self._keys:
                    self._keys[scope] = SubjectKey(KeyId(os.urandom(16)), os.urandom(32))
            return [self._keys[scope] for scope in scopes]

    def by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        wanted = set(key_ids)
        return {key.key_id: key.secret for key in self._keys.values() if key.key_id in wanted}

    def destroy(self, key_id: KeyId) -> None:
        """Forget a key for ever."""
        with self._mutex:
            self._keys = {scope: key for scope, key in self._keys.items() if key.key_id != key_id}
