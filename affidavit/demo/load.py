"""A short load: how many events are acknowledged per second, and how long an acknowledgement takes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import httpx

from affidavit.demo import native
from affidavit.demo.deployment import Deployment, Unexpected


@dataclass(slots=True)
class Figures:
    """What was measured.

    Attributes:
        events: acknowledged; ``seconds`` from the first request to the last answer.
        latencies: seconds of each request, sorted.
    """

    events: int = 0
    bytes: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Events acknowledged per second."""
        return self.events / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the requests was answered."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def send_load(
    deployment: Deployment, *, seconds: float, senders: int, batch: int, rate: float | None = None, seed: int = 0
) -> Figures:
    """Post native NDJSON bodies of ``batch`` events from ``senders`` threads for some seconds.

    Args:
        rate: events per second over all senders; as many as are acknowledged without it.
        seed: other seeds send other events.
    """
    figures, lock, faults = Figures(), threading.Lock(), list[str]()
    began = time.monotonic()

    def send(number: int) -> None:
        headers = {"Authorization": f"Bearer {deployment.tokens['native']}", "Content-Type": "application/x-ndjson"}
        pause = senders * batch / rate if rate else 0.0
        due = began + pause * number / senders
        with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
            for body in native.load(seed + number, batch):
                if time.monotonic() > began + seconds:
                    return
                time.sleep(max(0.0, due - time.monotonic()))
                sent = time.perf_counter()
                answer = client.post(deployment.collector + native.PATH, content=body)
                took = time.perf_counter() - sent
                due += pause
                with lock:
                    if answer.status_code != 200:
                        faults.append(f"status {answer.status_code}: {answer.text[:200]}")
                        return
                    figures.events += batch
                    figures.bytes += len(body)
                    figures.latencies.append(took)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise Unexpected(f"the load was not acknowledged: {faults[0]}")
    figures.seconds = time.monotonic() - began
    figures.latencies.sort()
    return figures
