"""The control database: tokens, keys, signer locks, settings, cursors. Rows, Protocol, contract; the rest beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.ids import Shard


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token as the database knows it: never the secret, only its SHA-256.

    ``scopes`` are of ``ingest``, ``query`` (metadata), ``content`` (query, with content), and of a ``person``: ``hold``
    (matters and holds), ``approve`` (as the second of two people), ``early`` (end a delay before its time),
    ``sealed`` (see sealed matters) and ``policy`` (retention policies). Times are milliseconds since 1970 UTC.
    """

    token_id: str
    digest: bytes
    tenant: str
    gateway: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    note: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """The signer's lock row of one log: what was signed last. ``note`` is the whole signed checkpoint.

    ``size`` counts leaves; ``root`` and ``chain`` are 32 bytes, of the tree and the chain after the last leaf.
    """

    origin: str
    size: int
    root: bytes
    chain: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class Log:
    """A log that was opened: one shard in one term. ``closed`` logs get no further leaves."""

    origin: str
    shard: Shard
    term: str
    start_offset: int
    genesis: bytes
    opened_ms: int
    closed: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryLoad:
    """A directory of people came into force for the events of ``tenant`` (``*``: of tenants without one of their own),
    until a load of the tenant with a higher ``number``. ``sha256``, in hex, names the object that holds it."""

    number: int
    tenant: str
    sha256: str
    loaded_ms: int
    operator: str


class Control(Protocol):
    """**Durability.** Every method that changes something returns after it is durable. **Isolation.** Each method is
    one transaction. **Concurrency.** Any number of threads and processes. Methods block.
    :class:`~schemas.errors.Unavailable` when the database cannot be reached or stays locked: a change may then have
    been made or not, all of it or nothing. Nobody tries again in here."""

    def migrate(self) -> list[str]:
        """Bring the schema up to date; return the names of the migrations applied."""
        ...

    def setting(self, name: str) -> str | None:
        """A value fixed at ``init`` (deployment name, shard count, data format)."""
        ...

    def fix_setting(self, name: str, value: str) -> None:
        """Write a setting once; writing another value later raises :class:`~schemas.errors.ConfigurationError`."""
        ...

    def add_token(self, token: Token) -> None: ...

    def token_by_digest(self, digest: bytes) -> Token | None:
        """The token whose SHA-256 is ``digest``, revoked or expired ones included; the caller decides."""
        ...

    def tokens(self) -> list[Token]: ...

    def revoke_token(self, token_id: str, at_ms: int) -> bool:
        """Mark a token revoked; false when there is no such token."""
        ...

    def open_log(self, log: Log, lock: Lock) -> Log:
        """Record a new log together with its first lock row; if the origin exists already, or another open log of the
        shard, change nothing and return what is recorded."""
        ...

    def logs(self) -> list[Log]: ...

    def lock(self, origin: str) -> Lock | None: ...

    def replace_lock(self, old: Lock, new: Lock) -> None:
        """Compare-and-swap on ``note``. After ``Unavailable`` the swap may have happened or not: read the row again.

        Raises:
            LedgerContradiction: the row is no longer ``old``: another signer was here. Or the log is closed. Halt.
        """
        ...

    def close_log(self, origin: str, lock: Lock) -> None:
        """Close a log for ever, in one transaction with the check that its lock row is still ``lock`` (by ``note``).
        Repeating it is harmless. A closed log keeps its lock row, and that row changes no more.

        Raises:
            LedgerContradiction: there is no such log, or its lock row is no longer ``lock``.
        """
        ...

    def succeed_log(self, old: Lock, log: Log, lock: Lock) -> Log:
        """Close the log of ``old`` and open its successor ``log`` with the first lock row ``lock``: both or neither.

        A log that is closed already (with ``old`` as its last lock row) gets its successor all the same. When the new
        origin is there already, for the same shard, and the old log is closed, nothing changes and what is recorded is
        returned: so it may be repeated after ``Unavailable``. Of several signers that name different successors, one
        wins.

        Raises:
            LedgerContradiction: the lock row of the old log is no longer ``old``; or the new origin was opened before,
                for another shard or beside a log that is still open; or the shard has another open log.
        """
        ...

    def cursor(self, name: str) -> str:
        """How far the feed ``name`` was read, in its own words; ``""`` before the first move."""
        ...

    def move_cursor(self, name: str, old: str, new: str, owner: str) -> None:
        """Compare-and-swap of a cursor, by whoever has the feed; ``owner`` ``""`` moves one that nobody claimed. After
        ``Unavailable`` the swap may have happened or not: read the cursor again.

        Raises:
            LockLost: the cursor is no longer ``old``, or the feed is no longer ``owner``'s: a process that was paused
                must read both again before it goes on. Nothing was changed.
        """
        ...

    def claim_feed(self, name: str, owner: str, now_ms: int, until_ms: int) -> bool:
        """Take the lease of a feed until ``until_ms``, or prolong it. False when another has it and it has not ended
        by ``now_ms``. The lease spares work; what keeps two processes from harming each other is the swap."""
        ...

    def release_feed(self, name: str, owner: str) -> None:
        """Give the lease back, if it is ``owner``'s still."""
        ...

    def add_directory(self, tenant: str, sha256: str, loaded_ms: int, operator: str) -> DirectoryLoad:
        """Bring a directory into force; its object must be there. Numbers go up, and may leave some out."""
        ...

    def directories(self) -> list[DirectoryLoad]:
        """All loads, by number."""
        ...

    def register_end(self) -> int:
        """The number of the newest entry in the register of matters and holds; 0 before the first."""
        ...

    def register_entries(self, after: int = 0) -> list[bytes]:
        """The entries behind number ``after``, in order.

        Raises:
            LedgerContradiction: one is not there.
        """
        ...

    def append_register(self, number: int, entry: bytes) -> None:
        """Make ``entry`` number ``number``; that it is there already with the same bytes is no error.

        Raises:
            LockLost: the register does not end just before it, or has other bytes there. Nothing was changed.
        """
        ...

    def close(self) -> None: ...
