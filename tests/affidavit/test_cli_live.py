"""Every command that reads, beside a running ``up``: happy paths, ``--json``, exit codes."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import pytest
from up_process import Up, command

from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.demo import litellm, otlp
from affidavit.demo.deployment import wait_for

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


def document(capsys: Capture, *arguments: str, expect: int = exits.DONE) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == expect
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_query_as_table_csv_and_json(live: Up, capsys: Capture) -> None:
    data = ["--data", str(live.data)]
    sql = "SELECT kind, count() AS n FROM events WHERE gateway = 'native' GROUP BY kind ORDER BY kind"
    assert run(["query", sql, *data]) == exits.DONE
    shown = capsys.readouterr()
    assert [line.split() for line in shown.out.splitlines()[2:6]] == [
        ["context", "1"], ["guardrail", "1"], ["prompt", "1"], ["response", "1"],
    ]  # fmt: skip
    assert "4 rows in" in shown.err
    answer = document(capsys, "query", sql, *data)
    assert set(answer) == {"schema", "columns", "rows", "seconds", "rows_read"}
    assert answer["columns"] == [
        {"name": "kind", "type": "LowCardinality(String)"},
        {"name": "n", "type": "UInt64"},
    ]
    assert answer["rows"][0] == {"kind": "context", "n": 1}
    csv = command(live.data, "query", sql, "--csv")
    assert csv.stdout.splitlines()[:2] == ['"kind","n"', '"context",1']


def test_query_takes_parameters(live: Up, capsys: Capture) -> None:
    answer = document(
        capsys, "query", "SELECT {word:String} AS w, {n:UInt8} + 1 AS n", "-p", "word=it's", "-p", "n=41",
        "--data", str(live.data),
    )  # fmt: skip
    assert answer["rows"] == [{"w": "it's", "n": 42}]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT nonsense FROM events", "nonsense"),
        ("SELEC 1", "Syntax error"),
        ("DROP TABLE events", "expected SELECT"),
        ("SELECT 1; SELECT 2", "Multi-statements are not allowed"),
        ("SELECT 1 FORMAT Pretty", "leave the FORMAT clause away"),
    ],
)
def test_a_query_that_is_refused_exits_3(live: Up, capsys: Capture, sql: str, says: str) -> None:
    assert run(["query", sql, "--data", str(live.data)]) == exits.USAGE
    assert says in capsys.readouterr().err


def test_a_bad_parameter_exits_3(live: Up, capsys: Capture) -> None:
    assert run(["query", "SELECT 1", "-p", "nonsense", "--data", str(live.data)]) == exits.USAGE
    assert "expected NAME=VALUE" in capsys.readouterr().err


def test_a_server_that_is_not_there_exits_4(live: Up, capsys: Capture) -> None:
    assert run(["query", "SELECT 1", "--url", "http://127.0.0.1:9", "--data", str(live.data)]) == exits.UNAVAILABLE
    assert "is `affidavit up` running, or the server?" in capsys.readouterr().err


def test_a_wrong_token_exits_3(live: Up) -> None:
    ran = command(live.data, "query", "SELECT 1", AFFIDAVIT_TOKEN="aff_000000000000_" + "x" * 43)
    assert ran.returncode == exits.USAGE
    assert "this deployment does not know" in ran.stderr


def test_timeline_shows_one_verified_tree(live: Up, capsys: Capture) -> None:
    assert run(["timeline", litellm.SESSION, "--data", str(live.data)]) == exits.DONE
    shown = capsys.readouterr().out
    assert "16 events in 24 records" in shown
    assert "│  └─ tool call" in shown
    assert "│     └─ tool result" in shown
    assert "Which invoices of Example Traders are overdue?" in shown
    assert "sent 2 times, also events/0@16" in shown
    assert "no gaps" in shown


def test_timeline_as_json(live: Up, capsys: Capture) -> None:
    tree = document(capsys, "timeline", otlp.CODE_SESSION, "--data", str(live.data))
    assert set(tree) == {"schema", "session", "events", "records", "gaps", "turns"}
    [turn] = tree["turns"]
    assert {"address", "event_id", "kind", "text", "status", "cause", "repeats", "notes", "children"} <= set(turn)
    statuses = {node["status"] for node in nodes(turn)}
    assert statuses == {"OK"}
    refused = next(node for node in nodes(turn) if node["decision"] == "reject")
    assert refused["notes"] == ["call refused, so without a result"]


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(below for child in node["children"] for below in nodes(child))]


def test_timeline_without_content(live: Up, capsys: Capture) -> None:
    tree = document(capsys, "timeline", litellm.SESSION, "--no-content", "--no-verify", "--data", str(live.data))
    assert {node["text"] for turn in tree["turns"] for node in nodes(turn)} == {""}
    assert {node["status"] for turn in tree["turns"] for node in nodes(turn)} == {""}


def test_timeline_of_nothing_exits_2(live: Up, capsys: Capture) -> None:
    assert run(["timeline", "no-such-session", "--data", str(live.data)]) == exits.INCOMPLETE
    assert "nothing is recorded of 'no-such-session'" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["clickhouse", "bus", "archive"])
def test_verify_records_while_it_runs(live: Up, capsys: Capture, source: str) -> None:
    report = document(capsys, "verify", "records", "--source", source, "--data", str(live.data))
    assert report["schema"] == "affidavit.verify/1"
    assert report["exit_code"] == 0
    assert report["statuses"]["OK"] > 0
    assert report["source"] == source


def test_verify_log_while_it_runs_says_what_it_cannot_prove(live: Up, capsys: Capture) -> None:
    assert run(["verify", "log", "--data", str(live.data)]) == exits.DONE
    shown = capsys.readouterr().out
    assert shown.startswith("VERIFIED: affidavit.localhost")
    assert "cannot prove" in shown
    assert "who signed: the verifier key came from the same directory" in shown
    pinned = str(live.data / "keys" / "signer.vkey")
    assert run(["verify", "log", "--data", str(live.data), "--trust", pinned]) == exits.DONE
    assert "who signed" not in capsys.readouterr().out


def test_verify_event_by_address_and_by_id(live: Up, capsys: Capture) -> None:
    data = ["--data", str(live.data)]
    by_address = document(capsys, "verify", "event", "events/0@3", *data)
    [record] = by_address["records"]
    assert (record["statuses"]["metadata"], record["offset"], by_address["exit_code"]) == ("OK", 3, 0)
    by_id = document(capsys, "verify", "event", record["event_id"], *data)
    assert [found["offset"] for found in by_id["records"]] == [3, 19], "the event was sent twice"


@pytest.mark.parametrize(
    ("event", "code", "says"),
    [
        ("events/0@999999", exits.INCOMPLETE, "is signed up to offset"),
        ("events/7@1", exits.INCOMPLETE, "no log"),
        ("events/0@-1", exits.USAGE, "expected one such as events/0@17"),
        ("nonsense/0@1", exits.USAGE, "expected <topic>/<partition>"),
        ("nonsense", exits.USAGE, "expected a UUID"),
        ("0190b4c2-7d7e-7c6e-9a53-2f0d0f3a3c11", exits.INCOMPLETE, "ClickHouse has no record of event"),
    ],
)
def test_verify_event_that_is_not_there(live: Up, capsys: Capture, event: str, code: int, says: str) -> None:
    assert run(["verify", "event", event, "--data", str(live.data)]) == code
    assert says in capsys.readouterr().err


def test_verify_sql(live: Up, capsys: Capture) -> None:
    report = document(capsys, "verify", "sql", "--data", str(live.data))
    assert set(report) == {"schema", "exit_code", "seconds", "logs", "findings"}
    assert report["findings"] == []
    assert run(["verify", "sql", "--print"]) == exits.DONE
    assert "FROM integrity_failures" in capsys.readouterr().out


def test_status(live: Up, capsys: Capture) -> None:
    read = document(capsys, "status", "--data", str(live.data))
    assert set(read) == {
        "schema", "deployment", "data", "roles", "processes", "shards", "bus_error", "anchor_size", "anchor_age",
        "dead_letters", "spooled", "bytes",
    }  # fmt: skip
    assert {role: process["pid"] for role, process in read["roles"].items()} == dict.fromkeys(read["roles"], live.pid)
    events = next(shard for shard in read["shards"] if shard["shard"] == "events/0")
    assert (events["end"], events["signed"], events["unsigned"]) == (47, 47, 0)
    assert run(["status", "--data", str(live.data)]) == exits.DONE
    assert "events/0" in capsys.readouterr().out


def test_doctor_finds_nothing_wrong(live: Up, capsys: Capture) -> None:
    report = document(capsys, "doctor", "--data", str(live.data))
    assert report["healthy"] is True
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert {name for name, state in states.items() if state != "ok"} == {"anchors"}, "and nobody vouches for it"
    assert {"permissions", "migrations", "signing key", "disk", "tokens", "clock", "engine", "text index"} <= set(
        states
    )


def test_a_token_works_until_it_is_revoked(live: Up, capsys: Capture) -> None:
    data = ["--data", str(live.data)]
    made = document(capsys, "token", "create", "--tenant", "other", "--gateway", "g-1", "--expires", "1h", *data)
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {made['token']}"}) as client:
        assert client.post(live.collector + "/v1/events", json={"kind": "session"}).status_code == 200
        revoked = document(capsys, "token", "revoke", made["token_id"], *data)
        assert revoked["revoked"] is True

        def refused() -> bool | None:
            return (
                True
                if client.post(live.collector + "/v1/events", json={"kind": "session"}).status_code == 401
                else None
            )

        wait_for("the revocation to be noticed", refused)
    listed = document(capsys, "token", "list", *data)
    assert next(one for one in listed["tokens"] if one["token_id"] == made["token_id"])["state"] == "revoked"
    acts = document(
        capsys, "query", "SELECT operation, tenant FROM events WHERE topic = 'control' AND tenant = 'other'", *data
    )

    def recorded() -> bool | None:
        return True if {row["operation"] for row in acts["rows"]} == {"token.create", "token.revoke"} else None

    wait_for("both acts to be on the log", recorded)


def test_reading_content_is_on_the_log(live: Up, capsys: Capture) -> None:
    data = ["--data", str(live.data)]
    mark = f"content-read-{os.getpid()}"
    assert run(["query", f"SELECT content, '{mark}' FROM contents LIMIT 1", *data]) == exits.DONE

    def recorded() -> bool | None:
        found = document(
            capsys, "query", "SELECT content FROM contents WHERE kind = 'access' AND content LIKE {mark:String}",
            "-p", f"mark=%{mark}%", *data,
        )  # fmt: skip
        return True if found["rows"] else None

    wait_for("the access to be on the log", recorded)
