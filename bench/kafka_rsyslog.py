"""rsyslog as a peer: its two processes with the configurations of ``bench/peers``, and a sender that speaks RELP.

RELP is what rsyslog has for senders that want to know (plain syslog over TCP acknowledges nothing): each message has a
number, and the receiver answers for each (librelp's ``doc/relp.html``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from bench.kafka_load import Answer, Traffic
from bench.kafka_place import free_ports, until

PEERS = Path(__file__).resolve().parent / "peers"
GET = "apt-get install -y --no-install-recommends rsyslog rsyslog-kafka rsyslog-relp (Debian 12)"
MEMORY, DISK = "receiver", "receiver-disk"
PATIENCE = 30.0

_SESSION = b'"session_id": "'
_ID = re.compile(rb'"id": "([^"]+)"')


def binary() -> str | None:
    """The daemon, if it is installed with what is needed."""
    found = shutil.which("rsyslogd", path=os.environ.get("PATH", "") + ":/usr/sbin")
    modules = [path.name for path in Path("/usr/lib").glob("*/rsyslog/*.so")]
    return found if {"imrelp.so", "imkafka.so", "omkafka.so"} <= set(modules) else None


class Rsyslog:
    """A receiver or a consumer.

    Args:
        folder: its queue files, and ``events.ndjson`` of a consumer.
        config: name of its configuration.
        values: fill the configuration in, by name.
    """

    def __init__(self, folder: Path, config: str, **values: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = free_ports(1)[0]
        text = (PEERS / f"rsyslog_{config}.conf").read_text()
        for name, value in ({"PORT": str(self.port), "FOLDER": str(folder)} | values).items():
            text = text.replace(f"@{name}@", value)
        self._config = folder / f"rsyslog_{config}.conf"
        self._config.write_text(text)
        self._listens = config != "consumer"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def part(self) -> str:
        """Its name among the parts of :mod:`bench.kafka_usage`."""
        return "rsyslog " + self._config.stem.partition("_")[2]

    @property
    def url(self) -> str:
        return f"relp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; a receiver listens then."""
        (self.folder / "pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            command = [str(binary()), "-n", "-f", str(self._config), "-i", str(self.folder / "pid")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if self._listens:
            until(self._open, "rsyslog to listen", 30)

    def end(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(60)

    def _open(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Lines:
    """The file that a consumer writes, read on as it grows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.ndjson"
        self._at = self.count = 0

    def read_on(self) -> int:
        """Lines so far."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                while chunk := file.read(1 << 20):
                    self._at += len(chunk)
                    self.count += chunk.count(b"\n")
        return self.count

    def ids(self) -> Counter[str]:
        """How often each event is in the file."""
        return Counter(found[1].decode() for found in _ID.finditer(self._path.read_bytes()))

    def rest(self, seconds: float) -> None:
        """Return when the file has not grown for so long."""
        last, since = self.read_on(), time.perf_counter()
        while time.perf_counter() - since < seconds:
            time.sleep(0.1)
            if (now := self.read_on()) != last:
                last, since = now, time.perf_counter()


class Relp:
    """One RELP connection. A body is NDJSON; each line is a message, and all are sent before answers are read."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._socket: socket.socket | None = None
        self._number = 0

    def __call__(self, url: str, body: bytes, due: float) -> Answer | None:
        """Send; ``None`` when not all of it was acknowledged."""
        lines = body.split(b"\n")
        try:
            if self._socket is None:
                self._connect(url)
            self._send([(b"syslog", _message(line)) for line in lines])
        except OSError:
            self.close()
            return None
        ids = tuple(json.loads(line)["id"] for line in lines) if self._traffic.places else ()
        return Answer(due, time.perf_counter(), len(lines), ids=ids)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _connect(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((str(address.hostname), int(address.port or 0)), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._send([(b"open", b"relp_version=0\nrelp_software=bench\ncommands=syslog")])

    def _send(self, frames: list[tuple[bytes, bytes]]) -> None:
        assert self._socket is not None
        parts = []
        for command, data in frames:
            self._number += 1
            parts.append(b"%d %s %d %s\n" % (self._number, command, len(data), data))
        self._socket.sendall(b"".join(parts))
        waiting, text = len(frames), b""
        while waiting:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # answers are many small writes
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                raise ConnectionError("the receiver closed the connection")
            text += chunk
            waiting -= text.count(b" 200 OK")
            if b" rsp " in text and re.search(rb" rsp \d+ [345]\d\d", text):
                raise RuntimeError(f"got {text[:200]!r}, expected 200")
            text = text[text.rindex(b" 200 OK") + 7 :] if b" 200 OK" in text else text


def _message(line: bytes) -> bytes:
    """A syslog message (RFC 5424) whose host name is the session, so that it can be the key on Kafka."""
    start = line.index(_SESSION) + len(_SESSION)
    session = line[start : line.index(b'"', start)]
    return b"<134>1 2026-08-21T09:00:00.000000Z %s gateway - - - %s" % (session, line)
