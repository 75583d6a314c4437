"""How a server that is delivered to is trusted, and how it may know us; and tokens that change while we run."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files: authorities other than the system's, and our own certificate with its key."""

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext:
        """Verifies name and chain, TLS 1.2 or newer.

        Raises:
            ConfigurationError: a file that is not there, or is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, lambda: self.key_password)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(path) for path in (self.ca_file, self.certificate, self.key) if path)
            raise ConfigurationError(f"got {files} for TLS, expected readable PEM: {error}") from None
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
