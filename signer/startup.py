"""Opening a log, for the first time or again: everything that must agree before the signer may go on.

Start-up halts and never re-signs. Each :class:`~schemas.errors.LedgerContradiction` below is numbered as in
``docs/operations.md``, and says what a person must decide.

::

    H1  there is one open log for the shard, and it has a lock row
    H2  the lock row's checkpoint is ours and says what the row says
    H3  the genesis document is the recorded one, and fits
    H4  the published checkpoint is not ahead of the lock row, nor another of the same size
    H5  the right edge of the tree gives the lock row's root
    H6  the last entry is not in the future
    H7  the bus is the one that was signed, holds what was signed, and follows on (:mod:`signer.bus_check`)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.entry import GENESIS, NO_OFFSET, Entry, decode_entry
from schemas.errors import EvidenceIncomplete, LedgerContradiction, LockLost, MalformedInput, VerificationError
from schemas.ids import Shard
from signer import merkle
from signer.batch import Head
from signer.bus_time import KnownTimes, known_times
from signer.checkpoint import open_checkpoint
from signer.checkpoint_set import decode_set
from signer.genesis import Genesis, format_genesis, parse_genesis
from signer.ledger import Ledger
from signer.log import LogWriter, prepare, publish, publish_objects
from signer.note import SigningKey, VerifierKey, format_vkey
from signer.origin import ANCHOR_SHARD, Origin, term_at, term_order
from signer.staging import Staged, decode_staging, staged_size, staging_key, staging_prefix
from stores.control import Control, Lock, Log
from stores.objects import Objects

MAX_CLOCK_SKEW_MS = 60_000
"""How far the last entry may lie ahead of our clock: the bus stamps entries with its own."""

FIRST_LOG = "first log of this shard"


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a signer reads and writes, and with what it signs."""

    control: Control
    objects: Objects
    key: SigningKey


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log that agrees with itself and can grow.

    Attributes:
        log, genesis: what is fixed.
        writer: appends to it.
        last_entry: bytes of the last entry; ``last_ms`` its time.
        times: what is known of the times in a shard's log.
        is_new: it was opened by this very call.
    """

    log: Log
    genesis: Genesis
    writer: LogWriter
    last_entry: bytes
    last_ms: int
    times: KnownTimes
    is_new: bool = False

    @property
    def next_offset(self) -> int:
        """The bus offset of the next leaf."""
        return self.genesis.start_offset + self.writer.lock.size - 1


def open_shard_log(stores: Stores, deployment: str, shard: Shard, first: Genesis, now_ms: int) -> OpenLog:
    """The open log of a shard, made from ``first`` when there is none; with whatever a crash left undone now done.

    Raises:
        LedgerContradiction: see the module.
        Unavailable: a store failed; try again.
    """
    log = shard_log(stores.control, deployment, shard)
    if log is not None and log.closed:
        raise LedgerContradiction(
            f"H1 {shard}: its last log, {log.origin}, is closed and no other follows it: open the next one "
            "(affidavit log succeed), which names its last checkpoint"
        )
    is_new = log is None
    if log is None:
        log = _begin(stores, shard, first)
        is_new = log.genesis == format_genesis(first)
    opened = reopen(stores, log, VerifierKey(log.origin, stores.key.public_key), now_ms)
    return replace(opened, is_new=is_new)


def shard_log(control: Control, deployment: str, shard: Shard) -> Log | None:
    """The open log of a shard; where all are closed the last of them, and ``None`` where there never was one.

    Raises:
        LedgerContradiction: H1: there are several, or it is of another deployment.
    """
    logs = [log for log in control.logs() if log.shard == shard]
    recorded = [log for log in logs if not log.closed]
    if len(recorded) > 1:
        raise LedgerContradiction(
            f"H1 {shard}: got {len(recorded)} open logs ({', '.join(log.origin for log in recorded)}), expected one; "
            "close all but the one whose ledger is longest"
        )
    newest = recorded or sorted(logs, key=lambda log: term_order(log.term))[-1:]
    if newest and not newest[0].origin.startswith(f"{deployment}/"):
        raise LedgerContradiction(
            f"H1 {shard}: the open log is {newest[0].origin}, expected one of deployment {deployment}; the control "
            "database belongs to another deployment, or the deployment's name was changed: restore it"
        )
    return newest[0] if newest else None


def first_genesis(
    key: SigningKey,
    deployment: str,
    shard: Shard,
    now_ms: int,
    *,
    topic_id: str = "",
    start_offset: int = 0,
    schemas: tuple[tuple[str, str], ...] = (),
    reason: str = FIRST_LOG,
) -> Genesis:
    """The genesis of a shard's first log, opened now."""
    origin = str(Origin(deployment, shard, term_at(now_ms)))
    vkey = format_vkey(VerifierKey(origin, key.public_key))
    return Genesis(origin, vkey, now_ms, topic_id, start_offset, schemas, None, reason)


def _begin(stores: Stores, shard: Shard, genesis: Genesis) -> Log:
    """Open the first log of a shard."""
    log, lock = prepare(stores.objects, stores.key, shard, genesis)
    recorded = stores.control.open_log(log, lock)
    # If we die here: the log exists at size 1 and nothing is published. The next start publishes it from staging.
    # If somebody else opened it first, theirs is returned, and our staging object is deleted at some later start.
    if recorded.shard != shard or recorded.closed:
        raise LedgerContradiction(
            f"H1 {shard}: origin {log.origin} was opened before, for shard {recorded.shard}, and may be closed; open "
            "the next log of the shard under a term of its own"
        )
    return recorded


def reopen(stores: Stores, log: Log, key: VerifierKey, now_ms: int | None) -> OpenLog:
    """A log that is recorded, with whatever a crash left undone now done.

    Args:
        stores: where it lies.
        log: as recorded; it may be closed.
        key: what must have signed it.
        now_ms: for H6; ``None`` leaves H6 out, for a log that is about to be closed.

    Raises:
        LockLost: another signer went on meanwhile.
        LedgerContradiction: H1 to H6.
    """
    # The published checkpoint is read before the lock row, which another signer swaps first: so the row is never the
    # older of the two, unless somebody set it back.
    published = Ledger(stores.objects).published(log.origin)
    lock = _locked(stores, log, key)
    try:
        return _recover(stores, log, lock, key, published, now_ms)
    except LockLost:
        raise
    except LedgerContradiction as error:
        if stores.control.lock(log.origin) == lock:
            raise
        raise LockLost(f"{log.origin}: another signer went on while this one opened the log ({error})") from error


def _recover(
    stores: Stores, log: Log, lock: Lock, key: VerifierKey, published: bytes | None, now_ms: int | None
) -> OpenLog:
    ledger = Ledger(stores.objects)
    _not_ahead(published, lock, key)
    staged = _staged(stores.objects, lock)
    if staged is not None:
        publish_objects(stores.objects, log.origin, staged)  # F before H5, which looks at these tiles, and G after it
    head = _edge(ledger, lock)
    if staged is not None or published != lock.note:
        publish(stores.control, stores.objects, lock, staged or Staged(lock.size, lock.size, ()))
    _delete_stale(stores.objects, lock)
    genesis = _genesis(ledger, log, key)
    last_entry = head.entries[-1] if head.entries else _last_entry(ledger, lock)
    last_ms = _last_time(log, last_entry, lock.size, now_ms)
    writer = LogWriter(stores.control, stores.objects, stores.key, lock, head)
    times = known_times(lock.size, head.entries or (last_entry,))
    return OpenLog(log, genesis, writer, last_entry, last_ms, times)


def _locked(stores: Stores, log: Log, key: VerifierKey) -> Lock:
    lock = stores.control.lock(log.origin)
    if lock is None:
        raise LedgerContradiction(f"H1 {log.origin}: the log is recorded and its lock row is gone; restore the row")
    try:
        checkpoint = open_checkpoint(lock.note, log.origin, [key])
    except VerificationError as error:
        raise LedgerContradiction(
            f"H2 {log.origin}: the lock row's checkpoint is not signed by the key at hand: {error}; start with the key "
            "that signed it, or close this log and open the next with the new key"
        ) from None
    if (checkpoint.size, checkpoint.root) != (lock.size, lock.root):
        raise LedgerContradiction(
            f"H2 {log.origin}: the lock row says size {lock.size}, its checkpoint {checkpoint.size}, or the roots "
            "differ; the control database was edited: restore it"
        )
    return lock


def _not_ahead(published: bytes | None, lock: Lock, key: VerifierKey) -> None:
    """H4."""
    if published is None or published == lock.note:
        return
    try:
        checkpoint = open_checkpoint(published, lock.origin, [key])
    except VerificationError as error:
        raise LedgerContradiction(f"H4 {lock.origin}: the published checkpoint is not ours: {error}") from None
    if checkpoint.size > lock.size:
        raise LedgerContradiction(
            f"H4 {lock.origin}: size {checkpoint.size} is published and the lock row says {lock.size}: the control "
            "database was restored from a backup; never sign on: set the lock row to the published state once its "
            "tiles verify"
        )
    if checkpoint.size == lock.size:
        raise LedgerContradiction(
            f"H4 {lock.origin}: size {lock.size} is published with root {checkpoint.root.hex()}, and the lock row says "
            f"{lock.root.hex()}: two histories were signed; keep both, and find out who holds the key"
        )


def _staged(objects: Objects, lock: Lock) -> Staged | None:
    key = staging_key(lock.origin, lock.size, lock.root)
    try:
        staged = decode_staging(objects.get(key))
    except KeyError:
        return None
    except MalformedInput as error:
        raise LedgerContradiction(f"H4 {key}: {error}; restore the object store") from None
    if staged.size != lock.size:
        raise LedgerContradiction(f"H4 {key}: got size {staged.size}, expected {lock.size}; restore the object store")
    return staged


def _edge(ledger: Ledger, lock: Lock) -> Head:
    try:
        head = ledger.head(lock.origin, lock.size, lock.chain)
        root = head.root()
    except (EvidenceIncomplete, MalformedInput) as error:
        raise LedgerContradiction(
            f"H5 {lock.origin}: size {lock.size} was signed, and its tiles are not complete: {error}; restore the "
            "object store, do not touch the lock row"
        ) from None
    if root != lock.root:
        raise LedgerContradiction(
            f"H5 {lock.origin}: the tiles at size {lock.size} give root {root.hex()}, expected {lock.root.hex()}: "
            "tiles were changed; restore the object store"
        )
    if tuple(merkle.leaves(head.entries)) != head.edge[0]:
        raise LedgerContradiction(
            f"H5 {lock.origin}: the last bundle at size {lock.size} does not hold the entries of its tile: it was "
            "changed; restore the object store"
        )
    return head


def _last_entry(ledger: Ledger, lock: Lock) -> bytes:
    """H5 where the last bundle is full, and so no part of the edge."""
    try:
        return ledger.entry(lock.origin, lock.size, lock.size - 1)
    except (EvidenceIncomplete, MalformedInput) as error:
        raise LedgerContradiction(
            f"H5 {lock.origin}: the last bundle at size {lock.size} is not whole: {error}; restore the object store"
        ) from None


def _delete_stale(objects: Objects, lock: Lock) -> None:
    """Delete what signers that died between C and E left. What is larger than the lock may belong to one that lives."""
    stale = [info.key for info in objects.list(staging_prefix(lock.origin))]
    objects.delete([key for key in stale if staged_size(key) <= lock.size])


def _genesis(ledger: Ledger, log: Log, key: VerifierKey) -> Genesis:
    """H3."""
    try:
        document = ledger.genesis(log.origin)
        genesis = parse_genesis(log.genesis)
    except (EvidenceIncomplete, MalformedInput) as error:
        raise LedgerContradiction(f"H3 {log.origin}: {error}; restore the genesis document") from None
    fits = (genesis.origin, genesis.start_offset, genesis.vkey) == (log.origin, log.start_offset, format_vkey(key))
    if document != log.genesis or not fits:
        raise LedgerContradiction(
            f"H3 {log.origin}: the published genesis document is not the recorded one, or names another origin, start "
            "or key; restore the one whose commitment is leaf 0"
        )
    return genesis


def _last_time(log: Log, last_entry: bytes, size: int, now_ms: int | None) -> int:
    """The time of the last entry, which (H6) is not in the future, and which (H5) belongs where it lies."""
    try:
        if log.shard == ANCHOR_SHARD and size > 1:
            last_ms = decode_set(last_entry).time_ms
        else:
            entry = decode_entry(last_entry)
            _belongs(entry, log, size)
            last_ms = entry.time_ms
    except MalformedInput as error:
        raise LedgerContradiction(f"H5 {log.origin}: the last entry does not parse: {error}") from None
    if now_ms is not None and last_ms > now_ms + MAX_CLOCK_SKEW_MS:
        raise LedgerContradiction(
            f"H6 {log.origin}: the last entry is of {last_ms} ms and the clock says {now_ms} ms: set the clock right"
        )
    return last_ms


def _belongs(entry: Entry, log: Log, size: int) -> None:
    expected = NO_OFFSET if size == 1 else log.start_offset + size - 2
    if entry.offset != expected or (entry.kind == GENESIS) != (size == 1):
        raise LedgerContradiction(
            f"H5 {log.origin}: entry {size - 1} is for offset {entry.offset}, expected {expected}: tiles were changed"
        )
