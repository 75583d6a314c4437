"""moto as S3 (and STS) on loopback, in an environment of its own.

    with moto_server() as server:
        client = server.client()                 # boto3
        bucket = S3Bucket(server.config("logs"))

Its packages are pinned in ``tests/collector/moto-requirements.txt`` and installed once into ``.cache``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
from kafka_broker import free_ports
from litellm_proxy import eventually

from collector.poll.s3 import BucketConfig

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "collector" / "moto-requirements.txt"
ENVIRONMENT = ROOT / ".cache" / "moto-venv"


def install() -> Path:
    """The environment's ``bin``; made on the first call, and again when the requirements change."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    stamp = ENVIRONMENT / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != wanted:
        ENVIRONMENT.parent.mkdir(exist_ok=True)
        uv, python = [sys.executable, "-m", "uv"], str(ENVIRONMENT / "bin" / "python")
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)], check=True)
        command = ["pip", "install", "--system-certs", "--quiet", "--no-deps", "--python", python]
        subprocess.run([*uv, *command, "-r", str(REQUIREMENTS)], check=True)
        stamp.write_text(wanted)
    return ENVIRONMENT / "bin"


@dataclass(frozen=True, slots=True)
class MotoServer:
    """``url`` is the endpoint of all services."""

    url: str

    def client(self, service: str = "s3") -> Any:
        """A plain client of the SDK."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def config(self, bucket: str, **changes: Any) -> BucketConfig:
        """How a feed reaches a bucket."""
        return BucketConfig(bucket, endpoint=self.url, **changes)


@contextmanager
def moto_server() -> Iterator[MotoServer]:
    """Serve until the block ends."""
    (port,) = free_ports(1)
    command = [str(install() / "python"), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {"PATH": os.environ.get("PATH", ""), "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    server = MotoServer(f"http://127.0.0.1:{port}")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _alive(server.url, process), 120)
        yield server
    finally:
        process.kill()
        process.wait()


def _alive(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "moto ended"
    try:
        return httpx.get(f"{url}/moto-api/", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
