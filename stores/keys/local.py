"""Subject keys that a collector made by itself, in a SQLite file of its own, until they are in the control database."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.keys import KeyScope
from stores.keys.cache import KeyCache
from stores.keys.wrapping import WrappedKey, Wrapping
from stores.private_file import create_private_file

FORMAT = 1
CACHED_KEYS = 100_000

_TABLES = (
    "CREATE TABLE maker (name TEXT NOT NULL)",
    "CREATE TABLE keys (key_id BLOB NOT NULL PRIMARY KEY, tenant TEXT NOT NULL, subject TEXT NOT NULL,"
    " retention_class TEXT NOT NULL, part_type INTEGER NOT NULL, month TEXT NOT NULL, kek_id TEXT NOT NULL,"
    " wrapped BLOB NOT NULL, created_ms INTEGER NOT NULL, offered INTEGER NOT NULL DEFAULT 0)",
    "CREATE UNIQUE INDEX keys_scope ON keys (tenant, subject, retention_class, part_type, month) WHERE NOT offered",
    f"PRAGMA user_version = {FORMAT}",
)
_KEY = "key_id, tenant, subject, retention_class, part_type, month, kek_id, wrapped, created_ms"
_SCOPE = "tenant = ? AND subject = ? AND retention_class = ? AND part_type = ? AND month = ?"


class LocalKeys:
    """The keys of one collector that are not in the control database yet. Any thread may call; one process per file.

    A key is *offered* from just before it is put into the control database for the first time. From then on it may be
    there, and may have been destroyed there, so nothing new is sealed under it.

    **Durability.** Every method returns after what it changed is on disk. **Secrecy.** Secrets are wrapped; the file
    has mode 0600, and what is deleted is overwritten (as far as the file system writes in place).

    Args:
        path: of the file, which is created.
        wrapping: wraps and opens the keys.
        capacity: how many opened keys are kept in memory.

    Raises:
        ConfigurationError: the file is no such file, or others may read it, or another process has it.
    """

    def __init__(self, path: Path | str, wrapping: Wrapping, *, capacity: int = CACHED_KEYS) -> None:
        self._wrapping = wrapping
        self._cache = KeyCache(capacity)
        self._mutex = threading.Lock()
        self._database = _open(Path(path))
        try:
            with _translated():
                self.maker = self._name()
                self._count: int = self._database.execute("SELECT count(*) FROM keys").fetchone()[0]
        except BaseException:
            self._database.close()
            raise

    @property
    def count(self) -> int:
        """How many keys there are. From memory, without waiting."""
        return self._count

    def for_scopes(self, scopes: Sequence[KeyScope]) -> dict[KeyScope, SubjectKey]:
        """A key for each scope: one made before that was not offered yet, or a new one."""
        with self._mutex, _translated():
            cached = zip(scopes, self._cache.for_scopes(scopes), strict=True)
            found = {scope: key for scope, key in cached if key is not None}
            fresh = self._read_or_create([scope for scope in scopes if scope not in found])
            self._cache.add_scopes(fresh.items(), self._cache.generation)
            return found | fresh

    def by_id(self, key_ids: Iterable[KeyId], *, offered: bool = True) -> dict[KeyId, bytes]:
        """The secrets of those keys that are here; without ``offered``, only of those that are nowhere else."""
        query = f"SELECT {_KEY} FROM keys WHERE key_id = ?" + ("" if offered else " AND NOT offered")  # noqa: S608
        with self._mutex, _translated():
            rows = [row for key_id in key_ids for row in self._database.execute(query, (key_id,))]
        return {key.key_id: self._wrapping.secret(key) for key in map(_key, rows)}

    def offer(self) -> None:
        """Note that all keys which are here now are about to be put into the control database."""
        with self._mutex, self._writing():
            self._database.execute("UPDATE keys SET offered = 1 WHERE NOT offered")
            self._cache.clear()

    def offered(self, limit: int) -> list[WrappedKey]:
        """Some of the keys that were offered."""
        query = f"SELECT {_KEY} FROM keys WHERE offered ORDER BY key_id LIMIT ?"  # noqa: S608
        with self._mutex, _translated():
            return [_key(row) for row in self._database.execute(query, (limit,))]

    def forget(self, key_ids: Sequence[KeyId]) -> None:
        """Take keys out of the file: the control database has them, or had them."""
        with self._mutex:
            with self._writing():
                self._database.executemany("DELETE FROM keys WHERE key_id = ?", [(key_id,) for key_id in key_ids])
            # If we die here, the log still has what the file has no more.
            with _translated():
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                self._count = self._database.execute("SELECT count(*) FROM keys").fetchone()[0]

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            self._database.close()

    def _read_or_create(self, scopes: Sequence[KeyScope]) -> dict[KeyScope, SubjectKey]:
        query = f"SELECT {_KEY} FROM keys WHERE {_SCOPE} AND NOT offered"  # noqa: S608
        rows = [row for scope in scopes for row in self._database.execute(query, scope)]
        keys = {key.scope: key for key in map(_key, rows)}
        new = [self._wrapping.new(scope) for scope in dict.fromkeys(scopes) if scope not in keys]
        if new:
            with self._writing():
                self._database.executemany(
                    f"INSERT INTO keys ({_KEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                    [(key.key_id, *key.scope, key.kek_id, key.wrapped, key.created_ms) for key in new],
                )
            # If we die here, the keys wait in the file, and the next process uses them.
            self._count += len(new)
            keys |= {key.scope: key for key in new}
        return {scope: SubjectKey(key.key_id, self._wrapping.secret(key)) for scope, key in keys.items()}

    def _name(self) -> str:
        if self._database.execute("PRAGMA user_version").fetchone()[0] == 0:
            with self._writing():
                for statement in _TABLES:
                    self._database.execute(statement)
                self._database.execute("INSERT INTO maker VALUES (?)", (os.urandom(16).hex(),))
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            raise ConfigurationError(f"got a key file of format {version}, expected {FORMAT}: use the newer version")
        name: str = self._database.execute("SELECT name FROM maker").fetchone()[0]
        return name

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


def _open(path: Path) -> sqlite3.Connection:
    try:
        create_private_file(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigurationError(f"cannot create {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigurationError(f"{path} has mode {mode:04o}, expected 0600 at most: run `chmod 600 {path}`")
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "fullfsync=ON"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        database.execute("PRAGMA secure_delete=ON").fetchall()
        database.execute("BEGIN IMMEDIATE")
        database.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        database.close()
        taken = "locked" in str(error)
        remedy = "give each collector a file of its own" if taken else "restore it, or move it away if it holds no keys"
        raise ConfigurationError(f"cannot use {path}: {error}: {remedy}") from error
    return database


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"local key file: {error}") from error


def _key(row: tuple[bytes, str, str, str, int, str, str, bytes, int]) -> WrappedKey:
    key_id, tenant, subject, retention_class, part_type, month, kek_id, wrapped, created_ms = row
    scope = KeyScope(tenant, subject, retention_class, part_type, month)
    return WrappedKey(KeyId(key_id), scope, kek_id, wrapped, created_ms)
