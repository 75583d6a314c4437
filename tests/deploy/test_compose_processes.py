"""What the compose file says, run as processes: its commands and environments, with its host names on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from clickhouse_server import PASSWORD, USER, ClickHouseServer
from cluster import EAGER, Node
from compose_file import FILLED, compose, environment, ours
from kafka_broker import KafkaCluster
from postgres_server import PostgresServer
from s3_server import ACCESS, SECRET, S3Server

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
EVENTS = 60
SETTLE_SECONDS = 120.0


class Deployment:
    """The services of the compose file, over servers of the tests.

    Each replica has a data directory as its container would: what ``init`` made, and ``run`` and ``spool`` of its own.
    """

    def __init__(self, folder: Path, addresses: dict[str, str]) -> None:
        self.folder = folder
        self._addresses = addresses
        filled = FILLED | {
            "DEPLOYMENT_SHARDS": "2",
            "CLICKHOUSE_PASSWORD": PASSWORD,
            "S3_ACCESS_KEY": ACCESS,
            "S3_SECRET_KEY": SECRET,
        }
        self.services = ours(compose(filled))
        self.nodes: dict[str, Node] = {}
        self.made = folder / "init"

    def environment(self, service: str, *, eager: bool = True) -> dict[str, str]:
        """What the compose file gives the service, and nothing else of ours."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
        given = environment(self.services[service])
        for name, value in given.items():
            for there, here in self._addresses.items():
                value = here if value == there else value
            given[name] = value
        if "AFFIDAVIT_CLICKHOUSE_USERNAME" in given:
            given["AFFIDAVIT_CLICKHOUSE_USERNAME"] = USER
        return clean | given | (EAGER if eager else {})

    def bucket(self) -> None:
        """The job of that name."""
        [script] = self.services["bucket"]["command"]
        run = [sys.executable, "-c", script]
        ran = subprocess.run(run, env=self.environment("bucket", eager=False), capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr

    def init(self) -> str:
        """The job of that name, over a volume as the image makes it; what it says."""
        for name in ("run", "spool"):
            (self.made / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.made.chmod(0o700)
        ran = self._command("init", self.made, *self.services["init"]["command"])
        assert ran.returncode == 0, ran.stderr
        return ran.stderr

    def start(self) -> None:
        """Every replica of every role that runs without being asked for."""
        for service, one in self.services.items():
            if one["command"][0] != "run" or "profiles" in one:
                continue
            for number in range(one.get("deploy", {}).get("replicas", 1)):
                name = f"{service}.{number + 1}"
                data = self.folder / name
                shutil.copytree(self.made, data)
                role = " ".join(one["command"][1:])
                log = self.folder / f"{name}.log"
                self.nodes[name] = Node(role, data, self.environment(service), log)
        for node in self.nodes.values():
            node.wait_ready()

    def cli(self, *arguments: str) -> str:
        """A command in a container of the service ``cli``."""
        ran = self._command("cli", self.made, *arguments)
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.cli(*arguments, "--json"))

    def settle(self) -> None:
        """Return when all that is on the bus is signed and in every sink."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            shards = self.json("status")["shards"]
            if all(not one["unsigned"] and not any(sink["lag"] for sink in one["sinks"]) for one in shards):
                return
            assert time.monotonic() < deadline, shards
            for node in self.nodes.values():
                assert node.ended() is None, node.log[-3000:]
            time.sleep(0.3)

    def stop(self) -> None:
        for node in self.nodes.values():
            assert node.end() == 0, node.log[-3000:]

    def kill(self) -> None:
        for node in self.nodes.values():
            node.kill()

    def _command(self, service: str, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        given = self.environment(service) | {"AFFIDAVIT_DATA": str(data)}
        return subprocess.run(
            [sys.executable, "-m", "affidavit", *arguments], env=given, capture_output=True, text=True
        )


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaCluster(brokers=1))
        postgres = stack.enter_context(PostgresServer())
        s3 = stack.enter_context(S3Server())
        clickhouse = ClickHouseServer(tmp_path / "clickhouse")
        stack.callback(clickhouse.kill)
        clickhouse.start()
        addresses = {
            "kafka:9092": kafka.bootstrap,
            "http://s3:8333": s3.endpoint,
            "http://clickhouse:8123": clickhouse.url,
            f"postgresql://affidavit:{FILLED['POSTGRES_PASSWORD']}@postgres:5432/affidavit": postgres.create(),
        }
        made = Deployment(tmp_path, addresses)
        stack.callback(made.kill)
        yield made


def files(folder: Path) -> dict[str, str]:
    """Every file that is in a volume which the compose file mounts read-only, with its hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in ("run", "spool")
    }


def test_the_whole_of_it(deployment: Deployment, tmp_path: Path) -> None:
    deployment.bucket()
    deployment.bucket()
    assert "topic affidavit.events" in deployment.init()
    assert "nothing was changed" in deployment.init()
    before = files(deployment.made)
    assert {"affidavit.toml", "keys/kek", "keys/signer.key", "keys/query.token"} <= set(before)
    deployment.start()
    assert sorted(deployment.nodes) == [
        "archive.1", "archive.2", "clickhouse-sink.1", "clickhouse-sink.2", "collector-1.1", "collector-2.1",
        "poller.1", "poller.2", "signer.1", "signer.2",
    ]  # fmt: skip
    token = deployment.json("token", "create", "--tenant", "acme", "--gateway", "native")["token"]
    event_ids = [one for name in ("collector-1.1", "collector-2.1") for one in sent(deployment.nodes[name].url, token)]
    assert len(set(event_ids)) == 2 * EVENTS
    monitored(deployment)
    deployment.settle()
    deployment.cli("verify", "log")
    for source in ("archive", "clickhouse", "bus"):
        deployment.cli("verify", "records", "--source", source)
    deployment.cli("verify", "sql")
    rows = deployment.json("query", "SELECT event_id, partition, offset, lower(hex(leaf)) AS leaf FROM events")["rows"]
    assert set(event_ids) <= {row["event_id"] for row in rows}
    consumed(deployment, {(row["partition"], row["offset"]): row for row in rows if row["event_id"] in set(event_ids)})
    deployment.stop()
    for name in deployment.nodes:
        assert files(deployment.folder / name) == before, f"{name} has written where its container could not"


def sent(collector: str, token: str) -> list[str]:
    """Events given to one collector; their ids."""
    body = "\n".join(
        json.dumps({"kind": "prompt", "id": f"{collector}-{at}", "session_id": f"s-{at % 9}", "content": f"text {at}"})
        for at in range(EVENTS)
    )
    url = collector.replace("0.0.0.0", "127.0.0.1") + "/v1/events"
    answer = httpx.post(url, content=body, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return [item["event_id"] for item in answer.json()["items"]]


def monitored(deployment: Deployment) -> None:
    """The health check asks without a token, Prometheus with one."""
    for node in deployment.nodes.values():
        with httpx.Client(base_url=node.urls["monitor"], trust_env=False, timeout=30) as client:
            assert client.get("/livez").status_code == 200
            assert client.get("/metrics").status_code == 401
            scraped = client.get("/metrics", headers={"Authorization": f"Bearer {FILLED['MONITOR_TOKEN']}"})
            assert scraped.status_code == 200
            assert "affidavit_role_ready" in scraped.text


def consumed(deployment: Deployment, rows: dict[tuple[int, int], Any]) -> None:
    """A program with nothing of ours, given the keys, finds the leaves that ClickHouse has, and reads what was sent."""
    granted, published = deployment.folder / "acme.keys", deployment.folder / "published"
    deployment.cli("keys", "export", "--tenant", "acme", "--all", "--out", str(granted), "--note", "a test")
    deployment.cli("schemas", "export", str(published))
    kafka = deployment.environment("cli")["AFFIDAVIT_BUS_KAFKA"]
    program = str(ROOT / "examples/consumer/consume.py")
    command = [sys.executable, program, "--kafka", kafka, "--schemas", str(published), "--keys", str(granted)]
    ran = subprocess.run([*command, "--until-silent-ms", "3000"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    lines = {(line["partition"], line["offset"]): line for line in map(json.loads, ran.stdout.splitlines())}
    assert set(lines) == set(rows)
    for place, line in lines.items():
        assert (line["event_id"], line["leaf"]) == (rows[place]["event_id"], rows[place]["leaf"])
        assert line["parts"]["metadata"]["value"]["gateway"] == "native"
        assert "text " in json.dumps(line["parts"]["content"]["value"])
