"""The questions of ``docs/queries.md`` over ten million records, in the embedded engine: each once to warm up, then the
best of three."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

from bench.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

RECORDS = 10_000_000
PARAMETERS = {
    "tenant": "acme",
    "user": "user-8",
    "session": "s-499999",
    "exchange": "x-1999999",
    "document": "doc-1005",
    "words": "word17 word23 word99",
}


def measure(records: int = RECORDS) -> list[Figure]:
    """One figure for each question."""
    from embedded_engine import database_of_its_own
    from query_data import fill, questions

    from sinks.clickhouse import ddl

    figures = []
    with closing(database_of_its_own()) as engine, closing(engine.client()) as client:
        ddl.migrate(client)
        began = time.monotonic()
        fill(client, records)
        client.command("OPTIMIZE TABLE events")
        figures.append(Figure("questions: records made", records / (time.monotonic() - began), "records/s"))
        for question in questions((ROOT / "docs" / "queries.md").read_text()):
            took = []
            for _ in range(4):
                began = time.monotonic()
                rows = client.query(question.sql, PARAMETERS).result_rows
                took.append(time.monotonic() - began)
            name = f"questions: {question.number}. {question.title}"
            figures.append(
                Figure(name, min(took[1:]) * 1000, "ms", note=f"{len(rows)} rows; first time {took[0] * 1000:,.0f} ms")
            )
    return figures
