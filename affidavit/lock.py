"""Lock files: one process per role of a data directory, and where that process can be reached."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from affidavit.layout import Layout
from schemas.errors import ConfigurationError

COLLECTOR = "collector"
SIGNER = "signer"
ARCHIVE = "archive"
CLICKHOUSE = "clickhouse"
ROLES = (COLLECTOR, SIGNER, ARCHIVE, CLICKHOUSE)
"""What a deployment runs, in the order in which it starts."""

PATIENCE = 1.0
"""Seconds that :func:`hold` waits for a lock: longer than any reader's glance, which holds it too."""

_SIZE = 512
"""The file has one length, so that one ``pwrite`` replaces the text as a whole."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs a role.

    Attributes:
        pid: its process id.
        command: ``up`` or ``run <role>``.
        url: base URL of the role's server; ``""`` when it has none, or none yet.
    """

    pid: int
    command: str
    url: str = ""


class Held:
    """The locks of some roles, held by this process."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._descriptors: dict[str, int] = {}

    def announce(self, role: str, url: str = "") -> None:
        """Write who runs the role and where; a reader sees the old text or the new one."""
        raw = json.dumps(asdict(Running(os.getpid(), self._command, url))).encode() + b"\n"
        os.pwrite(self._descriptors[role], raw.ljust(_SIZE), 0)

    def take(self, role: str, path: Path) -> None:
        """Lock one role; see :func:`hold`."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._descriptors[role] = descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + PATIENCE
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                other = _read(path)
                who = f"process {other.pid} (affidavit {other.command})" if other else "another process"
                raise ConfigurationError(
                    f"{who} already runs the {role} of {path.parent.parent}: stop it first, or choose another "
                    "directory with --data"
                )
            time.sleep(PATIENCE / 50)
        self.announce(role)

    def close(self) -> None:
        """Release every lock."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)


@contextlib.contextmanager
def hold(layout: Layout, roles: Sequence[str], command: str) -> Iterator[Held]:
    """Lock the roles for as long as the context lasts. The kernel drops the locks when the process dies, however it
    dies.

    Raises:
        ConfigurationError: another process runs one of them; the message has its pid.
    """
    held = Held(command)
    try:
        for role in roles:
            held.take(role, layout.lock(role))
        yield held
    finally:
        held.close()


def running(layout: Layout, role: str) -> Running | None:
    """Who runs the role now; ``None`` when nobody does, also where a killed process left its text behind."""
    path = layout.lock(role)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _try_lock(descriptor, fcntl.LOCK_SH) else _read(path)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> Running | None:
    try:
        fields = json.loads(path.read_bytes())
        return Running(int(fields["pid"]), str(fields["command"]), str(fields["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
