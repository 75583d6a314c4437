"""Apache Kafka in KRaft mode on loopback, from its Maven jars: brokers that a test can kill, stop, and let hang.

    with KafkaCluster(brokers=3) as kafka:
        kafka.bootstrap                    # 127.0.0.1:…,127.0.0.1:…
        kafka.kill(0); kafka.start(0)      # SIGKILL, and back on the same port over the same files
        kafka.pause(1); kafka.resume(1)    # SIGSTOP, SIGCONT: connections stay open and nothing answers

Each broker is a controller as well, as in a small production cluster: with two of three gone there is no quorum.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

VERSION = "4.3.1"
"""One version for all of Kafka."""

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>affidavit</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""

JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""Small and quick to start; two of them must fit beside everything else of a test."""

START_SECONDS = 60.0


def jars() -> Path:
    """The folder with Kafka's jars, fetched by Maven when it is not there yet."""
    name = f"kafka-{VERSION}-{hashlib.sha256(POM.encode()).hexdigest()[:8]}"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "affidavit" / name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        libs = cache / "libs"
        if not libs.is_dir():
            (cache / "pom.xml").write_text(POM)
            fetched = cache / "fetching"
            shutil.rmtree(fetched, ignore_errors=True)
            command = ["mvn", "-q", "-B", "-f", str(cache / "pom.xml"), "dependency:copy-dependencies"]
            subprocess.run([*command, f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"], check=True)
            fetched.rename(libs)
    return libs


class KafkaBroker:
    """One node: broker and controller.

    Args:
        folder: its files.
        node: its id.
        ports: broker port and controller port of every node.
        cluster: the cluster's id.
        overrides: further properties; ``jaas`` is the path of a JAAS file for the JVM.
        listeners: further listeners, by security protocol, and their ports.
    """

    def __init__(
        self,
        folder: Path,
        node: int,
        ports: Sequence[tuple[int, int]],
        cluster: str,
        overrides: Mapping[str, str],
        listeners: Mapping[str, int],
    ) -> None:
        self.node, self.port = node, ports[node][0]
        self._folder, self._overrides = folder, dict(overrides)
        self._ports, self._cluster, self._listeners = ports, cluster, listeners
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        data = folder / "data"
        data.mkdir(parents=True)
        directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        (data / "meta.properties").write_text(
            f"version=1\ncluster.id={cluster}\nnode.id={node}\ndirectory.id={directory}\n"
        )
        self._write_properties()

    def start(self) -> None:
        """Start the process; :meth:`wait` says when it serves."""
        log4j = self._folder / "log4j2.properties"
        log4j.write_text(
            "rootLogger.level=WARN\nrootLogger.appenderRefs=out\nrootLogger.appenderRef.out.ref=out\n"
            "appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n"
            "appender.out.layout.pattern=%d %p %c %m%n\n"
        )
        classpath = f"{jars()}/*"
        command = ["java", *JVM, f"-Dlog4j2.configurationFile={log4j}", "-cp", classpath, "kafka.Kafka"]
        if config := self._overrides.get("jaas"):
            command.insert(1, f"-Djava.security.auth.login.config={config}")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self._folder / "server.properties")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._paused = False

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Return when the port takes connections."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.alive:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"broker {self.node} did not start:\n{self.log()[-4000:]}")

    def log(self) -> str:
        """What the broker has printed."""
        return (self._folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: leaders move away first."""
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: it hangs, and its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        if self._paused:
            self.resume()
        self._process.send_signal(number)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write_properties(self) -> None:
        voters = ",".join(f"{node}@127.0.0.1:{controller}" for node, (_, controller) in enumerate(self._ports))
        broker, controller = self._ports[self.node]
        copies = str(min(3, len(self._ports)))
        further = "".join(f",{name}://127.0.0.1:{port}" for name, port in self._listeners.items())
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(self.node),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}{further}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}{further}",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,"
            "SSL:SSL,SASL_SSL:SASL_SSL",
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "2",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "num.recovery.threads.per.data.dir": "1",
            "log.cleaner.dedupe.buffer.size": "4194304",
            "controlled.shutdown.enable": "true",
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "controller.quorum.election.timeout.ms": "500",
            "controller.quorum.fetch.timeout.ms": "1000",
            "replica.lag.time.max.ms": "3000",
        } | {name: value for name, value in self._overrides.items() if name != "jaas"}
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self._folder / "server.properties").write_text(text)


class KafkaCluster:
    """Brokers on free loopback ports.

    Args:
        brokers: how many nodes.
        overrides: broker properties, and ``jaas``.
        listeners: further listeners of a single broker, such as ``SASL_SSL``, and their ports (:func:`free_ports`).
        folder: for its files; a temporary one, deleted at the end, when left out.
    """

    def __init__(
        self,
        brokers: int = 1,
        overrides: Mapping[str, str] | None = None,
        folder: Path | None = None,
        listeners: Mapping[str, int] | None = None,
    ) -> None:
        self._own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="kafka-"))
        ports = free_ports(2 * brokers)
        pairs = [(ports[2 * node], ports[2 * node + 1]) for node in range(brokers)]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.brokers = [
            KafkaBroker(self.folder / f"node-{node}", node, pairs, cluster, overrides or {}, listeners or {})
            for node in range(brokers)
        ]

    @property
    def bootstrap(self) -> str:
        """``host:port`` of every broker, joined by commas."""
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    def __enter__(self) -> Self:
        self.start_all()
        return self

    def start_all(self) -> None:
        """Start every broker. One alone has no quorum and opens no port, so they are waited for afterwards."""
        for broker in self.brokers:
            if not broker.alive:
                broker.start()
        for broker in self.brokers:
            broker.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs; delete the files if they are ours."""
        for broker in self.brokers:
            broker.kill()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, node: int) -> None:
        """Start a broker that was killed or stopped, and wait until its port is open."""
        self.brokers[node].start()
        self.brokers[node].wait()

    def kill(self, node: int) -> None:
        """SIGKILL a broker."""
        self.brokers[node].kill()

    def pause(self, node: int) -> None:
        """SIGSTOP a broker."""
        self.brokers[node].pause()

    def resume(self, node: int) -> None:
        """SIGCONT a broker."""
        self.brokers[node].resume()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, below the range that the kernel hands out for outgoing connections, so that a
    broker which is down for a while does not find its port taken by some client."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(12_000, 31_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
