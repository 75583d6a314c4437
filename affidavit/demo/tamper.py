"""Tampering, as somebody with every right on the machine would: past the product, on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from affidavit.layout import Layout
from schemas.segment import encode_segment, pack_item, parse_segment
from sinks.clickhouse.engine import EmbeddedEngine
from stores.objects.local import OBJECT_MODE

PAID = ("1840.50 is 31 days overdue", "1840.50 is 11 days overdue")
"""What the model said, and what somebody would rather have had it say: one byte."""


def copy(data: Path, name: str) -> Layout:
    """A copy of a stopped data directory, beside it."""
    target = data.with_name(name)
    shutil.copytree(data, target, symlinks=True, ignore=shutil.ignore_patterns("run"))
    return Layout(target)


def change_byte_in_clickhouse(layout: Layout) -> str:
    """Rewrite one digit of one response in table ``contents``; return what was done."""
    engine = EmbeddedEngine(layout.clickhouse)
    client = engine.client({"mutations_sync": 2})
    try:
        before, after = PAID
        client.command(
            "ALTER TABLE contents UPDATE content = replaceOne(content, {before:String}, {after:String}) "
            "WHERE kind = 'response' AND position(content, {before:String}) > 0",
            parameters={"before": before, "after": after},
        )
    finally:
        client.close()
        engine.close()
    return f"in ClickHouse, {before!r} became {after!r}"


def remove_record_from_archive(layout: Layout) -> str:
    """Write one archive object again without its third record; return what was done."""
    path = max((layout.objects / "segments").glob("acme/**/events-*/*.avro"), key=lambda found: found.stat().st_size)
    key = str(path.relative_to(layout.objects))
    records = list(parse_segment(key, path.read_bytes()))
    gone = records.pop(2)
    path.chmod(0o640)
    path.write_bytes(encode_segment(key, [pack_item(*record) for record in records]))
    path.chmod(OBJECT_MODE)
    return f"from the archive, the record of offset {gone.offset} was removed; {len(records)} are left in the object"


def keep_ledger(layout: Layout, origin: str, aside: Path) -> None:
    """Keep the ledger of one log as it is now, for :func:`shorten_tail`."""
    shutil.copytree(layout.objects / "ledger" / origin, aside)


def shorten_tail(layout: Layout, origin: str, aside: Path) -> str:
    """Put an older state of one log, signatures and all, in place of the newer one; return what was done."""
    place = layout.objects / "ledger" / origin
    shutil.rmtree(place)
    shutil.copytree(aside, place)
    return "the ledger of events/0 was put back to an older state, which was validly signed at its time"
