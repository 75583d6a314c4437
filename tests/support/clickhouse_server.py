"""A stand-in for a ClickHouse server: a process that serves ClickHouse's HTTP interface over the embedded engine.

There is no server to be had everywhere that these tests run. What is real here is the engine: chDB is ClickHouse, with
its parser, its list of processes, its tables, deduplication and errors, and it runs each statement as a server would.
What is emulated is the HTTP handler in front of it:

* one user with a password (401, code 516), ``database``, settings as parameters, ``Content-Encoding`` of the body,
  ``param_…``, ``default_format``, error texts with ``X-ClickHouse-Exception-Code``, ``X-ClickHouse-Summary`` (empty
  counts);
* an ``INSERT … FROM input('structure') … FORMAT Avro`` with its rows in the body *begins when its text has come* and
  reads the rows as they come, as in a server: ``input()`` becomes ``file()`` on a pipe that the handler fills. So the
  statement is on the list of processes, and its condition is evaluated, while half of the body is still at the sender;
* a body that ends before its announced length, or a sender who is silent for ``--silence`` seconds, makes that
  statement fail (a server: UNEXPECTED_END_OF_FILE, SOCKET_TIMEOUT; here bytes that are no Avro are put behind, which
  the reader refuses).

Not emulated: sessions, ``query_id``, roles, progress headers, external data, inserts with other formats in the body.

::

    server = ClickHouseServer(folder)          # python -m clickhouse_server FOLDER PORT, as a process
    server.start(); server.engine().client()
    server.kill(); server.start()              # the same folder and port
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import base64
import fcntl
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import lz4.frame  # type: ignore[import-untyped]
import uvicorn
import zstandard
from clickhouse_connect.driver._backend.chdb_backend import CHDB_TRANSPORT_SETTINGS
from clickhouse_connect.driver.exceptions import ClickHouseError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sinks.clickhouse.classify import code_of
from sinks.clickhouse.engine import EmbeddedEngine
from sinks.clickhouse.quoting import quote
from sinks.clickhouse.results import failed, failed_by_engine, start
from sinks.clickhouse.server import Server, ServerEngine

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "sink", "open sesame"
STATEMENT_BYTES = 1 << 18
PIPE_BYTES = 1 << 20
NO_AVRO = b"\xff" * 64

_OURS = CHDB_TRANSPORT_SETTINGS | {"query", "user", "password", "default_format"}
"""Parameters that are no settings of the engine."""

_INPUT = re.compile(r"\binput\('((?:[^'\\]|\\.)*)'\)")
_WITH_ROWS = re.compile(rb"\A\s*INSERT\s.*?\bFORMAT\s+Avro\s*\n", re.DOTALL)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*\Z")
_COMMENTS = re.compile(r"\A(?:\s*--[^\n]*\n)+")
_RETURNS_ROWS = re.compile(r"\A\s*(SELECT|WITH|SHOW|DESCRIBE|EXISTS|EXPLAIN|KILL|CHECK)\b", re.IGNORECASE)


_numbers = itertools.count(1)


class Handler:
    """What a server does with a request."""

    def __init__(self, engine: EmbeddedEngine, silence: float) -> None:
        self._engine = engine
        self._silence = silence

    async def answer(self, request: Request) -> Response:
        if not _known(request):
            return failed(
                401, 516, f"{_user(request)}: Authentication failed: password is incorrect, or there is no user"
            )
        body = _Body(request, self._silence)
        try:
            statement = request.query_params.get("query", "").encode()
            head = await body.until(lambda data: _WITH_ROWS.match(statement + data) or len(data) > STATEMENT_BYTES)
            with_rows = _WITH_ROWS.match(statement + head)
            if with_rows and _INPUT.search(with_rows[0].decode()):
                rows = (statement + head)[with_rows.end() :]
                return await self._insert(request, with_rows[0].decode(), rows, body)
            text = (statement + (b"\n" if statement else b"") + head + await body.rest()).decode()
        except (ClientDisconnect, TimeoutError):
            return Response(status_code=400)
        return await run_in_threadpool(self._run, request, text)

    def _run(self, request: Request, text: str) -> Response:
        """A statement without rows."""
        query_id = str(uuid4())
        try:
            client = self._client(request)
        except ClickHouseError as error:
            return failed_by_engine(code_of(error), str(error))
        try:
            if not _RETURNS_ROWS.match(_COMMENTS.sub("", text)):
                client.command(text)
                client.close()
                return _done()
            chosen = _FORMAT.search(text)
            default = request.query_params.get("default_format", "TabSeparated")
            sql = text[: chosen.start()] if chosen else text
            if text.lstrip().upper().startswith("KILL"):  # which the engine does not stream
                with closing(client):
                    return Response(client.raw_query(sql, fmt=default), headers={"X-ClickHouse-Format": default})
            result = start(client, sql, _parameters(request), chosen[1] if chosen else default)
            return result.response(query_id, "", lambda: None)
        except ClickHouseError as error:
            client.close()
            return failed_by_engine(code_of(error), str(error))

    async def _insert(self, request: Request, statement: str, rows: bytes, body: _Body) -> Response:
        """An insert that reads its rows while they come."""
        outlet, inlet = os.pipe()
        fcntl.fcntl(inlet, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        sql = _INPUT.sub(lambda found: f"file('/proc/self/fd/{outlet}', 'Avro', '{found[1]}')", statement)
        settings = ", ".join(f"{name} = {quote(value)}" for name, value in _settings(request).items())
        sql = sql[: sql.rindex("FORMAT")] + (f" SETTINGS {settings}" if settings else "")
        ended = asyncio.get_running_loop().run_in_executor(None, self._command, request, sql, outlet)
        try:
            await self._fill(inlet, rows, body)
        finally:
            await run_in_threadpool(os.close, inlet)
            error = await ended
        if error is None:
            return _done()
        return failed_by_engine(code_of(error), str(error))

    async def _fill(self, inlet: int, rows: bytes, body: _Body) -> None:
        """Put the rows into the pipe. A statement that has failed reads no more: the rest of the body is taken all the
        same, so that its sender reads the answer."""
        try:
            await run_in_threadpool(_write_all, inlet, rows)
            async for chunk in body.chunks():
                await run_in_threadpool(_write_all, inlet, chunk)
        except BrokenPipeError:
            await body.rest()
        except (ClientDisconnect, TimeoutError):
            await run_in_threadpool(_write_all, inlet, NO_AVRO)

    def _command(self, request: Request, sql: str, outlet: int) -> ClickHouseError | None:
        try:
            client = self._client(request, with_settings=False)
            try:
                client.command(sql)
            finally:
                client.close()
        except ClickHouseError as error:
            return error
        finally:
            os.close(outlet)
        return None

    def _client(self, request: Request, *, with_settings: bool = True) -> Any:
        database = request.query_params.get("database", "default")
        with self._engine._lock:
            return self._engine._connect(database, _settings(request) if with_settings else {})


class _Body:
    """A request's body, decompressed, with an end to patience."""

    def __init__(self, request: Request, silence: float) -> None:
        self._stream = request.stream()
        self._silence = silence
        self._inflate = _inflating(request.headers.get("Content-Encoding", ""))

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(self._stream), self._silence)
            except StopAsyncIteration:
                return
            if chunk:
                yield self._inflate(chunk)

    async def until(self, enough: Callable[[bytes], object]) -> bytes:
        """As much of the body as it takes, all of it perhaps."""
        data = b""
        async for chunk in self.chunks():
            data += chunk
            if enough(data):
                break
        return data

    async def rest(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])


def _inflating(encoding: str) -> Callable[[bytes], bytes]:
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31).decompress
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    if encoding == "lz4":
        inflate: Callable[[bytes], bytes] = lz4.frame.LZ4FrameDecompressor().decompress
        return inflate
    return bytes


def _settings(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name not in _OURS and "param_" not in name}


def _parameters(request: Request) -> dict[str, str]:
    """Values of ``{name:Type}``."""
    named = request.query_params.items()
    return {name.removeprefix("param_"): value for name, value in named if name.startswith("param_")}


def _user(request: Request) -> str:
    return request.headers.get("X-ClickHouse-User") or _basic(request)[0]


def _known(request: Request) -> bool:
    key = request.headers.get("X-ClickHouse-Key")
    return (_user(request), key if key is not None else _basic(request)[1]) == (USER, PASSWORD)


def _basic(request: Request) -> tuple[str, str]:
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    user, _, password = base64.b64decode(rest).decode().partition(":") if scheme == "Basic" else ("", "", "")
    return user, password


def _done() -> Response:
    summary = '{"read_rows":"0","read_bytes":"0","written_rows":"0","written_bytes":"0"}'
    return Response(headers={"X-ClickHouse-Summary": summary, "X-ClickHouse-Query-Id": str(uuid4())})


def _write_all(inlet: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(inlet, view) :]


async def _ping(_request: Request) -> Response:
    return PlainTextResponse("Ok.\n")


def serve(folder: Path, port: int, silence: float) -> None:
    """Serve until killed; one line on standard output when connections are taken."""
    engine = EmbeddedEngine(folder, database="default")
    handler = Handler(engine, silence)
    routes = [
        Route("/ping", _ping, methods=["GET"]),
        Route("/", handler.answer, methods=["GET", "POST"]),
    ]
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", timeout_keep_alive=60))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    print("ready", flush=True)
    asyncio.run(server.serve([listener]))
    engine.close()


def _die_with_parent() -> None:
    """Standard input is a pipe from whoever started us; its end is ours."""
    sys.stdin.buffer.read()
    os._exit(1)


class ClickHouseServer:
    """The process, as a test holds it.

    Args:
        folder: of the engine; the tables outlive the process.
        silence: seconds after which a sender that sends nothing is given up.
    """

    def __init__(self, folder: Path, *, silence: float = 30.0) -> None:
        self._folder = folder
        self._silence = silence
        self._process: subprocess.Popen[str] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def engine(self, **options: Any) -> ServerEngine:
        """An engine on this server."""
        return ServerEngine(Server(**{"url": self.url, "user": USER, "password": PASSWORD, **options}))

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clickhouse_server", str(self._folder), str(self.port), str(self._silence)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(Path(__file__).parent)))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and nothing else; harmless when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()

    def _send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@cache
def process_server() -> ClickHouseServer:
    """A server for everybody in this process, started when first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="affidavit-clickhouse-server-"))
    server = ClickHouseServer(folder / "engine", silence=1.0)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    server.start()
    return server


@contextmanager
def served_database(server: ClickHouseServer, **options: Any) -> Iterator[ServerEngine]:
    """An engine on a fresh, empty database of a server."""
    engine = server.engine(database=f"test_{next(_numbers)}", **options)
    engine.prepare()
    try:
        yield engine
    finally:
        with closing(engine.client(database="default")) as client:
            client.command(f"DROP DATABASE {engine.database} SYNC")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("silence", type=float)
    asked = parser.parse_args()
    serve(asked.folder, asked.port, asked.silence)


if __name__ == "__main__":
    main()
