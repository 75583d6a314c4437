"""The control database: tokens, keys, signer locks, settings. Rows, Protocol, contract; implementations beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.ids import Shard


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token as the database knows it: never the secret, only its SHA-256.

    ``scopes`` are of ``ingest``, ``query`` (metadata), ``content`` (query, with content). Times are milliseconds since
    1970 UTC.
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


class Control(Protocol):
    """**Durability.** Every method that changes something returns after it is durable. **Isolation.** Each method is
    one transaction. **Concurrency.** Any number of threads and processes. Methods block.
    :class:`~schemas.errors.Unavailable` when the database cannot be reached or stays locked."""

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
        """Record a new log together with its first lock row; if the origin exists already, change nothing and return
        what is recorded."""
        ...

    def logs(self) -> list[Log]: ...

    def lock(self, origin: str) -> Lock | None: ...

    def replace_lock(self, old: Lock, new: Lock) -> None:
        """Compare-and-swap on ``note``.

        Raises:
            LedgerContradiction: the row is no longer ``old``: another signer was here. Halt.
        """
        ...

    def close(self) -> None: ...
