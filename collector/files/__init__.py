"""Following files as they grow: what is remembered of them, and where. The Protocol; the tail and its parts beside it.

What holds when the process dies: lines are on the bus before the place of their file moves, so after a crash some are
read again and nothing is skipped; a line that is read again has the same event ids, for they depend on what the file
says and where in it, not on its name or on how much was read at once.
"""

from __future__ import annotations

from typing import Protocol

from stores.control import Control


class Cursors(Protocol):
    """Where reading goes on. Methods block. **Durability.** ``move`` returns after it is durable. **Concurrency.** Any
    number of processes. :class:`~schemas.errors.Unavailable` when it may have moved or not: read it again."""

    def get(self, name: str) -> str:
        """What was kept under ``name``; ``""`` before the first move."""
        ...

    def move(self, name: str, old: str, new: str) -> None:
        """Compare and swap.

        Raises:
            LockLost: it is no longer ``old``: another process follows the same files. Read it again.
        """
        ...


class ControlCursors:
    """Cursors in the control database, beside those of the feeds, that nobody holds a lease on."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def get(self, name: str) -> str:
        return self._control.cursor(name)

    def move(self, name: str, old: str, new: str) -> None:
        self._control.move_cursor(name, old, new, "")
