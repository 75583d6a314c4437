"""The real CloudEvents SDK against the real collector."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cloudevents_client import EXCHANGE, SUBJECT
from collector_server import OpenedEvent, collector_server
from own_venv import own_venv

CLIENT = Path(__file__).resolve().parents[1] / "support" / "cloudevents_client.py"
REQUIREMENTS = Path(__file__).parent / "cloudevents-requirements.txt"


@pytest.mark.slow
def test_what_the_sdk_sends_arrives_in_every_mode() -> None:
    python = own_venv("cloudevents-venv", REQUIREMENTS) / "python"
    with collector_server("cloudevents") as collector:
        command = [str(python), str(CLIENT), f"{collector.url}/v1/cloudevents", collector.token]
        ran = subprocess.run(command, env={"NO_PROXY": "*"}, capture_output=True, text=True, timeout=60)
        assert (ran.returncode, ran.stdout.split()) == (0, ["200"] * 5), ran.stderr
        events = collector.opened()
    by_id: dict[str, list[OpenedEvent]] = {}
    for event in events:
        by_id.setdefault(event.metadata["request_id_client"], []).append(event)
        assert event.metadata["occurred_at"] == 1787302800125000
    for name in ("e-1", "e-2"):
        prompt, response = by_id[name]
        assert (prompt.metadata["kind"], response.metadata["kind"]) == ("prompt", "response")
        assert (prompt.content, response.content) == (EXCHANGE["request"], EXCHANGE["response"])
        assert prompt.metadata["model_requested"] == "gpt-5"
        assert prompt.metadata["extras"]["ce.subject"] == '"user/Euro € 100% \\"quoted\\""'
        assert SUBJECT in prompt.metadata["extras"]["ce.subject"].replace("\\", "")
        assert prompt.metadata["extras"]["ce.tenantname"] == '"a"'
    assert by_id["e-3"][0].content == {"data": "plain words"}
    for name in ("e-4", "e-5"):
        assert by_id[name][0].content == {"data_base64": "UklGRv8="}
