"""What the native API and LiteLLM are told about their body. Pure; OTLP has answers of its own.

An answer with 2xx promises that everything in the body is durable: on the bus, or, while that is away, on the
collector's disk (``"spooled": true``), from where it goes there by itself. 400 means: recorded as ``unparsed``, do not
send it again as it is. Only 503 asks for the same again, and never 429, for LiteLLM drops a batch that gets one.
"""

from __future__ import annotations

from typing import Any

import orjson

from collector.inflate import CODINGS
from collector.routes import Accepted, Answer, Failed, Outcome
from schemas.ids import format_event_id

JSON = "application/json"


def answer_events(outcome: Outcome, media_type: str) -> Answer:
    """Native API: one item per event, in the order sent."""
    if isinstance(outcome, Failed):
        return answer_failure(outcome)
    items = [_item(accepted) for accepted in outcome.accepted]
    if not items:
        return _json(400, {"error": "got a body without events, expected at least one", "accepted": 0, "unparsed": 0})
    unparsed = sum(item["status"] == "unparsed" for item in items)
    summary: dict[str, Any] = {"accepted": len(items) - unparsed, "unparsed": unparsed, "items": items}
    if unparsed == len(items):
        return _json(400, {"error": "nothing could be normalised; the bytes are recorded as unparsed", **summary})
    return _json(200, summary)


def answer_counts(outcome: Outcome, media_type: str) -> Answer:
    """For senders that read nothing but the status, while a person debugging reads the counts: LiteLLM and others.

    A batch with a record that we cannot read is acknowledged all the same, because the sender would drop or repeat all
    of it; the record is kept as ``unparsed``. A batch of nothing else is 400.
    """
    return _counts(outcome, 400)


def answer_delivered(outcome: Outcome, media_type: str) -> Answer:
    """As :func:`answer_counts`, for senders that send a batch again, and everything behind it later, until they get a
    2xx: what cannot be read is kept as ``unparsed``, and the counts say so."""
    return _counts(outcome, 200)


def _counts(outcome: Outcome, unreadable: int) -> Answer:
    if isinstance(outcome, Failed):
        return answer_failure(outcome)
    errors = [{"index": accepted.index, "error": accepted.error} for accepted in outcome.accepted if accepted.error]
    counts = {
        "accepted": len(outcome.accepted) - len(errors),
        "unparsed": len(errors),
        "events": sum(len(accepted.events) for accepted in outcome.accepted),
        "errors": errors[:MAX_ERRORS],
    }
    return _json(unreadable if errors and len(errors) == len(outcome.accepted) else 200, counts)


MAX_ERRORS = 100
"""Errors that an answer lists; all of them are on record."""


def answer_failure(failed: Failed) -> Answer:
    """What went wrong, as JSON, with the headers that HTTP has for it."""
    headers = {"content-type": JSON}
    if failed.retry_after:
        headers["retry-after"] = str(failed.retry_after)
    if failed.status == 401:
        headers["www-authenticate"] = 'Bearer realm="affidavit"'
    if failed.status == 415:
        headers["accept-encoding"] = ", ".join(CODINGS)
    text = str(failed.error) if failed.status != 500 else "internal error; nothing is known to be stored, send again"
    return Answer(failed.status, headers, orjson.dumps({"error": text}))


def _item(accepted: Accepted) -> dict[str, Any]:
    first = accepted.events[0]
    item: dict[str, Any] = {
        "index": accepted.index,
        "event_id": format_event_id(first.event_id),
        "status": "unparsed" if accepted.error else "accepted",
        "position": {"shard": str(first.position.shard), "offset": first.position.offset},
    }
    if first.position.spooled:
        item |= {"position": None, "spooled": True}
    if accepted.error:
        item["error"] = accepted.error
    return item


def _json(status: int, value: object) -> Answer:
    return Answer(status, {"content-type": JSON}, orjson.dumps(value))
