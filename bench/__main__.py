"""``python -m bench [--write] [NAME …]``: measure, print the tables against the budgets, optionally keep them.

A name is a module, or a group of them: ``embedded``, which is what runs without names, ``gateways``, ``evidence``,
``sinks``, ``retention``, or ``kafka``, which needs Java and Maven. With ``--write`` the table of a group, or of each
module over Kafka, takes the place of the one in ``docs/benchmarks.md``, and every other table stays. The table of a
group is kept only when all of its modules were measured.

Each module runs in a process of its own, so that no memory and no thread of one is in the figures of another.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, markdown
from bench.page import with_table

EMBEDDED = ("stores", "ingest", "otlp", "signer", "clickhouse", "archive", "end_to_end")
KAFKA = (
    "kafka_bus",
    "spool",
    "control",
    "kafka_end_to_end",
    "kafka_scaling",
    "kafka_faults",
    "kafka_peer",
)
GATEWAYS = ("formats", "proxy", "feeds", "history", "large", "completeness", "identity")
EVIDENCE = ("evidence", "tessera")
SINKS = ("forwarding", "forwarding_peer", "queries")
RETENTION = ("holds",)
GROUPS = {
    "embedded": EMBEDDED,
    "kafka": KAFKA,
    "gateways": GATEWAYS,
    "evidence": EVIDENCE,
    "sinks": SINKS,
    "retention": RETENTION,
}
MODULES = (*EMBEDDED, *KAFKA, *GATEWAYS, *EVIDENCE, *SINKS, *RETENTION)
TARGET = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
ALONE = "--alone"
"""Measure one module in this process, and print its figures as JSON."""


def main(arguments: list[str]) -> int:
    asked = [argument for argument in arguments if not argument.startswith("-")] or ["embedded"]
    names = list(dict.fromkeys(name for one in asked for name in GROUPS.get(one, (one,))))
    if unknown := set(names) - set(MODULES):
        known = ", ".join((*GROUPS, *MODULES))
        print(f"got {', '.join(sorted(unknown))}, expected some of {known}", file=sys.stderr)
        return 3
    if ALONE in arguments:
        print(json.dumps([asdict(figure) for figure in importlib.import_module(f"bench.{names[0]}").measure()]))
        return 0
    for table_name, modules in tables(names):
        figures = [figure for module in modules for figure in measured(module)]
        if not figures:
            print(f"no figures for {table_name}: its table stays as it was", file=sys.stderr)
            continue
        table = markdown(figures, datetime.now(UTC).strftime("%Y-%m-%d"))
        print(f"{table_name}\n\n{table}", flush=True)
        if "--write" in arguments and set(modules) >= set(GROUPS.get(table_name, modules)):
            TARGET.write_text(with_table(TARGET.read_text("utf-8"), table_name, table), "utf-8")
            print(f"wrote {table_name} to {TARGET}", file=sys.stderr)
        elif "--write" in arguments:
            print(f"not written: {table_name} was not measured as a whole", file=sys.stderr)
    return 0


def tables(names: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Tables and the modules that are asked for in each."""
    if embedded := [name for name in names if name in EMBEDDED]:
        yield "embedded", embedded
    if gateways := [name for name in names if name in GATEWAYS]:
        yield "gateways", gateways
    if evidence := [name for name in names if name in EVIDENCE]:
        yield "evidence", evidence
    if sinks := [name for name in names if name in SINKS]:
        yield "sinks", sinks
    if retention := [name for name in names if name in RETENTION]:
        yield "retention", retention
    for name in names:
        if name in KAFKA:
            yield name, [name]


def measured(name: str) -> list[Figure]:
    """The figures of one module, from a process of its own."""
    print(f"measuring {name} …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "bench", ALONE, name]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [Figure(**fields) for fields in json.loads(lines[-1])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
