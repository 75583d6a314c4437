"""What a witness must never forget: per log the largest checkpoint that it cosigned. SQLite, one file."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from schemas.errors import Unavailable
from signer.checkpoint import Checkpoint, parse_checkpoint
from signer.note import parse_note
from signer.witnessing import monitoring_path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (
    origin TEXT PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, note BLOB NOT NULL
) WITHOUT ROWID
"""
"""``path`` is where the checkpoint is shown, see :func:`signer.witnessing.monitoring_path`."""


class WitnessState:
    """One file; safe from any thread, and from several processes.

    **Durability**: what :meth:`advance` has returned ``True`` for survives a power cut. **Atomicity**: it replaces
    exactly what the caller has judged by, so that of two requests at once one is judged again (the race in C2SP
    tlog-witness: without it, a smaller checkpoint may be stored over a larger one).
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise Unavailable(f"{path}: {error}") from None
        self._path = path

    def close(self) -> None:
        self._connection.close()

    def note(self, origin: str) -> bytes | None:
        """The cosigned note of a log's largest checkpoint."""
        rows = self._ask("SELECT note FROM seen WHERE origin = ?", (origin,)).fetchall()
        return bytes(rows[0][0]) if rows else None

    def seen(self) -> list[Checkpoint]:
        """The largest checkpoint of every log, by origin."""
        rows = self._ask("SELECT note FROM seen ORDER BY origin", ()).fetchall()
        return [checkpoint_of(bytes(note)) for (note,) in rows]

    def shown_at(self, path: str) -> bytes | None:
        """The same, by the path at which it is shown."""
        rows = self._ask("SELECT note FROM seen WHERE path = ?", (path,)).fetchall()
        return bytes(rows[0][0]) if rows else None

    def advance(self, before: bytes | None, note: bytes) -> bool:
        """Put ``note`` in the place of ``before``; ``False`` when that is not there any more."""
        checkpoint = checkpoint_of(note)
        path = monitoring_path(checkpoint.origin)
        if before is None:
            text = "INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
            done = self._ask(text, (checkpoint.origin, path, checkpoint.size, note))
        else:
            text = "UPDATE seen SET size = ?, note = ? WHERE origin = ? AND note = ?"
            done = self._ask(text, (checkpoint.size, note, checkpoint.origin, before))
        return done.rowcount == 1

    def _ask(self, text: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            with self._lock:
                return self._connection.execute(text, values)
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from None


def checkpoint_of(note: bytes) -> Checkpoint:
    """The checkpoint that a note of ours is about."""
    return parse_checkpoint(parse_note(note).text)
