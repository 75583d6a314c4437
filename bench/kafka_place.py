"""Servers and deployments over them for the measurements: one machine carries brokers, stores, roles and client.

Each role is a process of its own (``affidavit run ROLE``) with the settings that it has by default, unless a
measurement says otherwise. PostgreSQL flushes to disk (``fsync``); ClickHouse is the stand-in of the tests, which is
the engine itself behind its HTTP interface.
"""

from __future__ import annotations

import http.client
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from clickhouse_server import PASSWORD, USER, ClickHouseServer
from cluster import Cluster
from kafka_broker import KafkaCluster, free_ports
from kafka_bus import fresh_prefix
from postgres_server import PostgresServer

from affidavit.layout import Layout
from affidavit.settings import load
from affidavit.wiring import Wiring
from schemas.ids import EVENTS, Shard
from sinks.archive import ArchiveEvidence
from stores.objects.local import LocalObjects

__all__ = [
    "Cluster",
    "KafkaCluster",
    "Place",
    "SignedWatch",
    "archived",
    "ask",
    "free_ports",
    "fresh_prefix",
    "queryable",
    "servers",
    "signed",
    "until",
    "wired",
]

DEFAULTS = {
    "AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS": "1",
    "AFFIDAVIT_CLICKHOUSE_LINGER_SECONDS": "0.5",
    "AFFIDAVIT_SIGNER_LINGER_SECONDS": "0.25",
    "AFFIDAVIT_SIGNER_ANCHOR_SECONDS": "10",
    "AFFIDAVIT_BUS_SESSION_SECONDS": "10",
    "AFFIDAVIT_BUS_APPEND_SECONDS": "5",
}
"""What tests make eager is as it is delivered, but for the archive: minutes until a segment is closed are no cost."""

LOOK_SECONDS = 0.02


@dataclass
class Place:
    """Running servers."""

    folder: Path
    kafka: KafkaCluster
    postgres: PostgresServer
    clickhouse: ClickHouseServer
    stack: ExitStack
    made: list[Cluster] = field(default_factory=list)

    def deploy(self, shards: int, **settings: str) -> Cluster:
        """A deployment of its own on these servers; nothing of it runs yet."""
        folder = self.folder / f"deployment-{len(self.made)}"
        folder.mkdir()
        options = DEFAULTS | {
            "AFFIDAVIT_CLICKHOUSE_USERNAME": USER,
            "AFFIDAVIT_CLICKHOUSE_PASSWORD": PASSWORD,
            "AFFIDAVIT_CLICKHOUSE_DATABASE": f"bench_{len(self.made)}",
            "AFFIDAVIT_BUS_TOPIC_PREFIX": fresh_prefix(),
        }
        cluster = Cluster(
            folder,
            self.kafka.bootstrap,
            self.postgres.create(),
            self.clickhouse.url,
            shards=shards,
            replication=min(3, len(self.kafka.brokers)),
            **(options | settings),
        )
        self.made.append(cluster)
        return self.stack.enter_context(cluster)


@contextmanager
def servers(brokers: int = 1) -> Iterator[Place]:
    """Brokers, PostgreSQL and ClickHouse on fresh directories; everything is killed and removed at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="affidavit-bench-")))
        kafka = stack.enter_context(KafkaCluster(brokers=brokers))
        postgres = stack.enter_context(PostgresServer({"fsync": "on"}))
        clickhouse = ClickHouseServer(folder / "clickhouse")
        stack.callback(clickhouse.kill)
        clickhouse.start()
        yield Place(folder, kafka, postgres, clickhouse, stack)


def wired(cluster: Cluster, *roles: str) -> Wiring:
    """The stores of a deployment in this process, as these roles have them. Close it outside any event loop."""
    layout = Layout(cluster.data)
    return Wiring(layout, load(layout, cluster.environment), roles=roles)


def signed(cluster: Cluster) -> dict[str, int]:
    """Records under a checkpoint by shard of the events topic, from the public checkpoints (genesis not counted)."""
    found = {}
    for path in (cluster.data / "objects" / "ledger").glob("**/events/*/*/checkpoint"):
        lines = path.read_text().splitlines()
        found[f"{EVENTS}/{path.parent.parent.name}"] = int(lines[1]) - 1
    return found


def archived(cluster: Cluster, shards: int) -> int:
    """Records in the archive."""
    objects = LocalObjects(cluster.data / "objects")
    try:
        return sum(ArchiveEvidence(objects).end(Shard(EVENTS, at)) for at in range(shards))
    finally:
        objects.close()


def ask(cluster: Cluster, sql: str) -> str:
    """The answer of the ClickHouse server; ``""`` while the tables are not there."""
    address = urlsplit(cluster.environment["AFFIDAVIT_CLICKHOUSE_URL"]).netloc
    query = urlencode({"database": cluster.environment["AFFIDAVIT_CLICKHOUSE_DATABASE"]})
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("POST", f"/?{query}", sql, {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD})
        response = connection.getresponse()
        text = response.read().decode().strip()
        return text if response.status == 200 else ""
    finally:
        connection.close()


def queryable(cluster: Cluster) -> int:
    """Records of the events topic in ClickHouse."""
    return int(ask(cluster, "SELECT count() FROM events WHERE topic = 'events'") or 0)


def until(true: Callable[[], object], what: str, seconds: float = 300.0, look: float = LOOK_SECONDS) -> float:
    """Look until it is true; the seconds that took.

    Raises:
        RuntimeError: it is not, in that time.
    """
    begun = time.perf_counter()
    while not true():
        if time.perf_counter() - begun > seconds:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(look)
    return time.perf_counter() - begun


class SignedWatch:
    """Looks at the checkpoints of a deployment all the time, and remembers when each covered how much."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen: dict[str, list[tuple[float, int]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def covered(self, shard: str, offset: int) -> float | None:
        """When a checkpoint first covered that offset; ``None``: it does not yet."""
        return next((when for when, size in list(self._seen.get(shard, ())) if size > offset), None)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for shard, size in signed(self._cluster).items():
                seen = self._seen.setdefault(shard, [])
                if not seen or seen[-1][1] != size:
                    seen.append((time.perf_counter(), size))
