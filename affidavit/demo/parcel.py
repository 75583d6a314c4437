"""What the demonstration sends: one HTTP request, as a gateway would make it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request.

    Attributes:
        title: what it is, for the person who watches.
        gateway: whose token it carries.
        path: where it is posted.
        media_type: its Content-Type.
        body: the bytes, compressed already where ``gzip`` is set.
        chunked: send without a Content-Length, as some exporters do.
        rejected: units in it that cannot be normalised; they are recorded as ``unparsed``.
        repeat: everything in it was sent before.
    """

    title: str
    gateway: str
    path: str
    media_type: str
    body: bytes
    gzip: bool = False
    chunked: bool = False
    rejected: int = 0
    repeat: bool = False
