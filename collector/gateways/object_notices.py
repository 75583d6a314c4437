"""What the reader of a bucket has to say where there is nothing to read: objects that vanished, or cannot be read.

A notice is a page of its own kind, recorded as an ``unparsed`` event that names the object: a gap that is seen.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Format, Reading, Received, Unit
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.leftovers import Fields
from collector.inflate import inflate
from collector.json_units import encode_content, parse_json
from schemas.errors import InputError
from schemas.metadata import Metadata

NOTICE = "application/vnd.affidavit.notice+json"
DAMAGED = "application/vnd.affidavit.damaged"
"""Media types: a notice; an object as it is stored, which does not inflate."""

_LIMIT = 64 * 1024 * 1024


def format_notice(what: str, ref: str, message: str, **details: Any) -> bytes:
    """A notice: ``what`` happened (``object_vanished``, ``object_too_large``, ``record_too_large``) to ``ref``."""
    return encode_content({"notice": what, "ref": ref, "message": message, **details})


class ObjectFormat:
    """A format for what lies in objects: that of the gateway, and notices.

    Args:
        inner: reads everything else.
    """

    def __init__(self, inner: Format) -> None:
        self.inner = inner
        self.name = inner.name
        self.light = getattr(inner, "light", False)
        self.per_value = getattr(inner, "per_value", False)
        self.tells_documents = getattr(inner, "tells_documents", False)

    def read(self, body: bytes, received: Received) -> Reading:
        """As the gateway's format."""
        if received.media_type == NOTICE:
            return Reading([_notice(body)])
        if received.media_type == DAMAGED:
            return Reading([Unit(body, error=f"object {received.name}: {_damage(body)}")])
        return self.inner.read(body, received)


def _notice(body: bytes) -> Unit:
    fields = Fields(parse_json(body).value)
    what, ref, message = fields.take_text("notice"), fields.take_text("ref"), fields.take_text("message")
    metadata: Metadata = {
        "outcome": "error",
        "error_stage": "receive",
        "error_code": what,
        "error_message": message or "got a notice that says nothing",
        "document_source": ref,
        "extras": fields.leftovers(),
    }
    state_gaps(metadata, [Gap("/source", "not_captured", ref=ref, note=what)])
    return Unit(body, "", [Draft("unparsed", metadata)])


def _damage(body: bytes) -> str:
    try:
        inflate(body, ["gzip"], _LIMIT)
    except InputError as error:
        return str(error)
    return "got gzip that did not inflate when it was read"
