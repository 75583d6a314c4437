"""Every command explains itself: help, example, ``--json``, and its place on the generated page."""

from __future__ import annotations

import io
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from affidavit.cli import exits, reference
from affidavit.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = dict(reference.commands())
LEAVES = {name: command for name, command in COMMANDS.items() if not getattr(command, "commands", None)}


def examples(command: Any) -> list[str]:
    _, _, example = (command.help or "").partition("Example:")
    return [line.strip() for line in example.replace("\b", "").splitlines() if line.strip()]


def test_the_page_is_the_generated_one() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    assert page == reference.page(), "docs/cli.md is out of date: run make docs"


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_an_example_of_itself(name: str) -> None:
    lines = examples(LEAVES[name])
    assert lines, f"{name} has no Example:"
    assert all(line.startswith(f"{name} ") or line == name for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name} says nothing of itself"


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_prints_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in LEAVES[name].params), f"{name} has no --json"


@pytest.mark.parametrize("name", LEAVES)
def test_every_example_parses(name: str) -> None:
    """Each option of an example exists, so that no example rots."""
    known = {opt for parameter in LEAVES[name].params for opt in (*parameter.opts, *parameter.secondary_opts)}
    for line in examples(LEAVES[name]):
        used = {word for word in shlex.split(line.partition(" | ")[0]) if word.startswith("-")}
        assert used <= known, f"{line}: no such option"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_works(name: str) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert run([*name.split()[1:], "--help"]) == exits.DONE
    assert "Usage:" in printed.getvalue()


def test_every_exit_code_is_explained() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert codes == set(exits.MEANING)
