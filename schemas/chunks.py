"""A part that repeats earlier ones: a manifest of own bytes and references. Avro ``chunks.v1.avsc``, codec 2.

Every turn of an agent sends its whole conversation again. What an earlier record of the session holds already is
referred to: a *piece* is a range of the bytes that lie in some record's part, this one's or an earlier one's. A
reference always names the record that has the bytes itself, never one that refers to them, so putting a part together
takes one step, and a record can be told at sight what it needs.

The codec is strict: :func:`decode_manifest` accepts exactly what :func:`encode_manifest` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from schemas.avro_binary import avro_bytes, read_varint, varint
from schemas.errors import EvidenceIncomplete, MalformedInput

OWN = -1
"""Value of :attr:`Piece.record`: the manifest's own bytes."""

MAX_RECORDS = 64
"""Records that one part may refer to: whoever puts it together must have read them all."""

MAX_PIECES = 8192

MAX_OVERHEAD = 16 + 17 * MAX_RECORDS + 27 * MAX_PIECES
"""A manifest is at most so much longer than its own bytes."""

_MAX_PARTITION = 2**31 - 1


class Place(NamedTuple):
    """Where a record lies: its offset in a partition of the topic at hand."""

    partition: int
    offset: int


class Piece(NamedTuple):
    """Bytes ``start`` to ``start + length`` of what record number ``record`` of the manifest holds itself."""

    record: int
    start: int
    length: int


class Manifest(NamedTuple):
    """Attributes:
    records: that are referred to, sorted, none twice.
    pieces: joined, they are the part. Those of the own bytes follow each other and cover all of them.
    own: bytes that lie in this part. They are all that other records may refer to.
    """

    records: tuple[Place, ...]
    pieces: tuple[Piece, ...]
    own: bytes


Held = Callable[[Collection[Place]], Mapping[Place, bytes]]
"""The own bytes of earlier records' parts, as far as they can be had: of a part that is whole, all of it. What is not
in the answer is gone. Raises :class:`~schemas.errors.Unavailable` when that cannot be said now."""


def nothing_held(places: Collection[Place]) -> Mapping[Place, bytes]:
    """A :data:`Held` that has nothing."""
    return {}


def encode_manifest(manifest: Manifest) -> bytes:
    """Avro binary of a manifest, without header."""
    records = b"".join([varint(partition) + varint(offset) for partition, offset in manifest.records])
    pieces = b"".join([varint(record) + varint(start) + varint(length) for record, start, length in manifest.pieces])
    return _array(len(manifest.records), records) + _array(len(manifest.pieces), pieces) + avro_bytes(manifest.own)


def decode_manifest(data: bytes, size: int) -> Manifest:
    """Read a manifest of a part of ``size`` bytes.

    Raises:
        MalformedInput: the bytes are not what :func:`encode_manifest` writes, or break a rule of :class:`Manifest`.
    """
    try:
        records, at = _numbers(data, 0, 2, MAX_RECORDS)
        pieces, at = _numbers(data, at, 3, MAX_PIECES)
        length, at = read_varint(data, at)
    except IndexError:
        raise MalformedInput(f"got a manifest cut short at byte {len(data)}") from None
    if length != len(data) - at:
        raise MalformedInput(f"got {len(data) - at} bytes behind a manifest, expected {length}")
    manifest = Manifest(tuple(map(Place._make, records)), tuple(map(Piece._make, pieces)), data[at:])
    _check(manifest, size)
    return manifest


def assemble(manifest: Manifest, held: Mapping[Place, bytes]) -> bytes:
    """The part, from the own bytes of the records that the manifest names.

    Raises:
        EvidenceIncomplete: one of them is not in ``held``, or holds fewer bytes than the manifest asks of it.
    """
    sources = [held.get(place) for place in manifest.records]
    parts = []
    for record, start, length in manifest.pieces:
        source = manifest.own if record == OWN else sources[record]
        if source is None or start + length > len(source):
            partition, offset = manifest.records[record]
            missing = "is not there" if source is None else f"holds {len(source)} bytes, expected {start + length}"
            raise EvidenceIncomplete(f"repeats bytes of partition {partition} offset {offset}, which {missing}")
        parts.append(source[start : start + length])
    return b"".join(parts)


def _array(count: int, items: bytes) -> bytes:
    """An Avro array in one block."""
    return varint(count) + items + b"\x00" if count else b"\x00"


def _numbers(data: bytes, at: int, width: int, most: int) -> tuple[Iterator[tuple[int, ...]], int]:
    """An Avro array of at most ``most`` records of ``width`` numbers, in one block; and the position behind it."""
    count, at = read_varint(data, at)
    if not 0 <= count <= most:
        raise MalformedInput(f"got {count} items in a manifest, expected 0 to {most}")
    numbers = []
    for _ in range(count * width):
        number, at = read_varint(data, at)
        numbers.append(number)
    if count:
        end, at = read_varint(data, at)
        if end:
            raise MalformedInput(f"got {end} more items in a manifest, expected one block")
    each = iter(numbers)
    return zip(*[each] * width, strict=True), at


def _check(manifest: Manifest, size: int) -> None:
    for before, place in zip((None, *manifest.records), manifest.records, strict=False):
        if not (0 <= place.partition <= _MAX_PARTITION and place.offset >= 0) or (
            before is not None and before >= place
        ):
            raise MalformedInput(f"got record {place} after {before} in a manifest, expected them ascending")
        before = place
    own_end = total = 0
    used = set()
    for record, start, length in manifest.pieces:
        if not OWN <= record < len(manifest.records) or start < 0 or length < 1:
            raise MalformedInput(f"got a piece of record {record}, start {start}, length {length}")
        if record == OWN:
            if start != own_end:
                raise MalformedInput(f"got own bytes from {start} on, expected from {own_end} on")
            own_end += length
        used.add(record)
        total += length
    if own_end != len(manifest.own) or total != size or len(used - {OWN}) != len(manifest.records):
        raise MalformedInput(
            f"got pieces of {total} bytes, {own_end} of {len(manifest.own)} own, and {len(used - {OWN})} of "
            f"{len(manifest.records)} records, expected {size} bytes and all of them"
        )
