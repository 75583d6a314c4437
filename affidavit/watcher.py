"""The monitor as a process: round after round, its state on disk, alerts on standard error, by webhook, as metrics."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from affidavit.deployment import write_private
from affidavit.exhibits import read_policy
from affidavit.layout import Layout
from affidavit.settings import Settings
from schemas.errors import ConfigurationError, InputError, ServerError
from signer.clock import wall_clock
from signer.policy import Policy
from signer.watching import KINDS, Alert, Bounds, Round, WatchState, format_state, parse_state, watch
from stores.objects import Objects

log = logging.getLogger(__name__)

STATE = "watch.json"
WEBHOOK_SECONDS = 10.0


class Watcher:
    """One monitor over one ledger.

    Args:
        layout: the monitor's own directory: ``affidavit.toml`` says where the ledger lies, ``policy`` whom to believe.
        settings: of it.
        objects: the ledger.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self, layout: Layout, settings: Settings, objects: Objects, clock: Callable[[], int] = wall_clock
    ) -> None:
        self._path, self._objects, self._clock = layout.root / STATE, objects, clock
        own = settings.watch
        self._bounds = Bounds(int(own.silence_seconds * 1000), int(own.late_seconds * 1000))
        self._webhook = own.webhook
        self._interval = own.interval_seconds
        self.policy: Policy = read_policy(layout.policy)
        self._state = _load(self._path, self.policy.trust.deployment)
        self._standing: set[Alert] = set()
        self.metrics = WatchMetrics()

    def look(self) -> Round:
        """One round; what agrees is on disk when it returns.

        Raises:
            ServerError: the ledger cannot be reached: nothing was taken up.
        """
        try:
            found = watch(self._objects, self.policy, self._state, self._clock(), self._bounds)
        except (ServerError, InputError):
            self.metrics.failures += 1
            self._state = _load(self._path, self.policy.trust.deployment)
            raise
        # If we die here: the next round finds the same again.
        write_private(self._path, format_state(self._state).decode())
        self.metrics.saw(found, self._clock())
        fresh = [alert for alert in found.alerts if alert not in self._standing]
        self._standing = set(found.alerts)
        for alert in fresh:
            log.critical("%s %s: %s: %s", alert.step, alert.kind, alert.origin, alert.message)
        if fresh and self._webhook is not None:
            self._tell(fresh, self._webhook.get_secret_value())
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Look every so often until ``stop`` is set."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.look)
            except (ServerError, InputError) as error:
                log.error("the ledger cannot be read: %s", error)
            try:
                async with asyncio.timeout(self._interval):
                    await stop.wait()
            except TimeoutError:
                continue

    def _tell(self, alerts: list[Alert], url: str) -> None:
        body = {"schema": "affidavit.alerts/1", "deployment": self.policy.trust.deployment}
        try:
            answer = httpx.post(url, json=body | {"alerts": [one._asdict() for one in alerts]}, timeout=WEBHOOK_SECONDS)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            self.metrics.untold += 1
            log.error("the webhook did not take %d alerts: %s", len(alerts), type(error).__name__)


@dataclass(eq=False)
class WatchMetrics(Collector):
    """What the monitor has found, as Prometheus reads it."""

    last: Round | None = None
    at_ms: int = 0
    rounds: int = 0
    failures: int = 0
    untold: int = 0
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def saw(self, found: Round, now_ms: int) -> None:
        """Take up a round."""
        self.last, self.at_ms = found, now_ms
        self.rounds += 1
        for kind in KINDS:
            self._counts[kind] = sum(alert.kind == kind for alert in found.alerts)

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        alerts = GaugeMetricFamily("affidavit_watch_alerts", "Alerts that stand now", labels=["kind"])
        for kind, count in self._counts.items():
            alerts.add_metric([kind], count)
        yield alerts
        yield CounterMetricFamily("affidavit_watch_rounds", "Rounds that were finished", self.rounds)
        yield CounterMetricFamily(
            "affidavit_watch_failures", "Rounds in which the ledger could not be read", self.failures
        )
        yield CounterMetricFamily("affidavit_watch_untold", "Times that the webhook took no alerts", self.untold)
        last = self.last
        if last is None:
            return
        yield GaugeMetricFamily(
            "affidavit_watch_round_time_seconds", "When the last round was finished", self.at_ms / 1000
        )
        yield GaugeMetricFamily("affidavit_watch_leaves", "Leaves in all logs", last.leaves)
        yield GaugeMetricFamily("affidavit_watch_logs", "Logs that are here", last.logs)
        if last.set_age_ms >= 0:
            age = last.set_age_ms / 1000
            yield GaugeMetricFamily("affidavit_watch_set_age_seconds", "Age of the newest checkpoint set", age)
        if last.vouched_age_ms >= 0:
            age = last.vouched_age_ms / 1000
            yield GaugeMetricFamily(
                "affidavit_watch_vouched_age_seconds", "Time since the policy's demands were met", age
            )


def _load(path: Path, deployment: str) -> WatchState:
    try:
        state = parse_state(path.read_bytes())
    except FileNotFoundError:
        return WatchState(deployment)
    if state.deployment != deployment:
        raise ConfigurationError(
            f"{path} is what was seen of {state.deployment}, and the policy is about {deployment}: take a directory "
            "for each"
        )
    return state


def as_dict(found: Round) -> dict[str, object]:
    """A round as JSON types."""
    fields: dict[str, object] = json.loads(json.dumps({name: getattr(found, name) for name in found.__slots__}))
    return fields | {"alerts": [alert._asdict() for alert in found.alerts]}
