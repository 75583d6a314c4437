"""Subject keys in the control database, each wrapped by a KEK and bound to its name and scope."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from schemas.errors import Unavailable
from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.control.database import ControlDatabase
from stores.keys import KeyScope, rows
from stores.keys.cache import KeyCache
from stores.keys.kek import Kek
from stores.keys.wrapping import WrappedKey, Wrapping

CACHED_KEYS = 100_000
"""About 50 MB. A scope is used for a month, and then hardly ever."""

EPOCH_SECONDS = 1.0
"""How long a destroyed key may still be found in the cache of another process. A purge destroys keys, waits longer than
this, and looks again for what was sealed meanwhile."""


class DatabaseKeys:
    """A :class:`stores.keys.Keys`.

    Args:
        control: where the wrapped keys are.
        kek: wraps new keys.
        retired: further KEKs that may have wrapped older ones.
        capacity: unwrapped keys that are kept in memory.
        monotonic: seconds, for the age of what is cached.
    """

    def __init__(
        self,
        control: ControlDatabase,
        kek: Kek,
        *,
        retired: Sequence[Kek] = (),
        capacity: int = CACHED_KEYS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self.wrapping = Wrapping(kek, retired)
        self._cache = KeyCache(capacity)
        self._monotonic = monotonic
        self._epoch, self._checked = -1, -math.inf

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        """See :meth:`stores.keys.Keys.for_scopes`. Creates all that are missing in one transaction."""
        self._forget_destroyed()
        generation = self._cache.generation
        found = self._cache.for_scopes(scopes)
        if None in found:
            missing = dict.fromkeys(scope for scope, key in zip(scopes, found, strict=True) if key is None)
            fresh = self._read_or_create(list(missing))
            self._cache.add_scopes(fresh.items(), generation)
            found = [key or fresh[scope] for scope, key in zip(scopes, found, strict=True)]
        return cast(list[SubjectKey], found)

    def by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        """See :meth:`stores.keys.Keys.by_id`."""
        self._forget_destroyed()
        generation = self._cache.generation
        wanted = list(dict.fromkeys(key_ids))
        found = self._cache.by_id(wanted)
        missing = [key_id for key_id in wanted if key_id not in found]
        if missing:
            with self._control.reading() as connection:
                keys = rows.by_id(connection, missing)
            fresh = {key.key_id: self.wrapping.secret(key) for key in keys}
            self._cache.add_ids(fresh.items(), generation)
            found |= fresh
        return found

    def cached(self, scopes: Sequence[KeyScope]) -> list[SubjectKey | None]:
        """What is cached of :meth:`for_scopes`. Does not ask the database; see :meth:`age`."""
        return self._cache.for_scopes(scopes)

    def cached_by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        """What is cached of :meth:`by_id`. Does not ask the database; see :meth:`age`."""
        return self._cache.by_id(key_ids)

    def age(self) -> float:
        """Seconds since the database last said which keys were destroyed. Older destructions are out of the cache."""
        return self._monotonic() - self._checked

    def check(self) -> None:
        """Ask the database which keys were destroyed.

        Raises:
            Unavailable: it does not answer.
        """
        now = self._monotonic()
        with self._control.reading() as connection:
            epoch = connection.execute(rows.EPOCH).scalar_one()
        if epoch != self._epoch:
            self._cache.clear()
        self._epoch, self._checked = epoch, now

    def register(self, keys: Sequence[WrappedKey], maker: str) -> None:
        """Put keys that a collector has made by itself into the database, but for those that are there, or were there
        and have been destroyed. All or none; may be repeated.

        Whoever destroys keys counts the epoch up first. We hold that row, so either the key is there before the purge
        looks, or we see that it was destroyed.
        """
        with self._control.writing() as connection:
            connection.execute(rows.EPOCH.with_for_update(read=True))
            destroyed = rows.destroyed(connection, [key.key_id for key in keys])
            rows.add(connection, [key for key in keys if key.key_id not in destroyed], maker)

    def destroyed(self, key_ids: Sequence[KeyId]) -> set[KeyId]:
        """Which of these keys, made by a collector by itself, have been destroyed."""
        with self._control.reading() as connection:
            return rows.destroyed(connection, key_ids)

    def _forget_destroyed(self) -> None:
        """Empty the cache when keys were destroyed since the last look, at most :data:`EPOCH_SECONDS` ago."""
        if self.age() >= EPOCH_SECONDS:
            self.check()

    def _read_or_create(self, scopes: Sequence[KeyScope]) -> dict[KeyScope, SubjectKey]:
        with self._control.reading() as connection:
            keys = rows.ordinary(connection, scopes)
        # In one order in all processes: whoever inserts a key waits for those who are about to insert the same one.
        absent = sorted(scope for scope in scopes if scope not in keys)
        if absent:
            new = [self.wrapping.new(scope) for scope in absent]
            with self._control.writing() as connection:
                # Another process may have been first for some of the scopes: its keys stay, and are read.
                rows.add(connection, new)
                keys |= rows.ordinary(connection, absent)
        if len(keys) != len(scopes):
            raise Unavailable("control database: subject keys were destroyed while they were asked for: ask again")
        return {scope: SubjectKey(key.key_id, self.wrapping.secret(key)) for scope, key in keys.items()}
