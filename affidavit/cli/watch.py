"""``run monitor``: following a ledger as an outsider."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from affidavit.cli import exits, output

if TYPE_CHECKING:
    from affidavit.layout import Layout
    from affidavit.watcher import Watcher


def run_monitor(layout: Layout, *, once: bool, as_json: bool) -> int:
    """Watch until told to stop, or for one round."""
    from affidavit.exhibits import Exhibits
    from affidavit.settings import load
    from affidavit.watcher import Watcher
    from schemas.errors import ConfigurationError

    if not layout.policy.is_file():
        raise ConfigurationError(
            f"there is no {layout.policy}: put the policy there that you got from somebody you trust, and say in "
            f"{layout.config} where the ledger lies ([objects])"
        )
    settings = load(layout)
    with Exhibits(layout, layout.policy, settings) as exhibits:
        watcher = Watcher(layout, settings, exhibits.objects)
        if once:
            return _once(watcher, as_json=as_json)
        own = settings.watch
        asyncio.run(_serve(watcher, own.host, own.port, as_json=as_json))
    output.say("stopped; what was seen is remembered")
    return exits.DONE


def _once(watcher: Watcher, *, as_json: bool) -> int:
    from affidavit.watcher import as_dict

    found = watcher.look()
    contradicts = any(alert.kind in ("rollback", "fork", "deletion") for alert in found.alerts)
    code = exits.INTEGRITY_FAILURE if contradicts else exits.INCOMPLETE if found.alerts else exits.DONE
    if as_json:
        output.emit_json("affidavit.watch-round/1", {"exit_code": code, **as_dict(found)})
        return code
    for alert in found.alerts:
        output.emit(f"✗ {alert.step} {alert.kind}: {alert.origin}: {alert.message}")
    output.say(
        f"{found.logs:,} logs with {found.leaves:,} leaves, {found.new:,} new; {found.sampled:,} entries looked at; "
        f"{len(found.alerts):,} alerts"
    )
    return code


async def _serve(watcher: Watcher, host: str, port: int, *, as_json: bool) -> None:
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(watcher.metrics)
    server, thread = start_http_server(port, addr=host, registry=registry)
    url = f"http://{host}:{server.server_port}/metrics"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if as_json:
        output.emit_json("affidavit.monitor-up/1", {"pid": os.getpid(), "url": url})
        sys.stdout.flush()
    else:
        output.say(f"watching {watcher.policy.trust.deployment}; metrics at {url}. Ctrl-C stops.")
    try:
        await watcher.run(stop)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
