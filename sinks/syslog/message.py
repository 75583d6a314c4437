"""The syslog message around a line: RFC 5424, framed for a stream by its length in octets (RFC 5425 §4.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

LOG_AUDIT = 13
"""Facility 13 of RFC 5424 §6.2.1, table 1."""
WARNING, NOTICE, INFORMATIONAL = 4, 5, 6
EXAMPLE_ENTERPRISE = 32473
"""The number that RFC 5612 reserves for documentation: nobody's, until an operator sets their own."""

BOM = b"\xef\xbb\xbf"
NIL = "-"


def message(
    text: str,
    *,
    severity: int,
    time_us: int,
    host: str,
    app: str,
    process: str,
    kind: str,
    data: Mapping[str, str],
    enterprise: int = EXAMPLE_ENTERPRISE,
    max_bytes: int,
) -> bytes:
    """One syslog message. Text that does not fit ``max_bytes`` is cut at a character, and ends in ``…``.

    Args:
        text: in UTF-8 after a byte order mark (RFC 5424 §6.4).
        severity: of RFC 5424 §6.2.1, 0 to 7.
        time_us: microseconds since 1970 UTC.
        host, app, process, kind: the header's fields; what it does not allow becomes ``-`` or is cut.
        data: parameters of one structured element, ``affidavit@<enterprise>``.
    """
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    head = " ".join(
        (
            f"<{LOG_AUDIT * 8 + severity}>1",
            f"{moment}.{time_us % 1_000_000:06}Z",
            _word(host, 255),
            _word(app, 48),
            _word(process, 128),
            _word(kind, 32),
            _element(f"affidavit@{enterprise}", data),
            "",
        )
    ).encode()
    body = text.encode("utf-8", "replace")
    room = max_bytes - len(head) - len(BOM)
    if len(body) > room:
        body = body[: max(0, room - 3)].decode("utf-8", "ignore").encode() + "…".encode()
    return head + BOM + body


def frame(data: bytes) -> bytes:
    """``MSG-LEN SP SYSLOG-MSG``."""
    return b"%d %s" % (len(data), data)


def _word(text: str, length: int) -> str:
    """Printable ASCII without spaces (RFC 5424 §6)."""
    return re.sub(r"[^\x21-\x7e]", "-", text)[:length] or NIL


def _element(name: str, data: Mapping[str, str]) -> str:
    shown = [f'{key}="{_quoted(value)}"' for key, value in data.items() if value]
    return f"[{' '.join((name, *shown))}]" if shown else NIL


def _quoted(text: str) -> str:
    """RFC 5424 §6.3.3."""
    return re.sub(r'(["\\\]])', r"\\\1", text).replace("\n", " ").replace("\r", " ")
