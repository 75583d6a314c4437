"""The roles, each tried on the real engine by somebody who has nothing else; and the SQL that an administrator runs."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from embedded_engine import database_of_its_own
from query_data import questions

from affidavit.cli.main import run
from sinks.clickhouse import ddl
from sinks.clickhouse.access import ROLES, access_sql, grants
from sinks.clickhouse.engine import DATABASE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "queries.md").read_text()
REFUSED = "code 497"
"""ACCESS_DENIED."""
ANSWERS = {
    "tenant": "acme",
    "user": "user-8",
    "session": "s-99",
    "exchange": "x-399",
    "document": "doc-5",
    "words": "word17",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine's folder with the tables and two thousand records."""
    folder = tmp_path_factory.mktemp("access")
    somebody(folder, fill=2000)
    return folder


def as_somebody(folder: Path, given: list[str], queries: list[str], **more: Any) -> list[Any]:
    """What somebody with these grants alone gets."""
    return somebody(folder, grants=given, queries=queries, **more)


def somebody(folder: Path, **asked: Any) -> list[Any]:
    file = folder / "asked.json"
    file.write_text(json.dumps(asked))
    script = ROOT / "tests" / "support" / "restricted_clickhouse.py"
    ran = subprocess.run([sys.executable, str(script), str(folder), str(file)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: list[Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def page() -> list[tuple[str, bool]]:
    found = []
    for question in questions(PAGE):
        sql = question.sql
        for name, value in ANSWERS.items():
            sql = sql.replace(f"{{{name}:String}}", f"'{value}'")
        found.append((sql, question.content))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("role", ["soc_metadata", "soc_content", "auditor", "legal"])
def test_a_role_may_ask_what_it_is_for_and_nothing_else(filled: Path, role: str) -> None:
    asked = page()
    beyond = [
        "SELECT * FROM contents LIMIT 1",
        "SELECT * FROM integrity_leaves LIMIT 1",
        "SELECT * FROM fences",
        "INSERT INTO events (topic) VALUES ('x')",
        "ALTER TABLE events DELETE WHERE 1",
        "DROP TABLE events",
    ]
    found = as_somebody(filled, grants(DATABASE)[role], [*(sql for sql, _ in asked), *beyond])
    for (sql, content), rows in zip(asked, found, strict=False):
        if content and role == "soc_metadata":
            assert rows == REFUSED, sql
        else:
            assert isinstance(rows, int), (sql, rows)
    contents, leaves, *changes = found[len(asked) :]
    assert (contents == REFUSED) == (role == "soc_metadata")
    assert isinstance(leaves, int) == (role == "auditor")
    assert set(changes) == {REFUSED}


@pytest.mark.slow
def test_one_tenant_alone(filled: Path) -> None:
    conditions = {"events": "tenant = 'acme'", "contents": "tenant = 'acme'"}
    queries = [
        "SELECT DISTINCT tenant FROM events",
        "SELECT DISTINCT tenant FROM contents",
        "SELECT DISTINCT tenant FROM sessions",
        "SELECT DISTINCT tenant FROM timeline WHERE tenant = 'globex'",
        "SELECT throwIf(tenant = 'globex') FROM events LIMIT 10000",
    ]
    found = as_somebody(filled, grants(DATABASE)["soc_content"], queries, filters=conditions)
    assert found == [1, 1, 1, 0, found[4]]
    assert isinstance(found[4], int), "a condition that fails on purpose says nothing of other tenants' rows"


@pytest.mark.slow
def test_the_writer_writes_with_its_grants_alone(tmp_path: Path) -> None:
    somebody(tmp_path, fill=0)
    queries = [
        "SELECT * FROM events",
        "SELECT * FROM contents",
        "ALTER TABLE events DELETE WHERE 1",
        "TRUNCATE TABLE contents",
        "DROP TABLE events",
        "ALTER TABLE events DROP PARTITION '2025-11-24'",
        "SELECT * FROM integrity_leaves",
    ]
    found = as_somebody(tmp_path, grants(DATABASE)["affidavit_writer"], queries, deliver=20)
    assert found == [40, 40, *[REFUSED] * 5]


def test_every_statement_is_sql() -> None:
    """The engine parses each; it would run them, but has nowhere to keep roles."""
    with closing(database_of_its_own()) as engine, closing(engine.client()) as client:
        count = 0
        for statement in ddl.statements(access_sql("affidavit", ["acme", "it's"]) + "\n"):
            ((text,),) = client.query("SELECT formatQuerySingleLine({sql:String})", {"sql": statement}).result_rows
            assert text
            count += 1
        assert count > 60
        ddl.migrate(client)
        tables = {str(name) for (name,) in client.query("SHOW TABLES").result_rows}
    named = {
        grant.rpartition(".")[2].strip("`") for role in ROLES for grant in grants("d")[role] if " ON `d`." in grant
    }
    assert named <= tables


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["clickhouse", "access", "--tenant", "acme", "--data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "CREATE ROLE IF NOT EXISTS soc_metadata;" in out
    assert "USING tenant = 'acme' TO `affidavit_tenant_acme`;" in out
    assert (ROOT / "deploy" / "clickhouse" / "access.sql").read_text() == access_sql("affidavit")
