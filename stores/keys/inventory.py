"""How many subject keys there are of each kind."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select

from stores.control import tables as t
from stores.control.database import ControlDatabase


class KeyCount(NamedTuple):
    """Keys that differ in nothing but their data subject and their maker. ``month`` is ``YYYY-MM``."""

    tenant: str
    retention_class: str
    part_type: int
    month: str
    keys: int


def count_keys(control: ControlDatabase, tenant: str = "") -> list[KeyCount]:
    """The keys that are there, of one tenant or of all, by tenant, class, part and month."""
    columns = t.subject_keys.c
    groups = (columns.tenant, columns.retention_class, columns.part_type, columns.month)
    query = select(*groups, func.count()).group_by(*groups)
    if tenant:
        query = query.where(columns.tenant == tenant)
    with control.reading() as connection:
        return sorted(KeyCount(*row) for row in connection.execute(query))
