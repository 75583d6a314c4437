"""A bounded cache of unwrapped subject keys, found by scope and by id."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.keys import KeyScope


class KeyCache:
    """The ``capacity`` keys that were used last. Thread-safe.

    ``generation`` counts how often everything was forgotten. Whoever adds keys says which generation it saw before it
    read them, so that a key that was destroyed in between does not come back.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self.generation = 0
        self._by_scope: OrderedDict[KeyScope, SubjectKey] = OrderedDict()
        self._by_id: OrderedDict[KeyId, bytes] = OrderedDict()

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey | None]:
        """The cached key of each scope."""
        keys, used = self._by_scope, self._by_scope.move_to_end
        found = []
        with self._lock:
            for scope in scopes:
                key = keys.get(scope)
                if key is not None:
                    used(scope)
                found.append(key)
        return found

    def by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        """The cached secrets among ``key_ids``."""
        secrets, used = self._by_id, self._by_id.move_to_end
        found: dict[KeyId, bytes] = {}
        with self._lock:
            for key_id in key_ids:
                secret = secrets.get(key_id)
                if secret is not None:
                    used(key_id)
                    found[key_id] = secret
        return found

    def add_scopes(self, keys: Iterable[tuple[KeyScope, SubjectKey]], generation: int) -> None:
        """Remember keys under their scope and their id."""
        with self._lock:
            if generation != self.generation:
                return
            for scope, key in keys:
                self._by_scope[scope] = key
                self._by_id[key.key_id] = key.secret
            self._shrink()

    def add_ids(self, secrets: Iterable[tuple[KeyId, bytes]], generation: int) -> None:
        """Remember keys under their id."""
        with self._lock:
            if generation != self.generation:
                return
            self._by_id.update(secrets)
            self._shrink()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.generation += 1
            self._by_scope.clear()
            self._by_id.clear()

    def __len__(self) -> int:
        return max(len(self._by_scope), len(self._by_id))

    def _shrink(self) -> None:
        while len(self._by_scope) > self._capacity:
            self._by_scope.popitem(last=False)
        while len(self._by_id) > self._capacity:
            self._by_id.popitem(last=False)
