"""A deployment over servers, each role in processes of its own: what fault tests start, kill, pause and verify.

with Cluster(folder, kafka.bootstrap, postgres_url, clickhouse_url, shards=2) as cluster:
    cluster.start("collector"); cluster.start("signer"); cluster.start("sink archive")
    …
    cluster.settle()                     # until everything acknowledged is everywhere
    cluster.stop()
    cluster.verify(acknowledged)
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from senders import Acknowledged

from affidavit.exhibits import Exhibits
from affidavit.layout import Layout
from affidavit.settings import load
from schemas.ids import Offset, format_event_id

START_SECONDS = 90.0
STOP_SECONDS = 90.0
SETTLE_SECONDS = 120.0

EAGER = {
    "AFFIDAVIT_COLLECTOR_PORT": "0",
    "AFFIDAVIT_QUERY_PORT": "0",
    "AFFIDAVIT_MONITOR_PORT": "0",
    "AFFIDAVIT_GRPC_PORT": "0",
    "AFFIDAVIT_PROXY_PORT": "0",
    "AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS": "0.5",
    "AFFIDAVIT_CLICKHOUSE_LINGER_SECONDS": "0.1",
    "AFFIDAVIT_SIGNER_LINGER_SECONDS": "0.05",
    "AFFIDAVIT_SIGNER_ANCHOR_SECONDS": "1",
    "AFFIDAVIT_BUS_SESSION_SECONDS": "6",
    "AFFIDAVIT_BUS_REBALANCE_SECONDS": "15",
    "AFFIDAVIT_BUS_APPEND_SECONDS": "2",
}
"""Everything writes all the time, so that a fault hits something, and is noticed soon."""

SOURCES = ("archive", "clickhouse", "bus")


class Node:
    """One process.

    Args:
        role: what follows ``affidavit run``, such as ``sink clickhouse``.
    """

    def __init__(self, role: str, data: Path, environment: dict[str, str], log: Path) -> None:
        self.role, self.log_path = role, log
        self.urls: dict[str, str] = {}
        self.paused = False
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "affidavit", "run", *role.split(), "--data", str(data), "--json"],
                stdout=subprocess.PIPE,
                stderr=out,
                env=environment,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        """Where the role serves; ``""`` when it does not."""
        return next((url for role, url in self.urls.items() if url and role != "monitor"), "")

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when the process says that it works."""
        assert self._process.stdout is not None
        text, deadline = b"", time.monotonic() + seconds
        while not text.endswith(b"\n}\n"):
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._process.stdout], [], [], left)
            chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert chunk, f"affidavit run {self.role} did not start:\n{self.log[-4000:]}"
            text += chunk
        self.urls = json.loads(text)["urls"]

    def ended(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        self.end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)
        self.paused = False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; its exit code."""
        if self.paused:
            self.resume()
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGUSR1)  # says where every thread is
            time.sleep(1.0)
            raise AssertionError(f"affidavit run {self.role} does not end:\n{self.log[-20000:]}") from None
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


Deploy = Callable[..., "Cluster"]
"""Makes a deployment: ``deploy(kafka, shards=…, replication=…, **settings)``."""


class Cluster:
    """A deployment over servers.

    Args:
        folder: for the data directory, the objects and the logs of the processes.
        kafka: bootstrap servers.
        postgres: URL of an empty database.
        clickhouse: URL of a ClickHouse.
        shards: of the events topic.
        replication: of the topics.
        settings: further ``AFFIDAVIT_…`` variables.
    """

    def __init__(
        self,
        folder: Path,
        kafka: str,
        postgres: str,
        clickhouse: str,
        *,
        shards: int = 2,
        replication: int = 1,
        **settings: str,
    ) -> None:
        self.folder, self.data = folder, folder / "data"
        self.nodes: list[Node] = []
        self.ended: list[Node] = []
        copies = {
            "AFFIDAVIT_BUS_REPLICATION": str(replication),
            "AFFIDAVIT_BUS_MIN_INSYNC": str(max(1, replication - 1)),
        }
        stores = {
            "AFFIDAVIT_BUS_KAFKA": kafka,
            "AFFIDAVIT_CONTROL_URL": postgres,
            "AFFIDAVIT_CLICKHOUSE_URL": clickhouse,
        }
        self.environment = os.environ | EAGER | copies | stores | settings
        self._started = Counter[str]()
        ran = self.command("init", "--name", "audit.example.com", "--shards", str(shards))
        assert ran.returncode == 0, ran.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in list(self.nodes):
            self.kill(node)

    def command(self, *arguments: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one command of the command line."""
        return subprocess.run(
            [sys.executable, "-m", "affidavit", *arguments, "--data", str(data or self.data)],
            capture_output=True,
            text=True,
            env=self.environment,
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        """The document of a command that must succeed."""
        ran = self.command(*arguments, "--json")
        assert ran.returncode == 0, ran.stderr
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    def tokens(self) -> dict[str, str]:
        """A token for each kind of sender."""
        return {
            gateway: str(self.json("token", "create", "--tenant", "acme", "--gateway", gateway)["token"])
            for gateway in ("native", "litellm")
        }

    def start(self, *roles: str, wait: bool = True) -> list[Node]:
        """Start one process for each of ``roles``."""
        nodes = []
        for role in roles:
            self._started[role] += 1
            log = self.folder / f"{role.replace(' ', '-')}-{self._started[role]}.log"
            nodes.append(Node(role, self.data, self.environment, log))
        self.nodes += nodes
        for node in nodes if wait else ():
            node.wait_ready()
        return nodes

    def of(self, role: str) -> list[Node]:
        """The processes of a role that were started and not ended by us."""
        return [node for node in self.nodes if node.role == role]

    def collectors(self) -> list[str]:
        """Where senders may send."""
        return [node.url for node in self.of("collector")]

    def kill(self, node: Node) -> None:
        """SIGKILL a process."""
        node.kill()
        self._gone(node)

    def replace(self, node: Node) -> Node:
        """SIGKILL a process and start another of its role."""
        self.kill(node)
        return self.start(node.role)[0]

    def stop(self) -> None:
        """SIGTERM to all, feeders first; each must end with exit code 0."""
        order = ("collector", "signer", "sink archive", "sink clickhouse")
        for node in sorted(self.nodes, key=lambda node: order.index(node.role)):
            code = node.end()
            self._gone(node)
            assert code == 0, f"affidavit run {node.role} ended with {code}:\n{node.log[-4000:]}"

    def alive(self) -> None:
        """Every process that should run does.

        Raises:
            AssertionError: one has ended, with what it said.
        """
        for node in self.nodes:
            assert node.ended() is None, f"affidavit run {node.role} has ended:\n{node.log[-4000:]}"

    def status(self) -> dict[str, Any]:
        """What ``affidavit status`` says."""
        return self.json("status")

    def settled(self) -> str:
        """What is not yet where it belongs; ``""`` when all of the bus is signed and in every sink."""
        status = self.status()
        if status.get("spooled"):
            return f"{status['spooled']} records in spools"
        for shard in status["shards"]:
            if shard["unsigned"]:
                return f"{shard['shard']}: {shard['unsigned']} unsigned"
            for sink in shard["sinks"]:
                if sink["lag"]:
                    return f"{shard['shard']}: {sink['lag']} not in {sink['sink']}"
        return ""

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Return when everything that is on the bus, or in a spool, is signed and in every sink."""
        deadline = time.monotonic() + seconds
        while missing := self.settled():
            self.alive()
            assert time.monotonic() < deadline, f"{missing}\n{self.logs()[-8000:]}"
            time.sleep(0.2)

    def logs(self) -> str:
        """What all processes have said."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.log")))

    def verify(self, acknowledged: Acknowledged) -> None:
        """Acknowledged = on the bus = in the ledger = in ClickHouse = in the archive, each offset once, chain whole."""
        for arguments in (("log",), *(("records", "--source", source) for source in SOURCES), ("sql",)):
            ran = self.command("verify", *arguments)
            assert ran.returncode == 0, f"verify {arguments}: {ran.stdout}{ran.stderr}"
        self.compare(acknowledged)

    def compare(self, acknowledged: Acknowledged) -> None:
        """Every acknowledged event is in every destination, and each offset once."""
        wanted = acknowledged.event_ids
        for source in SOURCES:
            held = list(self.scan(source))
            found = {event_id for _, _, event_id in held}
            lost = wanted - found
            assert not lost, f"{source}: {len(lost)} of {len(wanted)} acknowledged events are missing"
            placed = {(shard, offset): event_id for shard, offset, event_id in held}
            moved = {place for place, event in acknowledged.placed.items() if placed.get(place) != event}
            assert not moved, f"{source}: {len(moved)} events are not where the sender was told"
        asked = "SELECT session_id, uniqExact(event_id) AS n FROM events WHERE gateway = 'litellm' GROUP BY 1"
        counted = {row["session_id"]: row["n"] for row in self.json("query", asked)["rows"]}
        short = {name: (counted.get(name), n) for name, n in acknowledged.sessions.items() if counted.get(name) != n}
        assert not short, f"sessions with another number of events than acknowledged: {short}"

    def scan(self, source: str) -> Iterator[tuple[Any, int, str]]:
        """(shard, offset, event id) of everything in a destination; offsets of a shard follow each other from 0."""
        layout = Layout(self.data)
        with Exhibits(layout, None, load(layout, self.environment)) as exhibits:
            evidence = exhibits.source(source)  # type: ignore[arg-type]
            for shard in exhibits.shards():
                end = evidence.end(shard)
                offsets = []
                for one in evidence.scan(shard, Offset(0), end):
                    offsets.append(one.offset)
                    yield shard, one.offset, format_event_id(one.event_id)
                assert offsets == list(range(end)), f"{source}: {shard} has holes or repeats"

    def _gone(self, node: Node) -> None:
        self.nodes.remove(node)
        self.ended.append(node)
