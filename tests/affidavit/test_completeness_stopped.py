"""``completeness`` on a real deployment: whole, with rows gone from the middle and from the end, and with nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from traffic import Stopped
from up_process import Up

from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.layout import Layout

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]

CHANGE = """
import sys
from pathlib import Path
from sinks.clickhouse.engine import EmbeddedEngine
engine = EmbeddedEngine(Path(sys.argv[1]))
client = engine.client({"mutations_sync": 2})
client.command(sys.argv[2])
client.close()
engine.close()
"""


@pytest.fixture
def copy(stopped: Stopped, tmp_path: Path) -> Layout:
    return Layout(stopped.copy(tmp_path / "copy"))


def change(layout: Layout, sql: str) -> None:
    """Change the tables, as their owner could: the engine is opened in a process of its own."""
    subprocess.run([sys.executable, "-c", CHANGE, str(layout.clickhouse), sql], check=True)


def report(layout: Layout, capsys: Capture, expect: int, *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["completeness", "--data", str(layout.root), "--json", *more]) == expect
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def missing(shown: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    facts = [one["facts"] for one in shown["findings"] if one["missing"]]
    return [one for one in facts if not kinds or one["kind"] in kinds]


def test_nothing_is_missing_from_what_was_stopped_well(copy: Layout, capsys: Capture) -> None:
    shown = report(copy, capsys, exits.DONE)
    assert missing(shown) == []
    assert shown["checked"]["collectors"][1] == "1 with heartbeats, 1 of them stopped"
    assert run(["completeness", "--data", str(copy.root)]) == exits.DONE
    text = capsys.readouterr().out
    assert "nothing is missing that could be noticed" in text
    assert "native: has no counter of its own" in text


def test_rows_that_are_gone_are_missed_by_their_numbers(copy: Layout, capsys: Capture) -> None:
    change(copy, "ALTER TABLE events DELETE WHERE topic = 'events' AND collector_sequence IN (7, 8, 20)")
    gaps = [(one["first"], one["last"]) for one in missing(report(copy, capsys, exits.INCOMPLETE), "gap")]
    assert gaps == [(7, 8), (20, 20)]


def test_rows_that_are_gone_from_the_end_are_missed_by_the_last_heartbeat(copy: Layout, capsys: Capture) -> None:
    change(copy, "ALTER TABLE events DELETE WHERE topic = 'events' AND collector_sequence >= 40")
    gaps = [(one["first"], one["last"]) for one in missing(report(copy, capsys, exits.INCOMPLETE), "gap")]
    assert gaps == [(40, 46)]


def test_a_batch_of_which_a_record_is_gone(copy: Layout, capsys: Capture) -> None:
    change(copy, "ALTER TABLE events DELETE WHERE unit_count > 1 AND unit_index = 0")
    kinds = {one["kind"] for one in missing(report(copy, capsys, exits.INCOMPLETE, "--gateway", "litellm"))}
    assert "batch" in kinds


def test_a_window_without_a_record_proves_nothing(copy: Layout, capsys: Capture) -> None:
    window = ("--since", "2020-01-01", "--until", "2020-01-02")
    assert report(copy, capsys, exits.INCOMPLETE, *window)["records"] == 0


def test_the_findings_as_csv(copy: Layout, capsys: Capture) -> None:
    assert run(["completeness", "--data", str(copy.root), "--csv"]) == exits.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "section,subject,missing,from,to,detail"
    assert any(line.startswith("gateways,native,0,") for line in lines)


@pytest.mark.parametrize(
    ("window", "says"),
    [(["--since", "yesterday"], "got time 'yesterday'"), (["--since", "1h", "--until", "2020-01-01"], "ends before")],
)
def test_a_window_that_is_none(copy: Layout, capsys: Capture, window: list[str], says: str) -> None:
    assert run(["completeness", "--data", str(copy.root), *window]) == exits.USAGE
    assert says in capsys.readouterr().err


@pytest.mark.alone
def test_a_collector_that_was_killed_is_told_of(tmp_path: Path, capsys: Capture) -> None:
    up = Up(tmp_path / "data", AFFIDAVIT_COLLECTOR_HEARTBEAT_SECONDS="1")
    up.start()
    up.kill()
    up.start()
    assert up.stop() == 0
    later = ["--until", "2099-01-01"]
    shown = report(Layout(up.data), capsys, exits.INCOMPLETE, *later)  # no gateway sent anything
    died = [one for one in shown["findings"] if one["facts"].get("kind") == "died"]
    assert len(died) == 1
    assert shown["checked"]["collectors"][1] == "2 with heartbeats, 1 of them stopped"
