"""Subject keys for somebody outside: which ones, read out of the control database and unwrapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select

from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.control import tables as t
from stores.control.database import ControlDatabase
from stores.keys import KeyScope
from stores.keys.wrapping import WrappedKey, Wrapping

_KEYS = t.subject_keys.c
_SCOPE = (_KEYS.tenant, _KEYS.subject, _KEYS.retention_class, _KEYS.part_type, _KEYS.month)


@dataclass(frozen=True, slots=True)
class Grant:
    """Which keys of a tenant: those that every given field agrees with; ``None`` agrees with all.

    Attributes:
        tenant: whose records they open.
        subject: data subject; ``""`` is the tenant itself.
        month: ``YYYY-MM``.
        part_types: of :mod:`schemas.parts`; none given is all.
    """

    tenant: str
    subject: str | None = None
    month: str | None = None
    part_types: tuple[int, ...] = ()

    @property
    def is_whole_tenant(self) -> bool:
        """Whether nothing narrows it down."""
        return self.subject is None and self.month is None and not self.part_types


def count_granted(control: ControlDatabase, grant: Grant) -> dict[tuple[str, int], int]:
    """How many keys a grant covers now, by month and part type. Reads no secret."""
    columns = (_KEYS.month, _KEYS.part_type)
    query = select(*columns, func.count()).where(_covered(grant)).group_by(*columns).order_by(*columns)
    with control.reading() as connection:
        return {(month, part_type): count for month, part_type, count in connection.execute(query)}


def export_granted(control: ControlDatabase, wrapping: Wrapping, grant: Grant) -> list[tuple[KeyScope, SubjectKey]]:
    """The keys that a grant covers now, sorted by scope, whoever made them. Keys that were destroyed are not there.

    Raises:
        ConfigurationError: one is wrapped by a KEK that is not at hand.
        VerificationError: a row was changed.
    """
    return [(key.scope, SubjectKey(key.key_id, wrapping.secret(key))) for key in _wrapped(control, grant)]


def _wrapped(control: ControlDatabase, grant: Grant) -> Iterator[WrappedKey]:
    query = select(t.subject_keys).where(_covered(grant)).order_by(*_SCOPE, _KEYS.key_id)
    with control.reading() as connection:
        rows = connection.execute(query).all()
    for row in rows:
        scope = KeyScope(row.tenant, row.subject, row.retention_class, row.part_type, row.month)
        yield WrappedKey(KeyId(row.key_id), scope, row.kek_id, row.wrapped, row.created_ms)


def _covered(grant: Grant) -> ColumnElement[bool]:
    conditions = [_KEYS.tenant == grant.tenant]
    if grant.subject is not None:
        conditions.append(_KEYS.subject == grant.subject)
    if grant.month is not None:
        conditions.append(_KEYS.month == grant.month)
    if grant.part_types:
        conditions.append(_KEYS.part_type.in_(grant.part_types))
    return and_(*conditions)
