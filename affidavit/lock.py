"""Lock files: which processes run a role of a data directory, and where they can be reached.

Over stores that admit one process (SQLite bus, chDB) a role is run by one. Over servers it may be run by several, which
then are instances 1, 2, … of the role in this directory; a collector's spool belongs to its instance.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from affidavit.forwarders import FORWARDERS, wanted_forwarders
from affidavit.layout import Layout
from affidavit.settings import Settings
from schemas.errors import ConfigurationError

COLLECTOR = "collector"
POLLER = "poller"
PROXY = "proxy"
SIGNER = "signer"
ARCHIVE = "archive"
CLICKHOUSE = "clickhouse"
ROLES = (COLLECTOR, POLLER, PROXY, SIGNER, ARCHIVE, CLICKHOUSE, *FORWARDERS)
"""What a deployment runs, in the order in which it starts."""


def wanted_roles(settings: Settings) -> tuple[str, ...]:
    """What ``up`` runs: everything, but for what has nothing to do."""
    idle = {name for name, busy in ((POLLER, settings.feeds), (PROXY, settings.proxy.enabled)) if not busy}
    idle |= set(FORWARDERS) - set(wanted_forwarders(settings))
    return tuple(name for name in ROLES if name not in idle)


PATIENCE = 1.0
"""Seconds that :func:`hold` waits for a lock: longer than any reader's glance, which holds it too."""

GLANCE = 0.05
"""Seconds that a lock is tried before it counts as a process's, not a reader's."""

MAX_INSTANCES = 64
"""Processes of one role in one data directory."""

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
    """The locks of some roles, held by this process.

    Attributes:
        instance: which of the processes that run these roles this one is, from 1.
    """

    def __init__(self, command: str) -> None:
        self.instance = 1
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

    def take_free(self, roles: Sequence[str], layout: Layout) -> None:
        """Lock the first instance that is free for all of the roles; see :func:`hold`."""
        for instance in range(1, MAX_INSTANCES + 1):
            paths = {role: layout.lock(role, instance) for role in roles}
            if all(self._take_now(role, path) for role, path in paths.items()):
                self.instance = instance
                for role in roles:
                    self.announce(role)
                return
            self.close()
        raise ConfigurationError(f"{MAX_INSTANCES} processes run the {roles[0]} of {layout.root} already")

    def _take_now(self, role: str, path: Path) -> bool:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._descriptors[role] = descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + GLANCE
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                return False
            time.sleep(GLANCE / 10)
        return True

    def close(self) -> None:
        """Release every lock."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


@contextlib.contextmanager
def hold(layout: Layout, roles: Sequence[str], command: str, *, alone: bool = True) -> Iterator[Held]:
    """Lock the roles for as long as the context lasts. The kernel drops the locks when the process dies, however it
    dies.

    Args:
        alone: whether nobody else may run any of the roles; otherwise the process becomes a further instance.

    Raises:
        ConfigurationError: another process runs one of them, or too many do; the message says who.
    """
    held = Held(command)
    try:
        if not alone:
            held.take_free(roles, layout)
        for role in roles if alone else ():
            held.take(role, layout.lock(role))
        yield held
    finally:
        held.close()


def running(layout: Layout, role: str, instance: int = 1) -> Running | None:
    """Who runs the role now; ``None`` when nobody does, also where a killed process left its text behind."""
    path = layout.lock(role, instance)
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
