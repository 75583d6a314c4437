"""A deployment with the sink into Splunk: what it takes arrives, what is refused is kept, what is lost is found."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
import pytest
from fake_splunk import FakeSplunk, ServedSplunk, Token, served
from fake_splunk.hec import POISON
from load import wait_until
from up_process import Up, command, command_json

from affidavit.cli import exits
from affidavit.cli.main import run as run_command

pytestmark = pytest.mark.slow

FAST = {
    "AFFIDAVIT_SPLUNK_POLL_SECONDS": "0.2",
    "AFFIDAVIT_SPLUNK_LINGER_SECONDS": "0.1",
    "AFFIDAVIT_SPLUNK_ACK_SECONDS": "20",
    "AFFIDAVIT_SPLUNK_TOKEN": "hec-token",
    "AFFIDAVIT_SPLUNK_SEARCH_TOKEN": "search-token",
}


@pytest.fixture
def splunk() -> Iterator[ServedSplunk]:
    fake = FakeSplunk({"hec-token": Token(ack=True)}, commit_seconds=0.3, search_token="search-token")
    with served(fake) as server:
        yield server


@pytest.fixture
def settings(splunk: ServedSplunk) -> dict[str, str]:
    return FAST | {"AFFIDAVIT_SPLUNK_URL": splunk.url, "AFFIDAVIT_SPLUNK_SEARCH_URL": splunk.url}


@pytest.fixture
def up(tmp_path: Path, settings: dict[str, str]) -> Iterator[Up]:
    one = Up(tmp_path / "data", **settings)
    one.start()
    try:
        yield one
    finally:
        assert one.stop() == 0, one.log[-2000:]


def send(up: Up, texts: list[str]) -> list[dict[str, Any]]:
    """Send one prompt for each text; the places that they were given."""
    token = command_json(up.data, "token", "create", "--tenant", "acme", "--gateway", "native")["token"]
    events = [{"kind": "prompt", "session_id": "s", "content": {"text": text}} for text in texts]
    body = "\n".join(json.dumps(event) for event in events)
    answer = httpx.post(f"{up.collector}/v1/events", content=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    return [item["position"] for item in answer.json()["items"]]


def offsets(splunk: ServedSplunk, shard: str = "events/0") -> Counter[int]:
    found = [event.fields for event in splunk.splunk.events]
    return Counter(fields["affidavit_offset"] for fields in found if fields["affidavit_shard"] == shard)


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(up: Up, settings: dict[str, str], *arguments: str) -> Ran:
    """A command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with patch.dict(os.environ, settings), redirect_stdout(out), redirect_stderr(err):
        code = run_command([*arguments, "--data", str(up.data)])
    return Ran(code, out.getvalue(), err.getvalue())


def document(up: Up, settings: dict[str, str], *arguments: str, expect: int = 0) -> dict[str, Any]:
    ran = run(up, settings, *arguments, "--json")
    assert ran.returncode == expect, ran.stdout + ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def positions(up: Up, settings: dict[str, str]) -> dict[str, int | None]:
    shards = document(up, settings, "status")["shards"]
    return {one["shard"]: sink["position"] for one in shards for sink in one["sinks"] if sink["sink"] == "splunk"}


def test_the_whole_way(up: Up, settings: dict[str, str], splunk: ServedSplunk) -> None:
    """Delivered, counted, refused, retried, lost, found missing, sent again."""
    texts = [f"text {at}" for at in range(50)]
    texts[7] = POISON
    send(up, texts)
    wait_until(lambda: positions(up, settings)["events/0"] == 50, 60, lambda: up.log)
    assert offsets(splunk) == dict.fromkeys(set(range(50)) - {7}, 1)
    assert offsets(splunk, "control/0"), "what is done with the deployment is told, too"

    (letter,) = document(up, settings, "deadletter", "list", expect=exits.INCOMPLETE)["letters"]
    assert (letter["letter"], letter["kind"], letter["copies"]) == ("splunk/events/0/7", "prompt", 1)
    assert "Invalid data format" in letter["reason"]
    shown = run(up, settings, "deadletter", "list")
    assert "splunk/events/0/7" in shown.stdout
    assert "waiting" in shown.stdout
    told = run(up, settings, "deadletter", "show", "splunk/events/0/7")
    assert told.returncode == 0
    assert f"affidavit verify event {letter['event_id']}" in told.stderr
    assert document(up, settings, "deadletter", "show", "splunk/events/0/7")["offset"] == 7
    assert run(up, settings, "deadletter", "show", "splunk/events/0/8").returncode == exits.INCOMPLETE

    dry = document(up, settings, "deadletter", "retry", "--sink", "splunk", "--dry-run")
    assert (dry["letters"], dry["delivered"]) == (["splunk/events/0/7"], [])
    again = document(up, settings, "deadletter", "retry", "splunk/events/0/7", expect=exits.INCOMPLETE)
    assert "Invalid data format" in again["rejected"]["splunk/events/0/7"]

    compared = document(up, settings, "splunk", "reconcile")["shards"]
    events = next(one for one in compared if one["shard"] == "events/0")
    assert (events["delivered"], events["found"], events["missing"], events["rejected"]) == (49, 49, 0, 1)

    splunk.splunk.poison = ""
    done = document(up, settings, "deadletter", "retry", "--sink", "splunk")
    assert done["delivered"] == ["splunk/events/0/7"]
    assert offsets(splunk)[7] == 1
    assert document(up, settings, "deadletter", "list")["letters"] == []
    (kept,) = document(up, settings, "deadletter", "list", "--all")["letters"]
    assert kept["delivered_ms"]

    splunk.splunk.lose(
        lambda event: event.fields["affidavit_shard"] == "events/0" and event.fields["affidavit_offset"] in (3, 4, 9)
    )
    missing = document(up, settings, "splunk", "reconcile", expect=exits.INCOMPLETE)["shards"]
    assert next(one for one in missing if one["shard"] == "events/0")["missing_ranges"] == [[3, 4], [9, 9]]
    text = run(up, settings, "splunk", "reconcile")
    assert "missing: events/0 offset 3 to 4" in text.stdout
    assert "3 records are missing in Splunk" in text.stderr
    assert document(up, settings, "splunk", "reconcile", "--resend")["shards"]
    assert offsets(splunk) == dict.fromkeys(range(50), 1)

    assert document(up, settings, "splunk", "check")["problems"] == {"collector": "", "search": ""}
    wrong = settings | {"AFFIDAVIT_SPLUNK_TOKEN": "nobody", "AFFIDAVIT_SPLUNK_SEARCH_TOKEN": "nobody"}
    problems = document(up, wrong, "splunk", "check", expect=exits.UNAVAILABLE)["problems"]
    assert "Invalid token" not in problems["search"]
    assert "check splunk.token" in problems["collector"]
    assert "check splunk.search_token" in problems["search"]
    checks = {one["name"]: one for one in document(up, settings, "doctor")["checks"]}
    assert checks["sink splunk"]["state"] == "ok"
    assert "dead letters" not in checks, "the one that there was is delivered"
    wrong["AFFIDAVIT_SPLUNK_URL"] = "http://127.0.0.1:9"
    checks = {one["name"]: one for one in document(up, wrong, "doctor", expect=exits.USAGE)["checks"]}
    assert checks["sink splunk"]["state"] == "failure"
    acts = command(up.data, "query", "SELECT operation FROM events WHERE topic = 'control' ORDER BY offset", "--csv")
    assert acts.stdout.count("deadletter.retry") == 2
    assert acts.stdout.count("sink.resend") == 1


def test_killed_and_started_again_it_goes_on(tmp_path: Path, settings: dict[str, str], splunk: ServedSplunk) -> None:
    up = Up(tmp_path / "data", **settings)
    for at in range(4):
        up.start()
        send(up, [f"text {at}.{number}" for number in range(200)])
        if at % 2:
            splunk.splunk.restart()
        up.kill()
    up.start()
    try:
        wait_until(lambda: positions(up, settings)["events/0"] == 800, 90, lambda: up.log)
        assert set(offsets(splunk)) == set(range(800))
        metrics = httpx.get(up.monitor + "/metrics").text
        assert 'affidavit_sink_unsettled_records{shard="events/0",sink="splunk"} 0.0' in metrics
        assert "hec-token" not in up.log
        assert "text 1.1" not in up.log
    finally:
        assert up.stop() == 0
