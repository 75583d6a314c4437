"""The signer on the stores that the embedded default has: files, fsyncs and all."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bus_messages import message

from schemas.ids import CONTROL, EVENTS, Shard
from signer.anchorer import Anchorer
from signer.keyfile import FileKey, create_key, deployment_vkey
from signer.loop import Signed, Signer
from signer.policy import policy_of
from signer.status import log_statuses
from signer.trust import parse_trust
from signer.verify_event import verify_event
from signer.verify_ledger import Scope, verify_ledger
from stores.bus.sqlite import SqliteBus
from stores.control.database import ControlDatabase
from stores.objects.local import LocalObjects

DEPLOYMENT = "audit.example.com"
SHARDS = [Shard(EVENTS, 0), Shard(EVENTS, 1), Shard(CONTROL, 0)]


async def test_sign_stop_sign_on_verify(tmp_path: Path) -> None:
    bus = SqliteBus(tmp_path / "bus.db", {"events": 2, "control": 1, "deadletter": 1})
    control = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    control.migrate()
    objects = LocalObjects(tmp_path / "objects")
    key = create_key(tmp_path / "signer.key")
    try:
        for start in (0, 700):
            keys = [b"session %d" % (number % 7) for number in range(start, start + 700)]
            await bus.append([message(start + at, key) for at, key in enumerate(keys)])
            await bus.append([message(start + 5000, topic="control")])
            await sign(bus, control, objects, key)
        trust = parse_trust([deployment_vkey(key, DEPLOYMENT)])
        report = verify_ledger(objects, trust, Scope(control=control))
        assert [finding.message for log in report.logs for finding in log.findings] == []
        assert (report.exit_code, report.records) == (0, 1402)
        statuses = log_statuses(control, objects)
        assert sum(status.size for status in statuses) == 1402 + 3 + 3
        assert all(status.published == status.size for status in statuses)
        proven = verify_event(objects, policy_of(trust), SHARDS[0], 3)
        assert proven.exit_code == 0
        assert list(objects.list("staging/")) == []
    finally:
        await bus.close()
        control.close()
        objects.close()


async def sign(bus: SqliteBus, control: ControlDatabase, objects: LocalObjects, key: FileKey) -> None:
    """Sign everything that lies on the bus, then anchor once."""
    ends = {shard: (await bus.bounds(shard)).end for shard in SHARDS}
    stop = asyncio.Event()
    at: dict[Shard, int] = {}

    def told(signed: Signed) -> None:
        at[signed.shard] = signed.size - 1
        if all(at.get(shard, 0) >= end for shard, end in ends.items()):
            stop.set()

    await Signer(bus, control, objects, key, DEPLOYMENT, linger=0.0, on_signed=told).sign(SHARDS, stop)
    await Anchorer(control, objects, key, DEPLOYMENT).run(stop)
