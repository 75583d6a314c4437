"""What may be changed in a bundle, with the step that must find it and the exit code."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from bundle_files import Files


def change(files: Files, name: str, data: bytes) -> None:
    files[name] = data


def flip(data: bytes, at: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def in_record(files: Files, number: int, **changes: Any) -> None:
    records = files.records()
    records[number] |= changes
    files["records.jsonl"] = "".join(json.dumps(record) + "\n" for record in records).encode()


def first_part(files: Files) -> str:
    return str(files.records()[0]["parts"][1]["file"])


def anchor_file(files: Files, start: str) -> str:
    return next(name for name in files.names() if name.rpartition("/")[2].startswith(start))


TAMPERING: dict[str, tuple[Callable[[Files], None], str, int]] = {
    "a part": (lambda f: change(f, first_part(f), f[first_part(f)] + b" "), "B4", 1),
    "a salt": (
        lambda f: in_record(f, 0, parts=[p | {"salt": "00" * 32} for p in f.records()[0]["parts"]]),
        "B4",
        1,
    ),
    "a part that is gone": (lambda f: f.drop(first_part(f)), "B4", 2),
    "an entry": (
        lambda f: in_record(f, 0, entry=base64.b64encode(flip(base64.b64decode(f.records()[0]["entry"]), 30)).decode()),
        "B3",
        1,
    ),
    "an address": (lambda f: in_record(f, 0, address="events/0@1", offset=1), "B3", 1),
    "another shard": (lambda f: in_record(f, 0, address="events/1@0"), "B3", 1),
    "a proof of another record": (lambda f: change(f, f.records()[0]["proof"], f[f.records()[1]["proof"]]), "B3", 1),
    "a log's signature": (
        lambda f: change(f, f.records()[0]["proof"], flip(f[f.records()[0]["proof"]], -5)),
        "B3",
        1,
    ),
    "a part less": (lambda f: in_record(f, 0, parts=f.records()[0]["parts"][:2]), "B4", 1),
    "no anchor": (lambda f: in_record(f, 0, anchor=None), "B6", 2),
    "another set": (
        lambda f: change(f, f.records()[0]["anchor"]["set"], f[f.records()[0]["anchor"]["set"]] + b"x"),
        "B6",
        1,
    ),
    "a token": (lambda f: change(f, anchor_file(f, "tsa-"), flip(f[anchor_file(f, "tsa-")], -3)), "B6", 1),
    "a token's time": (
        lambda f: change(f, anchor_file(f, "tsa-"), f[anchor_file(f, "tsa-")].replace(b"\x18\x0f202", b"\x18\x0f201")),
        "B6",
        1,
    ),
    "a cosignature": (
        lambda f: change(f, anchor_file(f, "witness-"), flip(f[anchor_file(f, "witness-")], -6)),
        "B6",
        1,
    ),
    "no cosignature": (lambda f: f.drop(anchor_file(f, "witness-")), "B6", 2),
    "a checkpoint": (
        lambda f: change(f, anchor_file(f, "checkpoint"), f[anchor_file(f, "checkpoint")] + b"x"),
        "B6",
        1,
    ),
    "no records": (lambda f: change(f, "records.jsonl", b""), "B1", 2),
}
