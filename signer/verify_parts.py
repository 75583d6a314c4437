"""One record against its entry: what became of each part. Hashes and opens; reads through what it is given."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from schemas.earlier import SHORTEST
from schemas.entry import COMMITMENT_BYTES, INVALID, invalid_commitments
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from schemas.evidence import Evidence, EvidenceSource, Status
from schemas.ids import KeyId, format_event_id
from schemas.part_streams import check_shared, check_stream
from schemas.parts import CHUNKS, METADATA, PART_NAMES, SHARED, SOURCE, Opener, PartKeys, SealedPart, commit
from schemas.record import Record, decode_record
from signer.earlier import EarlierRecords
from stores.keys import Keys

_ONE_BYTE = [bytes((kind,)) for kind in range(256)]

FAILURES = (Status.MISSING, Status.MISMATCH, Status.RESURRECTED)

RAW_MESSAGE = 0x03
"""Part type under which an *invalid* entry commits to the raw message."""

Fetch = Callable[[str], bytes | Iterable[bytes]]
"""From the address of a part that was too large for the bus to its ciphertext, whole or in pieces; ``KeyError`` when it
is not there."""


class Erasures(Protocol):
    """What was destroyed on the record: signed manifests, and the policies that allowed them."""

    def covers(self, origin: str, index: int, part_type: int) -> bool:
        """Whether a manifest covers this part of entry ``index`` of a log."""
        ...


class NoErasures:
    """Nothing was ever erased."""

    def covers(self, origin: str, index: int, part_type: int) -> bool:
        return False


class PartFinding(NamedTuple):
    """What was found of one committed part. ``message`` is ``""`` unless the status is a failure."""

    part_type: int
    status: Status
    message: str = ""


class Held(NamedTuple):
    """A record that a destination holds, decoded if it is sealed and parses; ``problem`` says why it does not."""

    evidence: Evidence
    record: Record | None
    problem: str


def part_name(part_type: int) -> str:
    """``metadata``, ``content``, ``source``, or the number."""
    return PART_NAMES.get(part_type, f"{part_type:#04x}")


class PartVerifier:
    """Finds the status of parts. Holds a decompressor, so use one per thread.

    Args:
        keys: opens sealed parts; ``None`` leaves them ``SEALED``.
        fetch: reads parts that lie outside their record.
        erasures: what may be absent.
        source: the destination itself, for what records repeat of earlier ones.
    """

    def __init__(
        self, keys: Keys | None, fetch: Fetch | None, erasures: Erasures, source: EvidenceSource | None = None
    ) -> None:
        self._keys, self._fetch, self._erasures = keys, fetch, erasures
        self._earlier = EarlierRecords(source)
        self._nothing_erased = isinstance(erasures, NoErasures)
        self._opener = Opener()

    def decode(self, evidence: Evidence, is_valid: bool) -> Held:
        """Decode what a destination holds, where it should be a record of ours."""
        if not is_valid or not evidence.record:
            return Held(evidence, None, "")
        try:
            return Held(evidence, decode_record(evidence.record), "")
        except MalformedInput as error:
            return Held(evidence, None, f"not a record: {error}")

    def part_keys(self, held: Iterable[Held]) -> Mapping[KeyId, PartKeys]:
        """What opens these records, as far as it exists. One call for many records."""
        if self._keys is None:
            return {}
        wanted: set[KeyId] = set()
        for item in held:
            if item.record is not None:
                wanted.update([part.key_id for part in item.record.parts])
            elif item.evidence.outside:
                wanted.update([part.key_id for part in item.evidence.outside])
        found = self._keys.by_id(wanted) if wanted else {}
        return {key_id: PartKeys(secret) for key_id, secret in found.items()}

    def record(
        self, origin: str, index: int, kind: int, commitments: bytes, evidence: Evidence
    ) -> Sequence[PartFinding]:
        """What was found of one record, alone; for many, use :meth:`decode`, :meth:`part_keys` and :meth:`parts`."""
        if kind == INVALID:
            return [self.invalid(commitments, evidence)]
        held = self.decode(evidence, True)
        return self.parts(origin, index, commitments, held, self.part_keys([held]))

    def absent(self, origin: str, index: int, commitments: bytes) -> list[PartFinding]:
        """A record that the destination does not hold."""
        return [
            PartFinding(kind, Status.ERASED if self._erasures.covers(origin, index, kind) else Status.MISSING)
            for kind in commitments[::COMMITMENT_BYTES]
        ]

    def invalid(self, commitments: bytes, evidence: Evidence) -> PartFinding:
        """A message that was no record: its raw bytes against the plain hash in its entry."""
        if invalid_commitments(evidence.key, evidence.record, list(evidence.headers)) == commitments:
            return PartFinding(RAW_MESSAGE, Status.OK)
        return PartFinding(RAW_MESSAGE, Status.MISMATCH, "the raw message does not match its commitment")

    def parts(
        self, origin: str, index: int, commitments: bytes, held: Held, keys: Mapping[KeyId, PartKeys]
    ) -> Sequence[PartFinding]:
        """The status of each committed part of one record, and of each part that no commitment speaks of. When nothing
        is wrong, the answer *is* :func:`intact` of its part types."""
        if held.problem:
            return [PartFinding(kind, Status.MISMATCH, held.problem) for kind in commitments[::COMMITMENT_BYTES]]
        if held.record is not None:
            return self._sealed(origin, index, commitments, held.record, held.evidence, keys)
        if self._nothing_erased and _are_intact(commitments, held.evidence):
            return intact(commitments[::COMMITMENT_BYTES])
        return self._opened(origin, index, commitments, held.evidence, keys)

    def _sealed(
        self,
        origin: str,
        index: int,
        commitments: bytes,
        record: Record,
        evidence: Evidence,
        keys: Mapping[KeyId, PartKeys],
    ) -> Sequence[PartFinding]:
        found: list[PartFinding] = []
        parts = {part.type: part for part in record.parts}
        stated = evidence.event_id == record.event_id
        for at in range(0, len(commitments), COMMITMENT_BYTES):
            kind = commitments[at]
            part = parts.pop(kind, None)
            if not stated:
                found.append(PartFinding(kind, Status.MISMATCH, _other_id(evidence.event_id, record.event_id)))
            elif part is None:
                found += self.absent(origin, index, commitments[at : at + COMMITMENT_BYTES])
            else:
                commitment = commitments[at + 1 : at + COMMITMENT_BYTES]
                found.append(self._sealed_part(origin, index, part, commitment, evidence, keys.get(part.key_id)))
        if not parts and all(item.status is Status.OK for item in found):
            return intact(commitments[::COMMITMENT_BYTES])
        return found + _uncommitted(parts)

    def _sealed_part(
        self, origin: str, index: int, part: SealedPart, commitment: bytes, evidence: Evidence, keys: PartKeys | None
    ) -> PartFinding:
        erased = self._erasures.covers(origin, index, part.type)
        if keys is None:
            return PartFinding(part.type, Status.ERASED if erased else Status.SEALED)
        if part.address and self._fetch is None:
            return PartFinding(part.type, Status.SEALED)
        try:
            if part.codec == SHARED and self._fetch is not None:
                self._open_shared(part, commitment, evidence, keys, self._fetch)
            elif part.address and self._fetch is not None:
                found = self._fetch(part.address)
                pieces = (found,) if isinstance(found, bytes) else found
                check_stream(part, commitment, evidence.event_id, keys.key(evidence.event_id, part.type), pieces)
            else:
                self._open(part, commitment, evidence, keys)
        except KeyError:
            return PartFinding(part.type, Status.ERASED if erased else Status.MISSING)
        except EvidenceIncomplete as error:
            return PartFinding(part.type, Status.MISSING, str(error))
        except VerificationError as error:
            return PartFinding(part.type, Status.MISMATCH, str(error))
        return _present(part.type, erased)

    def _open_shared(
        self, part: SealedPart, commitment: bytes, evidence: Evidence, keys: PartKeys, fetch: Fetch
    ) -> None:
        event_id = evidence.event_id
        key = keys.key(event_id, part.type)
        self._earlier.keep(evidence, part.type, self._opener.unseal(part, commitment, event_id, key).own)
        held = self._earlier.held(evidence.shard.topic, part, keys)
        check_shared(self._opener, part, commitment, event_id, key, fetch, held)

    def _open(self, part: SealedPart, commitment: bytes, evidence: Evidence, keys: PartKeys) -> None:
        event_id = evidence.event_id
        key = keys.key(event_id, part.type)
        if part.codec == CHUNKS:
            own = self._opener.unseal(part, commitment, event_id, key).own
            self._earlier.keep(evidence, part.type, own)
            self._opener.open(part, commitment, event_id, key, self._earlier.held(evidence.shard.topic, part, keys))
            return
        data = self._opener.open(part, commitment, event_id, key).data
        if part.type == SOURCE and len(data) >= SHORTEST:
            self._earlier.keep(evidence, part.type, data)

    def _opened(
        self, origin: str, index: int, commitments: bytes, evidence: Evidence, keys: Mapping[KeyId, PartKeys]
    ) -> list[PartFinding]:
        found: list[PartFinding] = []
        parts = {part.type: part for part in evidence.opened}
        outside = {part.type: part for part in evidence.outside}
        covers = self._erasures.covers
        for at in range(0, len(commitments), COMMITMENT_BYTES):
            kind = commitments[at]
            part = parts.pop(kind, None)
            if part is None and (sealed := outside.get(kind)) is not None:
                commitment = commitments[at + 1 : at + COMMITMENT_BYTES]
                own = keys.get(sealed.key_id)
                found.append(self._sealed_part(origin, index, sealed, commitment, evidence, own))
                continue
            if part is None or (not part.salt and not part.data):
                why = dict(evidence.gone).get(kind, "")
                found += [
                    item._replace(message=why) if item.status is Status.MISSING else item
                    for item in self.absent(origin, index, commitments[at : at + COMMITMENT_BYTES])
                ]
                continue
            problem = _opened_problem(part.salt, kind, part.data, commitments[at + 1 : at + COMMITMENT_BYTES])
            if not problem and kind == METADATA:
                problem = _metadata_problem(part.data, evidence.event_id)
            if problem:
                found.append(PartFinding(kind, Status.MISMATCH, problem))
            else:
                found.append(_present(kind, covers(origin, index, kind)))
        return found + _uncommitted({kind: part for kind, part in parts.items() if part.data})


@lru_cache(maxsize=1024)
def intact(part_types: bytes) -> tuple[PartFinding, ...]:
    """The findings of a record with nothing wrong: one object for each combination of part types, so that the common
    case costs no objects."""
    return tuple(PartFinding(part_type, Status.OK) for part_type in part_types)


def _are_intact(commitments: bytes, evidence: Evidence) -> bool:
    """The quick look: all parts there in the clear, in order, and as committed. A doubt is looked into part by part."""
    try:
        real = b"".join([_ONE_BYTE[kind] + commit(salt, kind, data) for kind, salt, data in evidence.opened])
    except (MalformedInput, IndexError):
        return False
    if real != commitments:
        return False
    kind, _, data = evidence.opened[0]
    return kind != METADATA or not _metadata_problem(data, evidence.event_id)


def _present(part_type: int, erased: bool) -> PartFinding:
    if erased:
        return PartFinding(part_type, Status.RESURRECTED, "a signed manifest says that it was erased")
    return PartFinding(part_type, Status.OK)


def _opened_problem(salt: bytes, part_type: int, data: bytes, commitment: bytes) -> str:
    try:
        same = hmac.compare_digest(commit(salt, part_type, data), commitment)
    except MalformedInput as error:
        return str(error)
    return "" if same else "the bytes do not match their commitment"


def _metadata_problem(data: bytes, event_id: bytes) -> str:
    """The event id that a destination files the record under against the one inside: metadata v1 begins with it, as
    Avro text of 36 characters."""
    if len(event_id) == 16 and data[:37] == b"\x48" + format_event_id(event_id).encode():
        return ""
    return f"filed under event id {event_id.hex()}, and the metadata is of another"


def _other_id(stated: bytes, real: bytes) -> str:
    return f"filed under event id {stated.hex()}, and the record is of {real.hex()}"


def _uncommitted(parts: Mapping[int, object]) -> list[PartFinding]:
    return [PartFinding(kind, Status.MISMATCH, "the ledger has no commitment to this part") for kind in parts]
