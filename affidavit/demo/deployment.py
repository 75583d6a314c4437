"""The deployment under demonstration: a real ``affidavit up``, driven from outside as an operator would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from affidavit.demo.parcel import Parcel
from affidavit.layout import Layout
from affidavit.settings import load
from affidavit.status import Status, read_status
from affidavit.wiring import Wiring

START_SECONDS = 60.0
WAIT_SECONDS = 45.0
POLL_SECONDS = 0.05

T = TypeVar("T")


class Unexpected(Exception):
    """Something is not as it should be; the demonstration ends with it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Deployment:
    """One data directory and the process that serves it.

    Attributes:
        collector, query: base URLs.
        tokens: by gateway.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.collector = self.query = ""
        self.tokens: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start ``affidavit up`` on free ports; stop it, whatever happens."""
        free = {f"AFFIDAVIT_{server}_PORT": "0" for server in ("COLLECTOR", "GRPC", "QUERY")}
        log = self.data.with_name(self.data.name + ".log")
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603  our own command line
                [*_COMMAND, "up", "--data", str(self.data), "--json"],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | free,
            )
        try:
            urls = _read_document(self._process, log)["urls"]
            self.collector, self.query = urls["collector"], urls["clickhouse"]
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """SIGTERM, and wait until everything is delivered."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
        if process.stdout is not None:
            process.stdout.close()
        if code != 0:
            raise Unexpected(f"affidavit up ended with exit code {code}: see {self.data}.log")

    def command(self, *arguments: str, expect: int | None = 0) -> Result:
        """Run one command of the command line on the data directory.

        Raises:
            Unexpected: its exit code is not ``expect``.
        """
        command = [*_COMMAND, *arguments, "--data", str(self.data)]
        ran = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  our own command line
        if expect is not None and ran.returncode != expect:
            raise Unexpected(
                f"affidavit {' '.join(arguments)} ended with exit code {ran.returncode}, expected {expect}:\n"
                f"{ran.stdout}{ran.stderr}"
            )
        return Result(ran.returncode, ran.stdout, ran.stderr)

    def json(self, *arguments: str, expect: int | None = 0) -> dict[str, Any]:
        """Run a command with ``--json`` and return its document."""
        document: dict[str, Any] = json.loads(self.command(*arguments, "--json", expect=expect).out)
        return document

    def status(self) -> Status:
        """How far everything is, without the seconds that a command takes to start."""
        layout = Layout(self.data)
        with Wiring(layout, load(layout, {})) as wiring:
            return asyncio.run(read_status(wiring))

    def make_tokens(self, tenant: str, gateways: Sequence[str]) -> None:
        """A token for each gateway."""
        for gateway in gateways:
            made = self.json("token", "create", "--tenant", tenant, "--gateway", gateway, "--expires", "12h")
            self.tokens[gateway] = made["token"]

    def send(self, client: httpx.Client, parcel: Parcel) -> httpx.Response:
        """Post one parcel as its gateway would."""
        headers = {"Content-Type": parcel.media_type, "Authorization": f"Bearer {self.tokens[parcel.gateway]}"}
        if parcel.gzip:
            headers["Content-Encoding"] = "gzip"
        content = _chunks(parcel.body) if parcel.chunked else parcel.body
        return client.post(self.collector + parcel.path, headers=headers, content=content)

    def ask(self, client: httpx.Client, sql: str) -> list[list[Any]]:
        """Rows of one query over the HTTP interface."""
        token = (self.data / "keys" / "query.token").read_text().strip()
        answer = client.post(
            self.query,
            params={"default_format": "JSONCompact", "output_format_json_quote_64bit_integers": "0"},
            headers={"Authorization": f"Bearer {token}"},
            content=sql,
        )
        if answer.status_code != 200:
            raise Unexpected(f"{sql}: {answer.text}")
        rows: list[list[Any]] = answer.json()["data"]
        return rows


def wait_for(what: str, look: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
    """Look until there is something to see.

    Raises:
        Unexpected: there is nothing in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen is not None:
            return seen
        if time.monotonic() > deadline:
            raise Unexpected(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(POLL_SECONDS)


_COMMAND = (sys.executable, "-m", "affidavit")


def _read_document(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """The JSON document that ``up --json`` prints when it is ready."""
    assert process.stdout is not None
    text, deadline = b"", time.monotonic() + START_SECONDS
    while not text.endswith(b"\n}\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not chunk:
            raise Unexpected(f"affidavit up did not start:\n{log.read_text()}")
        text += chunk
    document: dict[str, Any] = json.loads(text)
    return document


def _chunks(body: bytes) -> Iterator[bytes]:
    """A body in pieces, which httpx sends without a Content-Length."""
    for at in range(0, len(body), 4096):
        yield body[at : at + 4096]
