"""How long work tells how far it is. Pure."""

from __future__ import annotations

from typing import Protocol


class Told(Protocol):
    """Called with how many are done, out of how many (``None``: unknown), of what."""

    def __call__(self, done: int, total: int | None, what: str) -> None: ...


def silent(done: int, total: int | None, what: str) -> None:
    """Tells nobody."""
