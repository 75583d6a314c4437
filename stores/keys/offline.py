"""Subject keys while the control database is away: the collector makes its own, and registers them later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from schemas.errors import Unavailable
from schemas.ids import KeyId
from schemas.parts import SubjectKey
from stores.keys import KeyScope
from stores.keys.database import DatabaseKeys
from stores.keys.local import LocalKeys
from stores.keys.rows import STATEMENT_ROWS

GRACE_SECONDS = 3600.0
"""How long cached keys are used without hearing from the control database which keys were destroyed. A record that is
sealed under a key which was destroyed meanwhile cannot be opened any more, so this is how long a collector that is cut
off from a control database in which keys are being destroyed may lose content. After it, it makes keys of its own."""

PROBE_SECONDS = 1.0
"""How soon to ask a database again that did not answer; longer if it took longer than this to fail."""

T = TypeVar("T")


class OfflineKeys:
    """A :class:`stores.keys.Keys` that goes on while the control database is away, and a
    :class:`stores.bus.spool.PendingKeys`. Any thread may call.

    While it is away, scopes with a cached key go on using that for ``grace_seconds``, and all others get a key from
    this collector's file, made there durably when there is none. What was sealed under such a key must not be on the
    bus before :meth:`register` has put the key into the control database. When the database answers again, new records
    are sealed under the ordinary key of their scope.

    A crash, or an answer that is lost, at any step:

    * a key is in the file before it is returned, so nothing is ever sealed under a key that a crash can take;
    * :meth:`register` marks keys in the file, puts them into the database, and deletes them from the file. Between the
      second and the third they are in both, and registering them again changes nothing. What was destroyed in between
      stays destroyed: the database remembers which, and the mark keeps new records away from them.

    Args:
        keys: of the control database.
        path: the file for keys made here; one per process.
        grace_seconds: see :data:`GRACE_SECONDS`.
        monotonic: seconds.

    Raises:
        ConfigurationError: the file cannot be used.
    """

    def __init__(
        self,
        keys: DatabaseKeys,
        path: Path | str,
        *,
        grace_seconds: float = GRACE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._local = LocalKeys(path, keys.wrapping)
        self._grace = grace_seconds
        self._line = _Line(monotonic)
        self._registering = threading.Lock()

    def for_scopes(self, scopes: Sequence[KeyScope]) -> list[SubjectKey]:
        """See :meth:`stores.keys.Keys.for_scopes`.

        Raises:
            Unavailable: the file cannot be written, or the KEK not be used.
        """
        try:
            return self._line.ask(lambda: self._keys.for_scopes(scopes))
        except Unavailable:
            cached = self._keys.cached(scopes) if self._in_grace() else [None] * len(scopes)
            pairs = list(zip(scopes, cached, strict=True))
            missing = list(dict.fromkeys(scope for scope, key in pairs if key is None))
            made = self._local.for_scopes(missing) if missing else {}
            return [key or made[scope] for scope, key in pairs]

    def by_id(self, key_ids: Iterable[KeyId]) -> dict[KeyId, bytes]:
        """See :meth:`stores.keys.Keys.by_id`. A key that waits to be registered is found by this collector alone.

        Raises:
            Unavailable: the database is away, and has to be asked for some of them.
        """
        wanted = list(dict.fromkeys(key_ids))
        # The file first: what is registered in between is no more in the file, and is in the database by then.
        here = self._local.by_id(wanted) if self._local.count else {}
        try:
            found = self._line.ask(lambda: self._keys.by_id(wanted))
        except Unavailable:
            found = self._keys.cached_by_id(wanted) if self._in_grace() else {}
            found |= self._local.by_id([key_id for key_id in here if key_id not in found], offered=False)
            if len(found) < len(wanted):
                raise
            return found
        waiting = {key_id: secret for key_id, secret in here.items() if key_id not in found}
        destroyed = self._keys.destroyed(list(waiting)) if waiting else set()
        return found | {key_id: secret for key_id, secret in waiting.items() if key_id not in destroyed}

    def unregistered(self) -> int:
        """See :meth:`stores.bus.spool.PendingKeys.unregistered`."""
        return self._local.count

    def register(self) -> int:
        """See :meth:`stores.bus.spool.PendingKeys.register`.

        Raises:
            Unavailable: the database is away, or the file cannot be written; repeat it.
        """
        with self._registering:
            done = 0
            if self._local.count:
                self._keys.check()  # while it is away nothing is marked, so that one outage takes one key per scope
                self._local.offer()
                # If we die here: nothing is in the database; the next call does the rest.
                while some := self._local.offered(STATEMENT_ROWS):
                    self._keys.register(some, self._local.maker)
                    # If we die here, or never hear of it: they are in both, and the next call finds that out.
                    self._local.forget([key.key_id for key in some])
                    done += len(some)
                self._line.is_open()
            return done

    def close(self) -> None:
        """Let go of the file. The control database is closed by whoever made it."""
        self._local.close()

    def _in_grace(self) -> bool:
        return self._keys.age() <= self._grace


class _Line:
    """Asks the control database, but not while it is known to be silent: one caller tries again now and then, and the
    others do not wait for the answer."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._mutex = threading.Lock()
        self._silent = self._trying = False
        self._next = 0.0

    def ask(self, question: Callable[[], T]) -> T:
        """The answer, or :class:`~schemas.errors.Unavailable`."""
        begun = self._monotonic()
        with self._mutex:
            if self._silent and (self._trying or begun < self._next):
                raise Unavailable("control database: it did not answer a moment ago")
            trying = self._trying = self._silent
        try:
            answer = question()
        except Unavailable:
            now = self._monotonic()
            with self._mutex:
                self._silent, self._next = True, now + max(PROBE_SECONDS, now - begun)
            raise
        else:
            self.is_open()
            return answer
        finally:
            if trying:
                with self._mutex:
                    self._trying = False

    def is_open(self) -> None:
        """It has answered."""
        if self._silent:
            with self._mutex:
                self._silent = False
