"""What an answer of Splunk's HTTP Event Collector means for what was sent. Pure.

Judged by the ``code`` in the JSON where there is one, else by the class of the HTTP status. An answer that is not HEC's
own (a proxy's page, a balancer's 404) is an outage, never a verdict on events: only HEC can say that an event is bad.
Codes are those of Splunk's "HTTP Event Collector error codes"; one that is not known here counts by its HTTP class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

MOST_RETRY_AFTER = 300.0
"""Seconds: whoever asks for a longer pause is asked again before."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Splunk took all of it. ``ack_id`` is what its indexers acknowledge later, ``None`` where the token has no
    acknowledgement. ``slow``: it says that it is near its capacity."""

    ack_id: int | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True)
class BadEvent:
    """Splunk took nothing, on account of one event: the one at ``at`` in the request, ``None`` when it did not say.
    ``fields``: its indexed fields are at fault."""

    at: int | None
    reason: str
    fields: bool = False


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The request is larger than Splunk, or something before it, takes."""

    reason: str


@dataclass(frozen=True, slots=True)
class Busy:
    """Not now: overload or outage. Nothing is known to have arrived."""

    reason: str
    after: float = 0.5


@dataclass(frozen=True, slots=True)
class Stuck:
    """Not before a person has acted: token, index, settings."""

    reason: str


Verdict = Taken | BadEvent | TooLarge | Busy | Stuck
Meaning = Literal["taken", "slow", "event", "fields", "busy", "stuck"]

_CODES: dict[int, tuple[Meaning, str]] = {
    0: ("taken", ""),
    1: ("stuck", "enable the token in Settings › Data inputs › HTTP Event Collector"),
    2: ("stuck", "set splunk.token or splunk.token_file"),
    3: ("stuck", "check splunk.token: the header was not understood"),
    4: ("stuck", "check splunk.token, or put the new one where splunk.token_file points"),
    5: ("event", ""),
    6: ("event", ""),
    7: ("stuck", "create the index, or allow it to the token, or change splunk.index and splunk.routes"),
    8: ("busy", ""),
    9: ("busy", ""),
    10: ("stuck", "something between us and Splunk removes the header X-Splunk-Request-Channel"),
    11: ("stuck", "something between us and Splunk changes the header X-Splunk-Request-Channel"),
    12: ("event", ""),
    13: ("event", ""),
    14: ("stuck", "the token has no indexer acknowledgement: turn it on, or set splunk.ack to none or reconcile"),
    15: ("fields", ""),
    16: ("stuck", "take the token out of splunk.url"),
    17: ("taken", ""),
    18: ("busy", ""),
    19: ("busy", ""),
    20: ("busy", ""),
    21: ("stuck", "check splunk.token"),
    22: ("stuck", "enable the token"),
    24: ("slow", ""),
    25: ("slow", ""),
}


def judge(status: int, body: bytes, retry_after: str = "") -> Verdict:
    """What an answer to events means.

    Args:
        status: of HTTP.
        body: of the answer.
        retry_after: the header, ``""`` when there is none.
    """
    answer = _answer(body)
    if status == 413:
        return TooLarge(f"HTTP 413, {_words(answer)}" if answer else "HTTP 413")
    if answer is None:
        return _by_class(status, "no answer of HEC", retry_after)
    code = answer["code"]
    reason = f"HEC code {code}, {_words(answer)} (HTTP {status})"
    meaning, remedy = _CODES.get(code, (None, ""))
    match meaning:
        case "taken" | "slow" if 200 <= status < 300:
            return Taken(_ack_id(answer), meaning == "slow")
        case "event" | "fields":
            at = answer.get("invalid-event-number")
            return BadEvent(at if type(at) is int else None, reason, meaning == "fields")
        case "busy":
            return Busy(reason, _seconds(retry_after))
        case "stuck":
            return Stuck(f"{reason}: {remedy}")
        case _ if 200 <= status < 300:
            return Taken(_ack_id(answer))
        case _ if 400 <= status < 500 and status not in (404, 408, 429):
            return Stuck(f"{reason}: not a code that we know")
        case _:
            return _by_class(status, reason, retry_after)


def judge_acks(status: int, body: bytes) -> Mapping[int, bool] | Busy | Stuck:
    """What an answer to a question for acknowledgements says: by id whether it is indexed. ``False`` may mean not yet,
    lost, or told before: Splunk says ``true`` once."""
    answer = _json(body)
    acks = answer.get("acks") if isinstance(answer, dict) else None
    if status == 200 and isinstance(acks, dict):
        return {int(name): said is True for name, said in acks.items() if name.isascii() and name.isdigit()}
    verdict = judge(status, body)
    if isinstance(verdict, Stuck | Busy):
        return verdict
    return Busy(f"HTTP {status}, and no acknowledgements in the answer")


def _answer(body: bytes) -> dict[str, Any] | None:
    answer = _json(body)
    return answer if isinstance(answer, dict) and type(answer.get("code")) is int else None


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _ack_id(answer: Mapping[str, Any]) -> int | None:
    found = answer.get("ackId")
    return found if type(found) is int and found >= 0 else None


def _words(answer: Mapping[str, Any]) -> str:
    text = answer.get("text")
    return text[:200] if isinstance(text, str) else "no text"


def _by_class(status: int, reason: str, retry_after: str) -> Verdict:
    if 300 <= status < 400:
        return Stuck(f"HTTP {status}, {reason}: a redirect is not followed; set splunk.url to where it leads")
    return Busy(f"HTTP {status}, {reason}", _seconds(retry_after))


def _seconds(retry_after: str) -> float:
    """Of a ``Retry-After`` in seconds; a date is as good as none, for the clocks need not agree."""
    plain = retry_after.strip()
    return min(MOST_RETRY_AFTER, float(plain)) if plain.isascii() and plain.isdigit() else 0.5
