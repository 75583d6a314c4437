"""A large request through a whole deployment: recorded, delivered, archived and verified, with its parts elsewhere."""

from __future__ import annotations

import http.client
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from large_bodies import image_request
from up_process import Up, command, command_json

from affidavit.demo.deployment import wait_for

pytestmark = pytest.mark.slow

SIZES = (3, 12)
"""MiB: one fits a row of ClickHouse, the other does not."""


def send(up: Up, token: str, mib: int) -> None:
    connection = http.client.HTTPConnection(urlsplit(up.collector).netloc, timeout=60)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    connection.request("POST", "/v1/litellm", body=image_request(mib, mib), headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    connection.close()


def test_a_large_request_is_everywhere_and_verifies(tmp_path: Path) -> None:
    up = Up(tmp_path / "data", AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS="1", AFFIDAVIT_ARCHIVE_RETAIN_DAYS="2")
    up.start()
    try:
        token = command_json(up.data, "token", "create", "--tenant", "acme", "--gateway", "litellm")["token"]
        for mib in SIZES:
            send(up, token, mib)

        def delivered() -> bool | None:
            found = command(up.data, "query", "SELECT count() FROM events WHERE topic = 'events'", "--format", "TSV")
            return True if found.stdout.strip() == "6" else None

        wait_for("the events to be queryable", delivered)
        asked = "SELECT source_status, source_object != '' FROM contents WHERE kind = 'prompt' ORDER BY offset"
        found = command(up.data, "query", asked, "--format", "TSV").stdout.split()
        assert found == ["elsewhere", "1"] * 2
    finally:
        code = up.stop()
    assert code == 0, up.log[-4000:]
    now = datetime.now(UTC).isoformat()
    for source in ("archive", "clickhouse", "bus"):
        ran = command(up.data, "verify", "records", "--source", source, "--as-of", now)
        assert ran.returncode == 0, f"{source}: {ran.stdout}{ran.stderr}"
    for arguments in (("log", "--as-of", now), ("sql",), ("event", "events/0@3")):
        ran = command(up.data, "verify", *arguments)
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}"
    blobs = sorted((up.data / "objects" / "blobs").iterdir())
    locks = sorted((up.data / "objects" / "~locks" / "blobs").iterdir())
    assert [path.name for path in locks] == [path.name for path in blobs]
    assert len(blobs) == 2
    blobs[0].chmod(0o600)
    blobs[0].write_bytes(blobs[0].read_bytes()[:-1] + b"x")
    blobs[1].unlink()
    for source in ("archive", "bus"):
        ran = command(up.data, "verify", "records", "--source", source, "--as-of", now)
        assert ran.returncode == 1
        assert ("MISMATCH" in ran.stdout, "MISSING" in ran.stdout) == (True, True)
