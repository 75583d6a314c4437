"""``kill -9`` of ``up`` under load, at random points: what was acknowledged is everywhere, once."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from up_process import Up, command, command_json

from affidavit.exhibits import Exhibits
from affidavit.layout import Layout
from affidavit.settings import load
from affidavit.status import read_status
from affidavit.wiring import Wiring
from schemas.ids import Offset, Shard, format_event_id, parse_shard

EAGER = {
    "AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS": "0.3",
    "AFFIDAVIT_CLICKHOUSE_LINGER_SECONDS": "0.1",
    "AFFIDAVIT_SIGNER_LINGER_SECONDS": "0.05",
    "AFFIDAVIT_SIGNER_ANCHOR_SECONDS": "0.5",
}
"""Everything writes all the time, so that a kill hits something."""

SENDERS = 4


@dataclass
class Acknowledged:
    """What senders were told is durable: native events by address, LiteLLM sessions by number of events."""

    events: dict[tuple[Shard, int], str] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def native(self, answer: dict[str, Any]) -> None:
        with self.lock:
            for item in answer["items"]:
                place = item["position"]
                self.events[(parse_shard(place["shard"]), place["offset"])] = item["event_id"]

    def litellm(self, session: str, answer: dict[str, Any]) -> None:
        with self.lock:
            self.sessions[session] = answer["events"]


class Senders:
    """Threads that send without end, and send again what was not acknowledged, as gateways do."""

    def __init__(self, tokens: dict[str, str], acknowledged: Acknowledged) -> None:
        self._tokens, self._acknowledged = tokens, acknowledged
        self._stop = threading.Event()
        self._url = ""
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]

    def aim(self, url: str) -> None:
        self._url = url
        for thread in self._threads:
            if not thread.ident:
                thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def _send(self, number: int) -> None:
        with httpx.Client(trust_env=False, timeout=5) as client:
            turn = 0
            while not self._stop.is_set():
                turn += 1
                post = self._litellm if number % 2 else self._native
                while not self._stop.is_set() and not post(client, number, turn):
                    self._stop.wait(0.02)  # the collector is away

    def _native(self, client: httpx.Client, number: int, turn: int) -> bool:
        events = [
            {
                "kind": "prompt",
                "id": f"n-{number}-{turn}-{at}",
                "session_id": f"s-{number}-{turn % 7}",
                "content": "x" * 200,
            }
            for at in range(1 + turn % 20)
        ]
        body = "\n".join(json.dumps(event) for event in events)
        answer = self._post(client, "/v1/events", "native", body)
        if answer is not None:
            self._acknowledged.native(answer)
        return answer is not None

    def _litellm(self, client: httpx.Client, number: int, turn: int) -> bool:
        session = f"litellm-{number}-{turn}"
        record = {
            "id": f"chatcmpl-{number}-{turn}",
            "litellm_call_id": f"call-{number}-{turn}",
            "session_id": session,
            "call_type": "acompletion",
            "status": "success",
            "startTime": 1_795_000_000.0 + turn,
            "endTime": 1_795_000_001.0 + turn,
            "model": "gpt-5",
            "messages": [{"role": "user", "content": f"question {turn} " + "y" * (turn * 97 % 3000)}],
            "response": {"choices": [{"message": {"role": "assistant", "content": f"answer {turn}"}}]},
        }
        answer = self._post(client, "/v1/litellm", "litellm", json.dumps([record]))
        if answer is not None:
            self._acknowledged.litellm(session, answer)
        return answer is not None

    def _post(self, client: httpx.Client, path: str, gateway: str, body: str) -> dict[str, Any] | None:
        try:
            answer = client.post(
                self._url + path, content=body, headers={"Authorization": f"Bearer {self._tokens[gateway]}"}
            )
        except httpx.HTTPError:
            return None
        assert answer.status_code in (200, 503), answer.text
        document: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return document


def kill_and_verify(tmp_path: Path, rounds: int, seed: int) -> None:
    """Kill ``rounds`` times, then verify everything."""
    dice = random.Random(seed)
    up = Up(tmp_path / "data", **EAGER)
    acknowledged = Acknowledged()
    up.start()
    tokens = {
        gateway: command_json(up.data, "token", "create", "--tenant", "acme", "--gateway", gateway)["token"]
        for gateway in ("native", "litellm")
    }
    senders = Senders(tokens, acknowledged)
    try:
        for _ in range(rounds):
            senders.aim(up.collector)
            time.sleep(dice.uniform(0.05, 2.0))  # the random point: no condition is waited for
            assert up.ended() is None, up.log[-4000:]
            up.kill()
            up.start()
        senders.aim(up.collector)
    finally:
        senders.stop()
        code = up.stop()
    assert code == 0, up.log[-4000:]
    assert len(acknowledged.events) > 20 * rounds
    assert len(acknowledged.sessions) > 2 * rounds
    verify_commands(up.data)
    compare(up.data, acknowledged)


def verify_commands(data: Path) -> None:
    """Every verifying command must find nothing."""
    now = datetime.now(UTC).isoformat()
    for arguments in (
        ("log", "--as-of", now),
        *(("records", "--source", source, "--as-of", now) for source in ("archive", "clickhouse", "bus")),
        ("sql",),
    ):
        ran = command(data, "verify", *arguments)
        assert ran.returncode == 0, f"verify {arguments}: {ran.stdout}{ran.stderr}"


def compare(data: Path, acknowledged: Acknowledged) -> None:
    """Every acknowledged event is where the sender was told, in every destination, and each offset once."""
    for source in ("archive", "clickhouse", "bus"):
        with Exhibits(Layout(data), None) as exhibits:
            assert exhibits.wiring is not None
            evidence = exhibits.source(exhibits.wiring, source)  # type: ignore[arg-type]
            shard = Shard("events", 0)
            end = evidence.end(shard)
            held = [(one.offset, format_event_id(one.event_id)) for one in evidence.scan(shard, Offset(0), end)]
        assert [offset for offset, _ in held] == list(range(end)), source
        by_offset = dict(held)
        lost = {place: event for place, event in acknowledged.events.items() if by_offset.get(place[1]) != event}
        assert not lost, f"{source}: {len(lost)} acknowledged events are not where the sender was told"
    sessions = command_json(
        data, "query", "SELECT session_id, uniqExact(event_id) AS n FROM events WHERE gateway = 'litellm' GROUP BY 1"
    )
    found = {row["session_id"]: row["n"] for row in sessions["rows"]}
    short = {name: (found.get(name), n) for name, n in acknowledged.sessions.items() if found.get(name) != n}
    assert not short, f"sessions with another number of events than acknowledged: {short}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_and_verify(tmp_path, rounds=10, seed=20261124)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_kill_9_under_load_hundreds_of_times(tmp_path: Path, seed: int) -> None:
    kill_and_verify(tmp_path, rounds=60, seed=seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_up_is_refused_and_a_stop_is_clean(tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    up.start()
    try:
        second = command(up.data, "up")
        assert second.returncode == 3
        assert f"process {up.pid} (affidavit up) already runs" in second.stderr
        with httpx.Client(trust_env=False) as client:
            assert client.get(up.collector + "/readyz").status_code == 200
    finally:
        code = up.stop()
    assert code == 0
    assert "everything that was acknowledged is durable" in up.log
    assert ends_of_control(up.data) == [2, 2, 2], "start and stop are on the log, signed and delivered"


def ends_of_control(data: Path) -> list[int | None]:
    """How far signer and sinks are with the control shard."""
    layout = Layout(data)
    with Wiring(layout, load(layout, {})) as wiring:
        status = asyncio.run(read_status(wiring))
    control = next(shard for shard in status.shards if shard.shard.topic == "control")
    return [control.signed, *(sink.position for sink in control.sinks)]
