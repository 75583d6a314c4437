"""Every route of the receiver as it is deployed, fetching and all: whatever is sent, nobody gets a 500."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys

from collector.auth import INGEST, Tokens, mint_token
from collector.fetching import FetchLimits, HttpsFetcher
from collector.formats import greetings, http_routes
from collector.http import Receiver, create_app
from collector.ingest import Ingest

BODIES = {
    "nothing": b"",
    "an object": b"{}",
    "an array": b"[{}]",
    "text": b"\xff\xfe not json",
    "a record of nobody": b'{"kind":"prompt","id":"a","url":"https://127.0.0.1/x","messages":[{"role":"user"}]}',
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    control, keys = MemoryControl(), MemoryKeys()
    minted = mint_token("acme", "g", [INGEST], now_ms=0)
    control.add_token(minted.row)
    ingest = Ingest(MemoryBus(), keys, collector_id="c-1")
    fetcher = HttpsFetcher(FetchLimits())

    async def ready() -> None:
        """Always."""

    app = create_app(Receiver(ingest, Tokens(control), ready, fetcher=fetcher), http_routes(), greetings())
    headers = {"authorization": f"Bearer {minted.text}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://collector", headers=headers
    ) as made:
        yield made
    await fetcher.close()
    ingest.close()


@pytest.mark.parametrize("name", BODIES)
async def test_no_body_is_a_bug_of_ours(client: httpx.AsyncClient, name: str) -> None:
    for route in http_routes():
        for method in route.methods:
            path = route.paths[0].replace("{webhook}", "nobody")
            for media_type in ("application/json", "application/x-protobuf", "text/plain"):
                answer = await client.request(method, path, content=BODIES[name], headers={"content-type": media_type})
                assert answer.status_code in (200, 207, 400, 401), f"{method} {path}: {answer.text}"
