"""``token``: made once, listed without secrets, refused where it makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.cli import exits
from affidavit.cli.main import run
from collector.auth import token_digest
from stores.control.database import ControlDatabase


@pytest.fixture
def data(tmp_path: Path) -> str:
    assert run(["init", "--data", str(tmp_path / "data")]) == exits.DONE
    return str(tmp_path / "data")


def test_create_prints_the_secret_alone_on_stdout(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["token", "create", "--data", data, "--tenant", "acme", "--gateway", "litellm-1"]) == exits.DONE
    shown = capsys.readouterr()
    text = shown.out.strip()
    assert text.startswith("aff_")
    assert text not in shown.err
    control = ControlDatabase(f"sqlite:///{data}/control.db")
    kept = control.token_by_digest(token_digest(text))
    control.close()
    assert kept is not None
    assert (kept.tenant, kept.gateway, kept.scopes) == ("acme", "litellm-1", ("ingest",))


def test_list_as_json_holds_no_secret(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["token", "create", "--data", data, "--tenant", "acme", "--gateway", "g", "--note", "for tests", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {
        "schema", "token", "token_id", "tenant", "gateway", "scopes", "state", "created_ms", "expires_ms",
        "revoked_ms", "note", "person",
    }  # fmt: skip
    assert run(["token", "list", "--data", data, "--json"]) == exits.DONE
    text = capsys.readouterr().out
    assert made["token"] not in text
    listed = json.loads(text)["tokens"]
    assert {one["note"] for one in listed} == {"command line, by init", "for tests"}
    assert run(["token", "list", "--data", data]) == exits.DONE
    assert "for tests" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tenant", "acme"], "needs --gateway"),
        (["--tenant", "*", "--gateway", "g"], "needs --gateway, and one --tenant that is not *"),
        (["--tenant", " ", "--gateway", "g"], "empty tenant"),
        (["--tenant", "acme", "--gateway", "g", "--scope", "admin"], "got scope admin"),
        (["--tenant", "acme", "--gateway", "g", "--expires", "soon"], "got expiry 'soon'"),
        (["--gateway", "g"], "--tenant"),
        (["--tenant", "acme", "--person", "ada"], "--person goes with a scope of hold"),
        (["--tenant", "acme", "--scope", "hold"], "and such a scope with --person"),
        (["--tenant", "acme", "--person", "ada", "--scope", "hold", "--scope", "query"], "a person's token is for"),
    ],
)
def test_create_refuses(data: str, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    capsys.readouterr()
    assert run(["token", "create", "--data", data, *arguments]) == exits.USAGE
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.out == ""


def test_a_reader_needs_no_gateway(data: str) -> None:
    assert run(["token", "create", "--data", data, "--tenant", "acme", "--scope", "query"]) == exits.DONE


def test_revoke_of_nothing_exits_3(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "revoke", "0123456789ab", "--data", data]) == exits.USAGE
    assert "there is no token 0123456789ab" in capsys.readouterr().err
