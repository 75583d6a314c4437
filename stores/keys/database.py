"""Subject keys in the control database, each wrapped by a KEK and bound to its name and scope."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Row, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from schemas.errors import ConfigurationError, InvariantError
from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.control import tables as t
from stores.control.database import ControlDatabase
from stores.keys import KeyScope
from stores.keys.cache import KeyCache
from stores.keys.kek import Kek

SECRET_BYTES = 32
KEY_ID_BYTES = 16

CACHED_KEYS = 100_000
"""About 50 MB. A scope is used for a month, and then hardly ever."""

EPOCH_SECONDS = 1.0
"""How long a destroyed key may still be found in the cache of another process. A purge destroys keys, waits longer than
this, and looks again for what was sealed meanwhile."""

STATEMENT_ROWS = 500
"""Rows in one statement: five values each stay below the limits of SQLite (32,766) and PostgreSQL (65,535)."""

_KEYS = t.subject_keys.c
_SCOPE = (_KEYS.tenant, _KEYS.subject, _KEYS.retention_class, _KEYS.part_type, _KEYS.month)

T = TypeVar("T")


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
        self._control, self._kek = control, kek
        self._keks = {one.kek_id: one for one in (*retired, kek)}
        self._cache = KeyCache(capacity)
        self._monotonic = monotonic
        self._epoch, self._epoch_until = -1, -1.0

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
                rows = [
                    row
                    for some in _chunks(missing)
                    for row in connection.execute(select(t.subject_keys).where(_KEYS.key_id.in_(some)))
                ]
            fresh = {KeyId(row.key_id): self._unwrap(row) for row in rows}
            self._cache.add_ids(fresh.items(), generation)
            found |= fresh
        return found

    def _forget_destroyed(self) -> None:
        """Empty the cache when keys were destroyed since the last look, at most :data:`EPOCH_SECONDS` ago."""
        now = self._monotonic()
        if now < self._epoch_until:
            return
        with self._control.reading() as connection:
            epoch = connection.execute(select(t.epochs.c.value).where(t.epochs.c.name == "subject_keys")).scalar_one()
        if epoch != self._epoch:
            self._cache.clear()
        self._epoch, self._epoch_until = epoch, now + EPOCH_SECONDS

    def _read_or_create(self, scopes: Sequence[KeyScope]) -> dict[KeyScope, SubjectKey]:
        with self._control.reading() as connection:
            rows = _select(connection, scopes)
        absent = [scope for scope in scopes if scope not in rows]
        if absent:
            new = [self._new_row(scope) for scope in absent]
            with self._control.writing() as connection:
                # Another process may have been first for some of the scopes: its keys stay, and are read.
                insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
                connection.execute(insert(t.subject_keys).on_conflict_do_nothing(), new)
                rows |= _select(connection, absent)
        if len(rows) != len(scopes):
            raise InvariantError(f"got {len(rows)} subject keys for {len(scopes)} scopes")
        return {scope: SubjectKey(KeyId(row.key_id), self._unwrap(row)) for scope, row in rows.items()}

    def _new_row(self, scope: KeyScope) -> dict[str, Any]:
        random = os.urandom(KEY_ID_BYTES + SECRET_BYTES)
        key_id, secret = random[:KEY_ID_BYTES], random[KEY_ID_BYTES:]
        return scope._asdict() | {
            "key_id": key_id,
            "kek_id": self._kek.kek_id,
            "wrapped": self._kek.wrap(secret, key_context(key_id, scope)),
            "created_ms": time.time_ns() // 1_000_000,
        }

    def _unwrap(self, row: Row[Any]) -> bytes:
        kek = self._keks.get(row.kek_id)
        if kek is None:
            raise ConfigurationError(
                f"subject key {row.key_id.hex()} is wrapped by {row.kek_id}, which is not among the configured "
                "key-encryption keys: configure it as a retired one"
            )
        return kek.unwrap(row.wrapped, key_context(row.key_id, _scope(row)))


def key_context(key_id: bytes, scope: KeyScope) -> bytes:
    """What a wrapped key is bound to: its name and scope, each text with its length in front. A row whose scope was
    changed, or that was given another row's secret, does not unwrap."""
    texts = (scope.tenant, scope.subject, scope.retention_class, str(scope.part_type), scope.month)
    raw = [text.encode("utf-8") for text in texts]
    return b"affidavit/subject-key/v1\x00" + key_id + b"".join([len(one).to_bytes(4, "big") + one for one in raw])


def _select(connection: Connection, scopes: Sequence[KeyScope]) -> dict[KeyScope, Row[Any]]:
    return {
        _scope(row): row
        for some in _chunks(scopes)
        for row in connection.execute(select(t.subject_keys).where(tuple_(*_SCOPE).in_(some)))
    }


def _scope(row: Row[Any]) -> KeyScope:
    return KeyScope(row.tenant, row.subject, row.retention_class, row.part_type, row.month)


def _chunks(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, STATEMENT_ROWS)):
        yield some
