"""The demonstration's traffic, sent to a deployment; and a directory that holds it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
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
