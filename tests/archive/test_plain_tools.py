"""The archive read with nothing of ours: ClickHouse from the bucket, fastavro with keys, DuckDB over that."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from embedded_engine import database_of_its_own
from memory_keys import MemoryKeys
from own_venv import own_venv
from s3_server import S3Server
from sealed_records import messages, sealed

from affidavit.cli.main import run
from schemas.ids import EVENTS, Shard
from schemas.parts import SOURCE
from schemas.record import decode_record
from sinks.archive.sink import ArchiveSink
from sinks.contract import Delivered
from stores.bus import Message
from stores.objects.local import LocalObjects
from stores.objects.s3 import S3Objects

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "object-lock.md").read_text()
SHARD = Shard(EVENTS, 0)

pytestmark = pytest.mark.slow


def sql(number: int) -> str:
    return re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[number].strip().rstrip(";")


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def batch(keys: MemoryKeys) -> list[Message]:
    return messages(sealed(keys, 60), SHARD)


@pytest.fixture
def lines(tmp_path: Path, keys: MemoryKeys, batch: list[Message]) -> Path:
    """What the example prints."""
    with closing(LocalObjects(tmp_path / "objects")) as objects:
        assert ArchiveSink(objects).deliver(SHARD, batch) == Delivered()
    ids = {part.key_id for message in batch for part in decode_record(message.value).parts if part.type < SOURCE}
    with (tmp_path / "keys").open("w") as file:
        for key_id, secret in keys.by_id(ids).items():
            file.write(json.dumps({"key_id": key_id.hex(), "key": secret.hex()}) + "\n")
    assert run(["schemas", "export", str(tmp_path / "schemas")]) == 0
    asked = [sys.executable, str(ROOT / "examples" / "archive" / "read_archive.py")]
    for name in ("schemas", "keys"):
        asked += [f"--{name}", str(tmp_path / name)]
    with (tmp_path / "records.jsonl").open("w") as out:
        subprocess.run([*asked, "--segments", str(tmp_path / "objects" / "segments")], stdout=out, check=True)
    return tmp_path / "records.jsonl"


def test_fastavro_with_keys(lines: Path, batch: list[Message]) -> None:
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert sorted(one["offset"] for one in found) == list(range(60))
    assert {one["status"] for one in found} == {"OK"}
    for one in found:
        assert one["parts"]["content"]["status"] == "OK"
        text = one["parts"]["content"]["value"]["messages"][0]["content"]
        assert text == f"text of event {one['offset']} " * 4


def test_duckdb_over_it(lines: Path, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("duckdb==2.0.1\n")
    program = f"import duckdb, json; print(json.dumps(duckdb.sql({sql(1)!r}).fetchall()))"
    python = own_venv("duckdb-venv", requirements) / "python"
    ran = subprocess.run([str(python), "-c", program], cwd=lines.parent, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)
    assert sum(count for _, _, count in rows) == 60
    assert {tenant for tenant, _, _ in rows} == {"acme", "globex"}


def test_clickhouse_from_the_bucket(batch: list[Message]) -> None:
    with S3Server() as server, closing(database_of_its_own()) as engine, closing(engine.client()) as client:
        config = server.config()
        with closing(S3Objects(config)) as objects:
            assert ArchiveSink(objects).deliver(SHARD, batch) == Delivered()
        asked = sql(0).format(
            endpoint=config.endpoint,
            bucket=config.bucket,
            prefix=config.full_key(""),
            access_key=config.access_key,
            secret_key=config.secret_key,
        )
        rows = client.query(asked).result_rows
    assert [(count, first, last) for _, count, first, last, _ in rows] == [(60, 0, 59)]
    assert rows[0][4] == sum(len(message.value) for message in batch)
    assert Counter(str(day) for day, *_ in rows) == {"2025-11-24": 1}
