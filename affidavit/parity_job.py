"""Making the parity statement of a day: read the ledger and each destination, compare, sign, keep."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol

from affidavit.deadletters import Found, choose, offsets_of, read_letters
from affidavit.exhibits import Exhibits, SourceName
from affidavit.forwarders import SPLUNK, splunk_search, wanted_forwarders
from affidavit.layout import Layout
from affidavit.parity import (
    Held,
    Leaf,
    Span,
    compare,
    day_bounds,
    digest_of,
    encode_statement,
    note_name,
    note_text,
    statement,
)
from affidavit.progress import Told
from affidavit.reconciliation import reconcile
from affidavit.settings import Settings
from affidavit.threads import run_alone
from affidavit.wiring import Wiring
from schemas.entry import decode_entry, leaf_hash
from schemas.errors import AffidavitError, EvidenceIncomplete, LedgerContradiction, Unavailable, VerificationError
from schemas.ids import Offset, Shard
from signer.checkpoint import open_checkpoint
from signer.ledger import Ledger
from signer.note import SigningKey, VerifierKey, parse_note, sign_note, verify_note
from signer.origin import ANCHOR_SHARD
from signer.status import log_statuses
from signer.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle, width_at
from sinks.kept import KeptPosition
from stores.objects import NewObject, Objects

log = logging.getLogger(__name__)

LOOK_SECONDS = 300.0
"""How often it is looked whether a statement is due."""

PATIENCE = timedelta(hours=6)
"""How long a destination may be away, before a statement is signed that says so."""

LEAF_SOURCES: tuple[SourceName, ...] = ("archive", "clickhouse")
"""Destinations that state a leaf for each record."""


class Leaves(Protocol):
    """A destination that states leaves."""

    def leaves(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Leaf]: ...


def statement_key(day: date) -> str:
    """Where the statement of a day is kept; its note beside it ends in ``.note``."""
    return f"parity/{day.isoformat()}.json"


def make_statement(exhibits: Exhibits, day: date, made_at: datetime, told: Told) -> bytes:
    """Compare one UTC day and write down what was found. Signs and keeps nothing.

    Raises:
        EvidenceIncomplete: the ledger cannot be read.
    """
    wiring = exhibits.wiring
    assert wiring is not None
    spans = []
    sources: dict[str, Leaves] = {}
    forwarders = wanted_forwarders(wiring.settings)
    waiting = choose(run_alone(read_letters(wiring))) if forwarders else []
    for span in day_spans(exhibits, day):
        digest, count = digest_of(_counted(_ledger_leaves(exhibits.objects, span), span, "ledger", told))
        if count != span.end - span.first:
            raise EvidenceIncomplete(f"{span.origin}: the ledger has {count} of {span.end - span.first} entries")
        held: dict[str, Held] = {name: _held(exhibits, sources, name, span, told) for name in LEAF_SOURCES}
        held |= {name: _forwarded(wiring, name, span, waiting) for name in forwarders}
        spans.append((span, digest, held))
    before = day - timedelta(days=1)
    kept = read_statement(exhibits.objects, before)
    previous = (before, hashlib.sha256(kept[0]).hexdigest()) if kept else None
    return encode_statement(statement(wiring.settings.deployment.name, day, made_at, spans, previous))


def keep_statement(objects: Objects, deployment: str, day: date, data: bytes, key: SigningKey) -> bytes:
    """Sign a statement and keep it, once and for all; returns the note.

    Raises:
        LedgerContradiction: another one of that day is kept already.
    """
    note = sign_note(note_text(deployment, day, data), note_name(deployment), key)
    objects.create([NewObject(statement_key(day), data), NewObject(statement_key(day) + ".note", note)])
    return note


def read_statement(objects: Objects, day: date) -> tuple[bytes, bytes] | None:
    """Statement and note of a day; ``None`` when none was made."""
    try:
        return objects.get(statement_key(day)), objects.get(statement_key(day) + ".note")
    except KeyError:
        return None


def check_statement(deployment: str, day: date, data: bytes, note: bytes, keys: list[bytes]) -> None:
    """Return if the note is over this statement of this day, signed by one of the deployment's public keys.

    Raises:
        VerificationError: it is not.
    """
    parsed = parse_note(note)
    verify_note(parsed, [VerifierKey(note_name(deployment), key) for key in keys])
    if parsed.text != note_text(deployment, day, data):
        raise VerificationError(f"the parity statement of {day} is not the one that was signed")


def day_spans(exhibits: Exhibits, day: date) -> list[Span]:
    """The offsets of a day in each log that has some, by the bus's time as the ledger has it."""
    begin, end = day_bounds(day)
    wiring = exhibits.wiring
    assert wiring is not None
    spans = []
    for one in log_statuses(wiring.control, exhibits.objects):
        if one.shard == ANCHOR_SHARD or one.published < 2:
            continue
        note = Ledger(exhibits.objects).checkpoint(one.origin)
        checkpoint = open_checkpoint(note, one.origin, exhibits.trust.keys(one.origin))
        times = _Times(Ledger(exhibits.objects), one.origin, checkpoint.size)
        first, last = bisect_left(times, begin), bisect_left(times, end)
        if first < last:
            start = one.next_offset - (one.size - 1)
            bounds = (start, start + first, start + last)
            spans.append(Span(one.origin, one.shard, *bounds, checkpoint.size, checkpoint.root))
    return spans


class _Times:
    """The bus's times of a log's records, in order, for :func:`bisect.bisect_left`: a few entries are read."""

    def __init__(self, ledger: Ledger, origin: str, size: int) -> None:
        self._ledger, self._origin, self._size = ledger, origin, size

    def __len__(self) -> int:
        return self._size - 1

    def __getitem__(self, at: int) -> int:
        return decode_entry(self._ledger.entry(self._origin, self._size, at + 1)).time_ms


def _ledger_leaves(objects: Objects, span: Span) -> Iterator[Leaf]:
    ledger, before = Ledger(objects), span.start - 1  # leaf 0 is the genesis
    for number in range((span.first - before) // FULL_WIDTH, (span.end - 1 - before) // FULL_WIDTH + 1):
        tile = Tile(ENTRIES, number, width_at(span.size, ENTRIES, number))
        for at, entry in enumerate(decode_bundle(ledger.tile(span.origin, tile), tile.width), number * FULL_WIDTH):
            if span.first <= before + at < span.end:
                yield before + at, leaf_hash(entry)


def _held(exhibits: Exhibits, sources: dict[str, Leaves], name: SourceName, span: Span, told: Told) -> Held:
    """What a destination that states leaves holds of a span; why not, where it cannot be read. ``sources`` are those
    that are open."""
    try:
        if name not in sources:
            source: Any = exhibits.source(name)
            sources[name] = source
        held = sources[name].leaves(span.shard, Offset(span.first), Offset(span.end))
        return compare(_ledger_leaves(exhibits.objects, span), _counted(held, span, name, told))
    except AffidavitError as error:
        return Held(reason=f"{type(error).__name__}: {error}")


def _counted(leaves: Iterator[Leaf], span: Span, name: str, told: Told) -> Iterator[Leaf]:
    for number, one in enumerate(leaves):
        if number % 10_000 == 0:
            told(number, span.end - span.first, f"{span.shard}, {name}")
        yield one


def _forwarded(wiring: Wiring, name: str, span: Span, waiting: Sequence[Found]) -> Held:
    """What can be known of a destination that cannot be read: how far it confirmed; of Splunk what a search finds.
    ``waiting`` are the dead letters of all sinks that nobody has delivered since."""
    try:
        mark = KeptPosition(wiring.control, name, span.shard).read()
        reached = min(span.end, mark.offset) if mark is not None else span.first
        search = splunk_search(wiring.settings) if name == SPLUNK else None
        if search is None:
            return Held("position", max(0, reached - span.first), list(range(max(reached, span.first), span.end)))
        rejected = offsets_of(waiting, name, span.shard)
        with closing(search):
            found = reconcile(search, span.shard, span.first, span.end, rejected)
        lacking = sorted({*found.missing, *(offset for offset in rejected if span.first <= offset < span.end)})
        return Held("offset", span.end - span.first - len(lacking), lacking, [], found.repeats)
    except AffidavitError as error:
        return Held("offset", reason=f"{type(error).__name__}: {error}")


def today() -> date:
    """The UTC day."""
    return datetime.now(UTC).date()


class ParityKeeper:
    """Makes yesterday's statement, some time after midnight UTC, if nobody has.

    Args:
        layout, settings: of the deployment.
        key: signs.
        after_minutes: how long after midnight: the archive gathers, and destinations confirm late.
        now: UTC.
    """

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        key: SigningKey,
        after_minutes: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._layout, self._settings, self._key = layout, settings, key
        self._after = timedelta(minutes=after_minutes)
        self._now = now
        self._stopping = threading.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Look every few minutes until ``stop``; what fails is logged and tried again. It never stops the signer, and a
        comparison under way is given up at once."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                looking = asyncio.ensure_future(asyncio.to_thread(self.look))
                await asyncio.wait({looking, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    self._stopping.set()
                try:
                    await looking
                except _GivenUp:
                    return
                except AffidavitError as error:
                    log.warning("the parity statement cannot be made yet: %s", error)
                await asyncio.wait({stopped}, timeout=LOOK_SECONDS)
        finally:
            stopped.cancel()

    def look(self) -> date | None:
        """Make the statement that is due; returns its day, ``None`` when none is."""
        now = self._now()
        day = (now - self._after).date() - timedelta(days=1)
        with Exhibits(self._layout, None, self._settings) as exhibits:
            if read_statement(exhibits.objects, day) is not None:
                return None
            data = make_statement(exhibits, day, now, self._told)
            said = json.loads(data)
            away = _not_compared(said)
            if away and now < datetime.combine(day, time.min, UTC) + timedelta(days=1) + self._after + PATIENCE:
                raise Unavailable(f"{day}: {away[0]}")
            try:
                keep_statement(exhibits.objects, self._settings.deployment.name, day, data, self._key)
            except LedgerContradiction:
                return None  # another signer was faster
        if said["agrees"]:
            log.info("parity of %s: %d records are the same everywhere", day, said["records"])
        else:
            log.error("parity of %s: ledger and destinations differ: affidavit parity --day %s", day, day)
        return day

    def _told(self, done: int, total: int | None, what: str) -> None:
        """Where a comparison passes every ten thousand records, and may be given up."""
        if self._stopping.is_set():
            raise _GivenUp


class _GivenUp(Exception):
    """The process ends."""


def _not_compared(said: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {one['reason']}"
        for span in said["logs"]
        for name, one in span["destinations"].items()
        if one["reason"]
    ]
