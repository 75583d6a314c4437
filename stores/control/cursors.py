"""How far a feed was read, and who reads it: the rows of one table, within a transaction of the caller."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from schemas.errors import LockLost
from stores.control.tables import cursors

_NOBODY = {"value": "", "moved_ms": 0, "owner": "", "until_ms": 0}


def read(connection: Connection, name: str) -> str:
    """See :meth:`stores.control.Control.cursor`."""
    value: str | None = connection.execute(select(cursors.c.value).where(cursors.c.name == name)).scalar()
    return value or ""


def move(connection: Connection, name: str, old: str, new: str, owner: str, now_ms: int) -> None:
    """See :meth:`stores.control.Control.move_cursor`."""
    if old == "":
        _begin(connection, name)
    swap = update(cursors).where(cursors.c.name == name, cursors.c.value == old, cursors.c.owner == owner)
    if connection.execute(swap.values(value=new, moved_ms=now_ms)).rowcount != 1:
        holder = connection.execute(select(cursors.c.owner).where(cursors.c.name == name)).scalar()
        raise lost(name, holder, owner)


def claim(connection: Connection, name: str, owner: str, now_ms: int, until_ms: int) -> bool:
    """See :meth:`stores.control.Control.claim_feed`."""
    _begin(connection, name)
    free = or_(cursors.c.owner.in_(("", owner)), cursors.c.until_ms <= now_ms)
    taken = update(cursors).where(cursors.c.name == name, free).values(owner=owner, until_ms=until_ms)
    return connection.execute(taken).rowcount == 1


def release(connection: Connection, name: str, owner: str) -> None:
    """See :meth:`stores.control.Control.release_feed`."""
    this = (cursors.c.name == name, cursors.c.owner == owner)
    connection.execute(update(cursors).where(*this).values(owner="", until_ms=0))


def lost(name: str, holder: str | None, owner: str) -> LockLost:
    """Why a cursor was not moved. ``holder`` is who has the feed, ``None`` where there is no row."""
    if holder is not None and holder != owner:
        return LockLost(f"feed {name}: polled by {holder or 'nobody'} now, not by {owner or 'nobody'}; claim it again")
    return LockLost(f"feed {name}: its cursor is no longer where it was; read it again before going on")


def _begin(connection: Connection, name: str) -> None:
    """A row for a feed that has none."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(cursors).values(name=name, **_NOBODY).on_conflict_do_nothing())
