"""Where the register of matters and holds lies: entry by entry in the object store, and a copy in the control database.

The object store is the truth: its objects are written once and carry a legal hold themselves, and what is restored from
a backup of the database brings nothing back into force and out of it. The copy is there because a purge must look at it
in the transaction in which it destroys keys. Whoever opens the register first brings the copy up to date.

Placing one entry, and what is true if we die after each step:

1. *announce*: it is on the control shard, signed like all records. A record of what did not happen does no harm.
2. *create* ``register/<number>.json``: it has happened. It is not in the copy: the next to open the register puts it
   there. A purge that runs meanwhile may miss it; whoever placed it was not told that it is in force.
3. *append* to the copy: no purge can miss it any more. Now the caller is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from retention.entries import Entry, decode_entry, encode_entry
from retention.register import Register
from schemas.errors import LedgerContradiction, LockLost, MalformedInput
from stores.control import Control
from stores.objects import NewObject, Objects

PREFIX = "register/"

TRIES = 10
"""How often it is tried again when somebody else was faster."""


def entry_key(number: int) -> str:
    """Where an entry lies in the object store."""
    return f"{PREFIX}{number:020d}.json"


class RegisterStore:
    """Reads the register and adds to it. Any number of threads and processes; methods block.

    Args:
        control: holds the copy.
        objects: holds the register.
        announce: puts an entry on the control shard; returns when it is durable.
        now_ms: milliseconds since 1970 UTC.
    """

    def __init__(
        self, control: Control, objects: Objects, announce: Callable[[Entry], None], now_ms: Callable[[], int]
    ) -> None:
        self._control, self._objects = control, objects
        self._announce, self._now_ms = announce, now_ms
        self._mutex = threading.Lock()
        self._known = Register()

    def entries(self) -> list[Entry]:
        """All entries, after bringing the copy up to date.

        Raises:
            LedgerContradiction: copy and object store differ, or an entry is not one.
        """
        self._catch_up()
        return _decoded(self._control.register_entries())

    def read(self) -> Register:
        """The register as it is now. Only what is new since the last time is read."""
        with self._mutex:
            self._catch_up()
            for entry in _decoded(self._control.register_entries(self._known.number)):
                self._known.apply(entry)
            return self._known.copy()

    def add(self, what: str, details: Mapping[str, Any], by: str, token_id: str) -> Entry:
        """Let something happen; return when it is in force.

        Raises:
            Declined: it may not be; nothing was changed.
            Unavailable: a store does not answer. It may have happened or not: look, or do it again.
        """
        for _ in range(TRIES):
            entry = self.read().next(what, details, by, token_id, self._now_ms())
            data = encode_entry(entry)
            self._announce(entry)
            try:
                self._objects.create([NewObject(entry_key(entry.number), data, hold=True)])
                self._control.append_register(entry.number, data)
            except LedgerContradiction:  # somebody was faster: what may be is decided anew
                continue
            return entry
        raise LockLost(f"the register of holds has changed {TRIES} times meanwhile: nothing was done, try again")

    def check(self) -> int:
        """Return the number of entries if object store and copy have the same, from the first on.

        Raises:
            LedgerContradiction: they differ, or one is not there.
        """
        copy = self._control.register_entries()
        for number, data in enumerate(copy, 1):
            if self._object(number) != data:
                raise LedgerContradiction(f"register of holds: entry {number} is not the same in the object store")
        if self._object(len(copy) + 1) is not None:
            raise LedgerContradiction(f"register of holds: entry {len(copy) + 1} is in the object store alone")
        return len(copy)

    def _catch_up(self) -> None:
        number = self._control.register_end() + 1
        if number > 1 and self._object(number - 1) is None:
            raise LedgerContradiction(
                f"register of holds: {entry_key(number - 1)} is not in the object store, and the database has it: this "
                "is another object store, or an older one; nothing may be destroyed until it is restored"
            )
        while (data := self._object(number)) is not None:
            self._control.append_register(number, data)
            number += 1

    def _object(self, number: int) -> bytes | None:
        try:
            return self._objects.get(entry_key(number))
        except KeyError:
            return None


def _decoded(rows: list[bytes]) -> list[Entry]:
    try:
        return [decode_entry(row) for row in rows]
    except MalformedInput as error:
        raise LedgerContradiction(f"register of holds: {error}") from error
