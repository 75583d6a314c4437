"""Finding an engine to ask: the interface of a running process, else the embedded engine opened here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import httpx

from affidavit.layout import Layout
from affidavit.lock import CLICKHOUSE, hold, running
from affidavit.query import QueryClient, Transport, over_http
from affidavit.settings import Settings, client_token, load
from schemas.errors import ConfigurationError, Unavailable


@contextmanager
def query_client(layout: Layout, url: str | None = None, *, audited: bool = True) -> Iterator[QueryClient]:
    """A client of whatever engine there is.

    Args:
        url: an interface to ask instead of looking for one.
        audited: whether reads of content go on the log when the engine is opened here; a verifier of a stopped
            directory, or of a copy, must not change it.

    Raises:
        ConfigurationError: there is no data directory, or no token.
        Unavailable: the engine is starting.
    """
    settings = load(layout)
    if url is None and settings.clickhouse.url:
        yield QueryClient(over_http(server_url(settings), auth=server_auth(settings)))
        return
    bearer = reader_token(layout)
    if url is not None:
        yield QueryClient(over_http(url, bearer))
        return
    other = running(layout, CLICKHOUSE)
    if other is not None:
        if not other.url:
            raise Unavailable(f"process {other.pid} (affidavit {other.command}) is still starting: try again")
        yield QueryClient(over_http(other.url, bearer))
        return
    with _in_process(layout, bearer, audited) as post:
        yield QueryClient(post)


@contextmanager
def _in_process(layout: Layout, bearer: str, audited: bool) -> Iterator[Transport]:
    """The same interface, in this process and without a socket; nobody else may open the engine meanwhile."""
    from affidavit.wiring import Wiring

    if not layout.clickhouse.is_dir():
        raise ConfigurationError(f"there is no {layout.clickhouse} yet: run affidavit up --data {layout.root}")
    with hold(layout, [CLICKHOUSE], "query"), Wiring(layout, load(layout)) as wiring:
        app = wiring.interface(audited=audited)
        with asyncio.Runner() as runner:
            lifespan = app.router.lifespan_context(app)
            runner.run(lifespan.__aenter__())
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://engine",
                headers={"Authorization": f"Bearer {bearer}"},
            )

            def post(sql: str, parameters: Mapping[str, str]) -> AbstractContextManager[httpx.Response]:
                return _Whole(runner.run(client.post("/", params=dict(parameters), content=sql.encode())))

            try:
                yield post
            finally:
                runner.run(client.aclose())
                runner.run(lifespan.__aexit__(None, None, None))


class _Whole(AbstractContextManager[httpx.Response]):
    """A response that is here already."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    def __enter__(self) -> httpx.Response:
        return self._response

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def server_url(settings: Settings) -> str:
    """The HTTP interface of the configured server, with our database as the default one."""
    return f"{settings.clickhouse.url.rstrip('/')}/?database={settings.clickhouse.database}"


def server_auth(settings: Settings) -> tuple[str, str]:
    """User and password for it."""
    password = settings.clickhouse.password
    return settings.clickhouse.username, "" if password is None else password.get_secret_value()


def reader_token(layout: Layout) -> str:
    """The bearer token for reading: ``AFFIDAVIT_TOKEN``, else the directory's own."""
    given = client_token()
    if given is not None:
        return given.get_secret_value().strip()
    try:
        return layout.query_token.read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {layout.query_token} ({error.strerror}): run affidavit init, or set AFFIDAVIT_TOKEN to a "
            "token with scope query"
        ) from None
