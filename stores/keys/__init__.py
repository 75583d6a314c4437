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
    key does not. **Concurrency.** Two processes that ask for the same scope at once get the same key: the *ordinary*
    key of the scope. Methods block. **Memory.** At most a bounded number of unwrapped keys is cached.

    **Without the control database** a collector may make keys of its own (:class:`stores.keys.offline.OfflineKeys`), so
    that one scope can have several. It puts them into the control database before anything that was sealed under them
    is on the bus; from then on they are rows like the ordinary one, with the name of their maker, and anybody finds
    them by id. Only the ordinary key is given out again.

    **Destruction** is not here: :func:`stores.keys.destruction.destroy_keys` is the one place, for the purge alone
    (DESIGN decision 8). Every process forgets what it has cached within :data:`stores.keys.database.EPOCH_SECONDS`, one
    that cannot reach the database within :data:`stores.keys.offline.GRACE_SECONDS`.

    A key may be registered after its scope was destroyed: it was made before, or after, by a collector that was cut
    off. It is taken all the same. To refuse it would be to destroy records that no approved plan names and no hold was
    checked for; ambiguity means held. Its ``created_ms`` says when it was made. A purge that must reach what
    was received before it therefore looks again for keys of its scopes, as it does for what was sealed meanwhile,
    until every collector has reported since.
    """

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        """The current key of each scope, created where there is none, in the order given."""
        ...

    def by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        """The 32 secret bytes of each key that still exists; destroyed and unknown keys are left out."""
        ...
