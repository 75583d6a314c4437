"""The doctor: each thing that can be wrong is found, and its remedy named."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from affidavit import doctor
from affidavit.cli import exits
from affidavit.cli.main import run
from affidavit.doctor import Check, examine
from affidavit.layout import Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("AFFIDAVIT_COLLECTOR_PORT", "0")
    monkeypatch.setenv("AFFIDAVIT_QUERY_PORT", "0")
    assert run(["init", "--data", str(tmp_path / "data")]) == exits.DONE
    return Layout(tmp_path / "data")


def named(layout: Layout, name: str) -> Check:
    return next(check for check in examine(layout) if check.name == name)


def test_a_new_directory_works_and_lacks_only_senders_and_anchors(layout: Layout) -> None:
    checks = list(examine(layout))
    assert [check.name for check in checks if check.state == "failure"] == []
    assert [check.name for check in checks if check.state == "warning"] == ["tokens", "anchors"]
    assert all(check.remedy for check in checks if check.state != "ok")


def test_an_anchor_whose_files_are_wrong(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "tsa.pem").write_text("nothing")
    with layout.config.open("a") as file:
        file.write(f'[anchors.clock]\nkind = "tsa"\nurl = "http://tsa.example/"\ncertificates = "{tmp_path}/tsa.pem"\n')
    (check,) = [check for check in examine(layout) if check.name == "anchor clock"]
    assert check.state == "failure"
    assert "got no PEM certificates" in check.found


def test_a_certificate_that_ends_soon(layout: Layout, tmp_path: Path) -> None:
    from tsa_server import TimeStampServer

    for days, state in ((3650, "ok"), (30, "warning")):
        made = TimeStampServer(tmp_path / str(days), days=days)
        (tmp_path / "tsa.pem").write_bytes(made.chain)
        if days == 3650:
            with layout.config.open("a") as file:
                file.write('[anchors.clock]\nkind = "tsa"\nurl = "http://tsa.example/"\n')
                file.write(f'certificates = "{tmp_path}/tsa.pem"\n')
        (check,) = [check for check in examine(layout) if check.name == "anchor clock"]
        assert check.state == state, check.found


def test_no_directory(tmp_path: Path) -> None:
    assert [check.state for check in examine(Layout(tmp_path / "absent"))] == ["failure"]


@pytest.mark.parametrize(
    ("break_it", "check", "remedy"),
    [
        (lambda layout: layout.kek.chmod(0o644), "permissions", "chmod 600"),
        (lambda layout: layout.root.chmod(0o755), "permissions", "chmod 700"),
        (lambda layout: layout.kek.unlink(), "key-encryption key", "restore it from its backup"),
        (lambda layout: layout.signing_key.unlink(), "signing key", "restore it from its backup"),
        (lambda layout: layout.verifier_key.write_text("another"), "signing key", "restore the right one"),
        (lambda layout: layout.config.write_text("[nonsense]"), "settings", "correct the setting"),
        (lambda layout: layout.query_token.write_text("aff_x"), "query token", "run affidavit init"),
        (lambda layout: layout.query_token.unlink(), "query token", "run affidavit init"),
        (lambda layout: layout.control.write_bytes(b"no database"), "migrations", "restore the control database"),
    ],
)
def test_what_is_broken_is_found(layout: Layout, break_it: Callable[[Layout], object], check: str, remedy: str) -> None:
    break_it(layout)
    found = named(layout, check)
    assert found.state == "failure"
    assert remedy in found.remedy


def test_a_port_that_is_taken(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("AFFIDAVIT_COLLECTOR_PORT", str(taken.getsockname()[1]))
        found = named(layout, "port of the collector")
    assert (found.state, found.remedy) == ("failure", "stop what uses it, or set AFFIDAVIT_COLLECTOR_PORT")


@pytest.mark.parametrize(("free", "state"), [(1 << 20, "failure"), (1 << 30, "warning"), (1 << 40, "ok")])
def test_free_space(layout: Layout, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    assert named(layout, "disk").state == state


def test_tokens_that_expire_soon(layout: Layout) -> None:
    create = ["token", "create", "--data", str(layout.root), "--tenant", "acme", "--gateway", "g"]
    assert run([*create, "--expires", "3d"]) == exits.DONE
    assert "expire within a week" in named(layout, "tokens").found


def test_a_failure_exits_3(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    layout.kek.unlink()
    capsys.readouterr()
    assert run(["doctor", "--data", str(layout.root), "--json"]) == exits.USAGE
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"schema", "healthy", "checks"}
    assert set(shown["checks"][0]) == {"name", "state", "found", "remedy"}
    assert run(["doctor", "--data", str(layout.root)]) == exits.USAGE
    assert "✗ key-encryption key" in capsys.readouterr().out
