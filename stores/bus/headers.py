"""Bus headers ``c``, ``id``, ``k`` and ``s``: written for our messages, read back from anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.entry import COMMITMENT_BYTES, MAX_COMMITMENTS, valid_commitments
from schemas.fingerprints import DEADLETTER_V1, RECORD_V1
from stores.bus import Outgoing

Header = tuple[str, bytes]

NO_KIND = -1
EVENT_ID_BYTES = 16
FINGERPRINT_BYTES = 8

OUR_SCHEMAS = frozenset({RECORD_V1, DEADLETTER_V1})
"""What our messages say in header ``s``. One that names another schema, of a later version perhaps, keeps all of its
headers wherever it goes: without them nobody could say how to read it (``docs/schema-evolution.md``)."""


class Foreign(NamedTuple):
    """A message of a producer that is not ours, with whatever headers it chose. It gets its offset and its leaf like
    any other; the signer enters it as *invalid* unless header ``c`` holds valid commitments."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[Header, ...] = ()


class Ours(NamedTuple):
    """What our headers say. A header that is absent, there twice or of the wrong size reads as ``b""`` (kind: −1).

    ``exact`` is true when the headers are ours, each once, valid, of a schema that we know, and nothing else: they can
    then be written again from the other fields, and :attr:`stores.bus.Message.headers` stays empty.
    """

    kind: int
    event_id: bytes
    commitments: bytes
    fingerprint: bytes
    exact: bool


def write_headers(message: Outgoing) -> tuple[Header, ...]:
    """The headers of a message of ours, in the order of the alphabet."""
    return (
        ("c", message.commitments),
        ("id", message.event_id),
        ("k", message.kind.to_bytes(1, "big")),
        ("s", message.fingerprint),
    )


def read_headers(headers: Sequence[Header]) -> Ours:
    """Read what :func:`write_headers` wrote, and make the best of what somebody else did."""
    kind = _only(headers, "k", 1)
    event_id = _only(headers, "id", EVENT_ID_BYTES)
    fingerprint = _only(headers, "s", FINGERPRINT_BYTES)
    found = [value for name, value in headers if name == "c"]
    commitments = found[0] if len(found) == 1 and len(found[0]) <= MAX_COMMITMENTS * COMMITMENT_BYTES else b""
    ours = len(headers) == 4 and bool(kind and event_id) and fingerprint in OUR_SCHEMAS
    exact = ours and valid_commitments(commitments)
    return Ours(kind[0] if kind else NO_KIND, event_id, commitments, fingerprint, exact)


def _only(headers: Sequence[Header], name: str, size: int) -> bytes:
    found = [value for other, value in headers if other == name]
    return found[0] if len(found) == 1 and len(found[0]) == size else b""
