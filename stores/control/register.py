"""The register of matters and holds: the rows of one table, within a transaction of the caller."""

from __future__ import annotations

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import IntegrityError

from schemas.errors import LedgerContradiction, LockLost
from stores.control.tables import register


def end(connection: Connection) -> int:
    """See :meth:`stores.control.Control.register_end`."""
    number: int = connection.execute(select(func.coalesce(func.max(register.c.number), 0))).scalar_one()
    return number


def read(connection: Connection, after: int) -> list[bytes]:
    """See :meth:`stores.control.Control.register_entries`."""
    query = select(register.c.number, register.c.entry).where(register.c.number > after).order_by(register.c.number)
    rows = connection.execute(query).all()
    for expected, row in enumerate(rows, after + 1):
        if row.number != expected:
            raise LedgerContradiction(f"control database: entry {expected} of the register of holds is not there")
    return [bytes(row.entry) for row in rows]


def append(connection: Connection, number: int, entry: bytes) -> None:
    """See :meth:`stores.control.Control.append_register`."""
    there = connection.execute(select(register.c.entry).where(register.c.number == number)).scalar_one_or_none()
    if there is not None:
        if bytes(there) != entry:
            raise LockLost(f"the register of holds has another entry {number}: somebody was faster, look again")
        return
    last = end(connection)
    if last != number - 1:
        raise LockLost(f"the register of holds ends at {last}, expected {number - 1}: look again")
    try:
        connection.execute(insert(register).values(number=number, entry=entry))
    except IntegrityError as error:  # on PostgreSQL: waited for another process, which was faster
        raise LockLost(f"the register of holds has an entry {number}: somebody was faster, look again") from error
