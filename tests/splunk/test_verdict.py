"""The table of HEC's answers: each code with its HTTP status, and answers that are not HEC's."""

from __future__ import annotations

import json

import pytest
from fake_splunk.hec import STATUSES, TEXTS
from hypothesis import given
from hypothesis import strategies as st

from sinks.splunk.verdict import BadEvent, Busy, Stuck, Taken, TooLarge, judge, judge_acks


def hec(code: int, status: int | None = None, **more: object) -> tuple[int, bytes]:
    answer = {"text": TEXTS.get(code, "new"), "code": code, **more}
    return status or STATUSES.get(code, 400), json.dumps(answer).encode()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, Taken),
        (1, Stuck),
        (2, Stuck),
        (3, Stuck),
        (4, Stuck),
        (5, BadEvent),
        (6, BadEvent),
        (7, Stuck),
        (8, Busy),
        (9, Busy),
        (10, Stuck),
        (11, Stuck),
        (12, BadEvent),
        (13, BadEvent),
        (14, Stuck),
        (15, BadEvent),
        (16, Stuck),
        (18, Busy),
        (19, Busy),
        (20, Busy),
        (21, Stuck),
        (22, Stuck),
        (24, Taken),
        (25, Taken),
    ],
)
def test_every_code_has_its_meaning(code: int, kind: type) -> None:
    verdict = judge(*hec(code))
    assert type(verdict) is kind
    if isinstance(verdict, Stuck):
        assert f"HEC code {code}, " in verdict.reason
        assert ": " in verdict.reason, "a person is told what to do"


def test_taken_with_and_without_an_acknowledgement() -> None:
    assert judge(*hec(0, ackId=7)) == Taken(7)
    assert judge(*hec(0)) == Taken(None)
    assert judge(*hec(0, ackId="7")) == Taken(None)
    assert judge(*hec(0, ackId=True)) == Taken(None)
    assert judge(*hec(24, ackId=0)) == Taken(0, slow=True)
    assert judge(*hec(99, status=200, ackId=3)) == Taken(3)


def test_a_bad_event_by_its_number() -> None:
    verdict = judge(*hec(6, **{"invalid-event-number": 75}))
    assert isinstance(verdict, BadEvent)
    assert (verdict.at, verdict.fields) == (75, False)
    assert judge(*hec(15)) == BadEvent(None, "HEC code 15, Error in handling indexed fields (HTTP 400)", fields=True)


@pytest.mark.parametrize("status", [400, 403, 404, 408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body", [b"", b"<html>no server</html>", b'{"text":"Succ', b"[]", b'{"code":"6"}', b'{"error":1}']
)
def test_what_is_not_hecs_own_is_an_outage(status: int, body: bytes) -> None:
    assert isinstance(judge(status, body), Busy)


def test_half_an_answer_is_no_delivery() -> None:
    assert isinstance(judge(200, b'{"text":"Success","co'), Busy)
    assert isinstance(judge(200, b""), Busy)


def test_success_under_an_error_is_no_delivery() -> None:
    assert isinstance(judge(*hec(0, status=500)), Busy)
    assert not isinstance(judge(*hec(0, status=400)), Taken)


def test_too_large_whoever_says_so() -> None:
    assert isinstance(judge(413, b""), TooLarge)
    assert isinstance(judge(*hec(0, status=413)), TooLarge)


def test_an_unknown_code_is_never_a_reason_to_drop() -> None:
    assert isinstance(judge(*hec(77)), Stuck)
    assert isinstance(judge(*hec(77, status=503)), Busy)
    assert isinstance(judge(*hec(77, status=429)), Busy)


def test_redirects_are_not_followed() -> None:
    assert isinstance(judge(302, b""), Stuck)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3", 3.0), ("", 0.5), ("99999", 300.0), ("Wed, 21 Oct", 0.5), ("-1", 0.5)]
)
def test_how_long_to_wait(header: str, seconds: float) -> None:
    assert judge(*hec(9), header) == Busy("HEC code 9, Server is busy (HTTP 503)", seconds)
    verdict = judge(429, b"", header)
    assert isinstance(verdict, Busy)
    assert verdict.after == seconds


def test_acknowledgements() -> None:
    assert judge_acks(200, b'{"acks":{"0":true,"1":false,"2":1}}') == {0: True, 1: False, 2: False}
    assert isinstance(judge_acks(*hec(14)), Stuck)
    assert isinstance(judge_acks(*hec(9)), Busy)
    assert isinstance(judge_acks(*hec(0)), Busy)
    assert isinstance(judge_acks(200, b'{"acks":[]}'), Busy)
    assert isinstance(judge_acks(404, b"<html>"), Busy)


@given(st.integers(100, 599), st.binary(max_size=60))
def test_no_answer_breaks_it(status: int, body: bytes) -> None:
    verdict = judge(status, body)
    assert not isinstance(verdict, Taken) or 200 <= status < 300
    judge_acks(status, body)
