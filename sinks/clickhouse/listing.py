"""Statements about tables, not rows: ``SHOW``, ``DESCRIBE``, ``EXISTS``, answered from the reader's catalogue. Pure."""

from __future__ import annotations

import re

from schemas.errors import AccessDenied
from sinks.clickhouse.quoting import quote
from sinks.clickhouse.reader import Admitted, Reader, Tree

_NAME = r'(?:[A-Za-z_]\w*|`\w+`|"\w+")'
_SHORT = re.compile(
    rf"\s*(?P<verb>DESCRIBE|DESC|EXISTS)\s+(?:(?:TABLE|VIEW)\s+)?(?P<name>{_NAME}(?:\s*\.\s*{_NAME})?)"
    r"\s*(?:FORMAT\s+(?P<format>\w+)\s*)?;?\s*",
    re.IGNORECASE,
)
"""Statements of one table, which the engine does not give as JSON."""

_DESCRIBED = re.compile(
    r"\s*DESC(?:RIBE)?\s+(?:TABLE\s+)?\((?P<query>.*)\)\s*(?:FORMAT\s+(?P<format>\w+)\s*)?;?\s*", re.I | re.S
)


def described(text: str) -> tuple[str, str] | None:
    """The query and the format of ``DESCRIBE (query) FORMAT …``; ``None`` when the text is something else."""
    match = _DESCRIBED.fullmatch(text)
    return (match["query"], match["format"] or "") if match else None


def admit_short(text: str, reader: Reader) -> Admitted | None:
    """``DESCRIBE`` and ``EXISTS`` of one table; ``None`` when the text is something else.

    Raises:
        AccessDenied: the reader may not know of that table.
    """
    match = _SHORT.fullmatch(text)
    if match is None:
        return None
    parts = [part.strip().strip('`"') for part in match["name"].split(".")]
    exists = match["verb"].upper() == "EXISTS"
    try:
        name, full = reader.find(parts)
    except AccessDenied:
        if exists:
            return Admitted(sql="SELECT toUInt8(0) AS result", format=match["format"] or "")
        raise
    sql = "SELECT toUInt8(1) AS result" if exists else f"DESCRIBE TABLE {_dotted(full)}"
    return Admitted({name}, sql=sql, format=match["format"] or "")


def show_tables(tree: Tree, reader: Reader) -> str:
    """``SHOW TABLES`` and ``SHOW DATABASES``, as a query of the reader's catalogue."""
    source = tree.get("from", {}).get("name", reader.database)
    known = {"type", "databases", "full", "from", "like", "not_like", "case_insensitive_like", "limit_length"}
    if any(value and key not in known for key, value in tree.items()) or "name_parts" in tree.get("from", {}):
        raise AccessDenied("got this form of SHOW, expected SHOW DATABASES or SHOW TABLES [FROM …] [LIKE …]")
    if tree.get("databases"):
        sql = f"SELECT name FROM {_dotted(reader.system['system.databases'])} WHERE 1"
    else:
        columns = "name, engine" if tree.get("full") else "name"
        sql = f"SELECT {columns} FROM {_dotted(reader.system['system.tables'])} WHERE database = {quote(str(source))}"
    if tree.get("like"):
        operator = ("NOT " if tree.get("not_like") else "") + ("ILIKE" if tree.get("case_insensitive_like") else "LIKE")
        sql += f" AND name {operator} {quote(str(tree['like']))}"
    limit = tree.get("limit_length", {}).get("value", {}).get("value")
    return f"{sql} ORDER BY name" + (f" LIMIT {int(limit)}" if limit is not None else "")


def _dotted(full: str) -> str:
    database, _, table = full.partition(".")
    return f"`{database}`.`{table}`"
