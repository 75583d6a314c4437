"""``clickhouse migrate`` against a server, and a sink whose user may not create tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_server import PASSWORD, USER, ClickHouseServer, process_server
from memory_keys import MemoryKeys

from affidavit.cli import exits
from affidavit.cli.main import run
from schemas.errors import ConfigurationError
from sinks.clickhouse import ddl
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.sink import ClickHouseSink

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClickHouseServer]:
    server = process_server()
    engine = server.engine(database="migrated")
    monkeypatch.setenv("AFFIDAVIT_CLICKHOUSE_URL", server.url)
    monkeypatch.setenv("AFFIDAVIT_CLICKHOUSE_DATABASE", "migrated")
    monkeypatch.setenv("AFFIDAVIT_CLICKHOUSE_USERNAME", USER)
    monkeypatch.setenv("AFFIDAVIT_CLICKHOUSE_PASSWORD", PASSWORD)
    monkeypatch.setenv("AFFIDAVIT_DATA", str(tmp_path / "data"))
    assert run(["init", "--name", "audit.example.com"]) == exits.DONE
    yield server
    with closing(engine.client(database="default")) as client:
        client.command("DROP DATABASE IF EXISTS migrated SYNC")


def test_what_is_missing_is_said_applied_once_and_checked(
    server: ClickHouseServer, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [file.name for file in ddl.files()]
    engine: Engine = server.engine(database="migrated")
    sink = ClickHouseSink(engine, MemoryKeys(), lambda shard: [], migrates=False)
    capsys.readouterr()
    assert run(["clickhouse", "migrate", "--dry-run", "--json"]) == exits.INCOMPLETE
    assert json.loads(capsys.readouterr().out)["files"] == files
    assert run(["clickhouse", "migrate", "--print"]) == exits.INCOMPLETE
    assert "CREATE TABLE events" in capsys.readouterr().out
    with closing(engine.client(database="default")) as client:
        assert not client.query("SELECT 1 FROM system.databases WHERE name = 'migrated'").result_rows
        client.command("CREATE DATABASE migrated")
    with pytest.raises(ConfigurationError, match="run affidavit clickhouse migrate"):
        sink.open()
    assert run(["clickhouse", "migrate"]) == exits.DONE
    assert capsys.readouterr().out.splitlines() == [f"applied: {name}" for name in files]
    assert run(["clickhouse", "migrate", "--json"]) == exits.DONE
    assert json.loads(capsys.readouterr().out)["files"] == []
    assert run(["clickhouse", "migrate", "--dry-run"]) == exits.DONE
    assert "all tables are there" in capsys.readouterr().err
    sink.open()
    sink.close()


def test_a_server_that_refuses_is_a_sentence(
    server: ClickHouseServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFIDAVIT_CLICKHOUSE_PASSWORD", "wrong")
    assert run(["clickhouse", "migrate"]) == exits.USAGE
    assert "ClickHouse refuses the tables" in capsys.readouterr().err
    monkeypatch.setenv("AFFIDAVIT_CLICKHOUSE_URL", "http://127.0.0.1:9")
    assert run(["clickhouse", "migrate"]) == exits.UNAVAILABLE
