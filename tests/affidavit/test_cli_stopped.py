"""Verification of a stopped directory and of copies: intact, tampered with, shortened, emptied."""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from traffic import Stopped

from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.demo import tamper
from affidavit.layout import Layout

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def copy(stopped: Stopped, tmp_path: Path) -> Layout:
    return Layout(stopped.copy(tmp_path / "copy"))


def shell_block(page: str) -> str:
    """The one block of shell on a page of the documentation."""
    return (DOCS / page).read_text("utf-8").partition("```sh\n")[2].partition("```")[0]


def origin(layout: Layout) -> str:
    """The origin of the events log, whatever the quarter."""
    [found] = (layout.objects / "ledger/affidavit.localhost/events/0").iterdir()
    return str(found.relative_to(layout.objects / "ledger"))


def verify(layout: Layout, stopped: Stopped, *arguments: str) -> int:
    return run(["verify", *arguments, "--data", str(layout.root), "--as-of", stopped.at])


@pytest.mark.parametrize(
    "what", ["log", "records --source archive", "records --source clickhouse", "records --source bus"]
)
def test_an_intact_copy_verifies(copy: Layout, stopped: Stopped, what: str) -> None:
    assert verify(copy, stopped, *what.split()) == exits.DONE


def test_verifying_a_stopped_directory_changes_nothing(copy: Layout, stopped: Stopped) -> None:
    def bus_end() -> int:
        import asyncio

        from affidavit.settings import load
        from affidavit.status import read_status
        from affidavit.wiring import Wiring

        with Wiring(copy, load(copy, {})) as wiring:
            return sum(shard.end for shard in asyncio.run(read_status(wiring)).shards)

    before = bus_end()
    assert run(["verify", "sql", "--data", str(copy.root)]) == exits.DONE
    assert run(["verify", "event", "events/0@3", "--data", str(copy.root)]) == exits.DONE
    assert bus_end() == before


def test_a_stopped_directory_is_stale_without_as_of(copy: Layout, capsys: Capture) -> None:
    """A log whose tail was cut off looks just like this one, so it must not pass."""
    arguments = ["verify", "log", "--data", str(copy.root), "--as-of", "2099-01-01"]
    assert run(arguments) == exits.INCOMPLETE
    shown = capsys.readouterr().out
    assert shown.startswith("INCOMPLETE OR STALE")
    assert "the signer is down, or the tail is not here" in shown


def test_one_byte_in_clickhouse(copy: Layout, stopped: Stopped, capsys: Capture) -> None:
    tamper.change_byte_in_clickhouse(copy)
    assert verify(copy, stopped, "records", "--source", "clickhouse") == exits.INTEGRITY_FAILURE
    shown = capsys.readouterr().out
    assert shown.startswith("INTEGRITY FAILURE")
    assert "content: MISMATCH" in shown
    assert run(["verify", "sql", "--data", str(copy.root)]) == exits.INTEGRITY_FAILURE
    assert run(["timeline", "sess-invoices-42", "--data", str(copy.root)]) == exits.INTEGRITY_FAILURE
    assert "MISMATCH" in capsys.readouterr().out
    assert verify(copy, stopped, "records", "--source", "archive") == exits.DONE


def test_a_record_removed_from_the_archive(copy: Layout, stopped: Stopped, capsys: Capture) -> None:
    done = tamper.remove_record_from_archive(copy)  # of the largest object, wherever its flush began
    offset = done.partition("the record of offset ")[2].partition(" ")[0]
    assert verify(copy, stopped, "records", "--source", "archive") == exits.INTEGRITY_FAILURE
    assert f"events/0 offset {offset}" in capsys.readouterr().out


def test_an_archive_object_removed(copy: Layout, stopped: Stopped) -> None:
    next((copy.objects / "segments").glob("acme/**/*.avro")).unlink()
    assert verify(copy, stopped, "records", "--source", "archive") == exits.INTEGRITY_FAILURE


def test_the_whole_archive_removed(copy: Layout, stopped: Stopped) -> None:
    shutil.rmtree(copy.objects / "segments")
    assert verify(copy, stopped, "records", "--source", "archive") in (exits.INTEGRITY_FAILURE, exits.INCOMPLETE)


def test_a_shortened_log(copy: Layout, stopped: Stopped, capsys: Capture) -> None:
    """The last tile and everything behind it are gone."""
    place = copy.objects / "ledger" / origin(copy)
    for path in sorted(place.rglob("*.p/*")):
        path.unlink()
    assert verify(copy, stopped, "log") == exits.INCOMPLETE
    assert "✗" in capsys.readouterr().out


def test_a_log_removed(copy: Layout, stopped: Stopped) -> None:
    shutil.rmtree(copy.objects / "ledger" / origin(copy))
    assert verify(copy, stopped, "log") == exits.INCOMPLETE


def test_an_empty_ledger(copy: Layout, stopped: Stopped, capsys: Capture) -> None:
    shutil.rmtree(copy.objects / "ledger")
    assert verify(copy, stopped, "log") == exits.INCOMPLETE
    assert not capsys.readouterr().out.startswith("VERIFIED")


def test_no_ledger_at_all(stopped: Stopped, tmp_path: Path, capsys: Capture) -> None:
    assert verify(Layout(tmp_path), stopped, "log") == exits.INCOMPLETE
    assert "there is no ledger" in capsys.readouterr().err


@pytest.mark.parametrize(("lost", "source"), [("clickhouse", "clickhouse"), ("bus.db", "bus")])
def test_a_destination_that_is_gone(copy: Layout, stopped: Stopped, lost: str, source: str) -> None:
    for path in copy.root.glob(f"{lost}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert verify(copy, stopped, "records", "--source", source) == exits.INCOMPLETE
    assert not (copy.root / lost).exists(), "looking must not make an empty one"


def test_another_key_is_not_trusted(copy: Layout, stopped: Stopped, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run(["init", "--data", str(other)]) == exits.DONE
    pinned = str(Layout(other).verifier_key)
    assert verify(copy, stopped, "log", "--trust", pinned) == exits.INTEGRITY_FAILURE


def test_an_auditor_needs_the_ledger_and_a_key_alone(copy: Layout, stopped: Stopped, tmp_path: Path) -> None:
    handed_over = Layout(tmp_path / "handed-over")
    shutil.copytree(copy.objects / "ledger", handed_over.objects / "ledger")
    assert verify(handed_over, stopped, "log", "--trust", str(copy.verifier_key)) == exits.DONE
    assert verify(handed_over, stopped, "log") == exits.USAGE, "without a key there is nothing to verify with"
    assert verify(handed_over, stopped, "records") == exits.USAGE


def test_query_and_status_need_no_process(copy: Layout, capsys: Capture) -> None:
    assert (
        run(["query", "SELECT count() AS n FROM events WHERE topic = 'events'", "--data", str(copy.root), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["rows"] == [{"n": 47}]
    assert run(["status", "--data", str(copy.root)]) == exits.DONE
    assert "not running" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["log", "--as-of", "yesterday"], "expected one such as 2026-11-24T18:00"),
        (["log", "--shard", "events"], "expected <topic>/<partition>"),
        (["records", "--source", "tape"], "tape"),
        (["log", "--trust", "/nonexistent"], "cannot read the policy"),
    ],
)
def test_usage_errors_exit_3(copy: Layout, capsys: Capture, arguments: list[str], says: str) -> None:
    assert run(["verify", *arguments, "--data", str(copy.root)]) == exits.USAGE
    assert says in capsys.readouterr().err


def test_a_copy_without_symbolic_links_is_named_as_such(stopped: Stopped, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(stopped.data, tmp_path / "copy")
    assert verify(Layout(tmp_path / "copy"), stopped, "records", "--source", "clickhouse") == exits.USAGE
    assert "cp -a" in capsys.readouterr().err


def test_an_auditor_goes_from_the_checkpoint_to_the_verdict_as_documented(
    copy: Layout, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["log", "checkpoint", "events/0", "--data", str(copy.root)]) == exits.DONE
    note = capsys.readouterr().out
    assert note.encode() == (copy.objects / f"ledger/{origin(copy)}/checkpoint").read_bytes()
    assert run(["log", "checkpoint", "events/0", "--data", str(copy.root), "--json"]) == exits.DONE
    assert json.loads(capsys.readouterr().out)["note"] == note
    (tmp_path / "checkpoint").write_text(note)
    shutil.copy(copy.verifier_key, tmp_path / "vkey")
    commands = textwrap.dedent(shell_block("auditor-sql.md"))
    done = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Signature Verified Successfully\n"), done.stderr
    (tmp_path / "checkpoint").write_text(note.replace("\n", "0\n", 2))
    assert subprocess.run(["bash", "-ec", commands], cwd=tmp_path, capture_output=True, check=False).returncode == 1
    assert run(["verify", "sql", "--print", "root"]) == exits.DONE
    query = capsys.readouterr().out.rstrip().removesuffix(";")
    name, size, root = note.splitlines()[:3]
    told = [f"--param={key}={value}" for key, value in (("origin", name), ("size", size), ("root", root))]
    assert run(["query", *told, "--data", str(copy.root), "--json", "--", query]) == exits.DONE
    assert '"verified: the stored rows have the root of the checkpoint"' in capsys.readouterr().out


def test_a_log_or_query_that_is_not_there_is_named(copy: Layout, capsys: Capture) -> None:
    assert run(["log", "checkpoint", "events/7", "--data", str(copy.root)]) == exits.INCOMPLETE
    assert "got log 'events/7', expected one of the ledger" in capsys.readouterr().err
    assert run(["verify", "sql", "--print", "roots"]) == exits.USAGE
    assert "expected one of chain, commitments, inclusion, leaves, parts, root" in capsys.readouterr().err
    assert run(["verify", "sql", "root", "--data", str(copy.root)]) == exits.USAGE
