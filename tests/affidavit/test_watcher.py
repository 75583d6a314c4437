"""The monitor as a process: what it remembers on disk, whom it tells, and the metrics that its alerts ask for."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from memory_objects import MemoryObjects
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr
from signed_ledger import DEPLOYMENT, EVENTS_ORIGIN, KEY, World

from affidavit.layout import Layout
from affidavit.settings import Settings, WatchSettings
from affidavit.watcher import Watcher
from schemas.errors import ConfigurationError, Unavailable
from signer.keyfile import deployment_vkey
from stores.objects import ObjectInfo

RULES = Path(__file__).resolve().parents[2] / "deploy/prometheus/affidavit-monitor.rules.yaml"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "policy").write_text(f"log {deployment_vkey(KEY, DEPLOYMENT)}\nquorum none\n")
    return Layout(tmp_path)


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A webhook, and what it was told."""
    told: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", told
    server.shutdown()
    server.server_close()


async def grown(world: World, count: int = 10) -> None:
    await world.append_opaque(count)
    await world.sign()
    await world.anchor()
    world.now += 10_000


def watcher(layout: Layout, world: World, url: str = "") -> Watcher:
    settings = Settings(watch=WatchSettings(webhook=SecretStr(url) if url else None))
    return Watcher(layout, settings, world.objects, world.clock)


async def test_what_was_seen_survives_the_process(layout: Layout) -> None:
    world = World()
    await grown(world)
    old = world.ledger.checkpoint(EVENTS_ORIGIN)
    await grown(world)
    assert watcher(layout, world).look().alerts == ()
    world.objects.put(f"ledger/{EVENTS_ORIGIN}/checkpoint", old)
    found = watcher(layout, world).look()
    assert [alert.kind for alert in found.alerts] == ["rollback"]
    assert (layout.root / "watch.json").stat().st_mode & 0o077 == 0


async def test_every_new_alert_is_told_once(layout: Layout, hook: tuple[str, list[dict[str, object]]]) -> None:
    url, told = hook
    world = World()
    await grown(world)
    running = watcher(layout, world, url)
    running.look()
    assert told == []
    key = f"ledger/{EVENTS_ORIGIN}/genesis.json"
    data = world.objects.get(key)
    world.objects.delete([key])
    for _ in range(3):
        running.look()
    assert len(told) == 1
    assert told[0]["deployment"] == DEPLOYMENT
    (alert,) = told[0]["alerts"]  # type: ignore[misc]
    assert (alert["kind"], alert["origin"]) == ("deletion", EVENTS_ORIGIN)  # type: ignore[index]
    world.objects.put(key, data)
    assert running.look().alerts == ()
    world.objects.delete([key])
    running.look()
    assert len(told) == 2, "it came back"


async def test_a_webhook_that_is_away_is_counted_and_not_shown(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    await grown(world)
    world.now += 3_600_000
    running = watcher(layout, world, "http://127.0.0.1:9/secret-path")
    assert running.look().alerts
    assert running.metrics.untold == 1
    assert "secret-path" not in caplog.text


async def test_a_ledger_out_of_reach_takes_nothing_up(layout: Layout) -> None:
    class Away(MemoryObjects):
        def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
            raise Unavailable("the store is away")

    world = World()
    await grown(world)
    watcher(layout, world).look()
    before = (layout.root / "watch.json").read_bytes()
    world.objects = Away()
    running = watcher(layout, world)
    with pytest.raises(Unavailable, match="the store is away"):
        running.look()
    assert (layout.root / "watch.json").read_bytes() == before
    assert running.metrics.failures == 1


async def test_a_directory_is_for_one_deployment(layout: Layout) -> None:
    world = World()
    await grown(world)
    watcher(layout, world).look()
    (layout.root / "policy").write_text(f"log {deployment_vkey(KEY, 'other.example')}\nquorum none\n")
    with pytest.raises(
        ConfigurationError, match=r"is what was seen of audit\.example\.com, and the policy is about other"
    ):
        watcher(layout, world)


async def test_alerts_ask_for_metrics_that_are_there(layout: Layout) -> None:
    world = World()
    await grown(world)
    running = watcher(layout, world)
    running.look()
    registry = CollectorRegistry()
    registry.register(running.metrics)
    text = generate_latest(registry).decode()
    asked = set(re.findall(r"affidavit_watch_[a-z_]+", RULES.read_text()))
    assert asked
    assert asked <= set(re.findall(r"affidavit_watch_[a-z_]+", text))
    assert 'affidavit_watch_alerts{kind="fork"} 0.0' in text
