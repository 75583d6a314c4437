"""``python -m bench [--write] [NAME …]``: measure, print the table against the budgets, optionally keep it."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, markdown

MODULES = ("stores", "ingest", "otlp", "signer", "clickhouse", "archive", "end_to_end")
TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def main(arguments: list[str]) -> int:
    write = "--write" in arguments
    names = [argument for argument in arguments if not argument.startswith("-")] or list(MODULES)
    if unknown := set(names) - set(MODULES):
        print(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(MODULES)}", file=sys.stderr)
        return 3
    figures: list[Figure] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        figures += importlib.import_module(f"bench.{name}").measure()
    table = markdown(figures, datetime.now(UTC).strftime("%Y-%m-%d"))
    print(table)
    if write:
        heading, _, _ = TARGET.read_text("utf-8").partition("<!-- table -->")
        TARGET.write_text(f"{heading}<!-- table -->\n\n{table}", "utf-8")
        print(f"wrote {TARGET}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
