"""Loads of directories: the rows of one table, within a transaction of the caller."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from stores.control import DirectoryLoad
from stores.control.tables import directories


def add(connection: Connection, tenant: str, sha256: str, loaded_ms: int, operator: str) -> DirectoryLoad:
    """See :meth:`stores.control.Control.add_directory`."""
    row = {"tenant": tenant, "sha256": sha256, "loaded_ms": loaded_ms, "operator": operator}
    number: int = connection.execute(insert(directories).values(row).returning(directories.c.number)).scalar_one()
    return DirectoryLoad(number, tenant, sha256, loaded_ms, operator)


def read(connection: Connection) -> list[DirectoryLoad]:
    """See :meth:`stores.control.Control.directories`."""
    rows = connection.execute(select(directories).order_by(directories.c.number))
    return [DirectoryLoad(**row._mapping) for row in rows]
