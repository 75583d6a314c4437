"""The seam between the HTTP receiver and the formats: a route is a path, a format, and a pure answer.

A new HTTP format is one :class:`Route` in the receiver's table. The receiver authenticates, reads and inflates the
body, calls ``format.read`` and the ingest, and hands whatever came of it to ``answer``, which alone knows what the
sender's protocol wants to hear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collector.gateways import Format, Reading
from schemas.errors import AccessDenied, AffidavitError, LimitExceeded, MalformedInput, Unavailable
from schemas.ids import EventId, Offset, Shard
from schemas.metadata import Kind


class StoredEvent(NamedTuple):
    """One event, durable on the bus."""

    event_id: EventId
    kind: Kind
    shard: Shard
    offset: Offset


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one unit; all of it is durable on the bus.

    Attributes:
        index: position of the unit in the body.
        events: its events, in causal order; the first carries the source part. One ``unparsed`` event when ``error``.
        error: why the unit could not be normalised, or ``""``.
    """

    index: int
    events: tuple[StoredEvent, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """The body was read, and everything in it is durable on the bus.

    ``accepted`` has one entry per unit of ``reading``, in order. ``reading.error`` is set when the body as a whole is
    not of the format (its bytes are recorded as ``unparsed`` all the same).
    """

    reading: Reading
    accepted: Sequence[Accepted]


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing is known to be stored, and the sender must be told.

    ``error`` is an ``AccessDenied`` (401 or 403, ``status`` says which), a ``LimitExceeded`` (413), a
    ``MalformedInput`` (400: the body could not be read or inflated), an ``Unavailable`` (503, send again after
    ``error.retry_after`` seconds) or an ``InvariantError`` (500: our bug).
    """

    error: AffidavitError
    status: int

    @property
    def retry_after(self) -> int:
        """Whole seconds for a ``Retry-After`` header, at least 1; 0 when sending the same again cannot help."""
        return max(1, round(self.error.retry_after)) if isinstance(self.error, Unavailable) else 0


Outcome = Stored | Failed


class Answer(NamedTuple):
    """An HTTP response. ``headers`` holds ``content-type`` and what else the protocol wants."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Answering = Callable[[Outcome, str], Answer]
"""``(outcome, media type of the request as received) → Answer``. Pure and total."""


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the receiver's table.

    Attributes:
        paths: the first is the documented one, the others are aliases. All are POST.
        format: reads the body.
        receiver: metadata field ``receiver``: ``http`` or ``otlp-http``.
        answer: what to tell the sender.
        operation: the OpenAPI operation object of the documented path.
    """

    paths: tuple[str, ...]
    format: Format
    answer: Answering
    receiver: str = "http"
    operation: Mapping[str, Any] = field(default_factory=dict)


def failed(error: AffidavitError) -> Failed:
    """The failure with the status code of its kind."""
    if isinstance(error, AccessDenied):
        return Failed(error, 401)
    if isinstance(error, LimitExceeded):
        return Failed(error, 413)
    if isinstance(error, MalformedInput):
        return Failed(error, 400)
    if isinstance(error, Unavailable):
        return Failed(error, 503)
    return Failed(error, 500)
