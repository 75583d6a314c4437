"""Signatures of Standard Webhooks: what is admitted, and what is not."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.standard_webhooks import TOLERANCE_SECONDS, sign_standard, verify_standard
from schemas.errors import AccessDenied

SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = b"whsec_" + base64.b64encode(b"\xfb\xff" * 12)
BODY = b'{"test": 2432232314}'
STAMP = 1614265330
NAME = "msg_p5jXN8AQM9LWM0D4loKWxJek"
NOW = STAMP * 1_000_000


def headers(signature: str, name: str = NAME, stamp: str = str(STAMP)) -> dict[str, str]:
    return {"webhook-id": name, "webhook-timestamp": stamp, "webhook-signature": signature}


def signed(secret: bytes = SECRET) -> str:
    return sign_standard(NAME, STAMP, BODY, secret)


def test_the_example_of_the_specification_is_admitted() -> None:
    """Its libraries have this message, secret and signature in their tests."""
    verify_standard(headers("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), BODY, [SECRET], NOW)


def test_signing_is_what_the_specification_says() -> None:
    key = base64.b64decode(SECRET[6:])
    digest = hmac.new(key, b"%s.%d.%s" % (NAME.encode(), STAMP, BODY), hashlib.sha256).digest()
    assert signed() == "v1," + base64.b64encode(digest).decode()


def test_while_the_secret_is_changed_both_are_admitted() -> None:
    for secret in (SECRET, OLD):
        verify_standard(headers(signed(secret)), BODY, [SECRET, OLD], NOW)
    with pytest.raises(AccessDenied, match="another secret"):
        verify_standard(headers(signed(OLD)), BODY, [SECRET], NOW)


def test_one_good_signature_of_several_is_enough() -> None:
    verify_standard(headers(f"v1a,abc v1,!!! v1,é {signed(OLD)} {signed()}"), BODY, [SECRET], NOW)


@pytest.mark.parametrize("late", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_clocks_may_differ_by_five_minutes(late: int) -> None:
    verify_standard(headers(signed()), BODY, [SECRET], NOW + late * 1_000_000)


@pytest.mark.parametrize("late", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1, 10**9])
def test_an_old_message_is_refused(late: int) -> None:
    with pytest.raises(AccessDenied, match="expected at most 300"):
        verify_standard(headers(signed()), BODY, [SECRET], NOW + late * 1_000_000)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_an_unsigned_message_is_refused(missing: str) -> None:
    with pytest.raises(AccessDenied, match="got no webhook-id"):
        verify_standard(headers(signed()) | {missing: ""}, BODY, [SECRET], NOW)


@pytest.mark.parametrize("stamp", ["now", "-5", "1e9", "٣", "9" * 5000, "1614265330.0", " 1614265330"])
def test_a_time_that_is_none_is_refused(stamp: str) -> None:
    with pytest.raises(AccessDenied, match="expected seconds since 1970"):
        verify_standard(headers(signed(), stamp=stamp), BODY, [SECRET], NOW)


@pytest.mark.parametrize("changed", [BODY + b" ", b"", BODY.replace(b"2", b"3", 1)])
def test_a_changed_body_is_refused(changed: bytes) -> None:
    with pytest.raises(AccessDenied, match="another secret"):
        verify_standard(headers(signed()), changed, [SECRET], NOW)


def test_a_changed_name_or_time_is_refused() -> None:
    for other in (headers(signed(), name="msg_x"), headers(signed(), stamp=str(STAMP + 1))):
        with pytest.raises(AccessDenied, match="another secret"):
            verify_standard(other, BODY, [SECRET], NOW)


@pytest.mark.parametrize("secret", [b"", b"whsec_", b"whsec_!!", b"whsec_-_-_", b"hunter2"])
def test_a_secret_of_ours_that_is_none_is_told(secret: bytes) -> None:
    with pytest.raises(AccessDenied, match="copy it anew"):
        verify_standard(headers(signed()), BODY, [secret], NOW)


@given(signature=st.text(max_size=80))
def test_no_header_gets_in_by_chance(signature: str) -> None:
    with pytest.raises(AccessDenied, match=r"got no webhook-id|another secret"):
        verify_standard(headers(signature), BODY, [SECRET], NOW)
