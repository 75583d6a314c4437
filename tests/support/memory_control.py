"""A control database in memory: the contract of :class:`stores.control.Control` without a disk.

Wrap it in :class:`faults.FaultyControl` to make a chosen write fail.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from schemas.errors import ConfigurationError, InvariantError, LockLost, Refused
from stores.control import DirectoryLoad, Lock, Log, Token
from stores.control.cursors import lost
from stores.control.succession import check_lock, check_open, check_successor, recorded_first, recorded_successor


class MemoryControl:
    """Implements :class:`stores.control.Control`; needs no ``migrate``."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._settings: dict[str, str] = {}
        self._tokens: dict[str, Token] = {}
        self._logs: dict[str, Log] = {}
        self._locks: dict[str, Lock] = {}
        self._cursors: dict[str, tuple[str, str, int]] = {}
        self._directories: list[DirectoryLoad] = []
        self._register: list[bytes] = []

    def migrate(self) -> list[str]:
        return []

    def setting(self, name: str) -> str | None:
        return self._settings.get(name)

    def fix_setting(self, name: str, value: str) -> None:
        with self._mutex:
            there = self._settings.setdefault(name, value)
        if there != value:
            raise ConfigurationError(f"got {value!r} for {name}, but it was fixed as {there!r}")

    def add_token(self, token: Token) -> None:
        with self._mutex:
            if token.token_id in self._tokens or self.token_by_digest(token.digest) is not None:
                raise Refused(f"token {token.token_id}: there is one with this id or digest")
            self._tokens[token.token_id] = token

    def token_by_digest(self, digest: bytes) -> Token | None:
        return next((token for token in self._tokens.values() if token.digest == digest), None)

    def tokens(self) -> list[Token]:
        return sorted(self._tokens.values(), key=lambda token: (token.created_ms, token.token_id))

    def revoke_token(self, token_id: str, at_ms: int) -> bool:
        with self._mutex:
            token = self._tokens.get(token_id)
            if token is not None and token.revoked_ms is None:
                self._tokens[token_id] = replace(token, revoked_ms=at_ms)
            return token is not None

    def open_log(self, log: Log, lock: Lock) -> Log:
        if log.origin != lock.origin:
            raise InvariantError(f"got log {log.origin} with the lock of {lock.origin}")
        with self._mutex:
            there = recorded_first(log, self.logs())
            if there is None:
                self._logs[log.origin], self._locks[log.origin] = log, lock
            return there or log

    def logs(self) -> list[Log]:
        return sorted(self._logs.values(), key=lambda log: (log.opened_ms, log.origin))

    def lock(self, origin: str) -> Lock | None:
        return self._locks.get(origin)

    def replace_lock(self, old: Lock, new: Lock) -> None:
        if old.origin != new.origin or new.size < old.size:
            raise InvariantError(f"got lock {new.origin} of size {new.size} in place of {old.origin} of {old.size}")
        with self._mutex:
            check_lock(self._locks.get(old.origin), old)
            check_open(old.origin, self._logs[old.origin].closed)
            self._locks[new.origin] = new

    def close_log(self, origin: str, lock: Lock) -> None:
        if origin != lock.origin:
            raise InvariantError(f"got log {origin} with the lock of {lock.origin}")
        with self._mutex:
            self._close(lock)

    def succeed_log(self, old: Lock, log: Log, lock: Lock) -> Log:
        check_successor(old, log, lock)
        with self._mutex:
            recorded = recorded_successor(old, log, self.logs())
            if recorded is None:
                self._close(old)
                self._logs[log.origin], self._locks[log.origin] = log, lock
            return recorded or log

    def cursor(self, name: str) -> str:
        return self._cursors.get(name, ("", "", 0))[0]

    def move_cursor(self, name: str, old: str, new: str, owner: str) -> None:
        with self._mutex:
            value, holder, until_ms = self._cursors.get(name, ("", "", 0))
            if (value, holder) != (old, owner):
                raise lost(name, holder, owner)
            self._cursors[name] = (new, owner, until_ms)

    def claim_feed(self, name: str, owner: str, now_ms: int, until_ms: int) -> bool:
        with self._mutex:
            value, holder, until = self._cursors.get(name, ("", "", 0))
            if holder not in ("", owner) and until > now_ms:
                return False
            self._cursors[name] = (value, owner, until_ms)
            return True

    def release_feed(self, name: str, owner: str) -> None:
        with self._mutex:
            value, holder, _ = self._cursors.get(name, ("", "", 0))
            if holder == owner:
                self._cursors[name] = (value, "", 0)

    def add_directory(self, tenant: str, sha256: str, loaded_ms: int, operator: str) -> DirectoryLoad:
        with self._mutex:
            load = DirectoryLoad(len(self._directories) + 1, tenant, sha256, loaded_ms, operator)
            self._directories.append(load)
            return load

    def directories(self) -> list[DirectoryLoad]:
        return list(self._directories)

    def register_end(self) -> int:
        return len(self._register)

    def register_entries(self, after: int = 0) -> list[bytes]:
        return self._register[after:]

    def append_register(self, number: int, entry: bytes) -> None:
        with self._mutex:
            if number <= len(self._register) and self._register[number - 1] == entry:
                return
            if number != len(self._register) + 1:
                raise LockLost(f"the register of holds ends at {len(self._register)}, expected {number - 1}")
            self._register.append(entry)

    def _close(self, lock: Lock) -> None:
        check_lock(self._locks.get(lock.origin), lock)
        self._logs[lock.origin] = replace(self._logs[lock.origin], closed=True)

    def close(self) -> None:
        """Nothing to release."""
