"""What the Splunk sink is told: destination, modes, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sinks.tls import Secret, Tls

Ack = Literal["required", "none", "reconcile"]
"""When an event counts as delivered. ``required``: Splunk's indexers acknowledged it. ``none``: HEC answered 200.
``reconcile``: a search finds it in the index."""

SOURCETYPE = "affidavit:event"
CONTROL_SOURCETYPE = "affidavit:control"


@dataclass(frozen=True, slots=True)
class Route:
    """Events whose metadata has all of these values go to ``index``."""

    index: str
    match: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HecConfig:
    """The HTTP Event Collector and how it is used.

    Attributes:
        url: base URL of HEC, such as ``https://hec.example.com:8088``.
        deployment: name of the deployment: tells the records of several ledgers in one index apart.
        index: where events go that no route matches; ``""``: the token's default index.
        routes: the first that matches counts.
        host: the envelope's ``host``.
        content: whether the content goes with the metadata.
        ack_seconds: an event that is not confirmed for so long is sent again. Below the 600 s after which Splunk drops
            an idle channel.
        poll_seconds: how often acknowledgements, or the search, are asked for.
        timeout: of one request.
        max_body_bytes: of a request before compression. Splunk Cloud recommends 1 MB.
        max_event_bytes: of one envelope; content is shortened to fit, and says so.
        max_unconfirmed: records of one shard that may be under way.
        concurrency: requests at a time, over all shards.
    """

    url: str
    token: Secret
    deployment: str
    ack: Ack = "required"
    index: str = ""
    routes: Sequence[Route] = ()
    host: str = ""
    content: bool = True
    tls: Tls = field(default_factory=Tls)
    ack_seconds: float = 300.0
    poll_seconds: float = 5.0
    timeout: float = 30.0
    max_body_bytes: int = 1_000_000
    max_event_bytes: int = 500_000
    max_unconfirmed: int = 100_000
    concurrency: int = 8
