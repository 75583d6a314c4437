"""Steps 4, 5, 9 and 10 of verifying a shard's log: what the entries say. Pure.

Entries are checked by column: their heads are unpacked in one call, and each column is compared as a whole. Only what
does not fit is looked at one by one, to name it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from schemas.entry import (
    COMMITMENT_BYTES,
    CONTROL,
    EVENT,
    INVALID,
    MAX_COMMITMENTS,
    VERSION,
    decode_entry,
)
from schemas.errors import MalformedInput, VerificationError
from schemas.ids import CONTROL as CONTROL_TOPIC
from signer.bus_time import MAX_STEP_BACK_MS, is_too_early, steps_back
from signer.genesis import Genesis, genesis_entry
from signer.origin import Origin
from signer.verified import NOTHING, RulesState

_HEAD = struct.Struct(">BBQQB")
_HEAD_BYTES = _HEAD.size


class EntryRules:
    """Checks the entries of one log in order, block by block.

    Attributes:
        invalid: entries so far of messages that were no records.
        first_ms, last_ms: the earliest and the latest time of a record so far; 0 before the first record.
        steps_back: records so far whose time lay below the latest before them, at most by ``largest_step_ms``.
    """

    def __init__(self, origin: Origin, genesis: Genesis, document: bytes, so_far: RulesState = NOTHING) -> None:
        """``so_far``: what was counted of the entries before the first that will be checked."""
        self._origin = str(origin)
        self._kind = CONTROL if origin.shard.topic == CONTROL_TOPIC else EVENT
        self._genesis = genesis_entry(document, genesis.opened_ms)
        self._start = genesis.start_offset
        self.invalid, self.first_ms, self.last_ms, self.steps_back, self.largest_step_ms = so_far

    @property
    def state(self) -> RulesState:
        """What was counted so far."""
        return RulesState(self.invalid, self.first_ms, self.last_ms, self.steps_back, self.largest_step_ms)

    def check(self, first: int, entries: Sequence[bytes]) -> None:
        """Check entries of which the first has index ``first``.

        Raises:
            VerificationError: steps 4, 5, 9, 10.
        """
        if first == 0:
            if entries[0] != self._genesis:
                raise VerificationError(f"{self._origin}: entry 0 does not commit to the genesis document", step="4")
            first, entries = 1, entries[1:]
        if entries and not self._fits(first, entries):
            self._name_misfit(first, entries)

    def _fits(self, first: int, entries: Sequence[bytes]) -> bool:
        heads = b"".join([entry[:_HEAD_BYTES] for entry in entries])
        if len(heads) != len(entries) * _HEAD_BYTES:
            return False
        versions, kinds, offsets, times, counts = zip(*_HEAD.iter_unpack(heads), strict=True)
        types = [entry[_HEAD_BYTES::COMMITMENT_BYTES] for entry in entries]
        shapes = set(zip(map(len, entries), counts, types, strict=True))
        offset = self._start + first - 1
        invalid = kinds.count(INVALID)
        fits = (
            all(_is_shape(size, count, kinds_of_parts) for size, count, kinds_of_parts in shapes)
            and versions.count(VERSION) == len(entries)
            and kinds.count(self._kind) + invalid == len(entries)
            and offsets == tuple(range(offset, offset + len(entries)))
        )
        return fits and self._times_fit(times, invalid)

    def _times_fit(self, times: Sequence[int], invalid: int) -> bool:
        """Step 10; counts the block when it holds."""
        steps = steps_back(times, self.last_ms)
        if steps.largest_ms > MAX_STEP_BACK_MS:
            return False
        self.invalid += invalid
        self.first_ms = min(self.first_ms or times[0], *times) if steps.taken else self.first_ms or times[0]
        self.last_ms = steps.high_ms
        self.steps_back += steps.taken
        self.largest_step_ms = max(self.largest_step_ms, steps.largest_ms)
        return True

    def _name_misfit(self, first: int, entries: Sequence[bytes]) -> None:
        last_ms = self.last_ms
        for index, data in enumerate(entries, first):
            where = f"{self._origin}: entry {index}"
            try:
                entry = decode_entry(data)
            except MalformedInput as error:
                raise VerificationError(f"{where}: {error}", step="5") from None
            if entry.kind not in (self._kind, INVALID):
                expected = f"{self._kind:#04x} or {INVALID:#04x}"
                raise VerificationError(f"{where}: got kind {entry.kind:#04x}, expected {expected}", step="5")
            if entry.offset != self._start + index - 1:
                raise VerificationError(
                    f"{where}: got bus offset {entry.offset}, expected {self._start + index - 1}", step="9"
                )
            if is_too_early(entry.time_ms, last_ms):
                least = last_ms - MAX_STEP_BACK_MS
                raise VerificationError(
                    f"{where}: got time {entry.time_ms}, expected at least {least}: the latest before it is {last_ms}",
                    step="10",
                )
            last_ms = max(last_ms, entry.time_ms)
        raise VerificationError(f"{self._origin}: entries from {first} on do not fit", step="5")


@lru_cache(maxsize=4096)
def _is_shape(size: int, count: int, part_types: bytes) -> bool:
    """Whether an entry of ``size`` bytes holds ``count`` commitments of these part types, sorted, each once."""
    ascending = all(low < high for low, high in zip(b"\x00" + part_types, part_types, strict=False))
    return 1 <= count <= MAX_COMMITMENTS and size == _HEAD_BYTES + COMMITMENT_BYTES * count and ascending
