"""One reading of a process in which every part runs, made by hand."""

from __future__ import annotations

from affidavit.monitor.histogram import Distribution
from affidavit.monitor.readings import CollectorReading, Reading, RoleReading, SpoolReading
from affidavit.monitor.reception import ReceptionSnapshot
from affidavit.monitor.signing import ShardBatches
from collector.files.tail import TailSnapshot
from collector.poll.runner import FeedStatus
from collector.proxy.app import ProxySnapshot
from collector.proxy.recorder import RecorderSnapshot
from schemas.ids import Offset, Shard
from signer.state import AnchorState, OutsideState, ShardState, SignerState
from sinks.snapshot import ShardSnapshot, Snapshot
from stores.bus.spool import SpoolLimits, SpoolSnapshot

NOW = 1_800_000_000.0
EVENTS_0, EVENTS_1, CONTROL_0 = Shard("events", 0), Shard("events", 1), Shard("control", 0)

SIGNER = SignerState(
    (
        ShardState(CONTROL_0, "signing", "audit.example.com/control/0/2026q4", size=4, next_offset=3, bus_end=3),
        ShardState(
            EVENTS_0,
            "halted",
            "audit.example.com/events/0/2026q4",
            size=101,
            next_offset=100,
            bus_end=140,
            unsigned_age_seconds=12.5,
            last_batch=40,
            batches=3,
            records=100,
            steps_back=2,
            swap_losses=1,
            last_error="LedgerContradiction",
            last_message="H7 the bus ends at offset 90",
        ),
    ),
    AnchorState(
        True,
        "signing",
        "audit.example.com/anchor/0/2026q4",
        9,
        2,
        4,
        int(NOW * 1000) - 4000,
        4.0,
        outside=(
            OutsideState("tsa", "digicert", 60.0, 3, 8, int(NOW * 1000) - 30_000),
            OutsideState("witness", "auditor", 10.0, 0, 0, 0, 5, 1, 6, "Unavailable", "away"),
        ),
    ),
)

CLICKHOUSE = Snapshot(
    "clickhouse",
    (
        ShardSnapshot(
            EVENTS_0,
            "paused",
            Offset(90),
            Offset(140),
            delivered=88,
            rejected=2,
            retries=5,
            paused_since=NOW - 30,
            last_error="Pause",
            last_reason="the table is missing",
            batches=4,
            bytes=126_000,
            last_records=20,
            last_bytes=28_000,
            deliver_seconds=1.75,
        ),
    ),
    (ShardSnapshot(EVENTS_1, "stopped", Offset(10), Offset(10), delivered=10, owned=False, batches=1),),
)

SPOOL = SpoolReading(
    SpoolSnapshot(7, 9_800, int(NOW * 1000) - 61_500, True, "down", "Unavailable", 12, 5, 1),
    SpoolLimits(10_000, 3600.0),
)

COLLECTOR = CollectorReading(
    ReceptionSnapshot(
        {("/v1/events", "2xx"): 40, ("/v1/events", "5xx"): 1, ("other", "4xx"): 2},
        56_000,
        {("prompt", "native"): 60, ("response", "native"): 60},
        {"access": 0, "unavailable": 1},
        {"/v1/events": Distribution((0.01, 0.1), (30, 9, 1), 0.875)},
    ),
    in_flight=1_400,
    limit=1_000_000,
    spooled=62_000_000,
)

FEEDS = (
    FeedStatus("bedrock-eu", "acme", "bedrock", "waiting", "", 12, 340, {}, 1, 1, 61.5),
    FeedStatus("openai", "acme", "openai", "refused", "the key is unknown", 0, 0, {"AccessDenied": 2}),
)

BATCHES = (ShardBatches(EVENTS_0, Distribution((1.0, 100.0), (1, 2, 0), 100.0), Distribution((0.01,), (2, 1), 0.0625)),)


def roles(**phases: str) -> tuple[RoleReading, ...]:
    """The four roles, running but for what is said."""
    names = ("collector", "signer", "archive", "clickhouse")
    return tuple(RoleReading(name, phases.get(name, "running"), 0.25) for name in names)  # type: ignore[arg-type]


FULL = Reading(
    "1.2.3",
    roles(archive="starting"),
    collector=COLLECTOR,
    spool=SPOOL,
    files={"gateway": TailSnapshot(2, 4_096, 900, 1_260_000, 1, 0, 0, "")},
    feeds=FEEDS,
    proxy=ProxySnapshot(RecorderSnapshot(recorded=41, early=3, lost=1, open=2, waiting=4), 1_400, 64_000_000),
    bus_errors={("append", "Unavailable"): 3},
    signer=SIGNER,
    batches=BATCHES,
    sinks={"clickhouse": CLICKHOUSE},
    failed={"spool": 1},
)
