"""Subject keys: the only eraser that reaches every copy. The Protocol and its contract; implementations beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from schemas.ids import KeyId
from schemas.parts import SubjectKey


class KeyScope(NamedTuple):
    """What one subject key seals: the parts of one type and retention class, of one data subject, in one month.

    ``subject`` ``""`` is the tenant itself. ``month`` is ``YYYY-MM`` of the receipt time, UTC.
    """

    tenant: str
    subject: str
    retention_class: str
    part_type: int
    month: str


class Keys(Protocol):
    """Subject keys, wrapped by a KEK, in the control database.

    **Durability.** A key returned by :meth:`for_scopes` is durable before it is returned: no ciphertext may exist whose
    key does not. **Concurrency.** Two processes that ask for the same scope at once get the same key. Methods block.
    **Memory.** At most a bounded number of unwrapped keys is cached. **Destruction** is not here: it belongs to the
    purge (DESIGN decision 8), which also counts ``epochs`` of the control database up, so that every process forgets
    what it has cached within :data:`stores.keys.database.EPOCH_SECONDS`.
    """

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        """The current key of each scope, created where there is none, in the order given."""
        ...

    def by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        """The 32 secret bytes of each key that still exists; destroyed and unknown keys are left out."""
        ...
