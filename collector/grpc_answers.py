"""What an OTLP sender over gRPC is told: the answer that it would get over HTTP, in the words of gRPC. Pure.

The specification (opentelemetry-proto ``docs/specification.md``) names the codes after which a sender tries again.
UNAVAILABLE is one of them, INTERNAL and UNKNOWN are not, so UNAVAILABLE stands for our outages and for our bugs alike.

====  ===================  ==========================================================
HTTP  gRPC                 details
====  ===================  ==========================================================
200   OK                   the message, ``Export…ServiceResponse``
400   INVALID_ARGUMENT     ``google.rpc.Status``
401   UNAUTHENTICATED      ``google.rpc.Status``
403   PERMISSION_DENIED    ``google.rpc.Status``
413   RESOURCE_EXHAUSTED   ``google.rpc.Status``, and no ``RetryInfo``: it will not get smaller
503   UNAVAILABLE          ``google.rpc.Status`` with ``RetryInfo``
====  ===================  ==========================================================
"""

from __future__ import annotations

from typing import NamedTuple

from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from collector.routes import Answer

MAX_MESSAGE = 1024
"""Characters of an error. It travels twice in the trailers, percent-encoded in one place, and clients take 8 KB."""

UNAVAILABLE = 14
"""``google.rpc.Code``; the numbers are those of gRPC's own status codes."""


class GrpcAnswer(NamedTuple):
    """The end of a call: ``body`` when ``code`` is 0 (OK), or else ``message`` and ``details``, a serialised
    ``google.rpc.Status`` for the trailer ``grpc-status-details-bin``."""

    code: int
    message: str = ""
    details: bytes = b""
    body: bytes = b""


def grpc_answer(answer: Answer) -> GrpcAnswer:
    """An OTLP/HTTP answer in protobuf, as a gRPC one."""
    if answer.status == 200:
        return GrpcAnswer(0, body=answer.body)
    status = Status.FromString(answer.body)
    status.message = status.message[:MAX_MESSAGE]
    retry_after = answer.headers.get("retry-after", "")
    if retry_after:
        status.code = UNAVAILABLE
        retry = RetryInfo()
        retry.retry_delay.seconds = int(retry_after)
        status.details.add().Pack(retry)
    return GrpcAnswer(status.code, status.message, status.SerializeToString())
