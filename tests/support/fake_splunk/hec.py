"""What Splunk's HTTP Event Collector answers. No I/O; every call says what time it is.

splunk = FakeSplunk({TOKEN: Token(ack=True)})
splunk.script = [Fault.BUSY, Fault.LOST]          # what happens to the next requests with events
reply = splunk.handle("POST", "/services/collector/event", headers, b"…", now)
splunk.events                                      # what a search would find
"""

from __future__ import annotations

import gzip
import json
import threading
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qs, urlsplit

TEXTS = {
    0: "Success",
    1: "Token disabled",
    2: "Token is required",
    3: "Invalid authorization",
    4: "Invalid token",
    5: "No data",
    6: "Invalid data format",
    7: "Incorrect index",
    8: "Internal server error",
    9: "Server is busy",
    10: "Data channel is missing",
    11: "Invalid data channel",
    12: "Event field is required",
    13: "Event field cannot be blank",
    14: "ACK is disabled",
    15: "Error in handling indexed fields",
    16: "Query string authorization is not enabled",
    17: "HEC is healthy",
    18: "HEC is unhealthy, queues are full",
    19: "HEC is unhealthy, ack service unavailable",
    20: "HEC is unhealthy, queues are full, ack service unavailable",
    24: "HEC is approaching capacity, queue is near its limit",
    25: "HEC is approaching capacity, ack is near its limit",
}
STATUSES = {
    0: 200,
    1: 403,
    2: 401,
    3: 401,
    4: 403,
    8: 500,
    9: 503,
    17: 200,
    18: 503,
    19: 503,
    20: 503,
    24: 200,
    25: 200,
}
"""All others are 400."""

IDLE_SECONDS = 600.0
"""``maxIdleTime``: a channel that was not used for so long is dropped."""

POISON = "poison-event"
"""An event that holds this text cannot be parsed (code 6)."""

BAD_FIELDS = "bad-fields"
"""An indexed field with this text cannot be handled (code 15)."""


class Fault(Enum):
    """What may happen to a request with events."""

    BUSY = "503, code 9"
    LATER = "503, code 9, Retry-After: 3"
    ERROR = "500, code 8"
    DISABLED = "403, code 1"
    INVALID = "403, code 4"
    WRONG_INDEX = "400, code 7"
    NO_ACK = "400, code 14"
    PAGE = "a proxy's 404 in HTML"
    GATEWAY = "502 without a body"
    THROTTLED = "429"
    TOO_LARGE = "413"
    REDIRECT = "302"
    UNKNOWN = "400 with a code that nobody knows"
    NEAR = "taken, code 24"
    ACK_NEAR = "taken, code 25"
    LOST = "taken, and lost before it is indexed: never acknowledged"
    UNACKNOWLEDGED = "taken and indexed, and the acknowledgement lost"
    NO_ACK_ID = "taken, and no ackId in the answer"
    CUT = "the connection ends before the request is read"
    ANSWER_LOST = "taken and indexed, and the connection ends before the answer"
    GARBLED = "taken and indexed, and an answer that is half a JSON"
    RESTART = "the indexer starts again before the request: channels and pending acknowledgements are gone"
    MOVED = "the balancer sends to another indexer, with another cookie"
    NUMBERLESS = "400, code 6, without a number"
    LYING = "400, code 6, with the number of a good event"


_PLAIN: dict[Fault, tuple[int, int | None]] = {
    Fault.BUSY: (503, 9),
    Fault.LATER: (503, 9),
    Fault.ERROR: (500, 8),
    Fault.DISABLED: (403, 1),
    Fault.INVALID: (403, 4),
    Fault.WRONG_INDEX: (400, 7),
    Fault.NO_ACK: (400, 14),
    Fault.UNKNOWN: (400, 77),
    Fault.GATEWAY: (502, None),
    Fault.THROTTLED: (429, None),
    Fault.TOO_LARGE: (413, None),
}


@dataclass(slots=True)
class Token:
    """A token of HEC: ``indexes`` it may write to (empty: all), and the one it writes to by default."""

    ack: bool = True
    enabled: bool = True
    index: str = "main"
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """An event in the index. ``request`` numbers the request that brought it."""

    index: str
    envelope: Mapping[str, Any]
    request: int

    @property
    def fields(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.envelope.get("fields", {})
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``cut``: the connection ends instead."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass(slots=True)
class _Channel:
    used: float
    next: int = 0
    ready: dict[int, float] = field(default_factory=dict)


class _Refused(Exception):
    def __init__(self, code: int, at: int | None = None) -> None:
        super().__init__(code)
        self.code, self.at = code, at


class FakeSplunk:
    """One Splunk with ``indexers`` behind a balancer that keeps sessions by a cookie. From any thread.

    Args:
        tokens: of HEC.
        commit_seconds: from taking events to their acknowledgement, and to their being found.
        max_body, max_event: bytes, before compression (``max_content_length``, ``maxEventSize``).
        indexers: each has acknowledgements and channels of its own.
        search_token: for the management port; ``""``: no search.
    """

    def __init__(
        self,
        tokens: Mapping[str, Token],
        *,
        commit_seconds: float = 0.0,
        max_body: int = 838_860_800,
        max_event: int = 5_242_880,
        indexers: int = 1,
        search_token: str = "",
    ) -> None:
        self.tokens = dict(tokens)
        self.commit_seconds = commit_seconds
        self.max_body, self.max_event = max_body, max_event
        self.search_token = search_token
        self.script: list[Fault | None] = []
        self.poison = POISON
        self.queues_full = False
        self.ack_down = False
        self.events: list[Stored] = []
        self.requests = 0
        self.polls = 0
        self.bodies: list[bytes] = []
        self._indexers = [dict[str, _Channel]() for _ in range(indexers)]
        self._turn = 0
        self._lock = threading.Lock()
        self._indexed_at: list[float] = []

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
        """One request. Names of headers in any case."""
        given = {name.lower(): value for name, value in headers.items()}
        url = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        with self._lock:
            match (method, url.path.removesuffix("/1.0")):
                case ("GET", "/services/collector/health"):
                    return self._health(given)
                case ("POST", "/services/collector/ack"):
                    return self._acks(given, query, body, now)
                case ("POST", "/services/collector" | "/services/collector/event"):
                    return self._take(given, query, body, now, raw=False)
                case ("POST", "/services/collector/raw"):
                    return self._take(given, query, body, now, raw=True)
                case ("POST", "/services/search/v2/jobs/export" | "/services/search/jobs/export"):
                    return self._search(given, body, now)
                case _:
                    return Reply(404, b"<html><body>The requested URL was not found on this server.</body></html>")

    def found(self, now: float) -> Iterable[Stored]:
        """What a search finds now."""
        return [event for event, at in zip(self.events, self._indexed_at, strict=True) if at <= now]

    def restart(self) -> None:
        """All that is in the memory of the indexers is gone."""
        with self._lock:
            self._forget()

    def lose(self, which: Callable[[Stored], bool]) -> None:
        """Some events are no longer in the index: a bucket was lost, or its time was up."""
        with self._lock:
            kept = [(one, at) for one, at in zip(self.events, self._indexed_at, strict=True) if not which(one)]
            self.events, self._indexed_at = [one for one, _ in kept], [at for _, at in kept]

    def _forget(self) -> None:
        for channels in self._indexers:
            channels.clear()

    def _health(self, headers: Mapping[str, str]) -> Reply:
        name = _token_in(headers)
        if name and name not in self.tokens:
            return _reply(21, status=400)
        if name and not self.tokens[name].enabled:
            return _reply(22, status=400)
        return _reply(17 + self.queues_full + 2 * self.ack_down)

    def _take(
        self, headers: Mapping[str, str], query: Mapping[str, str], body: bytes, now: float, *, raw: bool
    ) -> Reply:
        self.requests += 1
        fault = self.script.pop(0) if self.script else None
        if fault is not None and (reply := _failed(fault)) is not None:
            return reply
        if fault is Fault.RESTART:
            self._forget()
        if fault is Fault.MOVED:
            self._turn += 1
        try:
            token = self._admit(headers, query)
            if self.queues_full:
                raise _Refused(9)
            channel, cookie = self._channel(headers, query, token, now, raw)
            data = _plain(headers, body)
            if len(data) > self.max_body:
                return Reply(413, b"", cookie)
            found = _raw_events(data, query) if raw else self._parse(data)
            self._check(found, token)
            if fault in (Fault.NUMBERLESS, Fault.LYING):
                raise _Refused(6, 0 if fault is Fault.LYING else None)
        except _Refused as refused:
            return _reply(refused.code, at=refused.at)
        self.bodies.append(data)
        if fault is not Fault.LOST:
            for envelope in found:
                self.events.append(Stored(envelope.get("index") or token.index, envelope, self.requests))
                self._indexed_at.append(now + self.commit_seconds)
        if fault is Fault.ANSWER_LOST:
            return Reply(0, cut=True)
        if fault is Fault.GARBLED:
            return Reply(200, b'{"text":"Success","co', cookie)
        answer = self._promise(token, channel, fault, now)
        code = {Fault.NEAR: 24, Fault.ACK_NEAR: 25}.get(fault, 0) if fault is not None else 0
        return _reply(code, more=answer, headers=cookie)

    def _promise(self, token: Token, channel: _Channel | None, fault: Fault | None, now: float) -> dict[str, int]:
        """The id of an acknowledgement, if there will be one."""
        if not token.ack or channel is None:
            return {}
        number = channel.next
        channel.next += 1
        if fault not in (Fault.LOST, Fault.UNACKNOWLEDGED):
            channel.ready[number] = now + self.commit_seconds
        return {} if fault is Fault.NO_ACK_ID else {"ackId": number}

    def _acks(self, headers: Mapping[str, str], query: Mapping[str, str], body: bytes, now: float) -> Reply:
        self.polls += 1
        try:
            token = self._admit(headers, query)
            if not token.ack:
                raise _Refused(14)
            channel, cookie = self._channel(headers, query, token, now, raw=True)
            assert channel is not None
            asked = json.loads(_plain(headers, body))["acks"]
        except _Refused as refused:
            return _reply(refused.code)
        except (ValueError, KeyError, TypeError):
            return _reply(6)
        # An id is forgotten once it was said to be true; whoever asks again hears false.
        said = {str(number): channel.ready.get(number, now + 1) <= now for number in asked}
        for number in asked:
            if said[str(number)]:
                del channel.ready[number]
        return Reply(200, json.dumps({"acks": said}).encode(), {"Content-Type": "application/json", **cookie})

    def _search(self, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
        from fake_splunk.search import run

        if not self.search_token or headers.get("authorization") != f"Bearer {self.search_token}":
            return Reply(401, b'{"messages":[{"type":"WARN","text":"call not properly authenticated"}]}')
        asked = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        try:
            rows = run(asked["search"], self.found(now))
        except ValueError as error:
            message = {"messages": [{"type": "FATAL", "text": f"Error in 'TsidxStats': {error}"}]}
            return Reply(400, json.dumps(message).encode())
        lines = [{"preview": False, "offset": at, "result": row} for at, row in enumerate(rows)]
        return Reply(200, b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def _admit(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Token:
        if "token" in query:
            raise _Refused(16)
        if "authorization" not in headers:
            raise _Refused(2)
        name = _token_in(headers)
        if name is None:
            raise _Refused(3)
        if name not in self.tokens:
            raise _Refused(4)
        if not self.tokens[name].enabled:
            raise _Refused(1)
        return self.tokens[name]

    def _channel(
        self, headers: Mapping[str, str], query: Mapping[str, str], token: Token, now: float, raw: bool
    ) -> tuple[_Channel | None, dict[str, str]]:
        """The channel on the indexer that the balancer chooses, and the cookie that it sets."""
        name = headers.get("x-splunk-request-channel") or query.get("channel", "")
        if not name and (token.ack or raw):
            raise _Refused(10)
        if name:
            try:
                uuid.UUID(name)
            except ValueError:
                raise _Refused(11) from None
        cookie: dict[str, str] = {}
        at = self._turn % len(self._indexers)
        if len(self._indexers) > 1:
            held = headers.get("cookie", "").partition("indexer=")[2][:1]
            if held.isdigit() and (self._turn == 0 or int(held) == at):
                at = int(held)
            else:
                cookie = {"Set-Cookie": f"indexer={at}; Path=/"}
        if not name:
            return None, cookie
        channels = self._indexers[at]
        for idle in [one for one, channel in channels.items() if now - channel.used > IDLE_SECONDS]:
            del channels[idle]
        channel = channels.setdefault(name, _Channel(now))
        channel.used = now
        return channel, cookie

    def _parse(self, data: bytes) -> list[dict[str, Any]]:
        """Envelopes one behind the other, with or without white space between; no array."""
        decoder = json.JSONDecoder()
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise _Refused(6, 0) from None
        found: list[dict[str, Any]] = []
        at = 0
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            try:
                envelope, end = decoder.raw_decode(text, at)
            except ValueError:
                raise _Refused(6, len(found)) from None
            if (
                not isinstance(envelope, dict)
                or end - at > self.max_event
                or (self.poison and self.poison in text[at:end])
            ):
                raise _Refused(6, len(found))
            found.append(envelope)
            at = end
        if not found:
            raise _Refused(5)
        return found

    def _check(self, found: list[dict[str, Any]], token: Token) -> None:
        for at, envelope in enumerate(found):
            if "event" not in envelope:
                raise _Refused(12, at)
            if envelope["event"] in ("", None):
                raise _Refused(13, at)
            index = envelope.get("index") or token.index
            if token.indexes and index not in token.indexes:
                raise _Refused(7, at)
            fields = envelope.get("fields", {})
            flat = isinstance(fields, dict) and all(_is_flat(value) for value in fields.values())
            if not flat or BAD_FIELDS in json.dumps(fields):
                raise _Refused(15, at)


def _failed(fault: Fault) -> Reply | None:
    """The answer to a request that nothing looks at."""
    if fault is Fault.CUT:
        return Reply(0, cut=True)
    if fault is Fault.PAGE:
        return Reply(404, b"<html><body>no server is available</body></html>", {"Content-Type": "text/html"})
    if fault is Fault.REDIRECT:
        return Reply(302, b"", {"Location": "https://elsewhere.example/services/collector"})
    if fault not in _PLAIN:
        return None
    status, code = _PLAIN[fault]
    headers = {"Retry-After": "3"} if fault is Fault.LATER else {}
    return Reply(status, b"", headers) if code is None else _reply(code, status=status, headers=headers)


def _is_flat(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float)


def _token_in(headers: Mapping[str, str]) -> str | None:
    kind, _, name = headers.get("authorization", "").partition(" ")
    if kind == "Splunk":
        return name
    if kind == "Basic":
        import base64

        return base64.b64decode(name).decode().partition(":")[2]
    return None


def _plain(headers: Mapping[str, str], body: bytes) -> bytes:
    if headers.get("content-encoding", "").lower() != "gzip":
        return body
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        raise _Refused(6) from None


def _raw_events(data: bytes, query: Mapping[str, str]) -> list[dict[str, Any]]:
    told = {name: query[name] for name in ("index", "source", "sourcetype", "host") if name in query}
    found: list[dict[str, Any]] = [{**told, "event": line} for line in data.decode().splitlines() if line.strip()]
    if not found:
        raise _Refused(5)
    return found


def _reply(
    code: int,
    *,
    status: int | None = None,
    at: int | None = None,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    answer: dict[str, Any] = {"text": TEXTS.get(code, "Something new"), "code": code, **(more or {})}
    if at is not None:
        answer["invalid-event-number"] = at
    kind = {"Content-Type": "application/json; charset=UTF-8", **(headers or {})}
    return Reply(status or STATUSES.get(code, 400), json.dumps(answer).encode(), kind)
