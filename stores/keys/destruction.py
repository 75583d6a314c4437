"""Subject keys are destroyed here and nowhere else, and never over a hold that somebody was told is in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, text, update

from schemas.errors import InvariantError, LockLost
from schemas.ids import KeyId
from stores.control import register
from stores.control import tables as t
from stores.control.database import ControlDatabase
from stores.keys import KeyScope, rows

MAX_KEYS = 10_000
"""Keys in one transaction: about a second, in which nobody can place a hold or register a key."""


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What became of the keys that were asked for.

    Attributes:
        keys: those destroyed just now, with what each had sealed.
        absent: those that were not there: destroyed before, by this plan or another, or never made.
        overwritten: whether nothing is left of them in the files of the database. ``False`` on SQLite while another
            process reads: their pages stay in the write-ahead log until it starts over. Always ``False`` on
            PostgreSQL, whose pages and logs keep dead rows until they are used again: see ``docs/retention.md``.
    """

    keys: dict[KeyId, KeyScope]
    absent: frozenset[KeyId]
    overwritten: bool


def destroy_keys(control: ControlDatabase, key_ids: Sequence[KeyId], register_end: int, at_ms: int) -> Destroyed:
    """Destroy subject keys, if the register of holds still ends where it did when somebody looked which records are
    held. All of the keys or none; returns when it is durable. May be repeated: what is gone is ``absent``.

    In one transaction: the epoch goes up, by which the caches of other processes forget; the end of the register is
    read, and nobody can add to it until we are done, so that a hold of which somebody was told that it is in force is
    seen here, or was placed when the keys were gone; the rows go; the names of those that a collector had made by
    itself are kept, so that it does not bring them back.

    Args:
        control: where the wrapped keys are.
        key_ids: at most :data:`MAX_KEYS`, each once. Names and not scopes: a key of the same scope that was registered
            since the plan has sealed records that no plan names.
        register_end: number of the last entry of the register that the plan had seen.
        at_ms: the time to note, in milliseconds since 1970 UTC.

    Raises:
        LockLost: the register has changed: plan again. Nothing was destroyed.
        Unavailable: the database does not answer. They may be destroyed or not: do it again.
    """
    wanted = frozenset(key_ids)
    if len(wanted) != len(key_ids) or len(wanted) > MAX_KEYS:
        raise InvariantError(f"got {len(key_ids)} keys to destroy, expected at most {MAX_KEYS}, each once")
    with control.writing() as connection:
        connection.execute(update(t.epochs).where(t.epochs.c.name == "subject_keys").values(value=t.epochs.c.value + 1))
        _keep_register(connection)
        last = register.end(connection)
        if last != register_end:
            raise LockLost(
                f"the register of holds ends at entry {last}, the plan had seen it to {register_end}: nothing was "
                "destroyed; plan again"
            )
        found = {key.key_id: key.scope for key in rows.by_id(connection, key_ids)}
        for some in rows.chunks(list(found)):
            made_away = t.subject_keys.c.maker != ""
            query = delete(t.subject_keys).where(t.subject_keys.c.key_id.in_(some))
            names = connection.execute(query.returning(t.subject_keys.c.key_id, made_away)).all()
            noted = [{"key_id": key_id, "destroyed_ms": at_ms} for key_id, by_itself in names if by_itself]
            if noted:
                connection.execute(insert(t.destroyed_keys), noted)
    return Destroyed(found, wanted - found.keys(), control.overwrite_deleted())


def _keep_register(connection: Connection) -> None:
    """Let nobody add to the register until this transaction ends; wait for those who are about to have added. On SQLite
    whoever writes is alone already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE register IN SHARE MODE"))
