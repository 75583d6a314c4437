"""Files on disk as bytes at offsets: plain ones, which grow, and compressed ones, which are read once."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from collector.files.places import digest

GZIP = b"\x1f\x8b"
_GZIP_BITS = 31
_STEP = 1 << 18


class Look(NamedTuple):
    """What a directory says of a file. ``modified`` is seconds since 1970."""

    device: int
    inode: int
    size: int
    modified: float


def look(path: Path) -> Look | None:
    """``None`` when it is not there (any more), or not a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not path.is_file():
        return None
    return Look(found.st_dev, found.st_ino, found.st_size, found.st_mtime)


class Plain:
    """An open file. What was deleted or renamed is still read through it."""

    packed = ""
    damage = ""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, offset: int, size: int) -> bytes:
        """Bytes at an offset; fewer at the end."""
        pieces = []
        while size > 0:
            piece = os.pread(self._file.fileno(), size, offset)
            if not piece:
                break
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def look(self) -> Look:
        """What the file says of itself now."""
        found = os.fstat(self._file.fileno())
        return Look(found.st_dev, found.st_ino, found.st_size, found.st_mtime)

    def close(self) -> None:
        self._file.close()


class Packed(Plain):
    """A gzip file (of one or several members) as what is in it. Reading forward is cheap, going back starts anew.

    Attributes:
        packed: its size and the hash of its beginning.
        damage: why it cannot be read to its end, once that is known.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        size = self.look().size
        self.packed = f"{size}:{digest(super().read(0, 4096))}"
        self.damage = ""
        self._start()

    def read(self, offset: int, size: int) -> bytes:
        if offset < self._at:
            self._start()
        while self._at + len(self._buffer) < offset + size and self._more():
            excess = min(offset - self._at, len(self._buffer))
            if excess > 0:
                self._at += excess
                del self._buffer[:excess]
        begin = offset - self._at
        return bytes(self._buffer[begin : begin + size])

    def _start(self) -> None:
        self._at, self._buffer, self._position = 0, bytearray(), 0
        self._inflater = zlib.decompressobj(_GZIP_BITS)
        self._rest = b""
        self._begun = False

    def _more(self) -> bool:
        """Inflate a step; false at the end."""
        if self.damage and self._position < 0:
            return False
        if not self._rest:
            self._rest = super().read(self._position, _STEP)
            self._position += len(self._rest)
        if not self._rest:
            if self._begun and not self._inflater.eof:
                self._break("it is cut short")
            return False
        try:
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(_GZIP_BITS)
            self._begun, before = True, self._inflater.copy()
            self._buffer += self._inflater.decompress(self._rest, _STEP)
        except zlib.error as error:
            self._buffer += _whole_part(before, self._rest)
            self._break(str(error))
            return False
        self._rest = self._inflater.unconsumed_tail or self._inflater.unused_data
        if self._inflater.eof and not self._rest.strip(b"\0"):  # padding, as tapes have it
            self._rest = b""
        return True

    def _break(self, why: str) -> None:
        self.damage = f"got a gzip file that does not inflate after {self._at + len(self._buffer)} bytes: {why}"
        self._position, self._rest = -1, b""


def _whole_part(inflater: zlib._Decompress, data: bytes) -> bytes:
    """What inflates before the damage; a failed call gives nothing of what it had."""
    pieces = []
    for at in range(len(data)):
        try:
            pieces.append(inflater.decompress(data[at : at + 1]))
        except zlib.error:
            break
    return b"".join(pieces)


def open_source(path: Path) -> Plain:
    """Open a file, compressed or not, by its first bytes.

    Raises:
        OSError: it is gone, or may not be read.
    """
    file = path.open("rb")
    try:
        return Packed(file) if os.pread(file.fileno(), 2, 0) == GZIP else Plain(file)
    except OSError:
        file.close()
        raise
