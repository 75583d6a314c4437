"""``kill -9`` of ``up`` under load, at random points: what was acknowledged is everywhere, once."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from senders import Acknowledged, Senders
from up_process import Up, command, command_json

from affidavit.exhibits import Exhibits
from affidavit.layout import Layout
from affidavit.settings import load
from affidavit.status import read_status
from affidavit.wiring import Wiring
from schemas.ids import Offset, Shard, format_event_id

EAGER = {
    "AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS": "0.3",
    "AFFIDAVIT_CLICKHOUSE_LINGER_SECONDS": "0.1",
    "AFFIDAVIT_SIGNER_LINGER_SECONDS": "0.05",
    "AFFIDAVIT_SIGNER_ANCHOR_SECONDS": "0.5",
}
"""Everything writes all the time, so that a kill hits something."""


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
    assert len(acknowledged.placed) > 20 * rounds
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
            evidence = exhibits.source(source)  # type: ignore[arg-type]
            shard = Shard("events", 0)
            end = evidence.end(shard)
            held = [(one.offset, format_event_id(one.event_id)) for one in evidence.scan(shard, Offset(0), end)]
        assert [offset for offset, _ in held] == list(range(end)), source
        by_offset = dict(held)
        lost = {place: event for place, event in acknowledged.placed.items() if by_offset.get(place[1]) != event}
        assert not lost, f"{source}: {len(lost)} acknowledged events are not where the sender was told"
    sessions = command_json(
        data, "query", "SELECT session_id, uniqExact(event_id) AS n FROM events WHERE gateway = 'litellm' GROUP BY 1"
    )
    found = {row["session_id"]: row["n"] for row in sessions["rows"]}
    short = {name: (found.get(name), n) for name, n in acknowledged.sessions.items() if found.get(name) != n}
    assert not short, f"sessions with another number of events than acknowledged: {short}"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill_and_verify(tmp_path, rounds=10, seed=20261124)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_kill_9_under_load_hundreds_of_times(tmp_path: Path, seed: int) -> None:
    kill_and_verify(tmp_path, rounds=60, seed=seed)


@pytest.mark.slow
@pytest.mark.alone
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
    told = "start, two logs opened, a heartbeat at the start and at the end, and stop are on the log and delivered"
    assert ends_of_control(up.data) == [6, 6, 6], told


def ends_of_control(data: Path) -> list[int | None]:
    """How far signer and sinks are with the control shard."""
    layout = Layout(data)
    with Wiring(layout, load(layout, {})) as wiring:
        status = asyncio.run(read_status(wiring))
    control = next(shard for shard in status.shards if shard.shard.topic == "control")
    return [control.signed, *(sink.position for sink in control.sinks)]
