"""The recording proxy: for those who have no gateway. In front of the providers' APIs, it passes every byte and records
both sides of every exchange, beside the traffic.

``app`` answers HTTP, ``upstream`` asks it, ``relay`` is one exchange between the two, ``tape`` keeps copies of bodies
within bounds, ``recording`` frames them, ``recorder`` makes them durable. What is decided without I/O is in ``heads``,
``routing`` and ``refusals``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Api = Literal["anthropic", "openai", "mcp", ""]


@dataclass(frozen=True, slots=True)
class Bound:
    """Whose traffic it is that comes without a token, over loopback alone."""

    tenant: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """One API behind the proxy.

    Attributes:
        name: first segment of the path: ``anthropic`` for ``/anthropic/v1/messages``.
        base_url: where that goes, ``https://api.anthropic.com``; a path in it comes first.
        api: what is spoken there; decides how bodies are read, and how refusals look. ``""``: the body tells.
        bound: for callers on loopback that bring no token; ``None``: they are refused.
    """

    name: str
    base_url: str
    api: Api = ""
    bound: Bound | None = None


UPSTREAMS = (
    Upstream("anthropic", "https://api.anthropic.com", "anthropic"),
    Upstream("openai", "https://api.openai.com", "openai"),
)
"""Those that need no configuration."""

MEMORY_BYTES = 64 * 1024 * 1024
DISK_BYTES = 8 * 1024**3


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """How the proxy behaves.

    Attributes:
        upstreams: names are unique.
        fail_closed: tenants whose requests go upstream only when the prompt is durable.
        early_seconds: after so long a request that is still being answered is recorded without its answer, so that a
            long stream does not take its prompt with it when the process dies.
        connect_seconds: how long a connection to an upstream may take.
        silence_seconds: how long an upstream may send nothing. As long as the clients wait, or they break off first.
        patience_seconds: for how long recording is tried while nothing takes it; then the exchange is lost and counted.
        store_seconds: how long a request of a tenant that fails closed waits to become durable.
        folder: where copies of large bodies lie while they pass; unlinked at once. ``None``: the system's.
        memory_bytes, disk_bytes: of all copies together. Beyond both, the rest of a body is not kept, and the record
            says so.
        fingerprint_key: if set, the providers' API keys are recorded as HMAC-SHA256 under it, with their last four
            characters; if not, only that there was one.
        ca_file: PEM file of authorities to trust in place of the usual ones.
        ready_seconds: how long a stop waits for what is still to be recorded.
    """

    upstreams: tuple[Upstream, ...] = UPSTREAMS
    fail_closed: frozenset[str] = frozenset()
    early_seconds: float = 10.0
    connect_seconds: float = 10.0
    silence_seconds: float = 600.0
    patience_seconds: float = 300.0
    store_seconds: float = 10.0
    folder: Path | None = None
    memory_bytes: int = MEMORY_BYTES
    disk_bytes: int = DISK_BYTES
    fingerprint_key: bytes | None = field(default=None, repr=False)
    ca_file: Path | None = None
    ready_seconds: float = 10.0

    def by_name(self) -> Mapping[str, Upstream]:
        """The upstreams by their names."""
        return {upstream.name: upstream for upstream in self.upstreams}
