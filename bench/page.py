"""The page that keeps the tables: text in, text out. Each table lies between two comments that name it.

The embedded deployment has one table of all its modules. Over Kafka each module has a table of its own, so that one can
be measured again without the others.
"""

from __future__ import annotations


def begin(name: str) -> str:
    """The comment before a table."""
    return f"<!-- table: {name} -->"


def end(name: str) -> str:
    """The comment behind it."""
    return f"<!-- end: {name} -->"


def with_table(page: str, name: str, table: str) -> str:
    """The page with this table in the place of the one of that name; everything else as it was.

    Raises:
        ValueError: the page has no place for it.
    """
    head, found, rest = page.partition(begin(name))
    _, closed, tail = rest.partition(end(name))
    if not found or not closed:
        raise ValueError(f"got a page without {begin(name)} and {end(name)}, expected both; add them where it belongs")
    return f"{head}{begin(name)}\n\n{table.strip()}\n\n{end(name)}{tail}"
