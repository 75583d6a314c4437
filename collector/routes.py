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
from schemas.ids import EventId
from schemas.metadata import Kind
from stores.bus import Position


class StoredEvent(NamedTuple):
    """One event, durable: on the bus, at a position, or in the collector's spool, which moves it there."""

    event_id: EventId
    kind: Kind
    position: Position


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of one unit; all of it is durable.

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
    """The body was read, and everything in it is durable: on the bus, or in the spool on its way there.

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

    ``webhook`` is by which webhook it came, once its signature was found good, on routes with ``late``.
    """

    error: AffidavitError
    status: int
    webhook: Webhook | None = None

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

Verify = Callable[[Mapping[str, str], bytes, Sequence[bytes], int], None]
"""``(headers, body as received, secrets, now in microseconds)``: raises :class:`~schemas.errors.AccessDenied` unless
one of the secrets signed this body. Pure. For senders that sign what they send and cannot be given a token."""


class Late(NamedTuple):
    """For senders that wait, and do something to people when no answer comes (:mod:`collector.late`).

    Attributes:
        seconds: after so many, or as soon as storing has failed once, they get ``answer``, whether or not the body is
            durable by then.
        answer: for the webhook that it came by.
        patience_seconds: for how long storing is tried again after that. What is lost then is noted in
            ``Receiver.losses``, because nobody sends it again.
    """

    seconds: float
    answer: Callable[[Webhook], Answer]
    patience_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the receiver's table.

    Attributes:
        paths: the first is the documented one, the others are aliases. With ``verify``, each ends in ``/{webhook}``:
            the name of a webhook in the settings, whose secrets sign the body.
        format: reads the body.
        receiver: metadata field ``receiver``: ``http`` or ``otlp-http``.
        answer: what to tell the sender.
        operation: the OpenAPI operation object of the documented path.
        methods: the first is the documented one.
        verify: checks a signature in place of a token.
        late: the answer for a sender that cannot wait, if it is one. Needs ``verify``.
    """

    paths: tuple[str, ...]
    format: Format
    answer: Answering
    receiver: str = "http"
    operation: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ("POST",)
    verify: Verify | None = None
    late: Late | None = None


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a protocol asks before it sends: a health check, a handshake. Needs no token, because it says nothing.

    Attributes:
        path, method: where it is asked.
        answer: from the request's headers, names in lower case. Pure.
    """

    path: str
    method: str
    answer: Callable[[Mapping[str, str]], Answer]


@dataclass(frozen=True, slots=True)
class Webhook:
    """A sender that signs: for which tenant, as which gateway, under which secrets (two while they are changed).

    ``fail_closed``: whether a sender that asks for leave is refused it when the record cannot be made durable.
    """

    name: str
    tenant: str
    gateway: str
    secrets: tuple[bytes, ...] = field(repr=False)
    fail_closed: bool = False


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
