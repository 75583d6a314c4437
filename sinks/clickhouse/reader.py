"""A reader of the interface, and what an admitted query is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import AccessDenied

Tree = dict[str, Any]

"""A syntax tree as the engine gives it: nodes with a ``type`` and whatever belongs to it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """What a token may read, by the names that it knows.

    Attributes:
        database: our database, as readers call it.
        tables: own tables and views: name → full name of what is read in its place.
        system: system tables, likewise, with their database: ``system.tables`` → …
        hidden: tables that are there, and why this token may not read them.
        content: names among ``tables`` that yield content.
    """

    database: str
    tables: Mapping[str, str]
    system: Mapping[str, str]
    hidden: Mapping[str, str] = field(default_factory=dict)
    content: frozenset[str] = frozenset()

    def find(self, parts: list[str]) -> tuple[str, str]:
        """The name as readers know it, and the full name.

        Raises:
            AccessDenied: not a table of this reader.
        """
        name = parts[-1]
        full = ".".join(parts)
        if parts[:-1] in ([], [self.database]):
            if name in self.tables:
                return name, self.tables[name]
            if name in self.hidden:
                raise AccessDenied(f"got table {name}, which this token may not read: {self.hidden[name]}")
        elif full in self.system:
            return full, self.system[full]
        else:
            for known in (self.tables, self.system):
                for own, place in known.items():
                    if place == full:
                        return own, full
        raise AccessDenied(f"got table {full}, expected one of SHOW TABLES, or a system table that describes them")


@dataclass(slots=True)
class Admitted:
    """An admitted query.

    Attributes:
        tables: what it reads, by the reader's names.
        tree: to be formatted by the engine; ``None`` where ``sql`` is complete already.
        sql: the text to run.
        format: its own FORMAT clause, ``""`` without one.
    """

    tables: set[str] = field(default_factory=set)
    tree: Tree | None = None
    sql: str = ""
    format: str = ""
