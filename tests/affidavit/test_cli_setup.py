"""The command line itself, ``init`` and ``keys``: happy paths, refusals, exit codes."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.layout import Layout


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_init_makes_private_files_once(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--data", str(data), "--name", "audit.example.com"]) == exits.DONE
    first = capsys.readouterr()
    assert first.out == ""
    assert f"affidavit up --data {data}" in first.err
    layout = Layout(data)
    assert mode(data) == 0o700
    for path in (layout.config, layout.control, layout.kek, layout.signing_key, layout.query_token):
        assert mode(path) == 0o600, path
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert run(["init", "--data", str(data)]) == exits.DONE
    assert "nothing was changed" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_init_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--data", str(data), "--shards", "3", "--json"]) == exits.DONE
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"schema", "data", "name", "shards", "made", "changed"}
    assert (shown["schema"], shown["shards"], shown["changed"]) == ("affidavit.init/1", 3, True)
    assert run(["init", "--data", str(data), "--json"]) == exits.DONE
    assert json.loads(capsys.readouterr().out)["changed"] is False


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--name", "other.example.com"], "was made with 'audit.example.com'"), (["--shards", "4"], "was made with 1")],
)
def test_init_refuses_to_rename(data: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str) -> None:
    assert run(["init", "--data", str(data), "--name", "audit.example.com"]) == exits.DONE
    assert run(["init", "--data", str(data), *more]) == exits.USAGE
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["kek", "signing_key"])
def test_a_lost_key_is_never_replaced(data: Path, capsys: pytest.CaptureFixture[str], lost: str) -> None:
    assert run(["init", "--data", str(data)]) == exits.DONE
    path: Path = getattr(Layout(data), lost)
    path.unlink()
    assert run(["init", "--data", str(data)]) == exits.USAGE
    assert "restore it from its backup" in capsys.readouterr().err
    assert not path.exists()


def test_init_refuses_somebody_elses_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert run(["init", "--data", str(tmp_path)]) == exits.USAGE
    assert "is not empty (thesis.tex)" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["affidavit.toml", "control.db", "keys/kek", "keys/signer.key", "keys/query.token"])
def test_an_interrupted_init_is_completed(data: Path, missing: str) -> None:
    """Whatever an init that was cut short had not made yet, the next one makes."""
    assert run(["init", "--data", str(data), "--name", "audit.example.com"]) == exits.DONE
    layout = Layout(data)
    order = [layout.config, layout.control, layout.kek, layout.signing_key, layout.verifier_key, layout.query_token]
    for path in order[order.index(data / missing) :]:
        path.unlink()
    if layout.control.exists():
        layout.control.unlink()  # the mark of completion is the last row written
    assert run(["init", "--data", str(data), "--name", "audit.example.com"]) == exits.DONE
    assert all(path.exists() for path in order)


def test_keys_show_prints_what_auditors_pin(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["init", "--data", str(data), "--name", "audit.example.com"])
    capsys.readouterr()
    assert run(["keys", "show", "--data", str(data)]) == exits.DONE
    shown = capsys.readouterr()
    assert shown.out == Layout(data).verifier_key.read_text()
    assert shown.out.startswith("audit.example.com+")
    assert "SHA256:" in shown.err
    assert run(["keys", "show", "--data", str(data), "--json"]) == exits.DONE
    assert set(json.loads(capsys.readouterr().out)) == {"schema", "verifier_key", "fingerprint", "kek_id"}


def test_keys_init_is_harmless(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["init", "--data", str(data)])
    assert run(["keys", "init", "--data", str(data)]) == exits.DONE
    assert "nothing was changed" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["keys", "show"]])
def test_commands_name_the_remedy_without_a_data_directory(
    data: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run([*command, "--data", str(data)]) == exits.USAGE
    assert "run affidavit init" in capsys.readouterr().err
    assert not data.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Usage: affidavit"),
        (["nonsense"], "No such command 'nonsense'"),
        (["init", "--bogus"], "No such option: --bogus"),
        (["init", "--shards", "many"], "valid integer"),
        (["init", "--shards", "0"], "shards"),
        (["init", "--name", "two words"], "two words"),
    ],
)
def test_a_wrong_command_line_exits_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == exits.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert says in shown.err


def test_version_and_module_entry() -> None:
    shown = subprocess.run([sys.executable, "-m", "affidavit", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("affidavit ")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "affidavit", "--debug", "keys", "show", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert "Traceback" in shown.stderr
    assert "ConfigurationError" in shown.stderr


def test_help_loads_nothing_heavy() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "affidavit", "--help"], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert {"affidavit", "typer"} <= loaded
    assert loaded.isdisjoint({"aiokafka", "aiohttp", "chdb", "clickhouse_connect", "cryptography", "fastavro", "httpx"})
    assert loaded.isdisjoint({"numpy", "pyarrow", "pydantic", "sqlalchemy", "sqlite3", "yaml", "zstandard"})
