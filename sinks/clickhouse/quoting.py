"""SQL text: literals and names, quoted so that no value can end its quotes."""

from __future__ import annotations


def quote(text: str) -> str:
    """A string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def quote_bytes(data: bytes) -> str:
    """A string literal of any bytes."""
    return f"unhex('{data.hex()}')"


def quote_name(name: str) -> str:
    """An identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
