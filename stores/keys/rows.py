"""The rows of subject keys in the control database: read and inserted, within a transaction of the caller.

On PostgreSQL many rows are one statement over arrays, several times as fast as as many values in a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, select, text, tuple_
from sqlalchemy.dialects.sqlite import insert

from schemas.ids import KeyId
from stores.control import tables as t
from stores.control.text import escaped
from stores.keys import KeyScope
from stores.keys.wrapping import WrappedKey

STATEMENT_ROWS = 500
"""Rows in one statement: ten values each stay below the limit of SQLite (32,766)."""

EPOCH = select(t.epochs.c.value).where(t.epochs.c.name == "subject_keys")

_KEYS = t.subject_keys.c
_SCOPE = (_KEYS.tenant, _KEYS.subject, _KEYS.retention_class, _KEYS.part_type, _KEYS.month)

_FIND = text("""
SELECT n, key_id, kek_id, wrapped, created_ms
FROM unnest(CAST(:tenant AS text[]), CAST(:subject AS text[]), CAST(:retention_class AS text[]),
  CAST(:part_type AS integer[]), CAST(:month AS text[]))
  WITH ORDINALITY AS wanted (tenant, subject, retention_class, part_type, month, n)
JOIN subject_keys USING (tenant, subject, retention_class, part_type, month)
WHERE maker = ''
""")
_INSERT = text("""
INSERT INTO subject_keys
  (tenant, subject, retention_class, part_type, month, key_id, kek_id, wrapped, created_ms, maker)
SELECT tenant, subject, retention_class, part_type, month, key_id, kek_id, wrapped, created_ms, maker
FROM unnest(CAST(:tenant AS text[]), CAST(:subject AS text[]), CAST(:retention_class AS text[]),
  CAST(:part_type AS integer[]), CAST(:month AS text[]), CAST(:key_id AS bytea[]), CAST(:kek_id AS text[]),
  CAST(:wrapped AS bytea[]), CAST(:created_ms AS bigint[]), CAST(:maker AS text[]))
  WITH ORDINALITY
  AS new (tenant, subject, retention_class, part_type, month, key_id, kek_id, wrapped, created_ms, maker, n)
ORDER BY n
ON CONFLICT DO NOTHING
""")

T = TypeVar("T")


def ordinary(connection: Connection, scopes: Sequence[KeyScope]) -> dict[KeyScope, WrappedKey]:
    """The ordinary key of each scope that has one."""
    return {key.scope: key for some in chunks(scopes) for key in _ordinary(connection, some)}


def by_id(connection: Connection, key_ids: Sequence[KeyId]) -> list[WrappedKey]:
    """The keys of these names, whoever made them."""
    return [
        key
        for some in chunks(key_ids)
        for key in _selected(connection, select(t.subject_keys).where(_KEYS.key_id.in_(some)))
    ]


def add(connection: Connection, keys: Sequence[WrappedKey], maker: str = "") -> None:
    """Insert keys in the order given, but for those whose name, or whose scope for this maker, is there. Waits for
    other transactions that are about to insert the same ones.

    ``maker`` is ``""`` for ordinary keys, of which there is one for a scope. A collector may have to make several for
    one scope, so the name of such a key is part of its maker.
    """
    for some in chunks(keys):
        rows = [_row(key, f"{maker}/{key.key_id.hex()}" if maker else "") for key in some]
        if connection.dialect.name == "postgresql":
            connection.execute(_INSERT, _columns(rows))
        else:
            connection.execute(insert(t.subject_keys).on_conflict_do_nothing(), rows)


def destroyed(connection: Connection, key_ids: Sequence[KeyId]) -> set[KeyId]:
    """Which of these keys, made by a collector by itself, have been destroyed."""
    column = t.destroyed_keys.c.key_id
    return {
        KeyId(key_id)
        for some in chunks(key_ids)
        for key_id in connection.execute(select(column).where(column.in_(some))).scalars()
    }


def _ordinary(connection: Connection, scopes: Sequence[KeyScope]) -> list[WrappedKey]:
    if connection.dialect.name != "postgresql":
        ordinary = select(t.subject_keys).where(_KEYS.maker == "")
        return _selected(connection, ordinary.where(tuple_(*_SCOPE).in_(scopes)))
    found = connection.execute(_FIND, _columns([scope._asdict() for scope in scopes]))
    return [
        WrappedKey(KeyId(key_id), scopes[number - 1], kek_id, wrapped, created_ms)
        for number, key_id, kek_id, wrapped, created_ms in found
    ]


def _row(key: WrappedKey, maker: str) -> dict[str, Any]:
    return key.scope._asdict() | {
        "key_id": key.key_id,
        "kek_id": key.kek_id,
        "wrapped": key.wrapped,
        "created_ms": key.created_ms,
        "maker": maker,
    }


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as arrays, with text as PostgreSQL takes it."""
    return {name: [escaped(row[name]) if isinstance(row[name], str) else row[name] for row in rows] for name in rows[0]}


def _selected(connection: Connection, query: Select[Any]) -> list[WrappedKey]:
    return [_key(row) for row in connection.execute(query)]


def _key(row: Row[Any]) -> WrappedKey:
    scope = KeyScope(row.tenant, row.subject, row.retention_class, row.part_type, row.month)
    return WrappedKey(KeyId(row.key_id), scope, row.kek_id, row.wrapped, row.created_ms)


def chunks(items: Sequence[T]) -> Iterator[list[T]]:
    """At most :data:`STATEMENT_ROWS` at a time."""
    rest = iter(items)
    while some := list(islice(rest, STATEMENT_ROWS)):
        yield some
