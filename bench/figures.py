"""A figure, its budget, and the table that shows both."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        path: what was measured, in the words of the budget table.
        value: in ``unit``.
        unit: ``events/s``, ``ms``, ``bytes``, ``MB`` …
        budget: what the design asks for, in the same unit; ``None`` where it asks for nothing.
        at_most: the budget is an upper bound (latencies, bytes) rather than a lower one (rates).
        note: how it was measured, or what bounds it.
    """

    path: str
    value: float
    unit: str
    budget: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; ``None`` without one."""
        if self.budget is None:
            return None
        return self.value <= self.budget if self.at_most else self.value >= self.budget


Measure = Callable[[], Sequence[Figure]]


def machine() -> str:
    """The machine in one line, for the table's heading."""
    cores = os.cpu_count() or 0
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {cores} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}"


def markdown(figures: Sequence[Figure], when: str) -> str:
    """The table as Markdown, for ``docs/benchmarks.md``."""
    lines = [
        f"Measured {when} on {machine()}. Shared machine: read ratios, not absolutes.",
        "",
        "| path | measured | budget | met | how |",
        "|---|---:|---:|---|---|",
    ]
    for figure in figures:
        sign = "≤" if figure.at_most else "≥"
        budget = "" if figure.budget is None else f"{sign} {show(figure.budget)} {figure.unit}"
        met = {True: "yes", False: "**no**", None: ""}[figure.met]
        lines.append(f"| {figure.path} | {show(figure.value)} {figure.unit} | {budget} | {met} | {figure.note} |")
    return "\n".join(lines) + "\n"


def show(value: float) -> str:
    """A number with as many digits as matter."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"
