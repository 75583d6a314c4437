"""From a recording to a reading: its long strings are left out while it is read, as of every large body.

A recording is JSON within a frame that states lengths, so the frame of what is read without them states shorter ones.
The source of the unit is the whole file in any case: bytes at hand, or pieces of a file on disk.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
from dataclasses import replace

from collector.gateways import Reading, Received, Unit
from collector.gateways.proxy import ProxyFormat
from collector.gateways.warc import LENGTH_DIGITS, find_spans
from collector.large.lighten import AtHand, Light, lighten
from collector.large.pieces import Pieces
from collector.large.restore import restore
from collector.large.spool import STEP, Spool
from collector.proxy.recording import Recording
from schemas.errors import AffidavitError

log = logging.getLogger(__name__)


def fill(spool: Spool, recording: Recording) -> None:
    """Write a recording's file to disk.

    Raises:
        Unavailable: there is no room.
    """
    for piece in recording.pieces():
        for at in range(0, len(piece), STEP):
            spool.write(bytes(piece[at : at + STEP]))
            if isinstance(piece, memoryview) and isinstance(piece.obj, mmap.mmap):
                piece.obj.madvise(mmap.MADV_DONTNEED, at, min(STEP, len(piece) - at))  # or all of it counts as memory


def read_recorded(file: AtHand | Spool, source: ProxyFormat, received: Received) -> tuple[Reading, Received]:
    """Read a recording's file; returns ``received`` with its hash. The file must stay open until it is stored.

    Raises:
        Unavailable: the disk.
    """
    digest = hashlib.sha256(file.data).hexdigest() if isinstance(file, AtHand) else file.sha256
    received = replace(received, body_sha256=digest)
    try:
        light = lighten(file)
        reading = restore(source.read(_light_file(file, light), received), light)
    except AffidavitError:
        raise  # the disk, not the format
    except Exception as error:
        log.exception("format %s failed on the recording with SHA-256 %s", source.name, digest)
        reason = f"internal error of format {source.name}: {type(error).__name__}"
        reading = Reading([Unit(b"", error=reason)], error=reason)
    for unit in reading.units:
        if isinstance(file, AtHand):
            unit.source, unit.whole = file.data, None
        else:
            unit.source, unit.whole = b"", Pieces(file, [(0, file.size)])
    return reading, received


def _light_file(file: AtHand | Spool, light: Light) -> bytes:
    """The file with markers in place of its long strings, and lengths that are true of it."""
    if not light.cuts:
        return file.read(0, file.size)
    body = bytearray(light.read(0, light.size))
    shift = at = 0
    for span in find_spans(file.read, file.size):
        before = shift
        while at < len(light.cuts) and light.cuts[at].start < span.stop:
            shift += light.cuts[at].size - len(light.cuts[at].marker)
            at += 1
        length = b"%0*d" % (LENGTH_DIGITS, span.stop - span.start - (shift - before))
        body[span.digits - before : span.digits - before + LENGTH_DIGITS] = length
    return bytes(body)
