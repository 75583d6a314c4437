"""Evidence from ClickHouse: what the tables hold, in the form that the verifier asks of every destination.

ClickHouse itself writes the metadata columns back as Avro, field by field, and the result is compared with the signed
bytes beside them: equal bytes mean equal columns, at the price of one comparison. Only where they differ are both
decoded. A row whose columns say something else than its signed metadata is given with the *columns* as its metadata, so
that its commitment fails: it is what a reader of ClickHouse is shown that must be true.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import fastavro
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.avro_binary import avro_bytes, read_varint
from schemas.errors import EvidenceIncomplete, MalformedInput, Unavailable, VerificationError
from schemas.evidence import Evidence
from schemas.ids import Offset, Shard, parse_event_id
from schemas.metadata import schema
from schemas.metadata_binary import decode_metadata
from schemas.parts import CONTENT, METADATA, SOURCE, OpenedPart, SealedPart
from schemas.record import decode_record
from sinks.clickhouse.classify import code_of
from sinks.clickhouse.quoting import quote, quote_name
from sinks.clickhouse.sources import Sources
from sinks.opening import ELSEWHERE, INVALID, MALFORMED, OK, read_raw_message

_NOT_SHOWN = frozenset({60, 497})
"""Unknown table (tables of an older release, too), access denied."""

READ_AHEAD_BYTES = 16 << 20
"""Sealed bytes of the rows that one query returns; in the clear they are a few times as many."""

PLAN_OFFSETS = 65_536
WINDOW_OFFSETS = 8_192
_SYNC_BYTES = 16

_SETTINGS = {"output_format_avro_codec": "null", "output_format_avro_sync_interval": 1 << 20}


def _plain(name: str, kind: object) -> str:
    """A metadata column in the type whose Avro is the one that the collector wrote."""
    inner = kind[1] if isinstance(kind, list) else kind
    if inner == "string":
        return f"CAST({name} AS String)"
    if isinstance(inner, dict) and "logicalType" in inner:
        return f"toUnixTimestamp64Micro({name})"
    if isinstance(inner, dict) and inner["type"] == "array":
        return f"CAST({name} AS Array(String))"
    return name


_FIELDS = schema("metadata.v1")["fields"]
_COLUMNS = ", ".join(f"{_plain(quote_name(field['name']), field['type'])} AS m{at}" for at, field in enumerate(_FIELDS))
_ALIASES = ", ".join(f"m{at}" for at in range(len(_FIELDS)))
_EVENTS = f"""
SELECT offset AS o, CAST(metadata_status AS String) AS ms, entry_kind AS ek, event_id AS ei, leaf AS le,
    {{chain}} AS ch, if(source_status = 'elsewhere', commitments, '') AS cm, metadata_raw AS mr, metadata_salt AS mt,
    {_COLUMNS}
FROM events WHERE {{where}}
"""
_CONTENTS = """
SELECT offset AS o, CAST(content_status AS String) AS cs, CAST(source_status AS String) AS ss, content AS co,
    content_salt AS ct, source AS so, source_salt AS st, {pieces} AS sp, elsewhere AS el
FROM contents WHERE {where}
"""
_PIECES = """
if(empty(source_pieces), '', toString(arrayFlatten(arrayMap(
    piece -> [toUInt64(piece.partition), piece.offset, piece.start, piece.length], source_pieces))))
"""
_QUERY = """
SELECT o, ek, ms, ei, le, ch, mr, mt, cs, ss, co, ct, so, st, sp, el, cm, {columns}, {mark} AS z
FROM ({events}) AS e LEFT JOIN ({contents}) AS c USING (o) ORDER BY o
"""


class _Row(NamedTuple):
    """One row as selected; ``columns`` are the metadata columns in Avro."""

    offset: int
    entry_kind: int
    metadata_status: bytes
    event_id: bytes
    leaf: bytes
    chain: bytes
    metadata: bytes
    metadata_salt: bytes
    content_status: bytes
    source_status: bytes
    content: bytes
    content_salt: bytes
    source: bytes
    source_salt: bytes
    pieces: bytes
    elsewhere: bytes
    commitments: bytes
    columns: bytes


class ClickHouseEvidence:
    """Implements :class:`schemas.evidence.EvidenceSource`.

    Args:
        client: of the embedded engine or of a server, with the tables' database as its own, and the right to read
            content.
    """

    name = "clickhouse"

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sources = Sources(client)

    def leaves(self, shard: Shard, start: Offset, end: Offset) -> Iterator[tuple[int, bytes]]:
        """Offset and ledger leaf of each row from ``start`` up to ``end``, in order, as the table states them."""
        for low in range(start, end, PLAN_OFFSETS):
            where = _where(shard, low, min(end, low + PLAN_OFFSETS))
            try:
                rows = self._client.query(
                    f"SELECT offset AS o, hex(leaf) FROM events WHERE {where} ORDER BY o"
                ).result_rows
            except ClickHouseError as error:
                raise Unavailable(f"{shard} from offset {low}: {str(error)[:300]}") from None
            for offset, leaf in rows:
                yield int(offset), bytes.fromhex(str(leaf))

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        """See :meth:`schemas.evidence.EvidenceSource.scan`. Memory does not grow with the range.

        Raises:
            VerificationError: a row cannot be read.
            Unavailable: ClickHouse does not answer.
        """
        chain = _chain(self._ends(shard))
        for low, high in self._windows(shard, start, end):
            where, mark = _where(shard, low, high), secrets.token_hex(8)
            sql = _QUERY.format(
                columns=_ALIASES,
                mark=quote(mark),
                events=_EVENTS.format(where=where, chain=chain),
                contents=_CONTENTS.format(where=where, pieces=_PIECES),
            )
            try:
                body = self._client.raw_query(sql, fmt="Avro", settings=_SETTINGS)
            except ClickHouseError as error:
                raise Unavailable(f"{shard} offsets {low} to {high}: {str(error)[:300]}") from None
            for row in _Reader(body, mark, f"{shard} offsets {low} to {high}").rows():
                yield self._evidence(shard, row)

    def end(self, shard: Shard) -> Offset:
        """See :meth:`schemas.evidence.EvidenceSource.end`."""
        ends = []
        for table in ("events", "contents"):
            where = f"topic = {quote(shard.topic)} AND partition = {shard.partition}"
            try:
                rows = self._client.query(f"SELECT max(offset) + 1, count() FROM {table} WHERE {where}").result_rows
            except ClickHouseError as error:
                raise Unavailable(f"{shard}: {str(error)[:300]}") from None
            ends += [int(end) for end, count in rows if count]
        return Offset(max(ends, default=0))

    def _evidence(self, shard: Shard, row: _Row) -> Evidence:
        """The evidence of a row, its source put together."""
        if row.source_status != OK.encode():
            return _evidence(shard, row)
        try:
            return _evidence(shard, row._replace(source=self._sources.whole(shard, row.offset, row.source, row.pieces)))
        except EvidenceIncomplete as error:
            found = _evidence(shard, row._replace(source_status=b""))
            return found._replace(gone=((SOURCE, str(error)),))

    def _ends(self, shard: Shard) -> dict[str, int]:
        """Where each log of the shard ends, by its origin: where its successor begins. Who may not see the logs,
        because they are about all tenants, is told of none."""
        where = f"topic = {quote(shard.topic)} AND partition = {shard.partition} AND end_offset != toUInt64(-1)"
        try:
            rows = self._client.query(f"SELECT origin, end_offset FROM log_spans WHERE {where}").result_rows
        except ClickHouseError as error:
            if code_of(error) in _NOT_SHOWN:
                return {}
            raise Unavailable(f"{shard}: {str(error)[:300]}") from None
        return {str(origin): int(end) for origin, end in rows}

    def _windows(self, shard: Shard, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges that hold at most :data:`READ_AHEAD_BYTES`, or one offset; ranges without rows are left out."""
        end = min(end, self.end(shard))
        for low in range(start, end, PLAN_OFFSETS):
            high = min(end, low + PLAN_OFFSETS)
            sql = f"SELECT offset, sealed_bytes FROM events WHERE {_where(shard, low, high)} ORDER BY offset"
            first, held = low, 0
            for offset, size in self._client.query(sql).result_rows:
                if offset > first and (held + size > READ_AHEAD_BYTES or offset - first >= WINDOW_OFFSETS):
                    yield first, offset
                    first, held = offset, 0
                held += size
            if held:
                yield first, high


def _chain(ends: Mapping[str, int]) -> str:
    """The column ``chain``, empty where it is none of the log that has the offset: a row that was delivered before its
    log was opened has the chain of the log before."""
    passed = " OR ".join(f"(origin = {quote(origin)} AND offset >= {end})" for origin, end in ends.items())
    return f"if({passed}, '', chain)" if passed else "chain"


def _where(shard: Shard, start: int, end: int) -> str:
    return f"topic = {quote(shard.topic)} AND partition = {shard.partition} AND offset >= {start} AND offset < {end}"


def _evidence(shard: Shard, row: _Row) -> Evidence:
    where = "clickhouse events and contents"
    record, key = b"", b""
    headers: tuple[tuple[str, bytes], ...] = ()
    opened: list[OpenedPart] = []
    if row.source_status == INVALID.encode():
        try:
            key, record, headers = read_raw_message(row.source)
        except MalformedInput as error:
            raise VerificationError(f"clickhouse contents {shard} offset {row.offset}: {error}") from None
    if row.metadata_status in (OK.encode(), MALFORMED.encode()):
        shown, differing = _as_shown(shard, row) if row.metadata_status == OK.encode() else (row.metadata, ())
        if differing:
            where = f"clickhouse events, columns {', '.join(differing[:5])} differ from the signed metadata"
        opened.append(OpenedPart(METADATA, row.metadata_salt, shown))
    if row.content_status == OK.encode():
        opened.append(OpenedPart(CONTENT, row.content_salt, row.content))
    if row.source_status == OK.encode():
        opened.append(OpenedPart(SOURCE, row.source_salt, row.source))
    return Evidence(
        shard,
        Offset(row.offset),
        _event_id(row.event_id),
        record,
        tuple(opened),
        row.leaf,
        row.chain,
        where,
        key,
        headers,
        commitments=row.commitments,
        outside=_outside(row),
    )


def _outside(row: _Row) -> tuple[SealedPart, ...]:
    """The parts in the object store; none where the column is not what the sink wrote: then they are missing."""
    statuses = {METADATA: row.metadata_status, CONTENT: row.content_status, SOURCE: row.source_status}
    if ELSEWHERE.encode() not in statuses.values():
        return ()
    try:
        parts = decode_record(row.elsewhere).parts
    except MalformedInput:
        return ()
    return tuple(part for part in parts if statuses.get(part.type) == ELSEWHERE.encode())


def _as_shown(shard: Shard, row: _Row) -> tuple[bytes, tuple[str, ...]]:
    """The metadata that readers of the columns are shown, and the names of the columns that are not as signed."""
    if row.columns == row.metadata:
        return row.metadata, ()
    try:
        signed = decode_metadata(row.metadata)
    except MalformedInput:
        return row.metadata, ()
    try:
        shown = decode_metadata(row.columns)
    except MalformedInput as error:
        raise VerificationError(f"clickhouse events {shard} offset {row.offset}: {error}") from None
    differing = tuple(name for name, value in shown.items() if value != signed.get(name))
    return (row.columns, differing) if differing else (row.metadata, ())


def _event_id(text: bytes) -> bytes:
    try:
        return parse_event_id(text.decode("ascii", "replace"))
    except MalformedInput:
        return b""


class _Reader:
    """Reads the rows of one answer: an Avro container file with codec ``null``.

    Each row ends with a mark that nobody could foresee, so that stored bytes which begin like the columns beside them
    cannot pass for all of them.
    """

    def __init__(self, body: bytes, mark: str, where: str) -> None:
        self._body = body
        self._mark = avro_bytes(mark.encode())
        self._where = where
        self._columns: Any = None

    def rows(self) -> Iterator[_Row]:
        """The rows, in order. Raises :class:`~schemas.errors.VerificationError`."""
        body = self._body
        try:
            at = self._read_header()
            while at < len(body):
                count, at = read_varint(body, at)
                size, at = read_varint(body, at)
                end = at + size
                for _ in range(count):
                    row, at = self._row(at)
                    yield row
                if at != end:
                    raise MalformedInput(f"got a block that ends at byte {at}, expected {end}")
                at += _SYNC_BYTES
        except (IndexError, KeyError, ValueError, EOFError, MalformedInput) as error:
            raise VerificationError(f"clickhouse {self._where}: got no such Avro as was asked for: {error}") from None

    def _read_header(self) -> int:
        """The position behind the header; keeps the schema of the metadata columns."""
        body, at, meta = self._body, 4, {}
        while (count := read_varint(body, at)[0]) != 0:
            at = read_varint(body, at)[1]
            for _ in range(count):
                name, at = _bytes(body, at)
                meta[name], at = _bytes(body, at)
        fields = json.loads(meta[b"avro.schema"])["fields"][-len(_FIELDS) - 1 : -1]
        self._columns = fastavro.parse_schema({"type": "record", "name": "columns", "fields": fields})
        return read_varint(body, at)[1] + _SYNC_BYTES

    def _row(self, at: int) -> tuple[_Row, int]:
        body = self._body
        offset, at = read_varint(body, at)
        entry_kind, at = read_varint(body, at)
        texts = []
        for _ in range(15):
            text, at = _bytes(body, at)
            texts.append(text)
        metadata = texts[4]
        end = at + len(metadata)
        columns = body[at:end]
        if columns != metadata or not body.startswith(self._mark, end):
            stream = io.BytesIO(body)
            stream.seek(at)
            fastavro.schemaless_reader(stream, self._columns, None)
            end = stream.tell()
            columns = body[at:end]
        if not body.startswith(self._mark, end):
            raise MalformedInput(f"got a row without its mark at byte {end}")
        return _Row._make((offset, entry_kind, *texts, columns)), end + len(self._mark)


def _bytes(body: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_varint(body, at)
    end = at + size
    if size < 0 or end > len(body):
        raise MalformedInput(f"got {size} bytes at byte {at} of {len(body)}")
    return body[at:end], end
