"""What a collector receives, counted around the real application: by route, reason, kind and format."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from faults import Fault, Faults, FaultyBus
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from affidavit.monitor.reception import REASONS, Reception, reason_of
from collector.auth import INGEST, Tokens, mint_token
from collector.body import BodyLimits
from collector.formats import http_routes
from collector.http import Receiver, create_app
from collector.ingest import Ingest
from collector.routes import Failed, failed
from schemas.errors import AccessDenied, InvariantError, LimitExceeded, MalformedInput, Unavailable

EVENT = {"kind": "prompt", "content": [{"type": "text", "text": "the secret plan"}]}


@dataclass(slots=True)
class Collector:
    client: httpx.AsyncClient
    reception: Reception
    headers: dict[str, str]

    async def send(self, body: bytes, path: str = "/v1/events", **headers: str) -> httpx.Response:
        return await self.client.post(path, content=body, headers=self.headers | headers)


@pytest.fixture
async def collector(request: pytest.FixtureRequest) -> AsyncIterator[Collector]:
    control, faults, reception = MemoryControl(), Faults(getattr(request, "param", None)), Reception()
    minted, other = (mint_token("acme", "g", [scope], now_ms=0) for scope in (INGEST, "query"))
    control.add_token(minted.row)
    control.add_token(other.row)
    ingest = Ingest(FaultyBus(MemoryBus(), faults), MemoryKeys(), collector_id="c-1")

    async def ready() -> None:
        """Always."""

    receiver = Receiver(ingest, Tokens(control), ready, BodyLimits(max_bytes=100_000))
    app = reception.counting(create_app(receiver, reception.counted(http_routes())))
    headers = {"authorization": f"Bearer {minted.text}", "x-other": other.text}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector") as client:
        yield Collector(client, reception, headers)
    ingest.close()


def ndjson(events: int) -> bytes:
    return b"".join(json.dumps(EVENT | {"id": str(at)}).encode() + b"\n" for at in range(events))


async def test_what_was_accepted_is_counted_once_it_is_durable(collector: Collector) -> None:
    body = ndjson(3)
    answer = await collector.send(body, **{"content-type": "application/x-ndjson"})
    assert answer.status_code == 200, answer.text
    seen = collector.reception.snapshot()
    assert seen.requests == {("/v1/events", "2xx"): 1}
    assert seen.received_bytes == len(body)
    assert sum(seen.accepted.values()) == 3
    assert {source for _, source in seen.accepted} == {"native"}
    assert sum(seen.acknowledgement["/v1/events"].counts) == 1
    assert not any(seen.refused.values())


async def test_bytes_are_those_on_the_wire(collector: Collector) -> None:
    body = gzip.compress(ndjson(50))
    await collector.send(body, **{"content-type": "application/x-ndjson", "content-encoding": "gzip"})
    assert collector.reception.snapshot().received_bytes == len(body)


async def test_what_is_not_understood_is_accepted_as_unparsed(collector: Collector) -> None:
    await collector.send(b"no json", "/v1/litellm")
    assert collector.reception.snapshot().accepted == {("unparsed", "litellm"): 1}


@pytest.mark.parametrize("collector", [{1: Fault.LOST}], indirect=True)
async def test_each_refusal_has_its_reason_and_no_acknowledgement(collector: Collector) -> None:
    native = {"content-type": "application/x-ndjson"}
    await collector.send(ndjson(1), **native)
    await collector.send(ndjson(1), authorization="Bearer nobody", **native)
    await collector.send(ndjson(1), authorization=f"Bearer {collector.headers['x-other']}", **native)
    await collector.send(b"x" * 200_000, **native)
    await collector.send(ndjson(1), **native, **{"content-encoding": "gzip"})
    await collector.send(ndjson(1), **native, **{"content-encoding": "rot13"})
    seen = collector.reception.snapshot()
    assert seen.refused == dict.fromkeys(REASONS, 1) | {"bug": 0}
    assert seen.requests == {("/v1/events", "4xx"): 5, ("/v1/events", "5xx"): 1}
    assert not sum(seen.acknowledgement["/v1/events"].counts)


async def test_paths_of_strangers_do_not_become_labels(collector: Collector) -> None:
    for path in ("/wp-login.php", "/v1/events/../../etc/passwd", "/readyz", "/v1/eventsx"):
        await collector.client.get(path)
    assert {route for route, _ in collector.reception.snapshot().requests} == {"other"}


async def test_nothing_that_was_sent_is_in_the_counts(collector: Collector) -> None:
    await collector.send(ndjson(2), **{"content-type": "application/x-ndjson"})
    await collector.send(b"the secret plan", "/v1/litellm")
    assert "secret" not in repr(collector.reception.snapshot())
    assert "acme" not in repr(collector.reception.snapshot())


async def test_a_request_that_is_cut_off_before_its_answer_is_counted() -> None:
    reception, entered = Reception(), asyncio.Event()

    async def hangs(scope: object, receive: object, send: object) -> None:
        entered.set()
        await asyncio.Event().wait()

    app = reception.counting(hangs)
    task = asyncio.create_task(app({"type": "http", "path": "/x"}, None, None))  # type: ignore[arg-type]
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError, match=r"^$"):
        await task
    assert reception.snapshot().requests == {("other", "none"): 1}


async def test_the_time_ends_with_the_head_of_the_answer() -> None:
    now = [0.0]
    reception = Reception(lambda: now[0])
    route = http_routes()[0]
    reception.counted([route])

    async def app(scope: object, receive: object, send: object) -> None:
        now[0] += 0.02
        await send({"type": "http.response.start", "status": 200})  # type: ignore[operator]
        now[0] += 5
        await send({"type": "http.response.body"})  # type: ignore[operator]

    async def send(message: object) -> None:
        """To nobody."""

    await reception.counting(app)({"type": "http", "path": route.paths[0]}, None, send)  # type: ignore[arg-type]
    spread = reception.snapshot().acknowledgement[route.paths[0]]
    assert spread.total == pytest.approx(0.02)
    assert dict(spread.cumulative())["0.025"] == 1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (failed(AccessDenied("x")), "access"),
        (Failed(AccessDenied("x"), 403), "scope"),
        (failed(LimitExceeded("x")), "too_large"),
        (failed(MalformedInput("x")), "malformed"),
        (Failed(MalformedInput("x"), 415), "encoding"),
        (failed(Unavailable("x")), "unavailable"),
        (failed(InvariantError("x")), "bug"),
    ],
)
def test_reasons(failure: Failed, reason: str) -> None:
    assert reason_of(failure) == reason
