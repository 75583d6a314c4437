"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data directory. Default: $AFFIDAVIT_DATA, else ./affidavit-data."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
