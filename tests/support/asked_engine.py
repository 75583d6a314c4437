"""The read-only interface over an engine of tests, asked in this process and without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import httpx
from embedded_engine import Database

from affidavit.query import QueryClient
from sinks.clickhouse.interface import Access, create_interface
from stores.control import Token


@contextmanager
def asked(database: Database) -> Iterator[QueryClient]:
    """A client that may read everything."""

    async def authenticate(_user: str, _secret: str) -> Token:
        return Token("t", b"", "*", "", ("query", "content"), 0)

    async def record(_access: Access) -> None:
        return None

    app = create_interface(database, authenticate, record)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        headers = {"Authorization": "Bearer t"}
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine", headers=headers)

        def post(sql: str, parameters: Mapping[str, str]) -> AbstractContextManager[httpx.Response]:
            return nullcontext(runner.run(client.post("/", params=dict(parameters), content=sql.encode())))

        try:
            yield QueryClient(post)
        finally:
            runner.run(client.aclose())
            runner.run(lifespan.__aexit__(None, None, None))
