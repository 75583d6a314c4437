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

from schemas.errors import InvariantError, LedgerContradiction
from signer.batch import Batch, Head, extend
from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.ledger import CHECKPOINT, ledger_key
from signer.note import SigningKey
from signer.staging import Staged, encode_staging, staging_key
from signer.tiles import ENTRIES, FULL_WIDTH, HEIGHT, Tile, partial_prefix
from stores.control import Control, Lock
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
            LedgerContradiction: another signer was here, or a tile exists with other bytes. Halt.
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


def stage(objects: Objects, origin: str, root: bytes, staged: Staged) -> None:
    """C: make a batch durable where nobody reads it."""
    objects.create([NewObject(staging_key(origin, staged.size, root), encode_staging(staged))])
    # If we die here (C): lock and ledger are as before. The object is deleted by a later start.


def commit(control: Control, objects: Objects, key: SigningKey, old: Lock, batch: Batch) -> Lock:
    """C to E: stage, sign, swap the lock row. Returns the row that is now in force."""
    stage(objects, old.origin, batch.root, Staged(batch.old_size, batch.head.size, batch.objects))
    new = signed_lock(old.origin, key, batch)
    # If we die here (D): a checkpoint was signed that nobody has seen. Signing it again gives the same bytes.
    control.replace_lock(old, new)
    # If we die here (E): the lock row is one batch ahead of the ledger, and the staging object that its size and root
    # name is there, for it became durable first. The next start publishes it.
    return new


def publish(control: Control, objects: Objects, lock: Lock, staged: Staged) -> None:
    """F to I: bring the ledger up to the lock row. Every step may be repeated, by anybody, at any time."""
    publish_objects(objects, lock.origin, staged)
    # If we die here (F): tiles lie beyond the published checkpoint, which no reader looks at. They are written again
    # with equal bytes; other bytes at one of their paths halt the signer.
    if control.lock(lock.origin) != lock:
        raise LedgerContradiction(
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
