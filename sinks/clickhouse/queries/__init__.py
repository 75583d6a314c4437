"""The queries that an auditor runs with nothing but a login (``docs/auditor-sql.md``), each a file beside this one."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import MalformedInput

FOLDER = Path(__file__).parent


def query_names() -> list[str]:
    """Their names, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.sql"))


def query_text(name: str) -> str:
    """One query, with the comment that says what it shows and which parameters it takes.

    Raises:
        MalformedInput: there is none of that name.
    """
    if name not in query_names():
        raise MalformedInput(f"got query {name!r}, expected one of {', '.join(query_names())}")
    return (FOLDER / f"{name}.sql").read_text("utf-8")
