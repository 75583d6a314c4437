"""A deployment with the demonstration's traffic, running for as long as tests ask it things; and a stopped one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from up_process import Up, command_json

from affidavit.demo import litellm, native, otlp
from affidavit.demo.deployment import Deployment, wait_for

RECORDS = 47
"""Of the demonstration's traffic."""


@dataclass(frozen=True)
class Stopped:
    """A directory whose ``up`` was stopped at ``at`` (ISO 8601)."""

    data: Path
    at: str

    def copy(self, target: Path) -> Path:
        shutil.copytree(self.data, target, symlinks=True, ignore=shutil.ignore_patterns("run"))
        return target


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running deployment, everything signed and queryable."""
    up = Up(tmp_path_factory.mktemp("live") / "data", AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS="1")
    up.start()
    send_traffic(up)
    yield up
    assert up.stop() == 0, up.log[-2000:]


@pytest.fixture(scope="package")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A deployment that was stopped. Tests copy it before they change anything."""
    up = Up(tmp_path_factory.mktemp("stopped") / "data")
    up.start()
    send_traffic(up)
    assert up.stop() == 0, up.log[-2000:]
    return Stopped(up.data, datetime.now(UTC).isoformat(timespec="seconds"))


def send_traffic(up: Up) -> None:
    """Send what the demonstration sends, and wait until it is signed, queryable and archived or lingering."""
    sender = Deployment(up.data)
    sender.collector, sender.query = up.collector, up.query
    for gateway in ("litellm", "claude-code", "otel", "native"):
        made = command_json(up.data, "token", "create", "--tenant", "acme", "--gateway", gateway)
        sender.tokens[gateway] = made["token"]
    now = time.time()
    with httpx.Client(trust_env=False) as client:
        for parcel in [*litellm.parcels(now), *otlp.parcels(now), *native.parcels(now)]:
            assert sender.send(client, parcel).status_code == 200, parcel.title

        def complete() -> bool | None:
            shard = next(one for one in sender.status().shards if one.shard.topic == "events")
            rows = sender.ask(client, "SELECT count() FROM events WHERE topic = 'events'")
            return True if rows == [[RECORDS]] and shard.signed == RECORDS else None

        wait_for("the traffic to be signed and queryable", complete)
