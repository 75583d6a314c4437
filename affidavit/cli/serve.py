"""``up`` and ``run``: the processes that stay."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from affidavit.cli import exits, options, output
from affidavit.forwarders import FORWARDERS

if TYPE_CHECKING:
    from affidavit.layout import Layout
    from affidavit.lock import Held
    from affidavit.settings import Settings
    from affidavit.supervisor import Ended

T = TypeVar("T")

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done, not only what goes wrong.")]


SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter while others wait. Python's default of 5 ms is paid at every hand-over
between the event loop, the bus's writer and the sinks; an acknowledgement has several."""


class RoleName(StrEnum):
    """The roles that ``run`` takes."""

    collector = "collector"
    poller = "poller"
    proxy = "proxy"
    signer = "signer"
    sink = "sink"
    witness = "witness"
    monitor = "monitor"


SinkName = StrEnum("SinkName", [(name, name) for name in ("archive", "clickhouse", *FORWARDERS)])  # type: ignore[misc]
"""The sinks that ``run sink`` takes."""


def up(
    data: options.Data = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="DEPLOYMENT", help="Name for a directory that is made now.")
    ] = None,
    verbose: Verbose = False,
    as_json: options.Json = False,
) -> int:
    """Run everything in this process: collector, signer, ClickHouse with its HTTP interface, archive, and the sinks
    into other systems that are set.

    Makes the data directory on first use. SIGTERM and Ctrl-C finish what was begun; killing it at any moment loses
    nothing that was acknowledged. A part that fails stops the whole process, and the message says why.

    Ports and limits are in affidavit.toml, or in the environment: AFFIDAVIT_COLLECTOR_PORT, AFFIDAVIT_QUERY_PORT. With
    --json, one document with the addresses is printed when everything is ready.

    Example:

    \b
      affidavit up --data /srv/affidavit --name audit.example.com
    """
    from affidavit import deployment
    from affidavit.lock import wanted_roles
    from affidavit.settings import data_directory, load

    layout = data_directory(data)
    settings = load(layout)
    wanted = deployment.configured_name(layout, name, None, settings.deployment)
    for line in deployment.initialise(layout, wanted, settings):
        output.say(f"made {line}")
    settings = load(layout)
    return _serve(layout, settings, wanted_roles(settings), "up", verbose=verbose, as_json=as_json)


def run(
    role: Annotated[RoleName, typer.Argument(help="What to run.", show_default=False)],
    sink: Annotated[SinkName | None, typer.Argument(help="Which sink, for the role sink.", show_default=False)] = None,
    once: Annotated[bool, typer.Option("--once", help="With monitor: one round, and its exit code.")] = False,
    data: options.Data = None,
    verbose: Verbose = False,
    as_json: options.Json = False,
) -> int:
    """Run one role in a process of its own, beside processes that run the other roles.

    Over Kafka, PostgreSQL and servers for ClickHouse and objects each role may run any number of times, on any number
    of machines: signers and sinks share the shards among themselves, and take over from one that is gone. Over the
    embedded stores each role runs once. Over the embedded engine the clickhouse sink serves the HTTP interface too,
    because the engine admits one process.

    A witness runs over a directory of its own, which affidavit witness init makes, on a machine of whoever is to
    believe it. So does a monitor, which follows a ledger as an outsider: its directory holds the policy and, in
    affidavit.toml, where the ledger lies. With --once it looks once: 0 all is well, 1 rollback, fork or deletion, 2
    silence, nobody vouches, or late records.

    Example:

    \b
      affidavit run collector --data /srv/affidavit
      affidavit run sink clickhouse --data /srv/affidavit
      affidavit run witness --data /srv/witness
      affidavit run monitor --data /srv/monitor --once
    """
    from affidavit.deployment import require_initialised
    from affidavit.settings import data_directory, load

    if (role is RoleName.sink) != (sink is not None):
        raise typer.BadParameter("name a sink after the role sink, and after no other: run sink clickhouse")
    if role is RoleName.witness:
        from affidavit.cli.witness import run_witness

        _log(verbose)
        return run_witness(data_directory(data), as_json=as_json)
    if role is RoleName.monitor:
        from affidavit.cli.watch import run_monitor

        _log(verbose)
        return run_monitor(data_directory(data), once=once, as_json=as_json)
    if once:
        raise typer.BadParameter("--once is for the role monitor alone")
    layout = require_initialised(data_directory(data))
    command = f"run {role.value}" if sink is None else f"run sink {sink.value}"
    return _serve(layout, load(layout), [(sink or role).value], command, verbose=verbose, as_json=as_json)


def _serve(
    layout: Layout, settings: Settings, names: Sequence[str], command: str, *, verbose: bool, as_json: bool
) -> int:
    from affidavit import version
    from affidavit.acts import process_started, process_stopped
    from affidavit.lock import hold
    from affidavit.monitor.listener import monitored
    from affidavit.monitor.process import Monitor
    from affidavit.roles import make_roles, must_be_alone
    from affidavit.supervisor import Supervisor
    from affidavit.wiring import Wiring
    from schemas.errors import AffidavitError

    _log(verbose)
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # kill -USR1: where every thread is, on stderr
    sys.setswitchinterval(SWITCH_SECONDS)
    alone = must_be_alone(settings, names)
    with (
        hold(layout, names, command, alone=alone) as held,
        _patiently(settings, "the control database", lambda: Wiring(layout, settings, held.instance, names)) as wiring,
    ):
        monitor = Monitor(names, version=version())
        wiring.watch_bus = monitor.watch_bus
        _patiently(settings, "the object store", wiring.check_objects)
        _patiently(settings, "the bus", lambda: wiring.audit().record_blocking(process_started(names, command)))
        with monitored(monitor, settings) as url:

            def ready(urls: dict[str, str]) -> None:
                gc.collect()
                gc.freeze()  # what start-up made stays; a full collection would walk it, with every thread waiting
                _announce(held, layout, settings, urls, wiring.listening, url, as_json=as_json)

            def stopping(reason: str) -> None:
                try:
                    wiring.audit().record_blocking(process_stopped(names, reason))
                except AffidavitError as error:
                    output.say(f"the stop could not be put on the log: {error}")

            supervisor = Supervisor(make_roles(wiring, names, monitor), output.say, ready, stopping)
            failures = supervisor.run()
        if supervisor.left_behind or wiring.left_behind:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(_code(failures))  # threads are inside the engine; closing it under them would be a crash
    if not failures:
        output.say("stopped; everything that was acknowledged is durable")
    return _code(failures)


def _patiently(settings: Settings, what: str, work: Callable[[], T]) -> T:
    """Do what needs a server, however long it takes to come up. A store of this machine that is away is an error."""
    from schemas.errors import Unavailable

    told = False
    while True:
        try:
            return work()
        except Unavailable as error:
            if not settings.bus.kafka:
                raise
            if not told:
                output.say(f"waiting for {what}: {error}")
                told = True
            time.sleep(max(error.retry_after, 0.5))


def _code(failures: Sequence[Ended]) -> int:
    from schemas.errors import AffidavitError

    if not failures:
        return exits.DONE
    error = failures[0].error
    return exits.exit_code(error) if isinstance(error, AffidavitError) else exits.BUG


def _announce(
    held: Held,
    layout: Layout,
    settings: Settings,
    urls: dict[str, str],
    beside: dict[str, str],
    monitor: str,
    *,
    as_json: bool,
) -> None:
    for role, where in urls.items():
        held.announce(role, where)
    urls = urls | beside
    if monitor:
        urls = urls | {"monitor": monitor}
    if as_json:
        output.emit_json(
            "affidavit.up/1",
            {"pid": os.getpid(), "data": layout.root, "deployment": settings.deployment.name, "urls": urls},
        )
        sys.stdout.flush()
        return
    lines = [f"affidavit is up: {settings.deployment.name}, data in {layout.root}, process {os.getpid()}"]
    if url := urls.get("collector", ""):
        lines += [
            f"  native API     POST {url}/v1/events      (documentation: {url}/docs)",
            f"  LiteLLM        POST {url}/v1/litellm",
            f"  OpenTelemetry  POST {url}/v1/logs, /v1/traces",
        ]
    if url := urls.get("grpc", ""):
        lines.append(f"  OpenTelemetry  {url} over gRPC")
    if url := urls.get("proxy", ""):
        lines.append(f"  Proxy          {url}/anthropic, /openai, or as [upstreams] says")
    if url := urls.get("clickhouse", ""):
        lines.append(f"  ClickHouse     {url}  (HTTP interface, read-only)")
    if monitor:
        lines.append(f"  Prometheus     {monitor}/metrics, /livez, /readyz")
    lines.append(
        "  Senders need a token: affidavit token create. How to set one up: affidavit gateways list. Ctrl-C stops."
    )
    output.say("\n".join(lines))


def _log(verbose: bool) -> None:
    import logging

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for ours in ("affidavit", "collector", "signer", "sinks", "stores"):
        logging.getLogger(ours).setLevel(logging.INFO if verbose else logging.WARNING)
