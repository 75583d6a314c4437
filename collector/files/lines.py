"""Cutting what a file says into whole lines, a block at a time, within limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from collector.files.places import Read

BLOCK = 1 << 20
"""Bytes that are read at once, and about what is recorded at once."""

MAX_LINE = 64 << 20
"""Bytes of the longest line that is recorded whole; the same as for bodies."""


class Line(NamedTuple):
    """One line without its end, and where it begins. ``lost`` is how many bytes of it are missing so far as is known:
    not 0 for one that is too long."""

    offset: int
    data: bytes
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut out.

    Attributes:
        lines: in order.
        offset: where to go on.
        scanned: up to where there is no end of a line, behind ``offset``.
        skipping: whether ``offset`` is within a line that was too long.
    """

    lines: list[Line] = field(default_factory=list)
    offset: int = 0
    scanned: int = 0
    skipping: bool = False


def cut_lines(
    read: Read,
    offset: int,
    *,
    scanned: int = 0,
    skipping: bool = False,
    final: bool = False,
    block: int = BLOCK,
    max_line: int = MAX_LINE,
) -> Cut:
    """The next lines from ``offset`` on: as many as end within a block, or one longer one.

    Args:
        scanned: as a former cut said.
        skipping: pass over the rest of the line at ``offset`` first.
        final: nothing will come behind the end of the file, so a last line without an end is one.
    """
    if skipping:
        return _skip(read, offset, final, block)
    if scanned <= offset:
        data = read(offset, block)
        end = data.rfind(b"\n") + 1
        if end:
            return Cut(_split(data[:end], offset), offset + end, offset + end)
        scanned = offset + len(data)
        if len(data) < block:
            return _at_end(read, offset, scanned, final)
    return _long(read, offset, scanned, final, block, max_line)


def _long(read: Read, offset: int, scanned: int, final: bool, block: int, max_line: int) -> Cut:
    """A line that is longer than a block."""
    while True:
        piece = read(scanned, block)
        found = piece.find(b"\n")
        end = scanned + (found if found >= 0 else len(piece))
        if end - offset > max_line:
            line = Line(offset, read(offset, max_line), end - offset - max_line)
            behind = end + (found >= 0)
            return Cut([line], behind, behind, skipping=found < 0)
        if found >= 0:
            return Cut([_line(read(offset, end - offset), offset)], end + 1, end + 1)
        scanned = end
        if len(piece) < block:
            return _at_end(read, offset, scanned, final)


def _at_end(read: Read, offset: int, scanned: int, final: bool) -> Cut:
    if not final or scanned == offset:
        return Cut([], offset, scanned)
    return Cut([_line(read(offset, scanned - offset), offset)], scanned, scanned)


def _skip(read: Read, offset: int, final: bool, block: int) -> Cut:
    while True:
        piece = read(offset, block)
        found = piece.find(b"\n")
        if found >= 0:
            return Cut([], offset + found + 1, offset + found + 1)
        offset += len(piece)
        if len(piece) < block:
            return Cut([], offset, offset, skipping=not final)


def _split(data: bytes, offset: int) -> list[Line]:
    lines = []
    for one in data.split(b"\n")[:-1]:
        lines.append(_line(one, offset))
        offset += len(one) + 1
    return lines


def _line(data: bytes, offset: int) -> Line:
    return Line(offset, data.removesuffix(b"\r"))
