"""The reference page of the command line: ``python -m affidavit.cli.reference > docs/cli.md``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

from affidavit.cli import exits
from affidavit.cli.main import app
from affidavit.settings import (
    DATA_VARIABLE,
    DEFAULT_DATA,
    PERSON_VARIABLE,
    TOKEN_VARIABLE,
    Settings,
    is_named,
    section_model,
    variable,
)

_HEAD = """# Command line

This page is made by `make docs` from the program's own help texts; change those, not this.

Data goes to stdout, words to stderr. `--json` prints one JSON document whose `schema` field names its shape and
version; fields are added within a version, never changed or removed. `--data DIR` names the data directory, before
`$AFFIDAVIT_DATA` and `./affidavit-data`. `affidavit --debug COMMAND` shows the traceback of an error.

## Exit codes

| code | meaning |
|---|---|
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups first, in the order of the help text."""
    yield from _below("affidavit", typer.main.get_command(app))


def page() -> str:
    """The whole page, as Markdown."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in exits.MEANING.items())
    return _HEAD + codes + "".join(_entry(name, command) for name, command in commands()) + _settings()


def _settings() -> str:
    """Every setting, from the descriptions beside their declarations."""
    lines = [
        "\n## Settings\n",
        "From the environment, else from `affidavit.toml` in the data directory, else the default. Unknown names are "
        "refused in both. A section with NAME in it may be there several times, under names of your choice. A secret "
        "may be in a file: append `_file` to its name, or `_FILE` to its variable, and give the path.\n",
        "| in `affidavit.toml` | in the environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for section in Settings.model_fields:
        place = f"{section}.NAME" if is_named(section) else section
        for name, field in section_model(section).model_fields.items():
            meaning = " ".join((field.description or "").split())
            default = "" if field.is_required() else f"`{field.default}`"
            lines.append(f"| `{place}.{name}` | `{variable(section, name)}` | {default} | {meaning} |")
    lines.append(f"| | `{DATA_VARIABLE}` | `./{DEFAULT_DATA}` | Data directory, where no `--data` is given. |")
    lines.append(f"| | `{TOKEN_VARIABLE}` | | Bearer token for reading, in place of the directory's own. |")
    lines.append(f"| | `{PERSON_VARIABLE}` | | Token of the person at the command line, for matters and holds. |")
    return "\n".join(lines) + "\n"


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from _below(f"{name} {child}", below)


def _entry(name: str, command: Any) -> str:
    prose, _, example = inspect.cleandoc(command.help or "").replace("\b\n", "").partition("Example:")
    usage = " ".join([name, *command.collect_usage_pieces(_context(name, command))])
    lines = [f"\n## {name}\n", prose.strip(), "", f"    {usage}"]
    rows = [record for parameter in command.params if (record := _row(name, command, parameter))]
    if rows:
        lines += ["", "| argument | meaning |", "|---|---|", *(f"| `{left}` | {right} |" for left, right in rows)]
    if example:
        lines += ["", "Example:", "", *(f"    {line.strip()}" for line in example.strip().splitlines())]
    return "\n".join(lines) + "\n"


def _row(name: str, command: Any, parameter: Any) -> tuple[str, str] | None:
    record = parameter.get_help_record(_context(name, command))
    if record is None or "completion" in parameter.name:
        return None
    left, right = record
    return left.replace("|", "\\|"), " ".join(right.replace("|", "\\|").split())


def _context(name: str, command: Any) -> Any:
    return command.make_context(name, [], resilient_parsing=True)


if __name__ == "__main__":
    print(page(), end="")
