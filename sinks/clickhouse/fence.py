"""The fence around a shard: at most one process inserts for it, however many believe that it is theirs.

A process that is paused for longer than its session in the group still believes that it owns its shards. Another has
taken them, and has perhaps delivered the very same offsets in batches with other edges, which no deduplication token
recognises. When the paused one wakes and sends what it was about to send, the rows would be there twice. So ClickHouse
itself decides, at the moment at which an insert begins:

1. *Raise.* Whoever takes a shard inserts a row (epoch + 1, its owner id, turn 0) into ``fences`` and reads back whether
   that is the highest of the shard. Of two that raise to the same epoch, the one with the higher owner id has the
   shard, and the other is told. If we die here: nobody may insert for the shard until somebody raises the fence again.
2. *Condition.* Every insert is a statement that says: only if the highest (epoch, owner, turn) of the shard is mine.
   The server evaluates it once, before the first row, and after it has put the statement on its list of processes
   (``executeQuery.cpp``: ``ProcessList::insert``, and only then ``InterpreterFactory::get``, which analyses the
   statement and computes its scalar subqueries). It fails with code 395 when the answer is no.
3. *Settle.* Having raised the fence, the new owner looks at the list of processes for inserts of this shard, which
   name themselves there. Any insert of an older mark is in one of two states:

   a. It is on the list. Its condition may have held, and its rows may still arrive. While there is such an insert the
      new owner has nothing to say (:class:`~schemas.errors.Unavailable`: ask again); one that lasts is killed.
   b. It is not on the list yet (its request lies in a socket, its process is asleep). When it gets there the raised
      fence is in the table, its condition does not hold, and it writes nothing.

   So once the list is free of them, whatever older owners managed to start is there or failed, and nothing follows.
4. *Look.* Only now are the tables asked where to resume. What they say stays true until we insert ourselves, or until
   our own inserts fail because somebody else has raised the fence: then we are the ghost, and stop.

An insert of our own whose fate we do not know (no answer, an error halfway) is like that of an older owner: it may be
running, or still be on its way. Before anything is sent again the mark is renewed, with the next ``turn``, and settled:
the same steps for the same reason. Renewing never takes the shard from somebody: a turn counts less than an epoch.

All processes must speak to the same ClickHouse server: another replica has a list of processes of its own.
"""

from __future__ import annotations

import logging
import secrets
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from schemas.errors import Unavailable
from schemas.ids import Shard
from sinks.clickhouse.quoting import quote

KILL_SECONDS = 60.0
"""An insert of a former owner that runs for longer is killed. Ours take a second or two; a server gives up by itself on
one whose sender has fallen silent (``http_receive_timeout``, 30 s), and that is the usual end of a ghost's."""

LOST_SECONDS = 5.0
"""Until a writer that has lost its shard is asked again, in case the runner has not noticed yet."""

log = logging.getLogger(__name__)


class Mark(NamedTuple):
    """Who has a shard; the greatest one counts."""

    epoch: int
    owner: str
    turn: int


class Fence:
    """One writer's side of the fence around one shard. One thread at a time.

    Errors of ClickHouse go through as they are; nothing has been decided then, and the call is repeated.

    Args:
        shard: fenced.
        database: of the tables; names the inserts on a server with several.
        kill_seconds: see :data:`KILL_SECONDS`.
    """

    def __init__(self, shard: Shard, database: str, *, kill_seconds: float = KILL_SECONDS) -> None:
        self._shard = shard
        self._owner = secrets.token_hex(8)
        self._mark: Mark | None = None
        self._unsettled = False
        self._lost = False
        self._kill_seconds = kill_seconds
        self._prefix = f"affidavit/insert/{database}/{shard}/"

    @property
    def raised(self) -> bool:
        """Whether this writer has ever taken the shard."""
        return self._mark is not None

    @property
    def condition(self) -> str:
        """SQL that is true when the shard is ours, and fails otherwise; for the ``WHERE`` of an insert."""
        if self._mark is None:
            raise RuntimeError("an insert before the shard was taken")
        epoch, owner, turn = self._mark
        return (
            f"throwIf(({self._select()}) != ({epoch}, {quote(owner)}, {turn}), 'the fence of the shard was raised') = 0"
        )

    @property
    def comment(self) -> str:
        """What an insert calls itself (setting ``log_comment``), so that it is found on the list of processes."""
        return self._prefix + "/".join(map(str, self._mark or ()))

    def take(self, client: Client) -> None:
        """Steps 1 and 3: from here on nobody else inserts for the shard, unless the fence is raised again.

        Raises:
            Unavailable: an earlier insert is still running, or another process took the shard at the same moment.
        """
        self._lost = False
        highest = self._highest(client)
        if not self._unsettled or highest != self._mark:
            self._raise(client, Mark(highest.epoch + 1 if highest else 1, self._owner, 0))
        self._settle(client)

    def renew(self, client: Client) -> None:
        """The same after an insert of our own whose fate is unknown; the shard must still be ours.

        Raises:
            Unavailable: that insert is still running, or the shard is not ours any more.
        """
        if self._mark is None or self._highest(client) != self._mark:
            raise self.lose()
        if not self._unsettled:
            self._raise(client, self._mark._replace(turn=self._mark.turn + 1))
        self._settle(client)

    def lose(self) -> Unavailable:
        """The shard is another's. The error to raise; :meth:`check` raises it again until :meth:`take`."""
        self._lost = True
        return Unavailable(
            f"another process has taken {self._shard} (ClickHouse refuses inserts of our epoch "
            f"{self._mark.epoch if self._mark else 0}): this one stops delivering it until it is given it anew",
            retry_after=LOST_SECONDS,
        )

    def check(self) -> None:
        """Raises :class:`~schemas.errors.Unavailable` when the shard was found to be another's."""
        if self._lost:
            raise self.lose()

    def _raise(self, client: Client, mark: Mark) -> None:
        self._mark, self._unsettled = mark, True
        client.command(
            "INSERT INTO fences (topic, partition, epoch, owner, turn) SETTINGS async_insert = 0 VALUES "
            f"({quote(self._shard.topic)}, {self._shard.partition}, {mark.epoch}, {quote(mark.owner)}, {mark.turn})"
        )
        if self._highest(client) != mark:
            raise self.lose()

    def _settle(self, client: Client) -> None:
        """Step 3. The statement finds itself on the list, or else the list does not tell us anything."""
        rows = client.query(
            "SELECT query_id, elapsed, query_id = queryID() FROM system.processes "
            f"WHERE query_id = queryID() OR startsWith(Settings['log_comment'], {quote(self._prefix)})"
        ).result_rows
        running = {str(query_id): float(elapsed) for query_id, elapsed, own in rows if not own}
        if len(running) == len(rows):
            raise Unavailable(
                f"{self._shard}: ClickHouse does not show us our own queries, so it cannot be known whether an earlier "
                "insert is still running; grant the user SELECT on system.processes"
            )
        if running:
            self._kill(client, [query_id for query_id, elapsed in running.items() if elapsed > self._kill_seconds])
            raise Unavailable(
                f"{self._shard}: {len(running)} inserts that began before are still running, the oldest for "
                f"{max(running.values()):.1f} s"
            )
        self._unsettled = False

    def _kill(self, client: Client, query_ids: list[str]) -> None:
        if query_ids:
            log.warning("%s: killing inserts of a former owner: %s", self._shard, ", ".join(query_ids))
            client.command(f"KILL QUERY WHERE query_id IN ({', '.join(map(quote, query_ids))}) ASYNC")

    def _highest(self, client: Client) -> Mark | None:
        ((mark,),) = client.query(self._select()).result_rows
        found = Mark(*mark)
        return found if found.epoch else None

    def _select(self) -> str:
        return (
            "SELECT max((toUInt64(epoch), toString(owner), toUInt64(turn))) FROM fences "
            f"WHERE topic = {quote(self._shard.topic)} AND partition = {self._shard.partition}"
        )
