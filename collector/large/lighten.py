"""A body of JSON without its long strings: what formats read in place of one that holds images, files, whole books.

The scan is linear, looks at a fraction of the bytes, and parses nothing. What is cut out and replaced by a short
marker is

* a *run* of base64, of :data:`BOUNDS` or more, anywhere within a JSON string, also in JSON inside of a string;
* the text of a JSON string that is still of :data:`BOUNDS` or more without such runs.

**The light body parses exactly where the body does.** A cut lies within one JSON string, a marker is letters and
digits, and a text is cut out only if it is valid inside a JSON string (UTF-8, escapes, no control characters). Whether
a place lies within a string is decided by counting quotes from the line's start, because no JSON string holds a line
break; a parser that has lost its way in damaged input takes it up again at a line too (:mod:`collector.json_units`).

**Equal text has equal markers**, so that equal keys of an object stay equal. Markers are drawn anew for each body and
never leave the process, so no sender can write one.

Each step does work only where there is something to find: in a body without long runs, a few thousand look-ups per MB.
"""

from __future__ import annotations

import binascii
import codecs
import hashlib
import re
import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Bounds(NamedTuple):
    """From how many bytes on something is cut out.

    Attributes:
        run: of base64. What is shorter are signatures and thumbnails.
        text: what is shorter stays in content: a million characters are more than most models read.
    """

    run: int = 8 * 1024
    text: int = 1024 * 1024


BOUNDS = Bounds()

DISTINCT = 32
"""Different characters within the first 4 KB that make a run base64, and not hexadecimal or a row of dashes."""

_STEP = 4096
_BLOCK = 1 << 20
_LOOK_BACK = 1 << 16
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
_OTHER = re.compile(rb"[^A-Za-z0-9+/=_-]")
_QUOTE = re.compile(rb'(?<!\\)(?:\\\\)*+"')
_STRING_TEXT = re.compile(rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)*+')
_ESCAPE_BYTES = 6
"""Bytes of the longest escape: a run right behind a backslash begins after them."""


class Readable(Protocol):
    """Bytes at hand or on disk."""

    @property
    def size(self) -> int:
        """How many."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """Those from ``start`` to ``stop``, as far as there are any."""
        ...


class AtHand:
    """A :class:`Readable` in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, start: int, stop: int) -> bytes:
        """See :class:`Readable`."""
        return self.data[start:stop]


@dataclass(frozen=True, slots=True)
class Cut:
    """A place that was cut out.

    Attributes:
        start, stop: where in the body.
        marker: what stands there in the light body.
        sha256: of the bytes that were cut out, hex.
        is_base64: or else text.
        decoded_size, decoded_sha256: of what the base64 says, if it says anything.
    """

    start: int
    stop: int
    marker: bytes
    sha256: str
    is_base64: bool
    decoded_size: int = 0
    decoded_sha256: str = ""

    @property
    def size(self) -> int:
        """Bytes that were cut out."""
        return self.stop - self.start


class _Place(NamedTuple):
    """A place to cut out: text, or base64, ``whole`` from its first character on."""

    start: int
    stop: int
    is_base64: bool = False
    whole: bool = False


class Light:
    """A body with markers in place of its cuts. Implements :class:`Readable`, over the light bytes."""

    def __init__(self, body: Readable, cuts: list[Cut], prefix: bytes) -> None:
        self.body, self.cuts, self.prefix = body, cuts, prefix
        self.by_marker = {cut.marker: cut for cut in reversed(cuts)}
        self._starts: list[int] = []
        """Where each cut's marker begins, in the light body."""
        shift = 0
        for cut in cuts:
            self._starts.append(cut.start - shift)
            shift += cut.size - len(cut.marker)
        self.size = body.size - shift

    def read(self, start: int, stop: int) -> bytes:
        """See :class:`Readable`."""
        stop = min(stop, self.size)
        pieces: list[bytes] = []
        while start < stop:
            index = bisect_right(self._starts, start) - 1
            marker = self.cuts[index].marker if index >= 0 else b""
            begins = self._starts[index] if index >= 0 else 0
            after = self.cuts[index].stop if index >= 0 else 0
            if start < begins + len(marker):
                pieces.append(marker[start - begins : stop - begins])
                start += len(pieces[-1])
                continue
            end = self._starts[index + 1] if index + 1 < len(self._starts) else self.size
            end = min(end, stop)
            offset = after - begins - len(marker)
            pieces.append(self.body.read(start + offset, end + offset))
            start = end
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def lighten(body: Readable, bounds: Bounds = BOUNDS) -> Light:
    """Find the long strings of a body of JSON. Any bytes give a light body that stands for them exactly."""
    prefix = _new_prefix()
    found = list(_runs(body, bounds.run)) if body.size >= bounds.run else []
    if body.size >= bounds.text:
        found = _with_texts(body, found, bounds.text)
    if not found:
        return Light(body, [], prefix)
    quotes = _Quotes(body)
    found = [place for place in found if quotes.open_at(place.start)]
    return Light(body, _cuts(body, found, prefix), prefix)


class Cutter:
    """Cuts long strings out of texts that lie in a body one by one, as in protobuf, where what is around them says that
    they are texts. All cuts of one are under one prefix, equal text has equal markers.

    Attributes:
        bounds: from how many bytes on something is cut out.
        cuts: those made so far.
    """

    def __init__(self, body: Readable, bounds: Bounds = BOUNDS) -> None:
        self._body, self.bounds = body, bounds
        self._prefix = _new_prefix()
        self._markers: dict[str, bytes] = {}
        self.cuts: list[Cut] = []

    def text(self, start: int, stop: int) -> list[Cut]:
        """What to cut out of the text between two places, in order: all of it, or runs of base64 in it."""
        shifted = _Part(self._body, start, stop)
        found = list(_runs(shifted, self.bounds.run))
        residue = shifted.size - sum(place.stop - place.start for place in found)
        if residue >= self.bounds.text and _is_utf8(shifted):
            found = [_Place(0, shifted.size)]
        found = [place._replace(start=place.start + start, stop=place.stop + start) for place in found]
        cuts = _cuts(self._body, found, self._prefix, self._markers)
        self.cuts += cuts
        return cuts

    def light(self) -> Light:
        """The body with what was cut out, for whoever restores."""
        return Light(self._body, self.cuts, self._prefix)


class _Part:
    """A part of a body, as a :class:`Readable`."""

    def __init__(self, body: Readable, start: int, stop: int) -> None:
        self._body, self._start, self.size = body, start, stop - start

    def read(self, start: int, stop: int) -> bytes:
        """See :class:`Readable`."""
        return self._body.read(self._start + start, self._start + min(stop, self.size))


def _is_utf8(body: Readable) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, body.size, _BLOCK):
            decoder.decode(body.read(at, at + _BLOCK))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _new_prefix() -> bytes:
    return b"aff" + secrets.token_hex(12).encode() + b"i"


def _cuts(body: Readable, found: list[_Place], prefix: bytes, markers: dict[str, bytes] | None = None) -> list[Cut]:
    markers = {} if markers is None else markers
    cuts = []
    for start, stop, is_base64, whole in found:
        digest, decoded = hashlib.sha256(), _Decoded()
        for at in range(start, stop, _BLOCK):
            piece = body.read(at, min(at + _BLOCK, stop))
            digest.update(piece)
            if whole:
                decoded.update(piece)
        name = digest.hexdigest()
        marker = markers.setdefault(name, prefix + b"%08xe" % len(markers))
        cuts.append(Cut(start, stop, marker, name, is_base64, *(decoded.end() if whole else ())))
    return cuts


def _runs(body: Readable, least: int) -> Iterator[_Place]:
    """Runs of base64 of ``least`` bytes or more, in order. Such a run fills a window between two multiples of half
    its length, so only windows without any other character are looked at closely."""
    start, before, stride = -1, b"", least // 2
    for base in range(0, body.size, _BLOCK):
        block = body.read(base, base + _BLOCK)
        for at in range(0, len(block), stride):
            end = min(at + stride, len(block))
            other = _OTHER.search(block, at, end)
            if other is None:
                if start < 0:
                    tail = block[at - stride : at] if at else before
                    start = base + at - (len(tail) - len(tail.rstrip(_ALPHABET)))
            elif start >= 0:
                yield from _run(body, least, start, base + other.start())
                start = -1
        before = block[-stride:]
    if start >= 0:
        yield from _run(body, least, start, body.size)


def _run(body: Readable, least: int, start: int, stop: int) -> Iterator[_Place]:
    whole = not start or body.read(start - 1, start) != b"\\"
    start += 0 if whole else _ESCAPE_BYTES
    if stop - start >= least and len(set(body.read(start, start + 4096))) >= DISTINCT:
        yield _Place(start, stop, True, whole)


def _with_texts(body: Readable, runs: list[_Place], least: int) -> list[_Place]:
    """``runs``, and the long texts, in order; runs in such a text are part of it."""
    found: list[_Place] = []
    waiting = deque(runs)
    for start, stop in _texts(body, least):
        while waiting and waiting[0].start < start:
            found.append(waiting.popleft())
        inside = []
        while waiting and waiting[0].start < stop:
            inside.append(waiting.popleft())
        residue = stop - start - sum(place.stop - place.start for place in inside)
        is_cut = residue >= least and _is_string_text(body, start, stop)
        found += [_Place(start, stop)] if is_cut else inside
    return [*found, *waiting]


def _texts(body: Readable, least: int) -> Iterator[tuple[int, int]]:
    """Strings of ``least`` bytes or more, in order. Each fills a window between two multiples of half its length."""
    quotes = _Quotes(body)
    done, stride = 0, least // 2
    for base in range(0, body.size, stride):
        stop = base + stride
        if base < done or stop > body.size or _has_quote(body, base, stop):
            continue
        if not quotes.open_at(base):
            continue
        start, end = _quote_before(body, base) + 1, _quote_from(body, base)
        done = end + 1
        if end - start >= least:
            yield start, end


def _has_quote(body: Readable, start: int, stop: int) -> bool:
    """Whether there certainly is a quote that is not escaped, or a line break."""
    for at in range(start, stop, _STEP):
        first = max(0, at - 1)
        block = body.read(first, min(at + _STEP, stop))
        if b"\n" in block or (b'"' in block and _QUOTE.search(block, at - first)):
            return True
    return False


def _quote_before(body: Readable, place: int) -> int:
    """The last quote before ``place`` that is not escaped; −1 if there is none."""
    stop = place
    while stop > 0:
        start = max(0, stop - _LOOK_BACK)
        first = start + _backslashes(body, start) % 2
        at = max((found.end() for found in _QUOTE.finditer(body.read(first, stop))), default=0)
        if at:
            return first + at - 1
        stop = start
    return -1


def _quote_from(body: Readable, place: int) -> int:
    """The first quote at or behind ``place`` that is not escaped; the end of the body if there is none."""
    for start in range(place, body.size, _BLOCK):
        first = start + _backslashes(body, start) % 2
        found = _QUOTE.search(body.read(first, start + _BLOCK))
        if found:
            return first + found.end() - 1
    return body.size


def _backslashes(body: Readable, place: int) -> int:
    """How many of them stand right before ``place``."""
    found, size = 0, 64
    while True:
        block = body.read(max(0, place - found - size), place - found)
        here = len(block) - len(block.rstrip(b"\\"))
        found += here
        if here < size:
            return found
        size = _BLOCK


class _Quotes:
    """Whether a place lies within a string, for places in ascending order: quotes are counted once."""

    def __init__(self, body: Readable) -> None:
        self._body = body
        self._at = 0
        self._open = False
        self._escaped = False
        """Whether the byte at ``_at`` comes after an odd number of backslashes."""

    def open_at(self, place: int) -> bool:
        """Whether ``place`` lies within a string. Not before the last place that was asked for."""
        while self._at < place:
            block = self._body.read(self._at, min(self._at + _BLOCK, place))
            self._at += len(block)
            self._count(block)
        return self._open

    def _count(self, block: bytes) -> None:
        line = block.rfind(b"\n") + 1
        if line:
            block, self._open, self._escaped = block[line:], False, False
        if self._escaped and block:
            block = block[1:]
            self._escaped = False
        quotes = block.count(b'"')
        if b"\\" in block:
            plain = block.replace(b"\\\\", b"")
            quotes -= plain.count(b'\\"')
            self._escaped = plain.endswith(b"\\")
        self._open ^= bool(quotes % 2)


def _is_string_text(body: Readable, start: int, stop: int) -> bool:
    """Whether the bytes may stand between the quotes of a JSON string."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = b""
    try:
        for at in range(start, stop, _BLOCK):
            piece = body.read(at, min(at + _BLOCK, stop))
            decoder.decode(piece)
            rest += piece
            matched = _STRING_TEXT.match(rest)
            rest = rest[matched.end() if matched else 0 :]
            if len(rest) >= _ESCAPE_BYTES:
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not rest and stop < body.size


class _Decoded:
    """Size and hash of what base64 says, in either alphabet, with padding or without."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._rest = b""
        self._size = 0
        self._valid = True

    def update(self, piece: bytes) -> None:
        """More base64."""
        piece = self._rest + piece.translate(_TO_STANDARD)
        whole = (len(piece) - 1) // 4 * 4  # the last group may be padded, and waits
        self._rest = piece[whole:]
        self._add(piece[:whole])

    def _add(self, piece: bytes) -> None:
        if not self._valid:
            return
        try:
            data = binascii.a2b_base64(piece, strict_mode=True)
        except binascii.Error:
            self._valid = False
            return
        self._digest.update(data)
        self._size += len(data)

    def end(self) -> tuple[int, str]:
        """``(0, "")`` if it is not base64."""
        self._add(self._rest + b"=" * (-len(self._rest) % 4))
        return (self._size, self._digest.hexdigest()) if self._valid else (0, "")


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
