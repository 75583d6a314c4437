"""Text that may hold any character, on databases that refuse one of them."""

from __future__ import annotations

from sqlalchemy import Dialect, Text, TypeDecorator

ESCAPE = "\x1a"
"""SUBSTITUTE, which no text should hold, and may."""


class PlainText(TypeDecorator[str]):
    """Text of a column. PostgreSQL has no U+0000 in text, so there it is written as ``ESCAPE 0``, and ``ESCAPE`` itself
    as ``ESCAPE 1``. Every other text is stored as it is; equal texts are equal, different ones differ."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as the database holds it."""
        return value if value is None or dialect.name != "postgresql" else escaped(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as it was given."""
        return value if value is None or dialect.name != "postgresql" else unescaped(value)


def escaped(text: str) -> str:
    """``text`` without U+0000."""
    if "\x00" not in text and ESCAPE not in text:
        return text
    return text.replace(ESCAPE, ESCAPE + "1").replace("\x00", ESCAPE + "0")


def unescaped(text: str) -> str:
    """What :func:`escaped` was given."""
    if ESCAPE not in text:
        return text
    return text.replace(ESCAPE + "0", "\x00").replace(ESCAPE + "1", ESCAPE)
