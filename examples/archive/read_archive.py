"""Reads archive segments with nothing of Affidavit's: fastavro, the published schemas, the keys that were handed out.

    affidavit schemas export ./schemas
    affidavit keys export --tenant acme --month 2026-11 --out acme.keys
    python read_archive.py --segments ./segments --schemas ./schemas --keys acme.keys > records.jsonl

``--segments`` is a copy of the bucket's ``segments/`` (``aws s3 sync``), or that folder of an embedded deployment.
Prints one JSON line per record, in the form of ../consumer/consume.py, which opens the parts. docs/object-lock.md shows
the same in ClickHouse and DuckDB.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import fastavro

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "consumer"))
import consume

NAME = re.compile(r"(?P<topic>[a-z]+)-(?P<partition>\d+)/\d{20}-\d{20}\.avro$")


def read_segment(path, known):
    """The records of one segment: an Avro container file, whose schema is in its header."""
    place = NAME.search(path.as_posix())
    crc = next(crc for crc, (name, _) in known.schemas.items() if name.startswith("record."))
    with path.open("rb") as file:
        for record in fastavro.reader(file):
            message = SimpleNamespace(
                topic=place["topic"],
                partition=int(place["partition"]),
                offset=record["offset"],
                timestamp=record["time_ms"],
                headers=[("c", record["commitments"]), ("s", crc)],
                value=record["value"],
            )
            yield consume.read_message(message, known)


def main(asked):
    keys = consume.load_keys(asked.keys) if asked.keys else {}
    known = SimpleNamespace(seen={}, objects=Path(asked.objects), keys=keys)
    known.schemas, known.dictionary = consume.load_schemas(asked.schemas), consume.load_dictionary(asked.schemas)
    for path in sorted(Path(asked.segments).rglob("*.avro"), key=lambda path: path.name):
        for line in read_segment(path, known):
            print(json.dumps(line, default=str))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", required=True)
    parser.add_argument("--schemas", required=True)
    parser.add_argument("--keys", default="")
    parser.add_argument("--objects", default="")
    main(parser.parse_args())
