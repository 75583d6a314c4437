"""From sealed messages to rows' contents: decode, open each part, say what became of it.

Nothing here can fail on account of one record: whatever cannot be opened is a status and a reason, and the record
still gets its row or its event, so that destination and ledger count the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from schemas.chunks import OWN, Manifest, Place, assemble
from schemas.earlier import SHORTEST, Recent
from schemas.entry import COMMITMENT_BYTES, valid_commitments
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from schemas.ids import KeyId, format_event_id
from schemas.metadata import KIND_NAMES
from schemas.metadata_binary import encode_metadata
from schemas.parts import CHUNKS, CONTENT, METADATA, PART_NAMES, SHARED, SOURCE, Opener, PartKeys, SealedPart, commit
from schemas.record import Record, decode_record
from stores.bus import Message
from stores.keys import Keys

OK = "ok"
ABSENT = "absent"
"""The event has no such part, and the ledger says so."""
SEALED = "sealed"
"""The key is destroyed, or unknown here."""
MISMATCH = "mismatch"
"""The part does not open under its key and commitment: it was not sealed as the ledger says."""
MISSING = "missing"
"""The ledger has a commitment, and there is no part."""
MALFORMED = "malformed"
"""The bytes match their commitment, and are not metadata v1."""
UNDECODABLE = "undecodable"
"""The message has commitments, and its value is not a record."""
INVALID = "invalid"
"""The message has no valid commitments: the ledger commits to its raw bytes."""

ELSEWHERE = "elsewhere"
"""The part lies in the object store, and is too large for a row, or shares bytes there with others."""

REJECTED = "rejected"
"""ClickHouse does not take the row with its parts; the record is in the dead letter."""

ROW_BYTES = 8 * 1024 * 1024
"""A part in the object store that is larger, in the clear, stays there; so does one that shares runs there."""

Fetch = Callable[[str], bytes | Iterable[bytes]]
"""From the address of a part that was too large for the bus to its ciphertext, whole or in pieces; ``KeyError`` when it
is gone."""


SourcePiece = tuple[int, int, int, int]
"""Partition and offset of a record, first byte and length in the own bytes of its source."""


class Opened(NamedTuple):
    """What is known of one message.

    Attributes:
        statuses: of metadata, content, source.
        reason: why a status is neither ``ok`` nor ``absent``; no content.
        columns: Avro binary of metadata v1 for the columns: the part's own bytes, or what is known without them.
        metadata, content, source: the parts' bytes, ``b""`` where not opened.
        salts: of the three parts, 32 bytes or ``b""``.
        pieces: of a source that repeats earlier ones; ``source`` then holds its own bytes. Empty: it is whole.
        elsewhere: the record with the parts that are too large for a row, and no others.
        fetched: bytes of the parts that were fetched, in the clear.
    """

    statuses: tuple[str, str, str]
    reason: str
    columns: bytes
    metadata: bytes
    content: bytes
    source: bytes
    salts: tuple[bytes, bytes, bytes]
    pieces: tuple[SourcePiece, ...] = ()
    elsewhere: Record | None = None
    fetched: int = 0


_TYPES = (METADATA, CONTENT, SOURCE)
_NO_SALTS = (b"", b"", b"")


class Opening:
    """Opens batches. One per thread.

    Args:
        keys: looked up once per batch.
        fetch: for parts that lie in the object store; ``None`` makes them ``missing``.
        recent: sources of the topic that were opened last.
        parts: types of the parts that are opened; the others are ``absent`` for whoever wants them not.
    """

    def __init__(
        self,
        keys: Keys,
        fetch: Fetch | None = None,
        recent: Recent | None = None,
        parts: Collection[int] = (METADATA, CONTENT, SOURCE),
    ) -> None:
        self._keys = keys
        self._fetch = fetch
        self._recent = recent
        self._parts = frozenset(parts)
        self._opener = Opener()

    def records(self, messages: Sequence[Message]) -> tuple[list[Record | str | None], dict[KeyId, PartKeys]]:
        """Decode the values (``None``: no valid commitments; text: why it is no record) and get all their keys.

        Raises:
            Unavailable: the keys cannot be had now.
        """
        records = [_decode(message) for message in messages]
        wanted = {part.key_id for record in records if isinstance(record, Record) for part in record.parts}
        return records, {key_id: PartKeys(secret) for key_id, secret in self._keys.by_id(wanted).items()}

    def open(self, message: Message, record: Record | str | None, keys: Mapping[KeyId, PartKeys]) -> Opened:
        """Open all parts of one message.

        Raises:
            Unavailable: a part's object cannot be fetched now.
        """
        if record is None:
            return _invalid(message)
        if isinstance(record, str):
            return _undecodable(message, record)
        commitments = message.commitments
        committed = {
            commitments[at]: commitments[at + 1 : at + COMMITMENT_BYTES]
            for at in range(0, len(commitments), COMMITMENT_BYTES)
            if commitments[at] in self._parts
        }
        statuses, data, salts, reasons = [ABSENT] * 4, [b""] * 4, [b""] * 4, []
        manifest, fetched = None, 0
        for part in record.parts:
            part_type = part.type
            if part_type not in self._parts:
                continue
            commitment = committed.pop(part_type, None)
            if commitment is not None and part.key_id in keys and not part.address:
                try:
                    key = keys[part.key_id].key(record.event_id, part_type)
                    if part_type == SOURCE and part.codec == CHUNKS:
                        salts[3], data[3], manifest, _ = self._opener.unseal(part, commitment, record.event_id, key)
                        self._compare(part, commitment, salts[3], manifest)
                    else:
                        _, salts[part_type], data[part_type] = self._opener.open(part, commitment, record.event_id, key)
                    statuses[part_type] = OK
                    continue
                except VerificationError as error:
                    statuses[part_type], why = MISMATCH, str(error)
            else:
                statuses[part_type], salts[part_type], data[part_type], why = self._otherwise(
                    part, commitment, record.event_id, keys
                )
                fetched += len(data[part_type])
            if why:
                reasons.append(why)
        for part_type in committed:
            if part_type <= SOURCE:
                statuses[part_type] = MISSING
                reasons.append(f"{PART_NAMES[part_type]}: committed to, and not in the record")
        place = Place(message.shard.partition, message.offset)
        if self._recent is not None and (len(data[3]) >= SHORTEST or manifest is not None):
            self._recent.keep(place, data[3])
        return Opened(
            (statuses[1], statuses[2], statuses[3]),
            "; ".join(reasons),
            data[1] if statuses[1] == OK else stated(message, record),
            data[1],
            data[2],
            data[3],
            (salts[1], salts[2], salts[3]),
            _pieces(manifest, place) if manifest is not None else (),
            _elsewhere(record, statuses),
            fetched,
        )

    def _compare(self, part: SealedPart, commitment: bytes, salt: bytes, manifest: Manifest | None) -> None:
        """Compare a source that repeats earlier ones with its commitment, where those were seen lately. Where not, its
        manifest is authentic all the same, and ``integrity_parts`` and every verification compare it."""
        if self._recent is None or manifest is None:
            return
        try:
            data = assemble(manifest, self._recent.held(manifest.records))
        except EvidenceIncomplete:
            return
        if commit(salt, part.type, data) != commitment:
            raise VerificationError("source: what it repeats of earlier records does not match its commitment")

    def _otherwise(
        self, part: SealedPart, commitment: bytes | None, event_id: bytes, keys: Mapping[KeyId, PartKeys]
    ) -> tuple[str, bytes, bytes, str]:
        """Status, salt, bytes and reason of a part that is not committed to, has no key here, or lies elsewhere."""
        name = PART_NAMES[part.type]
        if commitment is None:
            return MISMATCH, b"", b"", f"{name}: in the record, and not committed to"
        if part.key_id not in keys:
            return SEALED, b"", b"", f"{name}: no key {part.key_id.hex()}"
        try:
            if part.size > ROW_BYTES or part.codec == SHARED:
                self._look(part)
                return ELSEWHERE, b"", b"", f"{name}: {part.size} bytes, at {part.address}"
            fetched = b"".join(self._pieces_at(part.address))
        except KeyError as error:
            return MISSING, b"", b"", f"{name}: no object {error.args[0] if error.args else part.address}"
        try:
            key = keys[part.key_id].key(event_id, part.type)
            opened = self._opener.open(part._replace(ciphertext=fetched), commitment, event_id, key)
        except VerificationError as error:
            return MISMATCH, b"", b"", str(error)
        return OK, opened.salt, opened.data, ""

    def _look(self, part: SealedPart) -> None:
        """Look whether there are the objects, and no further: every verification compares them with the commitment."""
        for address in part.address.split(" "):
            next(iter(self._pieces_at(address)), b"")

    def _pieces_at(self, address: str) -> Iterable[bytes]:
        if self._fetch is None:
            raise KeyError(address)
        found = self._fetch(address)
        return (found,) if isinstance(found, bytes) else found


def _elsewhere(record: Record, statuses: Sequence[str]) -> Record | None:
    if ELSEWHERE not in statuses:
        return None
    return replace(
        record, parts=tuple(part for part in record.parts if part.type <= SOURCE and statuses[part.type] == ELSEWHERE)
    )


def _pieces(manifest: Manifest, own: Place) -> tuple[SourcePiece, ...]:
    return tuple(
        (*(own if record == OWN else manifest.records[record]), start, length)
        for record, start, length in manifest.pieces
    )


def stated(message: Message, record: Record | None = None) -> bytes:
    """Columns for a record whose metadata cannot be read: what its envelope states, which nothing proves."""
    event_id = record.event_id if record else message.event_id
    return encode_metadata(
        {
            "event_id": format_event_id(event_id) if len(event_id) == 16 else "",
            "kind": KIND_NAMES.get(message.kind, ""),  # type: ignore[typeddict-item]
            "tenant": record.tenant if record else "",
            "retention_class": record.retention_class if record else "",
        }
    )


def raw_message(key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]]) -> bytes:
    """What an *invalid* entry hashes behind its domain (:func:`schemas.entry.invalid_commitments`): each piece after
    its length. :func:`read_raw_message` takes it apart."""
    pieces = (
        key,
        value,
        *(item for name, data in sorted(headers) for item in (name.encode("utf-8", "surrogateescape"), data)),
    )
    return b"".join(len(piece).to_bytes(8, "big") + piece for piece in pieces)


def read_raw_message(raw: bytes) -> tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]:
    """Key, value and headers of :func:`raw_message`.

    Raises:
        MalformedInput: not what it writes.
    """
    pieces: list[bytes] = []
    at = 0
    while at < len(raw):
        end = at + 8 + int.from_bytes(raw[at : at + 8], "big")
        pieces.append(raw[at + 8 : end])
        at = end
    if at != len(raw) or len(pieces) < 2 or len(pieces) % 2:
        raise MalformedInput(f"got {len(raw)} bytes, expected key, value and headers, each after its length")
    names = [name.decode("utf-8", "surrogateescape") for name in pieces[2::2]]
    headers = tuple(zip(names, pieces[3::2], strict=True))
    return pieces[0], pieces[1], headers


def _decode(message: Message) -> Record | str | None:
    if not valid_commitments(message.commitments):
        return None
    try:
        return decode_record(message.value)
    except MalformedInput as error:
        return str(error)


def _invalid(message: Message) -> Opened:
    return Opened(
        (INVALID, INVALID, INVALID),
        "no valid commitments on the bus",
        stated(message),
        b"",
        b"",
        raw_message(message.key, message.value, message.headers),
        _NO_SALTS,
    )


def _undecodable(message: Message, why: str) -> Opened:
    committed = message.commitments[::COMMITMENT_BYTES]
    statuses = [UNDECODABLE if part_type in committed else ABSENT for part_type in _TYPES]
    return Opened(
        (statuses[0], statuses[1], statuses[2]), f"not a record: {why}", stated(message), b"", b"", b"", _NO_SALTS
    )
