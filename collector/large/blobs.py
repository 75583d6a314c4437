"""The claim check: a part that is too large for the bus lies in the object store, and the record says where.

The object is there before the record is appended. If we die in between, it is one that no record speaks of: an orphan,
harmless and unreadable to whoever has no key. Nothing here deletes; an object under ``blobs/`` that is some days old
and that no record on the bus or in the archive names is one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from collector.large.spool import Spools
from schemas.ids import EventId
from schemas.part_streams import Sized, blob_address, pack_run, run_key, seal_run, seal_stream
from schemas.parts import SealedPart, SubjectKey
from stores.objects import Objects

RECORD_BYTES = 1024 * 1024
"""Plain bytes of a record's parts from which on the large ones among them are looked at. What then stays on the bus is
less than this, which any topic takes."""

KNOWN_RUNS = 10_000
"""Runs of which a process remembers that they have a blob."""

_INLINE_SHARE = 4
"""A record has three parts; each may fill a quarter."""


class Blobs:
    """Seals large parts. Any number of threads; blocks.

    Args:
        objects: where blobs go.
        spools: where the ciphertext lies until it is there.
        record_bytes: see :data:`RECORD_BYTES`.
    """

    def __init__(self, objects: Objects, spools: Spools, record_bytes: int = RECORD_BYTES) -> None:
        self._objects, self._spools = objects, spools
        self._lock = threading.Lock()
        self._runs: OrderedDict[tuple[bytes, int, str], tuple[str, bytes]] = OrderedDict()
        self.record_bytes = record_bytes
        self.part_bytes = record_bytes // _INLINE_SHARE
        """Parts of a large record that are smaller than this are sealed as always."""

    def seal_run(self, part_type: int, run: Sized, sha256: str, key: SubjectKey) -> tuple[str, bytes]:
        """Seal a run that other parts may share; return the address of its blob, and the key that opens it. A run that
        this process has sealed before, or another one, has its blob already.

        Raises:
            Unavailable: the disk, or the object store, does not take it now.
        """
        name = (key.key_id, part_type, sha256)
        with self._lock:
            known = self._runs.get(name)
        if known is not None and self._objects.head(known[0]) is not None:
            return known
        with self._spools.open() as packed, self._spools.open() as sealed:
            opened_by = run_key(key.secret, part_type, pack_run(run.chunks(), run.size, packed.write))
            seal_run(opened_by, packed.chunks(), sealed.write)
            address = blob_address(sealed.sha256)
            if self._objects.head(address) is None:
                self._objects.create_file(address, sealed.file)
        with self._lock:
            self._runs[name] = address, opened_by
            while len(self._runs) > KNOWN_RUNS:
                self._runs.popitem(last=False)
        return address, opened_by

    def seal(self, part_type: int, data: Sized, event_id: EventId, key: SubjectKey) -> tuple[SealedPart, bytes]:
        """Seal a part; return it with its commitment. Its ciphertext is durable in the object store, or, if it turned
        out small, in it.

        Raises:
            Unavailable: the disk, or the object store, does not take it now.
        """
        with self._spools.open() as spool:
            part, commitment = seal_stream(part_type, data, event_id, key, spool.write)
            if spool.size <= self.part_bytes:
                return part._replace(ciphertext=spool.read(0, spool.size)), commitment
            address = blob_address(spool.sha256)
            self._objects.create_file(address, spool.file)
            # If we die here, the blob is durable and no record names it.
            return part._replace(address=address), commitment
