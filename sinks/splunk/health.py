"""Whether the HTTP Event Collector can be reached and knows our token. Sends no event."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from sinks.splunk.channel import HEALTH_PATH
from sinks.splunk.config import HecConfig
from sinks.splunk.verdict import Taken, judge


def connect(config: HecConfig) -> httpx.Client:
    """A client of one connection, with its own cookies."""
    return httpx.Client(verify=config.tls.context(), timeout=config.timeout, trust_env=False)


def ask_health(config: HecConfig, client: Callable[[HecConfig], httpx.Client] = connect) -> str:
    """``""`` when the collector is healthy and takes our token, else what is wrong, with the remedy."""
    with client(config) as opened:
        try:
            answer = opened.get(config.url + HEALTH_PATH, headers={"Authorization": f"Splunk {config.token.get()}"})
        except httpx.HTTPError as error:
            return f"{config.url} does not answer: {type(error).__name__}: {error}"
    verdict = judge(answer.status_code, answer.content)
    return "" if isinstance(verdict, Taken) else getattr(verdict, "reason", f"HTTP {answer.status_code}")
