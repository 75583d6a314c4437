"""Reading the times of a log backwards, as far as one question asks for."""

from __future__ import annotations

from signer.bus_time import KnownTimes, entry_time
from signer.ledger import Ledger
from signer.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle


def look_back(ledger: Ledger, origin: str, known: KnownTimes, lowest_ms: int) -> KnownTimes:
    """Read bundles backwards until the times known decide about a record of ``lowest_ms``: as far as the step back
    reaches, which is seconds of the log. Nothing is read when time did not step back.

    Raises:
        EvidenceIncomplete, MalformedInput: a bundle is not there, or not whole.
    """
    while not known.settles(lowest_ms):
        index = (known.first - 1) // FULL_WIDTH
        entries = decode_bundle(ledger.tile(origin, Tile(ENTRIES, index)), FULL_WIDTH)
        first = max(index * FULL_WIDTH, 1)
        times = [entry_time(entry) for entry in entries[first - index * FULL_WIDTH : known.first - index * FULL_WIDTH]]
        known = known.before(first, times)
    return known
