"""``policy check`` and ``policy diff`` as a person and as a script read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.cli import exits
from affidavit.cli.main import run

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "policies"

HOUSE = """format: affidavit.retention-policy/1
name: house
version: 2
owner: records@example.com
effective: 2026-01-01
rules:
  - {rule: house, citation: manual 4.2, keep: {content: 90 days, source: 90 days, metadata: 7 years}}
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    path = tmp_path / "house.yaml"
    path.write_text(HOUSE)
    return path


def test_check_shows_the_rules(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "check", str(house)]) == exits.DONE
    said = capsys.readouterr().out
    assert "house, version 2, of records@example.com, from 2026-01-01" in said
    assert "90 days" in said
    assert "manual 4.2" in said
    assert run(["policy", "check", str(house), "--json"]) == exits.DONE
    assert json.loads(capsys.readouterr().out)["contradictions"] == []


def test_check_finds_rules_that_contradict_each_other(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house.write_text(HOUSE + "  - {rule: law, citation: § 1, tenants: [acme], at_least: 1 year}\n")
    assert run(["policy", "check", str(house)]) == exits.INCOMPLETE
    said = capsys.readouterr().out
    assert "CONTRADICTION: content of acme: house and law do not agree; it is kept for the minimum" in said
    assert run(["policy", "check", str(house), "--json"]) == exits.INCOMPLETE
    (first, second) = json.loads(capsys.readouterr().out)["contradictions"]
    assert (first["tenant"], first["part"], second["part"]) == ("acme", "content", "source")


def test_diff_says_what_becomes_shorter(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shorter = tmp_path / "shorter.yaml"
    shorter.write_text(HOUSE.replace("content: 90 days", "content: 30 days"))
    assert run(["policy", "diff", str(house), str(shorter)]) == exits.INCOMPLETE
    captured = capsys.readouterr()
    assert "content of all others" in captured.out
    assert "SHORTER" in captured.out
    assert "1 change, 1 of them shorter" in captured.err
    assert run(["policy", "diff", str(shorter), str(house), "--json"]) == exits.DONE
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert (change["part"], change["shorter"]) == ("content", False)
    assert run(["policy", "diff", str(house), str(house)]) == exits.DONE
    assert "no record is kept longer or shorter" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read"),
        ("a: [", "it is not YAML"),
        ("- x", "got no retention policy"),
        (HOUSE.replace("90 days", "3 weeks"), "keep content: got '3 weeks'"),
    ],
)
def test_a_file_that_is_no_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, says: str
) -> None:
    path = tmp_path / "policy.yaml"
    if text is not None:
        path.write_text(text)
    assert run(["policy", "check", str(path)]) == exits.USAGE
    said = capsys.readouterr().err
    assert says in said
    assert "policy.yaml" in said
    assert "\n" not in said.strip()


def test_examples_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for path in EXAMPLES.glob("*.yaml"):
        assert run(["policy", "check", str(path)]) == exits.DONE
    assert "17 CFR 210.2-06" in capsys.readouterr().out
