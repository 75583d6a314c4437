"""One log being signed: the commit order, told letter by letter (``docs/log-format.md`` §9).

::

    A  read messages            B  compute entries, tiles, root       C  stage the tiles
    D  sign the checkpoint      E  compare-and-swap the lock row      F  publish tiles
    G  publish the checkpoint   H  hand over what was signed          I  delete staging and superseded partial tiles

E is the commit point: before it nothing happened, after it the batch will be published, by us or by whoever starts
next. The lock row is the truth of *what was signed*; the object store follows it by at most one batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import InvariantError, LedgerContradiction, LockLost, MalformedInput
from schemas.ids import Shard
from signer.batch import EMPTY, Batch, Head, extend
from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.genesis import Genesis, format_genesis, genesis_entry
from signer.ledger import CHECKPOINT, GENESIS, ledger_key
from signer.note import SigningKey
from signer.staging import Staged, decode_staging, encode_staging, staging_key
from signer.tiles import ENTRIES, FULL_WIDTH, HEIGHT, Tile, partial_prefix
from stores.control import Control, Lock, Log
from stores.objects import NewObject, Objects


class LogWriter:
    """Appends to one log. Blocking, one thread at a time.

    A writer that raised is spent: it does not know what became durable. Open the log again
    (:mod:`signer.startup`), which finds out.
    """

    def __init__(self, control: Control, objects: Objects, key: SigningKey, lock: Lock, head: Head) -> None:
        self._control, self._objects, self._key = control, objects, key
        self._lock, self._head = lock, head
        self._spent = False

    @property
    def lock(self) -> Lock:
        """What was signed last."""
        return self._lock

    def append(self, entries: Sequence[bytes]) -> Lock:
        """Sign a log that is longer by ``entries``, publish it, and return its new lock row.

        Raises:
            LockLost: another signer was here. Open the log again, if the shard is still ours.
            LedgerContradiction: a tile exists with other bytes. Halt.
            Unavailable: a store failed; nothing is known of the batch.
        """
        if self._spent:
            raise InvariantError(f"{self._lock.origin}: this writer failed before; open the log again")
        self._spent = True
        batch = extend(self._head, entries)
        new = commit(self._control, self._objects, self._key, self._lock, batch)
        publish(self._control, self._objects, new, Staged(batch.old_size, new.size, batch.objects))
        self._lock, self._head, self._spent = new, batch.head, False
        return new


def signed_lock(origin: str, key: SigningKey, batch: Batch) -> Lock:
    """The lock row of a batch, with its signed checkpoint. Signing is deterministic, so is the row."""
    note = sign_checkpoint(Checkpoint(origin, batch.head.size, batch.root), key)
    return Lock(origin, batch.head.size, batch.root, batch.head.chain, note)


def prepare(objects: Objects, key: SigningKey, shard: Shard, genesis: Genesis) -> tuple[Log, Lock]:
    """C and D of a new log: its genesis goes through the same letters as any batch, with the insertion of the lock row
    in place of the swap. Returns the rows to insert."""
    document = format_genesis(genesis)
    batch = extend(EMPTY, [genesis_entry(document, genesis.opened_ms)])
    stage(objects, genesis.origin, batch.root, Staged(0, 1, ((GENESIS, document), *batch.objects)))
    term = genesis.origin.rpartition("/")[2]
    log = Log(genesis.origin, shard, term, genesis.start_offset, document, genesis.opened_ms)
    return log, signed_lock(genesis.origin, key, batch)


def stage(objects: Objects, origin: str, root: bytes, staged: Staged) -> None:
    """C: make a batch durable where nobody reads it.

    Raises:
        LockLost: a signer that is further on stages the same size. It has swapped the lock row since we read it.
        LedgerContradiction: what lies there is no staging object of this batch.
    """
    key = staging_key(origin, staged.size, root)
    try:
        objects.create([NewObject(key, encode_staging(staged))])
    except LedgerContradiction:
        _share(objects, key, staged)
    # If we die here (C): lock and ledger are as before. The object is deleted by a later start.


def _share(objects: Objects, key: str, staged: Staged) -> None:
    """Another signer leads to the same tree from another size: from a smaller one its object holds ours too."""
    try:
        there = decode_staging(objects.get(key))
    except KeyError:
        raise LockLost(f"{key}: another signer has published this batch meanwhile") from None
    except MalformedInput as error:
        raise LedgerContradiction(f"H4 {key}: {error}; restore the object store") from None
    if there.old_size > staged.old_size:
        raise LockLost(f"{key}: another signer stages this batch from size {there.old_size}, ours is {staged.old_size}")
    if not set(staged.objects) <= set(there.objects):
        raise LedgerContradiction(
            f"H4 {key}: holds other tiles than the messages on the bus give; find out who wrote it"
        )


def commit(control: Control, objects: Objects, key: SigningKey, old: Lock, batch: Batch) -> Lock:
    """C to E: stage, sign, swap the lock row. Returns the row that is now in force."""
    stage(objects, old.origin, batch.root, Staged(batch.old_size, batch.head.size, batch.objects))
    new = signed_lock(old.origin, key, batch)
    # If we die here (D): a checkpoint was signed that nobody has seen. Signing it again gives the same bytes.
    try:
        control.replace_lock(old, new)
    except LedgerContradiction as error:
        raise LockLost(str(error)) from error
    # If we die here (E): the lock row is one batch ahead of the ledger, and the staging object that its size and root
    # name is there, for it became durable first. The next start publishes it.
    return new


def publish(control: Control, objects: Objects, lock: Lock, staged: Staged) -> None:
    """F to I: bring the ledger up to the lock row. Every step may be repeated, by anybody, at any time."""
    publish_objects(objects, lock.origin, staged)
    # If we die here (F): tiles lie beyond the published checkpoint, which no reader looks at. They are written again
    # with equal bytes; other bytes at one of their paths halt the signer.
    if control.lock(lock.origin) != lock:
        raise LockLost(
            f"{lock.origin}: another signer went on from size {lock.size} while this one was publishing it: two "
            "signers run for this shard; stop one (nothing is damaged)"
        )
    objects.put(ledger_key(lock.origin, CHECKPOINT), lock.note)
    # If we die here (G): everything is published. Staging and superseded partial tiles are left for the next start.
    objects.delete([*superseded(objects, lock.origin, staged), staging_key(lock.origin, lock.size, lock.root)])
    # If we die here (I): nothing is left to do. Staging went last, so that a start that finds it deletes the rest too.


def publish_objects(objects: Objects, origin: str, staged: Staged) -> None:
    """F: write the tiles and bundles of a batch into the ledger, write-once."""
    objects.create([NewObject(ledger_key(origin, path), data) for path, data in staged.objects])


def superseded(objects: Objects, origin: str, staged: Staged) -> list[str]:
    """The keys of partial tiles and bundles whose full ones this batch has written (C2SP tlog-tiles allows to drop
    them). Only the tile in which the batch began can have had partial ones."""
    keys: list[str] = []
    for level in range(ENTRIES, 8):
        before = staged.old_size >> (HEIGHT * max(level, 0))
        after = staged.size >> (HEIGHT * max(level, 0))
        index = before // FULL_WIDTH
        if before % FULL_WIDTH and after // FULL_WIDTH > index:
            prefix = ledger_key(origin, partial_prefix(Tile(level, index)))
            keys += [info.key for info in objects.list(prefix)]
    return keys
