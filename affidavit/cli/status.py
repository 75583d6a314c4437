"""``status``: how far everything is."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING

from affidavit.cli import options, output

if TYPE_CHECKING:
    from affidavit.status import ShardStatus, Status


SHARD_COLUMNS = (
    "shard",
    "bus end",
    "last record",
    "signed",
    "unsigned",
    "checkpoint",
    "clickhouse",
    "lag",
    "archive",
    "lag",
)


def status(data: options.Data = None, as_json: options.Json = False) -> None:
    """Show what runs, how far each shard is on the bus, in the ledger and in each sink, and what each store weighs.

    Reads positions and verifies nothing; that is affidavit verify.

    Example:

    \b
      affidavit status
      affidavit status --json | jq '.shards[].unsigned'
    """
    from affidavit.settings import data_directory, load
    from affidavit.status import read_status
    from affidavit.wiring import Wiring

    layout = data_directory(data)
    with Wiring(layout, load(layout)) as wiring:
        read = asyncio.run(read_status(wiring))
    if as_json:
        output.emit_json("affidavit.status/1", _as_dict(read))
        return
    _print(read)


def _as_dict(read: Status) -> dict[str, object]:
    shown = dataclasses.asdict(read)
    shown["shards"] = [{**dataclasses.asdict(shard), "shard": str(shard.shard)} for shard in read.shards]
    return shown


def _print(read: Status) -> None:
    output.emit(f"{read.deployment}  {read.data}")
    for role in read.roles:
        here = [process for process in read.processes if process.role == role]
        for one in here:
            output.emit(f"  {role:<11}process {one.pid} (affidavit {one.command}) {one.url}".rstrip())
        if not here:
            output.emit(f"  {role:<11}not running here")
    if read.bus_error:
        output.emit(f"bus         {read.bus_error}")
    else:
        output.table(
            SHARD_COLUMNS,
            [_row(shard) for shard in read.shards],
            right=(1, 3, 4, 6, 7, 8, 9),
        )
    anchor = f"{output.age(read.anchor_age)} ago" if read.anchor_age is not None else "never"
    output.emit(f"anchor log  {read.anchor_size:,} leaves, last {anchor}")
    if read.dead_letters:
        output.emit(f"dead letters  {read.dead_letters:,} records that a sink could not deliver")
    if read.spooled:
        output.emit(f"spool       {read.spooled:,} records wait here for the bus")
    held = ", ".join(f"{name} {output.size(size)}" for name, size in read.bytes.items() if size)
    output.emit(f"stores      {held or 'nothing on this machine'}")


def _row(shard: ShardStatus) -> list[str]:
    now = time.time()
    sinks: list[str] = []
    for sink in shard.sinks:
        sinks += ["-" if sink.position is None else f"{sink.position:,}", f"{sink.lag:,}"]
    return [
        str(shard.shard),
        f"{shard.end:,}",
        f"{output.age(now - shard.last_ms / 1000)} ago" if shard.last_ms is not None else "none",
        f"{shard.signed:,}",
        f"{shard.unsigned:,}",
        f"{output.age(shard.checkpoint_age)} ago" if shard.checkpoint_age is not None else "none",
        *sinks,
    ]
