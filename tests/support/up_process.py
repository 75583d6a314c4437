"""``affidavit up`` as a process that tests start, ask, and kill."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

START_SECONDS = 90.0
STOP_SECONDS = 90.0

FREE_PORTS = {f"AFFIDAVIT_{server}_PORT": "0" for server in ("COLLECTOR", "GRPC", "PROXY", "QUERY", "MONITOR")}


class Up:
    """One data directory, and the process that serves it, if one does.

    Args:
        settings: ``AFFIDAVIT_…`` variables beside those for free ports.
    """

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.collector = self.query = self.monitor = self.grpc = self.proxy = ""
        self._log = data.with_name(data.name + ".log")
        self._env = os.environ | FREE_PORTS | settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        """Start it, and return when everything is ready."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "affidavit", "up", "--data", str(self.data), "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._env,
            )
        urls = self._read_document()["urls"]
        self.collector, self.query, self.monitor = urls["collector"], urls["clickhouse"], urls["monitor"]
        self.grpc, self.proxy = urls["grpc"], urls.get("proxy", "")

    def kill(self) -> None:
        """SIGKILL, and nothing else."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        return self._end(signal.SIGTERM)

    def ended(self) -> int | None:
        """Its exit code, if it has ended by itself."""
        return self._process.poll() if self._process else None

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        code = process.wait(STOP_SECONDS)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def _read_document(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        text, deadline = b"", time.monotonic() + START_SECONDS
        while not text.endswith(b"\n}\n"):
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._process.stdout], [], [], left)
            chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert chunk, f"affidavit up did not start:\n{self.log[-4000:]}"
            text += chunk
        document: dict[str, Any] = json.loads(text)
        return document


def command(data: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line on a data directory, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "affidavit", *arguments, "--data", str(data)],
        capture_output=True,
        text=True,
        env=os.environ | settings,
    )


def command_json(data: Path, *arguments: str) -> dict[str, Any]:
    """The document of a command that must succeed."""
    ran = command(data, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return document
