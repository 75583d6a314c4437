"""Batches of lines over HTTP: newline-delimited JSON, gzip. What an answer means is decided in :func:`judge`, pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import httpx

from schemas.ids import Offset
from sinks.contract import Pause, Retry
from sinks.forwarding import Line, Sent
from sinks.tls import Secret, Tls

MEDIA_TYPE = "application/x-ndjson"
MOST_RETRY_AFTER = 300.0
_GZIP = 31

SUSPICIOUS = 10
"""So many events refused alone, and none taken: it is not the events."""

Verdict = Literal["taken", "refused", "busy", "stuck"]
"""``refused``: the events, or some of them, are at fault, or too many."""


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Where batches go.

    Attributes:
        url: takes POST of newline-delimited JSON and answers 2xx once it has it for good.
        token: sent as ``Authorization: Bearer``; empty: no such header.
        max_body_bytes: of a request before compression.
    """

    url: str
    token: Secret = field(default_factory=Secret)
    tls: Tls = field(default_factory=Tls)
    timeout: float = 30.0
    max_body_bytes: int = 1_000_000


def judge(status: int) -> Verdict:
    """What an answer means: 2xx taken; 400, 413, 422 the events; 3xx, 401, 403, 405, 410, 415 a person; all else
    later."""
    if 200 <= status < 300:
        return "taken"
    if status in (400, 413, 422):
        return "refused"
    if 300 <= status < 400 or status in (401, 403, 405, 410, 415):
        return "stuck"
    return "busy"


class HttpTransport:
    """Implements :class:`sinks.forwarding.Transport`: what is answered with 2xx is confirmed.

    A batch that is refused is halved until the refused event is alone; alone and twice, it is rejected. Where nothing
    at all is taken it is not the events that are wrong: a person must look.
    """

    def __init__(self, config: HttpConfig, connect: Callable[[HttpConfig], httpx.Client] | None = None) -> None:
        self._config = config
        self._client = (connect or _connect)(config)
        self._ticket = 0

    def send(self, lines: Sequence[Line]) -> Sent | Retry | Pause:
        """See :meth:`sinks.forwarding.Transport.send`."""
        rejected: list[tuple[Offset, str]] = []
        taken = 0
        waiting = [(batch, False) for batch in reversed(_batches(lines, self._config.max_body_bytes))]
        while waiting:
            batch, suspect = waiting.pop()
            try:
                answer = self._post(batch)
            except httpx.HTTPError as error:
                return Retry(f"{self._config.url}: {type(error).__name__}: {error}"[:300])
            where = f"{self._config.url} answers {answer.status_code}"
            match judge(answer.status_code):
                case "busy":
                    return Retry(where, _seconds(answer.headers.get("retry-after", "")))
                case "stuck":
                    return Pause(f"{where}: check the URL, and the token in ocsf.token or ocsf.token_file")
                case "refused" if len(batch) > 1:
                    middle = len(batch) // 2
                    waiting += [(batch[middle:], False), (batch[:middle], False)]
                case "refused" if not suspect:
                    waiting.append((batch, True))
                case "refused" if not taken and len(rejected) + 1 >= SUSPICIOUS:
                    return Pause(f"{where}, and refuses every event: does it take OCSF as newline-delimited JSON?")
                case "refused":
                    rejected.append((batch[0].offset, f"{where} to this event of {len(batch[0].data)} bytes alone"))
                case _:
                    taken += len(batch)
        self._ticket += 1
        return Sent(self._ticket, tuple(rejected))

    def confirmed(self) -> int:
        """See :meth:`sinks.forwarding.Transport.confirmed`."""
        return self._ticket

    def probe(self) -> str:
        """``""`` when the destination takes a batch without an event, else what is wrong."""
        try:
            answer = self._post(())
        except httpx.HTTPError as error:
            return f"{self._config.url} does not answer: {type(error).__name__}: {error}"
        wrong = judge(answer.status_code) in ("stuck", "busy")
        return f"{self._config.url} answers {answer.status_code}" if wrong else ""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _post(self, batch: Sequence[Line]) -> httpx.Response:
        headers = {"Content-Type": MEDIA_TYPE, "Content-Encoding": "gzip"}
        if token := self._config.token.get():
            headers["Authorization"] = f"Bearer {token}"
        compressor = zlib.compressobj(1, wbits=_GZIP)
        body = b"".join([line.data + b"\n" for line in batch])
        packed = compressor.compress(body) + compressor.flush()
        return self._client.post(self._config.url, content=packed, headers=headers)


def _batches(lines: Sequence[Line], max_bytes: int) -> list[list[Line]]:
    batches: list[list[Line]] = []
    size = max_bytes + 1
    for line in lines:
        size += len(line.data) + 1
        if size > max_bytes:
            batches.append([])
            size = len(line.data) + 1
        batches[-1].append(line)
    return batches


def _seconds(retry_after: str) -> float:
    plain = retry_after.strip()
    return min(MOST_RETRY_AFTER, float(plain)) if plain.isascii() and plain.isdigit() else 0.5


def _connect(config: HttpConfig) -> httpx.Client:
    return httpx.Client(verify=config.tls.context(), timeout=config.timeout, trust_env=False)
