"""Access tokens for Google's APIs: by a key or by the machine, kept, replaced in time and on 401, and never told."""

from __future__ import annotations

import logging
import math

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_clock import FakeClock
from fake_google import EMAIL, FakeGoogle, key_file, problem
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collector.poll.api import Api
from collector.poll.cloud_logging import SCOPE
from collector.poll.google_auth import AccountGrant, GoogleAuth, MachineGrant, parse_account_key
from schemas.errors import AccessDenied, ConfigurationError, MalformedInput, Unavailable

ASKED = {
    "resourceNames": ["projects/proj"],
    "filter": '(\nprotoPayload.serviceName="aiplatform.googleapis.com"\n)\n'
    'receiveTimestamp>="2026-08-21T00:00:00Z"\nreceiveTimestamp<"2026-08-22T00:00:00Z"\n'
    'timestamp>="2026-08-21T00:00:00Z"\ntimestamp<="2026-08-22T00:00:00Z"',
    "orderBy": "timestamp asc",
    "pageSize": 10,
}


@pytest.fixture
def google() -> FakeGoogle:
    return FakeGoogle(FakeClock())


def api(google: FakeGoogle, auth: GoogleAuth) -> Api:
    clock: FakeClock = google.clock  # type: ignore[assignment]
    return Api("https://logging.example", {}, per_minute=math.inf, auth=auth, transport=google.transport, clock=clock)


def machine(google: FakeGoogle) -> GoogleAuth:
    clock: FakeClock = google.clock  # type: ignore[assignment]
    return GoogleAuth(MachineGrant(SCOPE), transport=google.transport, clock=clock)


@pytest.mark.parametrize("by_key", [True, False])
async def test_a_token_is_kept_until_shortly_before_its_end(google: FakeGoogle, by_key: bool) -> None:
    asking = api(google, google.auth(SCOPE) if by_key else machine(google))
    clock: FakeClock = google.clock  # type: ignore[assignment]
    for passes in (0, 100, 3599 - 100 - 226):
        clock.advance(passes)
        await asking.post("/v2/entries:list", ASKED)
    assert google.granted == 1
    clock.advance(2)
    await asking.post("/v2/entries:list", ASKED)
    assert google.granted == 2
    await asking.close()


async def test_a_401_costs_a_token_and_the_request_goes_again(google: FakeGoogle) -> None:
    asking = api(google, google.auth(SCOPE))
    await asking.post("/v2/entries:list", ASKED)
    google.tokens.clear()
    await asking.post("/v2/entries:list", ASKED)
    assert (google.granted, len(google.asked)) == (2, 2)
    assert google.asked[0] == google.asked[1]


async def test_a_401_to_a_new_token_is_for_a_person(google: FakeGoogle) -> None:
    google.answers.extend([problem(401, "UNAUTHENTICATED")] * 2)
    with pytest.raises(AccessDenied, match=r"logging\.example answers 401 UNAUTHENTICATED: check the key"):
        await api(google, google.auth(SCOPE)).post("/v2/entries:list", ASKED)
    assert google.granted == 2


async def test_a_clock_that_is_wrong_is_said_to_be(google: FakeGoogle) -> None:
    auth = google.auth(SCOPE)
    google.clock = FakeClock()
    google.clock.advance(7200)
    with pytest.raises(AccessDenied, match=r"answers 400 \(invalid_grant\); check the service account, its key, and"):
        await api(google, auth).post("/v2/entries:list", ASKED)


def answering(response: Response) -> GoogleAuth:
    async def answer(request: object) -> Response:
        return response

    app = Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])])
    return GoogleAuth(MachineGrant(SCOPE), transport=httpx.ASGITransport(app), clock=FakeClock())


@pytest.mark.parametrize(
    ("response", "kind", "text"),
    [
        (JSONResponse({"error": "backend"}, 503), Unavailable, r"no access token: it answers 503 \(backend\)"),
        (Response("slow down", 429), Unavailable, "it answers 429"),
        (Response("not found", 404), ConfigurationError, "answers 404; give this machine a service account"),
        (JSONResponse({"error": "unauthorized_client"}, 401), AccessDenied, "unauthorized_client"),
        (JSONResponse({"error": {"a": "\n"}}, 403), AccessDenied, "it answers 403; check the service account"),
        (JSONResponse({"access_token": "two\nlines", "expires_in": 1}), MalformedInput, "200 without an access token"),
        (Response("[" * 100_000), MalformedInput, "200 without an access token"),
    ],
)
async def test_answers_of_the_token_endpoint(
    google: FakeGoogle, response: Response, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        await api(google, answering(response)).post("/v2/entries:list", ASKED)


async def test_a_token_without_a_lifetime_is_used_once(google: FakeGoogle) -> None:
    google.tokens["t"] = google.clock.time() + 10_000
    asking = api(google, answering(JSONResponse({"access_token": "t"})))
    for _ in range(2):
        await asking.post("/v2/entries:list", ASKED)
    assert len(google.asked) == 2


async def test_no_answer_at_all_is_tried_again_later(google: FakeGoogle) -> None:
    auth = GoogleAuth(MachineGrant(SCOPE, "http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 gives no access token: ConnectError"):
        await api(google, auth).post("/v2/entries:list", ASKED)


def elliptic() -> str:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("AIzaSy-an-api-key", "not that of a service account"),
        ("\ud800", "not that of a service account"),
        ("[" * 100_000, "not that of a service account"),
        (key_file(type="authorized_user"), "not that of a service account"),
        (key_file(client_email=7), "not that of a service account"),
        (
            key_file(token_uri="http://oauth2.googleapis.com/token"),
            "got http for oauth2.googleapis",
        ),
        (key_file(private_key="nonsense"), "cannot read the private key"),
        (key_file(private_key=elliptic()), "not RSA"),
    ],
)
def test_keys_that_are_none(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_account_key(text)


async def test_neither_key_nor_token_is_ever_shown(google: FakeGoogle, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = parse_account_key(key_file())
    assert EMAIL in repr(AccountGrant(key, SCOPE))
    assert "private" not in repr(key)
    google.answers.append(problem(403, "PERMISSION_DENIED"))
    with pytest.raises(AccessDenied) as caught:
        await api(google, google.auth(SCOPE)).post("/v2/entries:list", ASKED)
    assert not any(secret in caplog.text + str(caught.value) for secret in ("ya29", "assertion", "PRIVATE KEY"))
