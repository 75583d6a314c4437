"""The tail: follows files as they grow, rotate, are truncated, compressed and deleted, and records what they say.

The order of things, and what is true if the process dies there: a block of lines is read; it is recorded, and on the
bus (else nothing has moved, and it is read again); the place moves, and is durable (else the block is read again, and
its lines get the event ids that they have); the next block is read.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from collector.files import Cursors
from collector.files.followed import Followed, Limits
from collector.files.lines import Cut, Line
from collector.files.places import Place, format_places, parse_places
from collector.files.sources import Look, look
from collector.gateways import Draft, Format, Reading, Received, Unit
from collector.gateways.gaps import Gap, state_gaps
from collector.ingest import Ingest
from collector.json_units import encode_content
from schemas.errors import AffidavitError
from schemas.metadata import Metadata

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks at the directory, when there is nothing to read."""

MAX_FILES = 1000
"""Files of one pattern that are followed at once, each with an open handle."""

REMEMBERED = 256
"""Places of files that are gone, which are kept so that a compressed or moved copy is known again."""

TURN = 8
"""Blocks that one file may give before the next has its turn."""

MAX_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class TailSnapshot:
    """What a tail does and has done since it was made.

    Attributes:
        files: followed now.
        lag_bytes: seen and not durable yet.
        lines, read_bytes: recorded.
        rotations: times that another file appeared under a known name, or a known one under another.
        truncations: times that a file became shorter than what was read of it.
        overlong: lines that were too long, and of which only the beginning is recorded.
        problem: what keeps it from reading now; ``""`` while nothing does.
    """

    files: int
    lag_bytes: int
    lines: int
    read_bytes: int
    rotations: int
    truncations: int
    overlong: int
    problem: str


class Tail:
    """Follows the files of one pattern. For one event loop.

    Args:
        pattern: ``*``, ``?`` and ``**`` as in the shell.
        format: reads each line.
        ingest, cursors: where lines and places go.
        tenant, gateway: whose records these are.
        name: what the places are kept under; unique over everything that follows files, on all machines.
        interval: seconds between two looks.
        limits: of reading.
        now: seconds since 1970.
    """

    def __init__(
        self,
        pattern: str,
        format: Format,
        ingest: Ingest,
        cursors: Cursors,
        *,
        tenant: str,
        gateway: str,
        name: str,
        interval: float = INTERVAL,
        limits: Limits | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pattern, self._format, self._ingest, self._cursors = pattern, format, ingest, cursors
        self._received = Received(
            tenant, gateway, "", "file", "", "application/x-ndjson", "", 0, format.name, name=name
        )
        self._name, self._interval, self._limits, self._now = f"file:{name}", interval, limits or Limits(), now
        self._followed: dict[tuple[int, int], Followed] = {}
        self._looked: dict[Path, Look] = {}
        self._places: list[Place] | None = None
        self._kept = ""
        self._lines = self._bytes = self._rotations = self._truncations = self._overlong = 0
        self._problem = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until ``stop``. What fails is tried again; nothing is skipped for it."""
        pause = self._interval
        try:
            while not stop.is_set():
                try:
                    busy = await self.round(stop)
                    self._problem, pause = "", self._interval
                except (AffidavitError, OSError) as error:
                    # Whether the places moved is not known: what is kept is read again, and every file anew.
                    self.close()
                    if str(error) != self._problem:
                        log.warning("files %s are not read on: %s", self._pattern, error)
                    self._problem, busy = str(error), False
                    pause = min(MAX_PAUSE, pause * 2)
                if not busy:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await stop.wait()
        finally:
            self.close()

    async def round(self, stop: asyncio.Event | None = None) -> bool:
        """One look at the directory, and a turn for each file; whether there was anything to read.

        Raises:
            Unavailable: neither the bus nor a spool took the lines, or the cursor cannot be had.
            LockLost: another process follows the same files.
        """
        if self._places is None:
            self._kept = await asyncio.to_thread(self._cursors.get, self._name)
            self._places = parse_places(self._kept)
        await asyncio.to_thread(self._find)
        busy = False
        for followed in list(self._followed.values()):
            for _ in range(TURN):
                if stop is not None and stop.is_set():
                    return True
                if not await self._advance(followed):
                    break
                busy = True
        await asyncio.to_thread(self._let_go)
        return busy

    def snapshot(self) -> TailSnapshot:
        """The counts now."""
        lag = 0
        for followed in list(self._followed.values()):
            with suppress(OSError, ValueError):
                lag += followed.lag()
        return TailSnapshot(
            len(self._followed), lag, self._lines, self._bytes,
            self._rotations, self._truncations, self._overlong, self._problem,
        )  # fmt: skip

    def _find(self) -> None:
        """Open what is new, see what was renamed, truncated or written anew."""
        assert self._places is not None
        paths = sorted(Path(found) for found in glob.glob(self._pattern, recursive=True))
        seen = {path: found for path in paths if (found := look(path)) is not None}
        for path, found in seen.items():
            key = (found.device, found.inode)
            followed = self._followed.get(key)
            if followed is not None:
                if followed.path != path and followed.path not in seen:
                    followed.path, self._rotations = path, self._rotations + 1
                continue
            if len(self._followed) >= MAX_FILES:
                log.error("%s matches more than %d files; %s is not followed", self._pattern, MAX_FILES, path)
                self._problem = f"more than {MAX_FILES} files; make the pattern narrower"
                continue
            self._open(path, key)
        for followed in self._followed.values():
            unread = followed.lag()
            former = followed.restarted()
            if former is not None:
                self._places.append(former)
                self._truncations += 1
                log.warning("%s was truncated or written anew; %d bytes were not read then", followed.path, unread)
        self._looked = seen

    def _open(self, path: Path, key: tuple[int, int]) -> None:
        assert self._places is not None
        try:
            followed = Followed.open(path, self._all_places(), self._looked.get(path))
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("%s cannot be read: %s", path, error.strerror)
            return
        if followed is None:
            return
        if any(other.path == path for other in self._followed.values()):
            self._rotations += 1
        self._followed[key] = followed

    def _let_go(self) -> None:
        """Close what is gone from its directory and read to its end; its place is remembered."""
        there = {(found.device, found.inode) for found in self._looked.values()}
        for key, followed in list(self._followed.items()):
            if key not in there and followed.idle():
                followed.close()
                del self._followed[key]
                if followed.place is not None and self._places is not None:
                    self._places.append(followed.place)

    def close(self) -> None:
        """Let go of all files; the next round knows them again by what is kept."""
        for followed in self._followed.values():
            followed.close()
        self._followed, self._places = {}, None

    async def _advance(self, followed: Followed) -> bool:
        """Record the next lines of a file and move its place; whether there were any."""
        cut = await asyncio.to_thread(followed.cut, self._limits, self._now())
        if cut is None:
            return False
        size = cut.offset - followed.offset
        self._ingest.budget.take(size)
        try:
            units = await self._ingest.in_thread(lambda: self._read(followed, cut))
            if followed.done and followed.damage:
                units.append(_damaged(followed))
            if units:
                received = replace(self._received, received_at=round(self._now() * 1_000_000))
                await self._ingest.accept(Reading(units), received)
        finally:
            self._ingest.budget.give_back(size)
        # Here the lines are durable and the place is not: dying now reads them again.
        if size or followed.done:
            await self._move(followed, cut)
        self._lines, self._bytes = self._lines + len(cut.lines), self._bytes + size
        return size > 0

    async def _move(self, followed: Followed, cut: Cut) -> None:
        place = await asyncio.to_thread(followed.place_at, cut.offset, skipping=cut.skipping)
        former, followed.place = followed.place, place
        new = format_places(self._all_places())
        try:
            await asyncio.to_thread(self._cursors.move, self._name, self._kept, new)
        except BaseException:
            followed.place = former
            raise
        self._kept = new

    def _all_places(self) -> list[Place]:
        """Of the files that are followed, and of the last that are gone."""
        held = [followed.place for followed in self._followed.values() if followed.place is not None]
        origins = {(place.path, place.origin) for place in held}
        gone = [place for place in self._places or [] if (place.path, place.origin) not in origins]
        return gone[-REMEMBERED:] + held

    def _read(self, followed: Followed, cut: Cut) -> list[Unit]:
        origin = followed.origin()
        return [unit for line in cut.lines for unit in self._units(line, origin, followed.path)]

    def _units(self, line: Line, origin: str, path: Path) -> list[Unit]:
        """The units of one line. A format is given one line at a time, so that what it makes of a line does not depend
        on how many were read with it."""
        if line.lost:
            self._overlong += 1
            log.error("%s: the line at byte %d is too long; only its beginning is recorded", path, line.offset)
            return [_overlong(line, _key(origin, line, 0))]
        if not line.data.strip():
            return []
        is_json = line.data.lstrip(b"\xef\xbb\xbf \t")[:1] in (b"{", b"[")
        known = hashlib.sha256(_key(origin, line, 0).encode()).hexdigest()
        media_type = "application/json" if is_json else "text/plain"
        given = replace(self._received, media_type=media_type, body_sha256=known)
        reading = _safely(self._format, line.data, given)
        for at, unit in enumerate(reading.units):
            unit.error = unit.error or reading.error
            unit.source_id = unit.source_id or _key(origin, line, at)
            if unit.drafts:
                metadata = unit.drafts[0].metadata
                found = {"file.path": str(path), "file.offset": line.offset}
                named = {name: encode_content(value).decode() for name, value in found.items()}
                metadata["extras"] = {**metadata.get("extras", {}), **named}
        return reading.units


def _safely(format: Format, line: bytes, received: Received) -> Reading:
    try:
        return format.read(line, received)
    except Exception as error:
        log.exception("format %s failed on a line", format.name)
        return Reading([Unit(line, error=f"internal error of format {format.name}: {type(error).__name__}")])


def _key(origin: str, line: Line, at: int) -> str:
    """For a record without a key of its own: the file, the place in it, and what stands there. Two equal lines are two
    records; one line that is read twice, from wherever the file was moved to, is one."""
    return f"line:{origin}:{line.offset}:{hashlib.sha256(line.data).hexdigest()[:32]}:{at}"


def _overlong(line: Line, key: str) -> Unit:
    reason = f"got a line of more than {len(line.data)} bytes, expected at most that; its beginning is recorded"
    return _unread(line.data, key, reason, Gap("/source", "truncated", limit=len(line.data), note="the line is longer"))


def _damaged(followed: Followed) -> Unit:
    """What of a compressed file could not be read: a record that says so, with its name as its bytes."""
    key = f"damage:{followed.origin()}:{followed.damage}"
    gap = Gap("/source", "not_captured", note="the rest of the file")
    return _unread(str(followed.path).encode("utf-8", "surrogateescape"), key, followed.damage, gap)


def _unread(source: bytes, key: str, reason: str, gap: Gap) -> Unit:
    metadata: Metadata = {"outcome": "error", "error_stage": "receive", "error_message": reason}
    state_gaps(metadata, [gap])
    return Unit(source, key, [Draft("unparsed", metadata)])
