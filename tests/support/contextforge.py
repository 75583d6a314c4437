"""A real ContextForge on loopback, in an environment of its own, with one tool behind it.

    with contextforge(folder, environment) as forge:
        forge.call({"city": "Paris"})

Its packages are pinned in ``tests/collector/contextforge-requirements.txt`` and installed once into ``.cache``. The
tool is an HTTP server of this process, which answers with what it was given.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from litellm_proxy import eventually
from own_venv import own_venv

REQUIREMENTS = Path(__file__).resolve().parents[1] / "collector" / "contextforge-requirements.txt"
ADMIN = "admin@example.com"
PASSWORD = "Affidavit-Test-0123!"
START_SECONDS = 300
"""Ten seconds of one core when warm, which is a minute on a machine that has others to serve."""

_SETTINGS = {
    "JWT_SECRET_KEY": "affidavit-test-secret-key-0123456789abcdef",
    "AUTH_ENCRYPTION_SECRET": "affidavit-test-encryption-0123456789ab",
    "PLATFORM_ADMIN_EMAIL": ADMIN,
    "PLATFORM_ADMIN_PASSWORD": PASSWORD,
    "DEFAULT_USER_PASSWORD": PASSWORD,
    "BASIC_AUTH_PASSWORD": PASSWORD,
    "PASSWORD_CHANGE_ENFORCEMENT_ENABLED": "false",
    "ADMIN_REQUIRE_PASSWORD_CHANGE_ON_BOOTSTRAP": "false",
    "MCPGATEWAY_UI_ENABLED": "false",
    "CACHE_TYPE": "memory",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
    "OTEL_EXPORTER_OTLP_INSECURE": "true",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "SIEM_EXPORT_FLUSH_INTERVAL_SECONDS": "1",
    "NO_PROXY": "*",
}


@dataclass(frozen=True, slots=True)
class Forge:
    """Its address, and the headers of its administrator."""

    url: str
    headers: dict[str, str]
    tool: str

    def call(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call the tool, as an MCP client does; the JSON-RPC answer."""
        params = {"name": self.tool, "arguments": arguments}
        request = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        answer: dict[str, Any] = httpx.post(f"{self.url}/rpc", json=request, headers=self.headers, timeout=60).json()
        return answer


@contextmanager
def contextforge(folder: Path, environment: Mapping[str, str]) -> Iterator[Forge]:
    """Run it until the block ends; ``environment`` is added to what makes it run alone."""
    program = own_venv("contextforge-venv", REQUIREMENTS) / "mcpgateway"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"PATH": os.environ["PATH"], "HOME": str(folder), "DATABASE_URL": f"sqlite:///{folder / 'forge.db'}"}
    command = [str(program), "mcpgateway.main:app", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "forge.log"
    with (
        log.open("wb") as out,
        _tool() as tool,
        subprocess.Popen(
            command, env={**settings, **_SETTINGS, **environment}, cwd=folder, stdout=out, stderr=out
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: _alive(url, process, log), START_SECONDS)
            yield _registered(url, tool)
        finally:
            process.terminate()


def _alive(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"ContextForge ended: {log.read_text()[-2000:]}"
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _registered(url: str, tool: str) -> Forge:
    login = httpx.post(f"{url}/auth/email/login", json={"email": ADMIN, "password": PASSWORD}, timeout=60)
    headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
    described = {
        "name": "get_weather",
        "url": tool,
        "description": "the weather",
        "integration_type": "REST",
        "request_type": "POST",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    body = {"tool": described, "team_id": None, "visibility": "public"}
    made = httpx.post(f"{url}/tools", json=body, headers=headers, timeout=60)
    assert made.status_code == 200, made.text
    return Forge(url, headers, made.json()["name"])


class _Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        body = json.dumps({"temp_c": 14, "given": given}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@contextmanager
def _tool() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/weather"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
