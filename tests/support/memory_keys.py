"""Subject keys in memory: the contract of :class:`stores.keys.Keys` without a database.

``MemoryKeys().destroy(key_id)`` forgets a key, as a purge does; :func:`destroy_rows` does it to a control database.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, insert, select, update

from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.control.database import ControlDatabase
from stores.control.tables import destroyed_keys, epochs, subject_keys
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


def destroy_rows(control: ControlDatabase, key_ids: Iterable[KeyId]) -> None:
    """Destroy keys as the contract of :class:`stores.keys.Keys` asks of a purge, without a plan."""
    these = subject_keys.c.key_id.in_(list(key_ids))
    with control.writing() as connection:
        connection.execute(update(epochs).where(epochs.c.name == "subject_keys").values(value=epochs.c.value + 1))
        made = (
            connection.execute(select(subject_keys.c.key_id).where(these, subject_keys.c.maker != "")).scalars().all()
        )
        if made:
            connection.execute(insert(destroyed_keys), [{"key_id": key_id, "destroyed_ms": 1} for key_id in made])
        connection.execute(delete(subject_keys).where(these))
