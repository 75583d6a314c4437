"""Envelopes as bodies of requests: each for one index, none larger than Splunk likes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sinks.splunk.envelope import Piece


class Parcel(NamedTuple):
    """The events of one request, all for one index, in the order of their offsets."""

    pieces: tuple[Piece, ...]

    @property
    def body(self) -> bytes:
        """HEC takes envelopes one behind the other; the line break is for people who look at a capture."""
        return b"\n".join([piece.data for piece in self.pieces])

    def halves(self) -> tuple[Parcel, Parcel]:
        """Two parcels; of at least two events."""
        middle = len(self.pieces) // 2
        return Parcel(self.pieces[:middle]), Parcel(self.pieces[middle:])

    def without(self, at: int) -> Parcel:
        """All but one."""
        return Parcel(self.pieces[:at] + self.pieces[at + 1 :])


def pack(pieces: Iterable[Piece], max_bytes: int) -> list[Parcel]:
    """Parcels of at most ``max_bytes``, but for single events that are larger. A refused index then stops what goes to
    it, and no other."""
    open_: dict[str, list[Piece]] = {}
    sizes: dict[str, int] = {}
    parcels: list[Parcel] = []
    for piece in pieces:
        gathered = open_.setdefault(piece.goes_to, [])
        if gathered and sizes[piece.goes_to] + len(piece.data) > max_bytes:
            parcels.append(Parcel(tuple(gathered)))
            gathered.clear()
        if not gathered:
            sizes[piece.goes_to] = 0
        gathered.append(piece)
        sizes[piece.goes_to] += len(piece.data) + 1
    return parcels + [Parcel(tuple(gathered)) for gathered in open_.values() if gathered]


def offsets(parcels: Sequence[Parcel]) -> list[int]:
    """All offsets in them."""
    return [piece.offset for parcel in parcels for piece in parcel.pieces]
