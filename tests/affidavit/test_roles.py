"""Roles in processes of their own, and roles that fail."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from up_process import Up, command, command_json

from affidavit.demo.deployment import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.alone]

FREE = {
    "AFFIDAVIT_COLLECTOR_PORT": "0",
    "AFFIDAVIT_QUERY_PORT": "0",
    "AFFIDAVIT_MONITOR_PORT": "0",
    "AFFIDAVIT_GRPC_PORT": "0",
    "AFFIDAVIT_PROXY_PORT": "0",
}


@contextlib.contextmanager
def role(data: Path, name: str) -> Iterator[None]:
    """One role in a process of its own, stopped at the end; its exit code must be 0."""
    with (data.parent / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "affidavit", "run", *name.split(), "--data", str(data)],
            stderr=log,
            env=os.environ | FREE,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, (data.parent / f"{name}.log").read_text()


def test_roles_in_processes_of_their_own_make_one_deployment(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert command(data, "init").returncode == 0
    token = command_json(data, "token", "create", "--tenant", "acme", "--gateway", "g")["token"]
    with contextlib.ExitStack() as running:
        for name in ("signer", "sink archive", "sink clickhouse", "collector"):
            running.enter_context(role(data, name))

        def url() -> str | None:
            roles = command_json(data, "status")["roles"]
            return str(roles["collector"]["url"]) if all(roles.values()) and roles["collector"]["url"] else None

        collector = wait_for("all roles", url)
        assert command(data, "run", "collector", **FREE).returncode == 3, "one process per role"
        body = "\n".join(json.dumps({"kind": "prompt", "id": str(at), "content": "x"}) for at in range(50))
        answer = httpx.post(collector + "/v1/events", content=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200

        def everywhere() -> bool | None:
            shards = command_json(data, "status")["shards"]
            shard = next(one for one in shards if one["shard"] == "events/0")
            return True if shard["signed"] == 50 == shard["sinks"][0]["position"] else None

        wait_for("the events to be signed and queryable", everywhere)
    for source in ("archive", "clickhouse", "bus"):
        ran = command(data, "verify", "records", "--source", source)
        assert ran.returncode == 0, ran.stdout


def test_a_port_that_is_taken_ends_up_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = command(tmp_path / "data", "up", AFFIDAVIT_COLLECTOR_PORT=port, AFFIDAVIT_QUERY_PORT="0")
    assert ran.returncode == 3
    assert f"the collector has failed: cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert "choose another port" in ran.stderr


def test_a_bus_that_lost_signed_records_halts_everything(tmp_path: Path) -> None:
    """No silent half-life: a deployment whose signer must not go on does not receive either."""
    up = Up(tmp_path / "data")
    up.start()
    assert up.stop() == 0
    for path in up.data.glob("bus.db*"):
        path.unlink()
    ran = command(up.data, "up", **FREE)
    assert ran.returncode == 1
    assert "has failed" in ran.stderr
    assert "the topic was deleted and created again" in ran.stderr or "the bus lost records" in ran.stderr
