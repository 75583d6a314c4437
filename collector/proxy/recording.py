"""One exchange on its way to be recorded: what is known of it so far, and its WARC file (``collector.gateways.proxy``).

Everything in it is filled in as it happens, so that at any moment the file tells what was seen until then.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from collector.gateways.warc import Buffer, WarcRecord, format_warc
from collector.json_units import encode_content
from collector.proxy import Api
from collector.proxy.heads import SESSION, USER, Headers, credential, on_record, value
from collector.proxy.tape import Tape, TapeStore
from collector.scrub import scrub_url

End = Literal["open", "complete", "cancelled", "broken", "unreachable", "timeout"]
"""``complete``: the answer came to its end. ``cancelled``: the caller hung up. ``broken``: the upstream did.
``unreachable`` and ``timeout``: there is no answer. ``open``: not ended yet."""

_NAMESPACE = uuid.UUID("8f0f2d0e-1c53-5c7b-9d0a-6a5b8b8f3f51")
"""Of record ids, which are UUIDv5 over exchange and type: the same exchange gives the same file."""

_TOKEN = re.compile(rb'content_block_delta|\.delta"|"(?:content|arguments|reasoning_content|text)"\s*:\s*"[^"]')
"""What the first piece of an answer that carries some of its text has in it, of the APIs we know."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose exchange it is. ``token_id`` says ``bound:<upstream>`` where no token was needed."""

    tenant: str
    gateway: str
    token_id: str


@dataclass(slots=True, eq=False)
class Recording:
    """One exchange.

    Attributes:
        sender: whose; ``None`` while the token could not be checked, ``authorization`` then says which.
        upstream, api, url: where it went; ``url`` with the target as it was sent.
        method, target: of the request line at the upstream.
        request_headers: as sent upstream; those with credentials are left out of the file.
        request_complete: whether the whole request was received.
        moments: microseconds since 1970 UTC by name: ``started_at``, ``requested_at`` (the request was read to its
            end), ``first_byte_at``, ``first_token_at``, ``ended_at``.
        recorded_early: whether it was recorded before it ended.
    """

    store: TapeStore
    sender: Sender | None
    authorization: str
    peer_ip: str
    upstream: str
    api: Api
    url: str
    method: str
    target: bytes
    request_headers: Headers
    received_headers: Headers
    now_micros: Callable[[], int]
    fingerprint_key: bytes | None = None
    exchange_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    request: Tape = field(init=False)
    response: Tape = field(init=False)
    request_complete: bool = False
    status: int = 0
    reason: bytes = b""
    response_headers: Headers = ()
    moments: dict[str, int] = field(default_factory=dict)
    end: End = "open"
    error: str = ""
    recorded_early: bool = False

    def __post_init__(self) -> None:
        self.request, self.response = Tape(self.store), Tape(self.store)
        self.note("started_at")

    def note(self, moment: str) -> None:
        """That something happened now, if it did not before."""
        if moment not in self.moments:
            self.moments[moment] = self.now_micros()

    def answered(self, status: int, reason: bytes, headers: Headers) -> None:
        """The head of the answer is here."""
        self.status, self.reason, self.response_headers = status, reason, headers

    def heard(self, chunk: bytes) -> None:
        """A piece of the answer is here."""
        self.response.write(chunk)
        if "first_token_at" not in self.moments:
            self.note("first_byte_at")
            if _TOKEN.search(chunk):
                self.note("first_token_at")

    def finish(self, end: End, error: str = "") -> None:
        """Nothing more comes."""
        if self.end == "open":
            self.end, self.error = end, error
            self.note("ended_at")

    @property
    def size(self) -> int:
        """Bytes of both bodies."""
        return self.request.size + self.response.size

    def close(self) -> None:
        """Forget both bodies."""
        self.request.close()
        self.response.close()

    def warc(self) -> bytes:
        """The exchange as a file, as far as it came."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[Buffer]:
        """The file in pieces, which are valid until :meth:`close`."""
        return format_warc(self._records())

    def _records(self) -> list[WarcRecord]:
        kept, removed = on_record(self.request_headers)
        target = scrub_url(self.target.decode("latin-1"))
        head = _head(f"{self.method} {target} HTTP/1.1".encode("latin-1"), kept)
        fields = self._fields("request", "started_at")
        records = [WarcRecord(fields, (head, self.request.buffer()))]
        if self.status and self.end != "open":
            kept, more = on_record(self.response_headers)
            removed += more
            head = _head(b"HTTP/1.1 %d %s" % (self.status, self.reason), kept)
            records.append(WarcRecord(self._fields("response", "first_byte_at"), (head, self.response.buffer())))
        about = encode_content(self._about(removed))
        return [*records, WarcRecord(self._fields("metadata", "ended_at"), (about,))]

    def _fields(self, kind: str, moment: str) -> tuple[tuple[str, str], ...]:
        at = datetime.fromtimestamp(self.moments.get(moment, self.moments["started_at"]) / 1e6, UTC)
        fields = [
            ("WARC-Type", kind),
            ("WARC-Record-ID", self._record_id(kind)),
            ("WARC-Date", at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
            ("WARC-Target-URI", scrub_url(self.url)),
        ]
        if kind != "request":
            fields.append(("WARC-Concurrent-To", self._record_id("request")))
        cut = self.end in ("broken", "cancelled") if kind == "response" else not self.request_complete
        lost = {"request": self.request.lost, "response": self.response.lost}.get(kind, 0)
        if kind != "metadata" and (cut or lost):
            fields.append(("WARC-Truncated", "unspecified" if lost else "disconnect"))
        media_type = "application/json" if kind == "metadata" else f"application/http;msgtype={kind}"
        return (*fields, ("Content-Type", media_type))

    def _record_id(self, kind: str) -> str:
        return f"<urn:uuid:{uuid.uuid5(_NAMESPACE, f'{self.exchange_id}/{kind}')}>"

    def _about(self, removed: list[str]) -> dict[str, Any]:
        key = credential(self.request_headers, self.fingerprint_key)
        claimed = {
            "session": value(self.received_headers, SESSION).decode("latin-1"),
            "user": value(self.received_headers, USER).decode("latin-1"),
        }
        known: dict[str, Any] = {
            "exchange_id": self.exchange_id,
            "upstream": self.upstream,
            "api": self.api,
            "url": scrub_url(self.url),
            **self.moments,
            "end": self.end,
            "error": self.error,
            "removed_headers": sorted(set(removed)),
            "credential": key._asdict() if key else None,
            "asserted": {name: text for name, text in claimed.items() if text},
            "request_cut": not self.request_complete,
            "request_lost_bytes": self.request.lost,
            "response_lost_bytes": self.response.lost,
        }
        return {name: stated for name, stated in known.items() if stated not in (None, "", [], {}, 0, False)}


def _head(start: bytes, headers: Headers) -> Buffer:
    return b"\r\n".join([start, *(name + b": " + content for name, content in headers), b"", b""])
