"""The staging object: all tiles and bundles of one batch, durable before the checkpoint over them is signed. Pure.

It lies outside the ledger, and is deleted once the batch is published. Whoever finds a lock row that is ahead of the
published checkpoint finishes the batch from here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from schemas.errors import MalformedInput

MAGIC = b"affidavit/staging/v1\n"

_HEAD = struct.Struct(">QQI")
_ITEM = struct.Struct(">HI")


@dataclass(frozen=True, slots=True)
class Staged:
    """The objects of one batch, as (path below the log, bytes), and the sizes before and after it."""

    old_size: int
    size: int
    objects: tuple[tuple[str, bytes], ...]


def staging_prefix(origin: str) -> str:
    """What the keys of all staging objects of a log begin with."""
    return f"staging/{origin}/"


def staging_key(origin: str, size: int, root: bytes) -> str:
    """The key of the staging object of a batch: the size it leads to in 20 digits, so that keys sort by size, and the
    beginning of the root, so that two signers with different batches never share one."""
    return f"{staging_prefix(origin)}{size:020d}-{root[:8].hex()}"


def staged_size(key: str) -> int:
    """The size in a staging key."""
    return int(key.rpartition("/")[2].partition("-")[0])


def encode_staging(staged: Staged) -> bytes:
    """``magic | u64be old size | u64be size | u32be n | n × (u16be len | u32be len | path | bytes)``."""
    pieces = [MAGIC, _HEAD.pack(staged.old_size, staged.size, len(staged.objects))]
    for path, data in staged.objects:
        raw = path.encode("ascii")
        pieces += (_ITEM.pack(len(raw), len(data)), raw, data)
    return b"".join(pieces)


def decode_staging(data: bytes) -> Staged:
    """Read what :func:`encode_staging` wrote; anything else raises :class:`~schemas.errors.MalformedInput`."""
    at = len(MAGIC)
    objects: list[tuple[str, bytes]] = []
    try:
        old_size, size, count = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        for _ in range(count):
            path_size, data_size = _ITEM.unpack_from(data, at)
            middle = at + _ITEM.size + path_size
            objects.append((data[at + _ITEM.size : middle].decode("ascii"), data[middle : middle + data_size]))
            at = middle + data_size
    except (struct.error, UnicodeDecodeError):
        raise MalformedInput(f"got a staging object of {len(data)} bytes that is cut short") from None
    if at != len(data) or not data.startswith(MAGIC):
        raise MalformedInput(f"got a staging object of {len(data)} bytes, expected {at} after {MAGIC!r}")
    return Staged(old_size, size, tuple(objects))
