"""A deployment that forwards as OCSF in files and as syslog: everything arrives, across a kill and a lost receiver."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from line_receivers import syslog_receiver
from load import wait_until
from up_process import Up, command_json

pytestmark = pytest.mark.slow


def test_the_whole_way(tmp_path: Path) -> None:
    with syslog_receiver() as receiver:
        settings = {
            "AFFIDAVIT_OCSF_DIRECTORY": str(tmp_path / "ocsf"),
            "AFFIDAVIT_OCSF_LINGER_SECONDS": "0.1",
            "AFFIDAVIT_SYSLOG_HOST": "127.0.0.1",
            "AFFIDAVIT_SYSLOG_PORT": str(receiver.port),
            "AFFIDAVIT_SYSLOG_TLS": "false",
            "AFFIDAVIT_SYSLOG_LINGER_SECONDS": "0.1",
        }
        up = Up(tmp_path / "data", **settings)
        up.start()
        token = command_json(up.data, "token", "create", "--tenant", "acme", "--gateway", "native")["token"]

        def send(count: int) -> None:
            body = "\n".join(json.dumps({"kind": "prompt", "content": {"text": f"hello {at}"}}) for at in range(count))
            answer = httpx.post(f"{up.collector}/v1/events", content=body, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200

        def metrics() -> str:
            return httpx.get(up.monitor + "/metrics").text

        def offsets() -> set[int]:
            found = [
                line
                for path in (tmp_path / "ocsf" / "events").rglob("*.jsonl")
                for line in path.read_text().splitlines(keepends=True)
            ]
            return {json.loads(line)["metadata"]["sequence"] for line in found if line.endswith("\n")}

        def told() -> set[bytes]:
            return {
                data.partition(b'offset="')[2].partition(b'"')[0] for data in receiver.messages if b"events/0" in data
            }

        send(100)
        up.kill()
        receiver.drop()
        up.start()
        send(100)
        wait_until(lambda: offsets() == set(range(200)), 60, lambda: up.log)
        wait_until(lambda: told() == {b"%d" % at for at in range(200)}, 60, lambda: up.log)
        for sink in ("ocsf", "syslog"):
            wait_until(lambda name=sink: f'offset{{shard="events/0",sink="{name}"}} 200.0' in metrics(), 30, metrics)
        assert up.stop() == 0, up.log
        assert not any(b"hello" in data for data in receiver.messages), "content only where it is asked for"
