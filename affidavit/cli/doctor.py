"""``doctor``: what is wrong with this installation, and what mends it."""

from __future__ import annotations

import dataclasses

from affidavit.cli import exits, options, output

MARKS = {"ok": "✓", "warning": "!", "failure": "✗"}
COLOURS = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def doctor(data: options.Data = None, as_json: options.Json = False) -> int:
    """Check permissions, settings, keys, disk, ports, tokens, shards, clock and engine; each with its remedy.

    Exits 3 when something does not work. Warnings alone exit 0.

    Example:

    \b
      affidavit doctor --data /srv/affidavit
    """
    from affidavit.doctor import examine
    from affidavit.settings import data_directory

    checks = list(examine(data_directory(data)))
    failed = any(check.state == "failure" for check in checks)
    if as_json:
        output.emit_json(
            "affidavit.doctor/1", {"healthy": not failed, "checks": [dataclasses.asdict(check) for check in checks]}
        )
        return exits.USAGE if failed else exits.DONE
    from rich.text import Text

    console = output.console()
    for check in checks:
        console.print(Text.assemble((MARKS[check.state], COLOURS[check.state]), f" {check.name}: {check.found}"))
        if check.remedy:
            console.print(Text(f"    → {check.remedy}"))
    return exits.USAGE if failed else exits.DONE
