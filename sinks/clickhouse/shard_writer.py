"""One shard's way into ClickHouse.

A batch goes through four steps; after each, what is true if we die there:

1. *Look* which of its offsets are in the tables already, unless it continues what this process delivered and lies
   beyond everything that is there. Nothing has changed. Nothing will, but by us: the shard's fence
   (:mod:`sinks.clickhouse.fence`) is ours since ``resume``, and when an insert of ours did not end well it is renewed
   first, lest that one's rows come afterwards. A restart begins before its position, so the first batches may end in
   the middle of what is there; what was rejected in them is reported again, because the process before may have died
   between the rows and their dead letters.
2. *Prove and open*: leaf and chain of each message, its parts in the clear. Nothing has changed.
3. *Insert* into ``ingest``, which feeds both tables, on the condition that the fence is still ours. Each table has all,
   some or none of the rows: ``resume`` finds the first offset that is not in both, and step 1 of the next process
   leaves out what is there.
4. *Read back*: count the rows of the range in both tables; only then is the batch delivered. A deduplication token that
   ClickHouse remembers from rows which were since deleted swallows an insert without a word: here it shows, and the
   rows go again under another token.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import MalformedInput, Unavailable
from schemas.ids import KeyId, Offset, Shard
from schemas.metadata_binary import decode_metadata
from schemas.parts import PartKeys
from schemas.record import Record, decode_record
from sinks.clickhouse import positions
from sinks.clickhouse.classify import Fault, classify, code_of
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.fence import Fence
from sinks.clickhouse.rows import BOTH, CONTENTS, EVENTS, Row, container, encode_row, pack_log
from sinks.contract import Delivered, Outcome, Pause, Retry
from sinks.opening import ABSENT, ELSEWHERE, MALFORMED, OK, REJECTED, SEALED, Opened, Opening, stated
from sinks.proof import Logs, LogStart, Proof, chain_over, log_at, prove
from stores.bus import Message

log = logging.getLogger(__name__)

BODY_BYTES = 48 << 20
"""Rows in the clear that are held at a time and inserted together; a batch that opens to more takes several inserts."""

_AS_IT_SHOULD_BE = frozenset({OK, ABSENT, SEALED, ELSEWHERE})

INSERT_SETTINGS: dict[str, str | int] = {
    # The default gathers small inserts of many clients and has its own rules about repeats; ours are large.
    "async_insert": 0,
    # On a quiet shard the records of one batch are months apart. Partitions are days of the bus's clock: few enough.
    "max_partitions_per_insert_block": 0,
    "input_format_parallel_parsing": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    # One stream of rows in the order of the body: equal bodies are equal blocks, which is what deduplication compares.
    "max_insert_threads": 1,
}


@dataclass(frozen=True, slots=True)
class _Tail:
    """How far this process has delivered: the next offset, and the log and chain value of the one before it."""

    offset: int
    log: LogStart
    chain: bytes


class ShardWriter:
    """Delivers one shard, from one thread at a time."""

    def __init__(self, shard: Shard, engine: Engine, logs: Logs, opening: Opening) -> None:
        self._shard = shard
        self._engine = engine
        self._opening = opening
        self._client = engine.client()
        self._fence = Fence(shard, engine.database)
        self._in_doubt = False
        self._logs = logs
        self._known_logs: tuple[LogStart, ...] = ()
        self._tail: _Tail | None = None
        self._reach: int | None = None

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def resume(self, start: Offset) -> Offset:
        """Take the shard. The first offset, not below ``start``, that is not in both tables.

        Raises:
            Unavailable: inserts of whoever had the shard before are still running, or somebody else takes it.
        """
        self._tail = self._reach = None
        self._fence.take(self._client)
        self._in_doubt = False
        return positions.resume(self._client, self._shard, start)

    def last(self, offset: Offset) -> bytes | None:
        """The commitments of ``offset`` as the tables hold them."""
        return positions.commitments_at(self._client, self._shard, offset)

    def deliver(self, batch: Sequence[Message]) -> Outcome:
        """Make the batch durable; errors of ClickHouse and of the keys are the caller's to classify.

        Raises:
            Unavailable: not now; or never, because the shard is another's by now: only ``resume`` takes it again.
        """
        first, end = batch[0].offset, batch[-1].offset + 1
        (tail, self._tail), (reach, self._reach) = (self._tail, None), (self._reach, None)
        self._hold()
        if reach is None:
            reach = positions.reach(self._client, self._shard)
        log = self._covering(first)
        if log is None:
            return Retry(f"the ledger has opened no log that covers {self._shard} offset {first} yet", 1.0)
        lacking: Mapping[int, int] | None = None
        rejected: list[tuple[Offset, str]] = []
        if tail is not None and tail.offset == first >= reach:
            chain = tail.chain if tail.log == log else self._chain_before(first, log)
        else:
            lacking, chain = self._lacking(first, end), self._chain_before(first, log)
            rejected += positions.rejected(self._client, self._shard, first, end)
        if chain is None:
            return Pause(
                f"{self._shard} offset {first - 1} is not in ClickHouse, so the chain cannot go on from it: deliver "
                "from the first offset of its log on, or restore that row"
            )
        proofs = prove(batch, self._known_logs, chain)
        records, keys = self._opening.records(batch)
        times = (min(message.time_ms for message in batch), max(message.time_ms for message in batch))
        for rows in self._rows(batch, proofs, records, keys, lacking):
            rejected += self._store(rows, times)
        self._tail, self._reach = _Tail(end, proofs[-1].log, proofs[-1].chain), max(reach, end)
        return Delivered(tuple(rejected))

    def _hold(self) -> None:
        """Make sure that the shard is ours, and that nothing of ours is under way to ClickHouse."""
        self._fence.check()
        if not self._fence.raised:
            self._fence.take(self._client)
        elif self._in_doubt:
            self._fence.renew(self._client)
        self._in_doubt = False

    def _covering(self, offset: int) -> LogStart | None:
        """The log of an offset. The ledger is asked each time: it may have opened another, behind us or before us."""
        logs = tuple(self._logs(self._shard))
        if logs != self._known_logs:
            positions.record_logs(
                self._client, [(log.origin, self._shard, log.start_offset, log.genesis, log.chain()) for log in logs]
            )
            self._known_logs = logs
        return log_at(logs, offset)

    def _chain_before(self, first: int, log: LogStart) -> bytes | None:
        """The chain value of ``log`` before offset ``first``. Where the rows before were delivered when the ledger had
        not opened this log yet, they have the chain of the log before it, and this one's comes from their leaves."""
        if first == log.start_offset:
            return log.chain()
        there = positions.chain_at(self._client, self._shard, first - 1)
        if there is None:
            return None
        origin, chain = there
        if origin == log.origin:
            return chain
        return chain_over(log, positions.leaves(self._client, self._shard, log.start_offset, first))

    def _lacking(self, first: int, end: int) -> dict[int, int]:
        """For each offset of the range, the tables that do not have it (:data:`~sinks.clickhouse.rows.BOTH` …)."""
        events = positions.present(self._client, "events", self._shard, first, end)
        contents = positions.present(self._client, "contents", self._shard, first, end)
        return {
            offset: (0 if offset in events else EVENTS) | (0 if offset in contents else CONTENTS)
            for offset in range(first, end)
        }

    def _rows(
        self,
        batch: Sequence[Message],
        proofs: Sequence[Proof],
        records: Sequence[Record | str | None],
        keys: Mapping[KeyId, PartKeys],
        lacking: Mapping[int, int] | None,
    ) -> Iterator[list[Row]]:
        """The rows that some table lacks, opened only as far as memory allows."""
        rows: list[Row] = []
        size = 0
        packed = {log: pack_log(log.origin, self._shard.topic, self._shard.partition) for log in self._known_logs}
        for message, proof, record in zip(batch, proofs, records, strict=True):
            into = BOTH if lacking is None else lacking[message.offset]
            if not into:
                continue
            opened = self._opening.open(message, record, keys)
            rows.append(Row(into, packed[proof.log], proof, opened, message))
            size += 2 * len(opened.metadata) + len(opened.content) + len(opened.source)
            if size >= BODY_BYTES:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def _store(self, rows: list[Row], times: tuple[int, int]) -> list[tuple[Offset, str]]:
        """Insert and read back; ``times`` are the least and the greatest bus time of the batch."""
        self._report(rows)
        rejected = self._insert(rows)
        if not self._is_there(rows, times):
            rows = self._still_lacking(rows)
            rejected += self._insert(rows, again=secrets.token_hex(8))
            if not self._is_there(rows, times):
                raise Unavailable(
                    f"{self._shard} offset {rows[0].message.offset}: ClickHouse took rows and has not got them"
                )
        return rejected

    def _is_there(self, rows: Sequence[Row], times: tuple[int, int]) -> bool:
        """Whether both tables hold the whole range of ``rows`` (what lies between them was there before)."""
        if not rows:
            return True
        first, last = rows[0].message, rows[-1].message
        expected = last.offset + 1 - first.offset
        counts = positions.counts(self._client, self._shard, first.offset, last.offset + 1, times)
        for table, (total, distinct) in counts.items():
            if total > distinct:
                log.error(
                    "%s offsets %d to %d: %d rows too many in %s",
                    self._shard,
                    first.offset,
                    last.offset,
                    total - distinct,
                    table,
                )
        return all(distinct == expected for _, distinct in counts.values())

    def _still_lacking(self, rows: Sequence[Row]) -> list[Row]:
        lacking = self._lacking(rows[0].message.offset, rows[-1].message.offset + 1)
        return [row._replace(into=lacking[row.message.offset]) for row in rows if lacking[row.message.offset]]

    def _insert(self, rows: list[Row], again: str = "") -> list[tuple[Offset, str]]:
        """Insert the rows; a row without parts goes in where ClickHouse does not take the whole one."""
        if not rows:
            return []
        body = container(map(encode_row, rows))
        settings = {
            **INSERT_SETTINGS,
            "insert_deduplication_token": self._token(rows, body, again),
            "log_comment": self._fence.comment,
        }
        self._in_doubt = True
        try:
            self._engine.insert(self._client, "ingest", body, settings, self._fence.condition)
        except ClickHouseError as error:
            fault = classify(code_of(error))
            if fault is Fault.FENCED:
                raise self._fence.lose() from None
            if fault is not Fault.ROWS:
                raise
            return self._sift(self._still_lacking(rows), error)
        self._in_doubt = False
        return []

    def _sift(self, rows: list[Row], error: ClickHouseError) -> list[tuple[Offset, str]]:
        """Insert all but the rows at fault: first by looking at their metadata, then by halves."""
        sound = [_checked(row) for row in rows]
        if sound != rows:
            return self._insert(sound)
        if len(rows) > 1:
            half = len(rows) // 2
            return self._insert(rows[:half]) + self._insert(rows[half:])
        rejected: list[tuple[Offset, str]] = []
        for row in rows:
            if REJECTED in row.opened.statuses:
                raise error
            reason = f"ClickHouse does not take the row: code {code_of(error)}"
            self._insert([row._replace(opened=_stub(row, reason))])
            rejected.append((row.message.offset, reason))
        return rejected

    def _token(self, rows: Sequence[Row], body: bytes, again: str) -> str:
        """Names these bytes: with a token that named only the offsets, ClickHouse would drop other rows in silence."""
        digest = hashlib.sha256(body).hexdigest()
        return f"{self._shard}:{rows[0].message.offset}-{rows[-1].message.offset}:{digest}{again}"

    def _report(self, rows: Sequence[Row]) -> None:
        """Say loudly, once per insert, what was not as the ledger says; the rows themselves keep all of it."""
        wrong = [row for row in rows if not _AS_IT_SHOULD_BE.issuperset(row.opened.statuses)]
        if wrong:
            first = wrong[0]
            log.warning(
                "%s: %d records with a part that is not as the ledger says; the first is offset %d: %s",
                self._shard,
                len(wrong),
                first.message.offset,
                first.opened.reason,
            )


def _checked(row: Row) -> Row:
    """The row, with the columns of its envelope where its metadata is not metadata v1."""
    opened = row.opened
    if opened.statuses[0] != OK:
        return row
    try:
        decode_metadata(opened.columns)
    except MalformedInput as error:
        statuses = (MALFORMED, *opened.statuses[1:])
        reason = "; ".join(filter(None, (opened.reason, f"metadata: {error}")))
        return row._replace(opened=opened._replace(statuses=statuses, reason=reason, columns=_envelope(row)))
    return row


def _stub(row: Row, reason: str) -> Opened:
    """What stands for a row that ClickHouse does not take: the address and the proof, and no part."""
    statuses = tuple(ABSENT if status == ABSENT else REJECTED for status in row.opened.statuses)
    return Opened((statuses[0], statuses[1], statuses[2]), reason, _envelope(row), b"", b"", b"", (b"", b"", b""))


def _envelope(row: Row) -> bytes:
    try:
        return stated(row.message, decode_record(row.message.value))
    except MalformedInput:
        return stated(row.message)
