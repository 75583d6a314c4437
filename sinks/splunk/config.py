"""What the Splunk sink is told: destination, modes, limits."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Ack = Literal["required", "none", "reconcile"]
"""When an event counts as delivered. ``required``: Splunk's indexers acknowledged it. ``none``: HEC answered 200.
``reconcile``: a search finds it in the index."""

SOURCETYPE = "affidavit:event"
CONTROL_SOURCETYPE = "affidavit:control"


@dataclass(frozen=True, slots=True)
class Route:
    """Events whose metadata has all of these values go to ``index``."""

    index: str
    match: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server is trusted, and how it may know us. Paths of PEM files."""

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext:
        """Verifies name and chain, TLS 1.2 or newer."""
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key, lambda: self.key_password)
        return context


class Secret:
    """A token, or the file that holds it, which is read again when it changes.

    Args:
        value: the token; ``""`` to read ``path``.
        path: a file with the token on one line.
    """

    def __init__(self, value: str = "", path: Path | None = None) -> None:
        self._value = value
        self._path = path
        self._seen: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Secret({self._path or '…'})"

    def get(self) -> str:
        """The token as it is now; the last one that could be read, when the file is gone for a moment."""
        if self._path is not None:
            try:
                now = os.stat(self._path)
                if (now.st_mtime_ns, now.st_ino) != self._seen:
                    self._value = self._path.read_text("utf-8").strip()
                    self._seen = (now.st_mtime_ns, now.st_ino)
            except (OSError, UnicodeDecodeError):
                return self._value
        return self._value


@dataclass(frozen=True, slots=True)
class HecConfig:
    """The HTTP Event Collector and how it is used.

    Attributes:
        url: base URL of HEC, such as ``https://hec.example.com:8088``.
        deployment: name of the deployment: tells the records of several ledgers in one index apart.
        index: where events go that no route matches; ``""``: the token's default index.
        routes: the first that matches counts.
        host: the envelope's ``host``.
        content: whether the content goes with the metadata.
        ack_seconds: an event that is not confirmed for so long is sent again. Below the 600 s after which Splunk drops
            an idle channel.
        poll_seconds: how often acknowledgements, or the search, are asked for.
        timeout: of one request.
        max_body_bytes: of a request before compression. Splunk Cloud recommends 1 MB.
        max_event_bytes: of one envelope; content is shortened to fit, and says so.
        max_unconfirmed: records of one shard that may be under way.
        concurrency: requests at a time, over all shards.
    """

    url: str
    token: Secret
    deployment: str
    ack: Ack = "required"
    index: str = ""
    routes: Sequence[Route] = ()
    host: str = ""
    content: bool = True
    tls: Tls = Tls()
    ack_seconds: float = 300.0
    poll_seconds: float = 5.0
    timeout: float = 30.0
    max_body_bytes: int = 1_000_000
    max_event_bytes: int = 500_000
    max_unconfirmed: int = 100_000
    concurrency: int = 8
