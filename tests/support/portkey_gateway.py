"""The real Portkey gateway, from npm, on loopback; it posts what its ``default.log`` check says to a collector."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litellm_proxy import eventually

VERSION = "1.15.2"
CACHE = Path(__file__).resolve().parents[2] / ".cache"
SERVER = "node_modules/@portkey-ai/gateway/build/start-server.js"


def portkey() -> Path:
    """The folder of the package, installed once; skips, with its reason, where there is no npm."""
    folder = CACHE / f"portkey-{VERSION}"
    if not (folder / SERVER).exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("THE REAL PORTKEY GATEWAY WAS NOT TESTED: there is no npm to install it with")
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        package = f"@portkey-ai/gateway@{VERSION}"
        subprocess.run([npm, "install", *options, package], check=True, capture_output=True, timeout=240)
    return folder


@contextmanager
def portkey_gateway(home: Path) -> Iterator[str]:
    """Run it until the block ends."""
    folder, node = portkey(), shutil.which("node")
    assert node is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NODE_ENV": "production"}
    command = [node, str(folder / SERVER), f"--port={port}", "--headless"]
    with (
        (home / "portkey.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: _alive(url, process), 60)
            yield url
        finally:
            process.terminate()


def _alive(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the gateway ended"
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def config(api: str, collector: str, token: str, **also: Any) -> str:
    """The value of ``x-portkey-config``: as on the gateway's page, and where the provider is."""
    check = {
        "default.log": {
            "logURL": f"{collector}/v1/portkey",
            "headers": json.dumps({"Authorization": f"Bearer {token}"}),
        },
        "deny": False,
    }
    stated = {"provider": "openai", "api_key": "sk-provider-0123456789abcdef", "custom_host": api}
    return json.dumps(stated | {"output_guardrails": [check]} | also)
