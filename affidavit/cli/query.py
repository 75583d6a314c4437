"""``query``: SQL over what was recorded."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from affidavit.cli import options, output


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement; - reads it from stdin.")],
    param: Annotated[
        list[str], typer.Option("--param", "-p", metavar="NAME=VALUE", help="Value of {NAME:Type} in the statement.")
    ] = [],  # noqa: B006  typer copies it
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header line.")] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="Any ClickHouse output format, e.g. Parquet.")
    ] = "",
    url: Annotated[str | None, typer.Option("--url", help="Interface to ask, instead of the directory's own.")] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """Run a query against ClickHouse, read-only: tables events and contents, and the views over them.

    Asks the running affidavit up of the data directory; when none runs, opens the engine in this process. The token is
    $AFFIDAVIT_TOKEN, else the directory's own, which reads all tenants and all content. Every query that reads content
    is itself on the log. Timings go to stderr.

    Example:

    \b
      affidavit query "SELECT kind, gateway, count() FROM events GROUP BY ALL ORDER BY ALL"
      affidavit query --csv -p user=dana@example.com "SELECT * FROM events WHERE user_email = {user:String}"
    """
    from affidavit.engine import query_client
    from affidavit.settings import data_directory

    text = sys.stdin.read() if sql == "-" else sql
    parameters = dict(_pair(one) for one in param)
    with query_client(data_directory(data), url) as client:
        if as_csv or form:
            began, size = time.monotonic(), 0
            for chunk in client.stream(text, form or "CSVWithNames", parameters):
                size += len(chunk)
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            output.say(f"{output.size(size)} in {time.monotonic() - began:.3f} s")
            return
        answer = client.ask(text, parameters)
    if as_json:
        output.emit_json(
            "affidavit.query/1",
            {
                "columns": [{"name": name, "type": kind} for name, kind in answer.columns],
                "rows": answer.records(),
                "seconds": round(answer.seconds, 6),
                "rows_read": answer.read_rows,
            },
        )
        return
    numbers = [at for at, (_, kind) in enumerate(answer.columns) if _is_number(kind)]
    output.table(
        [name for name, _ in answer.columns], [[_cell(cell) for cell in row] for row in answer.rows], right=numbers
    )
    output.say(
        f"{len(answer.rows):,} row{'s' if len(answer.rows) != 1 else ''} in {answer.seconds:.3f} s, "
        f"{answer.read_rows:,} read"
    )


def _pair(text: str) -> tuple[str, str]:
    from schemas.errors import MalformedInput

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise MalformedInput(f"got --param {text!r}, expected NAME=VALUE")
    return name, value


def _is_number(kind: str) -> bool:
    inner = kind.removeprefix("Nullable(").removeprefix("LowCardinality(")
    return inner.startswith(("Int", "UInt", "Float", "Decimal"))


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "".join(c if c.isprintable() or c in "\n" else f"\\x{ord(c):02x}" for c in value)
    return str(value)
