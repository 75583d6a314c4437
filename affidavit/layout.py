"""The data directory: where each store of a deployment lies. Paths only; nothing here reads or writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """One data directory. Everything is relative to ``root``, so that a copy of the directory is a whole deployment.

    Attributes:
        root: the directory itself, mode 0700.
    """

    root: Path

    @property
    def config(self) -> Path:
        """``affidavit.toml``, read by :mod:`affidavit.settings`."""
        return self.root / "affidavit.toml"

    @property
    def control(self) -> Path:
        """The control database (SQLite)."""
        return self.root / "control.db"

    @property
    def bus(self) -> Path:
        """The event bus (SQLite)."""
        return self.root / "bus.db"

    @property
    def objects(self) -> Path:
        """The object store: ledger, archive, large parts."""
        return self.root / "objects"

    @property
    def clickhouse(self) -> Path:
        """The embedded ClickHouse engine. One process at a time."""
        return self.root / "clickhouse"

    @property
    def kek(self) -> Path:
        """The key that wraps subject keys: 32 bytes, mode 0600."""
        return self.root / "keys" / "kek"

    @property
    def signing_key(self) -> Path:
        """The Ed25519 key of the ledger, mode 0600."""
        return self.root / "keys" / "signer.key"

    @property
    def verifier_key(self) -> Path:
        """The public half, as a signed-note verifier key: what an auditor is given."""
        return self.root / "keys" / "signer.vkey"

    @property
    def policy(self) -> Path:
        """Whom a verifier of this directory believes, where the operator has written it down (:mod:`signer.policy`)."""
        return self.root / "policy"

    @property
    def query_token(self) -> Path:
        """The bearer token of this directory's own command line, mode 0600."""
        return self.root / "keys" / "query.token"

    def lock(self, role: str, instance: int = 1) -> Path:
        """Held by the process that runs ``role``; holds its process id and address as JSON."""
        return self.root / "run" / (f"{role}.lock" if instance == 1 else f"{role}-{instance}.lock")

    def spool(self, instance: int, role: str = "") -> Path:
        """What the collector of that instance could not hand to the bus yet; or another role that receives."""
        return self.root / "spool" / f"{role}{'-' if role else ''}{instance}.db"

    def spooled_keys(self, instance: int, role: str = "") -> Path:
        """Wrapped subject keys that it could not register yet."""
        return self.spool(instance, role).with_suffix(".keys")

    @property
    def scratch(self) -> Path:
        """Copies of large bodies while they pass; each is unlinked as soon as it is open."""
        return self.root / "spool" / "scratch"

    def stores(self) -> dict[str, tuple[Path, ...]]:
        """The files and directories of each store, for its size on disk."""
        return {
            "bus": tuple(self._with_wal(self.bus)),
            "control": tuple(self._with_wal(self.control)),
            "ledger": (self.objects / "ledger", self.objects / "staging"),
            "archive": (self.objects / "segments",),
            "blobs": (self.objects / "blobs",),
            "clickhouse": (self.clickhouse,),
        }

    def _with_wal(self, path: Path) -> list[Path]:
        return [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]
