"""The HTTP side of CloudEvents: which mode a message is in, and the attributes of the binary mode, which are headers.

``parse`` and ``format`` of the binary mode lie side by side: a unit's source is the headers that belong to the event,
a line each in the order of their names, an empty line, and the body as received. Header names are in lower case there,
as HTTP/2 has them on the wire; the receiver gives the values as they were. That source can be read again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from collector.gateways import Received

Mode = Literal["batch", "structured", "binary"]

MODES = (
    "headers ce-id, ce-source, ce-type and ce-specversion, or a Content-Type of application/cloudevents+json or "
    "application/cloudevents-batch+json"
)

_BATCH, _STRUCTURED = "application/cloudevents-batch", "application/cloudevents"
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_NAME = re.compile(r"[a-z0-9]+")
_JSON = re.compile(r"(?:application/json|text/json|[a-z0-9.+_-]+/[a-z0-9.+_-]+\+json)")
_HEAD = re.compile(rb"(?:(?:ce-[a-z0-9]+|content-type): ?[^\r\n]*\r\n)+\r\n")


@dataclass(frozen=True, slots=True)
class Binary:
    """An event in binary mode.

    Attributes:
        headers: those that belong to it, as received.
        attributes: what they say, by name of the attribute.
        data: the body.
        error: why a header cannot be read.
    """

    headers: Mapping[str, str]
    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def mode_of(received: Received, body: bytes) -> Mode:
    """Batch is asked for first: its media type begins with that of the structured mode. Without a media type, as for a
    payload from a file, the body tells."""
    media_type = received.media_type.lower().strip()
    if media_type.startswith(_BATCH):
        return "batch"
    if media_type.startswith(_STRUCTURED):
        return "structured"
    if not any(name.startswith("ce-") for name in received.headers) and not _HEAD.match(body):
        first = body.lstrip()[:1]
        if first == b"[":
            return "batch"
        if first == b"{" and b'"specversion"' in body:
            return "structured"
    return "binary"


def read_binary(received: Received, body: bytes) -> Binary | None:
    """The event in headers and body, or in a source that :func:`format_binary` wrote; ``None`` when there is none."""
    headers = {name: value for name, value in received.headers.items() if name.startswith("ce-")}
    if headers and received.media_type:
        headers["content-type"] = received.media_type
    head = _HEAD.match(body)
    if not headers and head:
        lines = head.group().decode("latin-1").split("\r\n")[:-2]
        headers = {name: value.removeprefix(" ") for name, _, value in (line.partition(":") for line in lines)}
        body = body[head.end() :]
    if not any(name.startswith("ce-") for name in headers):
        return None
    attributes: dict[str, str] = {}
    for header, value in headers.items():
        name = "datacontenttype" if header == "content-type" else header.removeprefix("ce-")
        if not _NAME.fullmatch(name):
            return Binary(headers, body, error=f"got header {header[:64]!r}, expected a name of a-z and 0-9 behind ce-")
        try:
            attributes[name] = value if header == "content-type" else decode_value(value)
        except UnicodeDecodeError:
            return Binary(headers, body, error=f"got header {header[:64]} that is not UTF-8 after percent-decoding")
    return Binary(headers, body, attributes)


def format_binary(binary: Binary) -> bytes:
    """The exact record: what :func:`read_binary` reads again."""
    lines = [f"{name}: {value}\r\n" for name, value in sorted(binary.headers.items())]
    return "".join(lines).encode("latin-1", "replace") + b"\r\n" + binary.data


def decode_value(value: str) -> str:
    """The value of a header: double quotes undone, then percent-decoded once, then UTF-8 (HTTP binding §3.1.3.2).

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    raw = value.encode("latin-1", "replace")
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), raw).decode("utf-8")


def is_json(media_type: str) -> bool:
    """Whether data of this type is JSON; without a type it is."""
    return not media_type or _JSON.fullmatch(media_type.partition(";")[0].strip().lower()) is not None
