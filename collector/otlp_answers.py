"""What an OTLP sender is told, in the encoding it spoke. Pure.

The specification (opentelemetry-proto ``docs/specification.md``) makes the status decide what becomes of the data: only
429, 502, 503 and 504 are sent again; after anything else, 500 included, the sender drops it. So whatever may have kept
a body from being stored is answered 503, our own bugs among them, and 400 is left for what no repeat can mend.

=====================================  ======  ==========================================================
what happened                          status  body
=====================================  ======  ==========================================================
all stored, be it in the spool; or empty 200     ``Export…ServiceResponse`` without ``partial_success``
some could not be read                 200     ``partial_success`` with their number; they are kept as
                                               ``unparsed``, so nothing is lost
the whole is no such request           400     ``google.rpc.Status``; the bytes are kept as ``unparsed``
no token, too large, …                 4xx     ``google.rpc.Status``
the bus is away, or a bug of ours      503     ``google.rpc.Status``, with ``Retry-After``
metrics                                200     ``partial_success``: all data points, with the reason
=====================================  ======  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.gateways.otlp import Declined
from collector.inflate import CODINGS
from collector.routes import Accepted, Answer, Answering, Failed, Outcome

JSON = "application/json"
PROTOBUF = "application/x-protobuf"

RETRY_AFTER_BUG = 5
"""Seconds: long enough not to make a bug worse, short enough that a restart finds the sender still trying."""

MAX_EXAMPLES = 3
"""Unreadable records that an answer names; all of them are on record."""

NO_METRICS = "affidavit keeps no metrics; set OTEL_METRICS_EXPORTER=none at the sender, or send them elsewhere"


class _Signal(NamedTuple):
    response: Any
    rejected: str
    rejected_json: str
    noun: str


_SIGNALS: dict[str, _Signal] = {
    "logs": _Signal(ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords", "log records"),
    "traces": _Signal(ExportTraceServiceResponse, "rejected_spans", "rejectedSpans", "spans"),
    "metrics": _Signal(ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints", "data points"),
}

_CODES: Mapping[int, int] = {400: 3, 401: 16, 403: 7, 413: 8, 415: 3, 503: 14}
"""HTTP status → ``google.rpc.Code``: INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED,
UNAVAILABLE."""


def otlp_answering(signal: Literal["logs", "traces", "metrics"]) -> Answering:
    """The answers for one signal."""
    words = _SIGNALS[signal]

    def answer(outcome: Outcome, media_type: str) -> Answer:
        encoding = PROTOBUF if "protobuf" in media_type.lower() else JSON
        if isinstance(outcome, Failed):
            return _failure(outcome, encoding)
        reading = outcome.reading
        if reading.error:
            kept = "" if isinstance(reading, Declined) else "; the bytes are recorded as unparsed"
            return _status(400, f"{reading.error}{kept}", encoding)
        if isinstance(reading, Declined):
            return _success(words, reading.rejected, NO_METRICS if reading.rejected else "", encoding)
        unread = [accepted for accepted in outcome.accepted if accepted.error]
        pointers = [unit.pointer for unit in reading.units]
        return _success(words, len(unread), _explain(unread, len(pointers), pointers, words), encoding)

    return answer


def _success(words: _Signal, rejected: int, message: str, encoding: str) -> Answer:
    if encoding == JSON:
        partial = {words.rejected_json: str(rejected), "errorMessage": message}
        return Answer(200, {"content-type": JSON}, orjson.dumps({"partialSuccess": partial} if message else {}))
    response = words.response()
    if message:
        setattr(response.partial_success, words.rejected, rejected)
        response.partial_success.error_message = message
    return Answer(200, {"content-type": PROTOBUF}, response.SerializeToString())


def _explain(unread: Sequence[Accepted], total: int, pointers: Sequence[str], words: _Signal) -> str:
    if not unread:
        return ""
    examples = "; ".join(f"{pointers[accepted.index]}: {accepted.error}" for accepted in unread[:MAX_EXAMPLES])
    return f"{len(unread)} of {total} {words.noun} could not be read and are recorded as unparsed: {examples}"


def _failure(failed: Failed, encoding: str) -> Answer:
    if failed.status >= 500:
        text = str(failed.error) if failed.status == 503 else "internal error; nothing is known to be stored"
        answer = _status(503, text, encoding)
        return answer._replace(headers={**answer.headers, "retry-after": str(failed.retry_after or RETRY_AFTER_BUG)})
    answer = _status(failed.status, str(failed.error), encoding)
    if failed.status == 401:
        return answer._replace(headers={**answer.headers, "www-authenticate": 'Bearer realm="affidavit"'})
    if failed.status == 415:
        return answer._replace(headers={**answer.headers, "accept-encoding": ", ".join(CODINGS)})
    return answer


def _status(http_status: int, message: str, encoding: str) -> Answer:
    """``google.rpc.Status``: ``{1: code, 2: message}``. Its protobuf is written by hand, for want of two fields."""
    code = _CODES.get(http_status, 2)
    if encoding == JSON:
        return Answer(http_status, {"content-type": JSON}, orjson.dumps({"code": code, "message": message}))
    text = message.encode("utf-8", "replace")
    return Answer(http_status, {"content-type": PROTOBUF}, bytes((0x08, code, 0x12)) + _length(len(text)) + text)


def _length(size: int) -> bytes:
    out = bytearray()
    while size >= 0x80:
        out.append((size & 0x7F) | 0x80)
        size >>= 7
    return bytes((*out, size))
