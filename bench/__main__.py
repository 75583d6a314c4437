"""``python -m bench [--write] [NAME …]``: measure, print the table against the budgets, optionally keep it.

Each module runs in a process of its own, so that no memory and no thread of one is in the figures of another.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, markdown

MODULES = ("stores", "ingest", "otlp", "signer", "clickhouse", "archive", "end_to_end")
TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
ALONE = "--alone"
"""Measure one module in this process, and print its figures as JSON."""


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if not argument.startswith("-")] or list(MODULES)
    if unknown := set(names) - set(MODULES):
        print(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(MODULES)}", file=sys.stderr)
        return 3
    if ALONE in arguments:
        print(json.dumps([asdict(figure) for figure in importlib.import_module(f"bench.{names[0]}").measure()]))
        return 0
    table = markdown([figure for name in names for figure in measured(name)], datetime.now(UTC).strftime("%Y-%m-%d"))
    print(table)
    if "--write" in arguments:
        heading, _, _ = TARGET.read_text("utf-8").partition("<!-- table -->")
        TARGET.write_text(f"{heading}<!-- table -->\n\n{table}", "utf-8")
        print(f"wrote {TARGET}", file=sys.stderr)
    return 0


def measured(name: str) -> list[Figure]:
    """The figures of one module, from a process of its own."""
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "bench", ALONE, name]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [Figure(**fields) for fields in json.loads(lines[-1])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
