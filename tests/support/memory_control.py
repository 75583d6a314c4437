"""A control database in memory: the contract of :class:`stores.control.Control` without a disk.

Wrap it in :class:`faults.FaultyControl` to make a chosen write fail.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from schemas.errors import ConfigurationError, InvariantError, LedgerContradiction, Refused
from stores.control import Lock, Log, Token


class MemoryControl:
    """Implements :class:`stores.control.Control`; needs no ``migrate``."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._settings: dict[str, str] = {}
        self._tokens: dict[str, Token] = {}
        self._logs: dict[str, Log] = {}
        self._locks: dict[str, Lock] = {}

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
            if log.origin not in self._logs:
                self._logs[log.origin], self._locks[log.origin] = log, lock
            return self._logs[log.origin]

    def logs(self) -> list[Log]:
        return sorted(self._logs.values(), key=lambda log: (log.opened_ms, log.origin))

    def lock(self, origin: str) -> Lock | None:
        return self._locks.get(origin)

    def replace_lock(self, old: Lock, new: Lock) -> None:
        if old.origin != new.origin or new.size < old.size:
            raise InvariantError(f"got lock {new.origin} of size {new.size} in place of {old.origin} of {old.size}")
        with self._mutex:
            there = self._locks.get(old.origin)
            if there is None or there.note != old.note:
                raise LedgerContradiction(f"log {old.origin}: the lock is no longer the checkpoint of size {old.size}")
            self._locks[new.origin] = new

    def close(self) -> None:
        """Nothing to release."""
