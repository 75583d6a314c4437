"""The fake against clients that others wrote, and its rules: what ours is tested on must be what they know."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fake_splunk import FakeSplunk, Fault, ServedSplunk, Token, client, served
from own_venv import own_venv

REQUIREMENTS = Path(__file__).with_name("clients-requirements.txt")
SCRIPT = Path(__file__).parents[1] / "support" / "splunk_clients.py"
EVENT = "/services/collector/event"
CHANNEL = {"X-Splunk-Request-Channel": "0aeeac95-ac74-4aa9-b30d-6c4c0ac581ba"}


@pytest.fixture
def splunk() -> Iterator[ServedSplunk]:
    with served(FakeSplunk({"plain": Token(ack=False), "acked": Token()}, commit_seconds=0.2)) as server:
        yield server


def theirs(name: str, splunk: ServedSplunk, token: str) -> str:
    python = own_venv("splunk-clients-venv", REQUIREMENTS) / "python"
    ran = subprocess.run(
        [str(python), str(SCRIPT), name, "127.0.0.1", str(splunk.port), token], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.slow
def test_a_handler_of_pythons_logging(splunk: ServedSplunk) -> None:
    assert theirs("hec_handler", splunk, "plain") == "sent"
    assert [event.envelope["event"]["number"] for event in splunk.splunk.events] == [0, 1, 2]
    assert {event.envelope["source"] for event in splunk.splunk.events} == {"theirs"}
    assert splunk.splunk.events[0].fields == {"color": "yellow"}


@pytest.mark.slow
def test_the_client_of_home_assistant(splunk: ServedSplunk) -> None:
    assert theirs("hass", splunk, "plain") == "sent, healthy True"
    assert [event.envelope["event"] for event in splunk.splunk.events] == [{"number": at} for at in range(3)]
    assert theirs("hass", splunk, "nobody") == "refused 403 4 Invalid token"
    assert theirs("hass", splunk, "acked") == "refused 400 10 Data channel is missing"
    splunk.splunk.script = [None, Fault.BUSY]
    assert theirs("hass", splunk, "plain") == "refused 503 9 Server is busy"


@pytest.mark.slow
def test_a_client_that_waits_for_acknowledgements(splunk: ServedSplunk) -> None:
    assert theirs("logging_forwarder", splunk, "acked") == "acknowledged"
    assert splunk.splunk.polls >= 2
    assert len(splunk.splunk.events) == 3


@pytest.mark.slow
def test_it_runs_by_itself() -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "fake_splunk", "--port", "0", "--token", "t", "--no-ack"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=SCRIPT.parent,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = first.split()[5].rstrip(",")
        answer = httpx.post(url + EVENT, content=b'{"event":"hello"}', headers={"Authorization": "Splunk t"})
        assert answer.json() == {"text": "Success", "code": 0}
        assert json.loads(process.stdout.readline()) == {"index": "main", "event": "hello"}
        process.terminate()


@pytest.mark.parametrize(
    ("token", "body", "code", "number"),
    [
        ("plain", b'{"event":1}{"event":2}', 0, None),
        ("plain", b'[{"event":1}]', 6, 0),
        ("plain", b"", 5, None),
        ("plain", b'{"event":1}\n{"event":', 6, 1),
        ("plain", b'{"event":1}{"time":2}', 12, 1),
        ("plain", b'{"event":""}', 13, 0),
        ("plain", b'{"event":1,"fields":{"a":{"b":1}}}', 15, 0),
        ("plain", b'{"event":1,"index":"secret"}', 7, 0),
        ("acked", b'{"event":1}', 10, None),
        ("off", b'{"event":1}', 1, None),
        ("nobody", b'{"event":1}', 4, None),
    ],
)
def test_the_codes(token: str, body: bytes, code: int, number: int | None) -> None:
    splunk = FakeSplunk({"plain": Token(ack=False, indexes=("main",)), "acked": Token(), "off": Token(enabled=False)})
    with client(splunk) as http:
        answer = http.post(f"http://x{EVENT}", content=body, headers={"Authorization": f"Splunk {token}"}).json()
    assert (answer["code"], answer.get("invalid-event-number")) == (code, number)


def test_an_acknowledgement_is_said_once() -> None:
    splunk = FakeSplunk({"acked": Token()})
    headers = {"Authorization": "Splunk acked", **CHANNEL}
    with client(splunk) as http:
        for expected in (0, 1):
            assert http.post(f"http://x{EVENT}", content=b'{"event":1}', headers=headers).json()["ackId"] == expected
        ask = {"acks": [0, 1, 7]}
        ack = "http://x/services/collector/ack"
        assert http.post(ack, json=ask, headers=headers).json() == {"acks": {"0": True, "1": True, "7": False}}
        assert http.post(ack, json=ask, headers=headers).json() == {"acks": {"0": False, "1": False, "7": False}}
        other = headers | {"X-Splunk-Request-Channel": "0aeeac95-ac74-4aa9-b30d-6c4c0ac581bb"}
        assert http.post(f"http://x{EVENT}", content=b'{"event":1}', headers=other).json()["ackId"] == 0


def test_raw_lines_and_health() -> None:
    splunk = FakeSplunk({"plain": Token(ack=False)})
    headers = {"Authorization": "Splunk plain", **CHANNEL}
    with client(splunk) as http:
        raw = "http://x/services/collector/raw?index=main&sourcetype=syslog"
        assert http.post(raw, content=b"one\ntwo\n", headers=headers).json()["code"] == 0
        assert [event.envelope["event"] for event in splunk.events] == ["one", "two"]
        health = "http://x/services/collector/health"
        assert http.get(health).json()["code"] == 17
        splunk.queues_full = True
        assert (http.get(health).status_code, http.get(health).json()["code"]) == (503, 18)
