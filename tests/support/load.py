"""Senders around a deployment, for as long as a context lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cluster import Cluster
from senders import Acknowledged, Senders


@dataclass
class Load:
    """What runs: the senders, and what they were told."""

    cluster: Cluster
    senders: Senders
    acknowledged: Acknowledged

    def aim(self) -> None:
        """Send to the collectors that run now."""
        self.senders.aim(*self.cluster.collectors())

    def more(self, count: int = 200, seconds: float = 60.0) -> None:
        """Return when so many further events are acknowledged.

        Raises:
            AssertionError: they are not, in that time.
        """
        goal = self.count + count
        wait_until(lambda: self.count >= goal, seconds, lambda: f"{self.count} of {goal}\n{self.cluster.logs()}")

    @property
    def count(self) -> int:
        """Events acknowledged so far."""
        with self.acknowledged.lock:
            return len(self.acknowledged.placed) + len(self.acknowledged.spooled)


@contextmanager
def load(cluster: Cluster, **options: object) -> Iterator[Load]:
    """Send from now on; stop at the end, and raise what senders met that they should not have."""
    acknowledged = Acknowledged()
    senders = Senders(cluster.tokens(), acknowledged, **options)  # type: ignore[arg-type]
    running = Load(cluster, senders, acknowledged)
    running.aim()
    try:
        yield running
    finally:
        senders.stop()


def wait_until(true: Callable[[], object], seconds: float, why: Callable[[], str] = lambda: "") -> None:
    """Look again and again.

    Raises:
        AssertionError: it is not true in that time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, why() or "not in time"
        time.sleep(0.05)
