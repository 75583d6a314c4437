"""Checkpoint sets: the entries of the anchor log. Every few seconds one says how far each log had come. Pure.

A set in the log makes a shortened tail visible: whoever drops the end of a log contradicts the last set that speaks of
it, and whoever drops the end of the anchor log too is left with a head that is older than the freshness bound.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.entry import CHECKPOINT_SET, VERSION, ZERO
from schemas.errors import MalformedInput
from signer.merkle import HASH_BYTES
from signer.origin import term_order
from signer.tiles import MAX_ENTRY_BYTES

MAX_SIZE = 2**63 - 1

_HEAD = struct.Struct(">BBQQ32sH")
_STATE = struct.Struct(">Q32s32s")


class LogHead(NamedTuple):
    """How far one log had come: leaves, root and chain after the last of them."""

    origin: str
    size: int
    root: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class CheckpointSet:
    """One entry of the anchor log.

    Attributes:
        sequence: number of the set; a set that is too large for one entry continues in the next with the same number.
        time_ms: when it was taken, milliseconds since 1970 UTC.
        token: SHA-256 of the latest evidence from outside that the anchor log had received; zero while there is none.
        heads: sorted by origin, each origin once, at least one.
    """

    sequence: int
    time_ms: int
    heads: tuple[LogHead, ...]
    token: bytes = ZERO


def encode_set(entry: CheckpointSet) -> bytes:
    """``u8 1 | u8 0x20 | u64be sequence | u64be time_ms | token[32] | u16be n | n × (u8 len | origin | u64be size |
    root[32] | chain[32])``."""
    origins = [head.origin for head in entry.heads]
    if not origins or origins != sorted(set(origins)):
        raise MalformedInput(
            f"got a checkpoint set over {origins[:4]}, expected one or more origins, sorted, each once"
        )
    pieces = [_HEAD.pack(VERSION, CHECKPOINT_SET, entry.sequence, entry.time_ms, entry.token, len(origins))]
    for origin, size, root, chain in entry.heads:
        raw = origin.encode("ascii")
        pieces += (bytes((len(raw),)), raw, _STATE.pack(size, root, chain))
    data = b"".join(pieces)
    if len(data) > MAX_ENTRY_BYTES:
        raise MalformedInput(f"got a checkpoint set of {len(data)} bytes, expected at most {MAX_ENTRY_BYTES}")
    return data


def encode_sets(sequence: int, time_ms: int, heads: Sequence[LogHead], token: bytes = ZERO) -> list[bytes]:
    """The entries of one set over any number of logs: as many as it takes, all with the same number."""
    entries: list[bytes] = []
    group: list[LogHead] = []
    room = MAX_ENTRY_BYTES - _HEAD.size
    for head in sorted(heads):
        need = 1 + len(head.origin) + _STATE.size
        if need > room:
            entries.append(encode_set(CheckpointSet(sequence, time_ms, tuple(group), token)))
            group, room = [], MAX_ENTRY_BYTES - _HEAD.size
        group.append(head)
        room -= need
    entries.append(encode_set(CheckpointSet(sequence, time_ms, tuple(group), token)))
    return entries


def decode_set(data: bytes) -> CheckpointSet:
    """Read what :func:`encode_set` wrote.

    Raises:
        MalformedInput: anything else.
    """
    try:
        version, kind, sequence, time_ms, token, count = _HEAD.unpack_from(data)
        if version != VERSION or kind != CHECKPOINT_SET:
            raise MalformedInput(f"got version {version} and kind {kind:#04x}, expected a checkpoint set, version 1")
        at = _HEAD.size
        heads: list[LogHead] = []
        for _ in range(count):
            start = at + 1
            at = start + data[at]
            origin = data[start:at].decode("ascii")
            size, root, chain = _STATE.unpack_from(data, at)
            at += _STATE.size
            if not 0 < size <= MAX_SIZE:
                raise MalformedInput(f"got size {size} of {origin} in a checkpoint set, expected 1 to 2^63 - 1")
            heads.append(LogHead(origin, size, root, chain))
    except (struct.error, IndexError, UnicodeDecodeError):
        raise MalformedInput(f"got a checkpoint set of {len(data)} bytes that is cut short or not ASCII") from None
    entry = CheckpointSet(sequence, time_ms, tuple(heads), token)
    if len(token) != HASH_BYTES or encode_set(entry) != data:
        raise MalformedInput(f"got {len(data) - at} bytes after a checkpoint set, expected none")
    return entry


def without_closed(heads: Sequence[LogHead]) -> list[LogHead]:
    """Of each shard the newest log. A log that another follows has ended: its last state is in the genesis document of
    the next, to which that one's first entry commits, so the set still speaks for both."""
    origins = [head.origin for head in heads]
    return [head for head in heads if not followed(head.origin, origins)]


def followed(origin: str, others: Iterable[str]) -> bool:
    """Whether a later log of the same shard is among them."""
    shard, _, term = origin.rpartition("/")
    return any(
        other.rpartition("/")[0] == shard and term_order(other.rpartition("/")[2]) > term_order(term)
        for other in others
    )
