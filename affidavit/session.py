"""Reading one session from ClickHouse, and verifying each of its records against the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from affidavit.excerpt import excerpt
from affidavit.query import QueryClient
from affidavit.timeline import Row
from schemas.errors import AccessDenied, EvidenceIncomplete, MalformedInput, VerificationError
from schemas.evidence import Evidence, EvidenceSource, Status
from schemas.ids import Offset, Shard, parse_shard
from signer.policy import policy_of
from signer.trust import Trust
from signer.verify_event import verify_event
from signer.verify_records import Comparison
from stores.objects import Objects

UNSIGNED = "UNSIGNED"
"""Status of a record that no checkpoint covers yet."""

MAX_EXCERPT_SOURCE = 65_536
"""Characters of content fetched for an excerpt."""

NEAR = 512
"""Records of a session that lie closer than this are fetched in one go."""

_WORST = (Status.MISMATCH, Status.MISSING, Status.RESURRECTED, Status.SEALED, Status.ERASED, Status.OK)

KEYS = ("session_id", "conversation_id", "prompt_id", "exchange_id", "trace_id")
"""What may name a session, in the order in which they are tried."""

_ROWS = """
SELECT topic, partition, offset, event_id, kind, toUnixTimestamp64Micro(occurred_at) AS at, exchange_id, prompt_id,
    call_id, span_id, parent_span_id, parent_event_id, sequence, gateway,
    coalesce(nullIf(user_email, ''), nullIf(user_id, ''), nullIf(end_user_id, ''), nullIf(agent_id, ''), '') AS who,
    multiIf(kind = 'guardrail', guardrail_name, kind = 'context', coalesce(nullIf(document_id, ''), document_source),
        kind IN ('tool_call', 'tool_result'), tool_name, coalesce(nullIf(model_served, ''), model_requested)) AS what,
    coalesce(nullIf(tool_decision, ''), nullIf(guardrail_verdict, ''), nullIf(guardrail_action, ''), '') AS said,
    outcome, content_state, tenant
FROM events WHERE {key} = {{session:String}} ORDER BY topic, partition, offset
"""
_CONTENTS = """
SELECT topic, partition, offset,
    left(if(kind = 'prompt' AND JSONHas(content, 'messages'),
        concat('{{"messages":[',
            arrayStringConcat(arraySlice(JSONExtractArrayRaw(content, 'messages'), -3), ','), ']}}'),
        content), {limit}) AS words
FROM contents
WHERE (topic, partition, offset) IN (SELECT topic, partition, offset FROM events WHERE {key} = {{session:String}})
"""


def read_rows(client: QueryClient, session: str, *, content: bool, tenant: str = "") -> list[Row]:
    """The records of a session, unverified; empty when nothing has that id.

    Args:
        content: whether to read content for the excerpts; left out when the token may not.
        tenant: whose session, where several tenants have one of that id.

    Raises:
        MalformedInput: several tenants have one, and none was named.
    """
    for key in KEYS:
        records = client.ask(_ROWS.format(key=key), {"session": session}).records()
        tenants = sorted({record["tenant"] for record in records})
        if tenant:
            records = [record for record in records if record["tenant"] == tenant]
        elif len(tenants) > 1:
            raise MalformedInput(f"got session {session!r} of tenants {', '.join(tenants)}: say which with --tenant")
        if records:
            words = _words(client, key, session) if content else {}
            return [_row(record, words) for record in records]
    return []


def verify_rows(rows: Sequence[Row], objects: Objects, trust: Trust, comparison: Comparison) -> list[Row]:
    """The rows with their status: the worst of their parts, ``UNSIGNED``, or ``MISMATCH`` where the entry itself is
    not proven."""
    by_shard: dict[Shard, list[Row]] = {}
    for row in rows:
        by_shard.setdefault(parse_shard(row.order[0]), []).append(row)
    verified: list[Row] = []
    for shard, own in by_shard.items():
        offsets = sorted(row.order[1] for row in own)
        at_hand = replace(comparison, source=_Fetched(comparison.source, shard, offsets))
        verified += [replace(row, status=_status(row, shard, objects, trust, at_hand)) for row in own]
    return verified


class _Fetched:
    """An evidence source that has read what will be asked of it."""

    def __init__(self, source: EvidenceSource, shard: Shard, offsets: Sequence[int]) -> None:
        self.name = source.name
        self._held: dict[int, list[Evidence]] = {}
        self._end = source.end(shard)
        wanted = set(offsets)
        for start, end in _spans(offsets):
            for evidence in source.scan(shard, Offset(start), Offset(end)):
                if evidence.offset in wanted:
                    self._held.setdefault(evidence.offset, []).append(evidence)

    def scan(self, shard: Shard, start: Offset, end: Offset) -> Iterator[Evidence]:
        for offset in range(start, end):
            yield from self._held.get(offset, ())

    def end(self, shard: Shard) -> Offset:
        return self._end


def _spans(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges that cover the ascending offsets, without long stretches of others."""
    start = previous = offsets[0]
    for offset in offsets[1:]:
        if offset - previous > NEAR:
            yield start, previous + 1
            start = offset
        previous = offset
    yield start, previous + 1


def _status(row: Row, shard: Shard, objects: Objects, trust: Trust, comparison: Comparison) -> str:
    try:
        report = verify_event(objects, policy_of(trust), shard, row.order[1], comparison)
    except EvidenceIncomplete as error:
        return UNSIGNED if error.step == "E1" else Status.MISSING.value
    except VerificationError:
        return Status.MISMATCH.value
    if report.exit_code == 0 and report.event_id not in ("", row.event_id):
        return Status.MISMATCH.value
    found = set(report.statuses.values())
    return next((status.value for status in _WORST if status in found), Status.MISSING.value)


def _words(client: QueryClient, key: str, session: str) -> dict[tuple[str, int, int], str]:
    try:
        answer = client.ask(_CONTENTS.format(key=key, limit=MAX_EXCERPT_SOURCE), {"session": session})
    except AccessDenied:
        return {}
    return {(topic, partition, offset): words for topic, partition, offset, words in answer.rows}


def _row(record: dict[str, Any], words: dict[tuple[str, int, int], str]) -> Row:
    shard = f"{record['topic']}/{record['partition']}"
    place = record["topic"], record["partition"], record["offset"]
    return Row(
        address=f"{shard}@{record['offset']}",
        order=(shard, record["offset"]),
        event_id=record["event_id"] or f"{shard}@{record['offset']}",
        kind=record["kind"],
        occurred_at=record["at"],
        exchange_id=record["exchange_id"],
        prompt_id=record["prompt_id"],
        call_id=record["call_id"],
        span_id=record["span_id"],
        parent_span_id=record["parent_span_id"],
        parent_event_id=record["parent_event_id"],
        sequence=record["sequence"],
        gateway=record["gateway"],
        who=record["who"],
        what=record["what"],
        text=excerpt(record["kind"], words.get(place, "")),
        outcome=record["outcome"],
        decision=record["said"],
        content_state=record["content_state"],
    )
