"""The files of a bundle, to look at and to tamper with."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Files(dict[str, bytes]):
    """By name."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            super().__init__({name: archive.read(name) for name in archive.namelist()})

    def names(self) -> list[str]:
        return list(self)

    def drop(self, name: str) -> None:
        del self[name]

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self["records.jsonl"].decode().splitlines()]


def rewritten(path: Path, target: Path, work: Callable[[Files], None], *, manifest: bool = True) -> Path:
    """A copy of a bundle after ``work``; ``manifest`` makes the manifest fit."""
    files = Files(path)
    work(files)
    if manifest:
        made = json.loads(files["manifest.json"])
        made["files"] = {
            name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "manifest.json"
        }
        made["records"] = len(files.records())
        files["manifest.json"] = json.dumps(made).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target
