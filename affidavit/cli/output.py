"""What commands print: data on stdout, words on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from affidavit.progress import Told

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 2.0
"""Seconds without a result after which a progress bar appears."""


def emit(line: str) -> None:
    """One line of data."""
    sys.stdout.write(line + "\n")


def emit_json(schema: str, fields: dict[str, object]) -> None:
    """One JSON document: ``schema`` names its shape and version (``affidavit.status/1``); fields are only ever added
    within a version."""
    emit(json.dumps({"schema": schema, **fields}, indent=2, ensure_ascii=False, default=str))


def say(text: str) -> None:
    """Words for a person."""
    sys.stderr.write(text + "\n")


def console(*, stderr: bool = False) -> Console:
    """A rich console. Off a terminal it writes plain text and breaks no line, so that output can be piped and kept."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = 10_000
    return made


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """A table on stdout. ``right`` names the columns of numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for at, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if at in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(shown)


Progress = Told
"""Progress as commands show it."""


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar on stderr that appears after :data:`PATIENCE` seconds, on a terminal; off a terminal, a line
    every ten seconds."""
    import time

    from rich import progress as bars

    began = last = time.monotonic()
    screen = console(stderr=True)
    bar = bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        console=screen,
        transient=True,
    )
    tasks: dict[str, bars.TaskID] = {}

    def report(done: int, total: int | None, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - began < PATIENCE:
            return
        if screen.is_terminal:
            bar.start()
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)
        elif now - last >= 5 * PATIENCE:
            last = now
            say(f"{what}: {done:,}{f' of {total:,}' if total else ''}")

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()


def count(number: int, noun: str) -> str:
    """So many of them: ``1 record``, ``1,200 records``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(count: int) -> str:
    """Bytes for a person: ``1.4 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def age(seconds: float) -> str:
    """A time span for a person: ``12 s``, ``3 min``, ``2 h``, ``5 d``."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}" if name == "s" and seconds < 10 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"
