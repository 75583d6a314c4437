"""Tokens: who is admitted, for how long an answer is remembered, and what is never said."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_control import MemoryControl

from collector.auth import CACHE_ENTRIES, INGEST, Tokens, mint_token, require_scope, token_digest
from schemas.errors import AccessDenied, Unavailable
from stores.control import Token


class CountingControl(MemoryControl):
    """Counts look-ups."""

    looked_up = 0

    def token_by_digest(self, digest: bytes) -> Token | None:
        self.looked_up += 1
        return super().token_by_digest(digest)


class AilingControl(MemoryControl):
    """A database that is away, or silent until it is let go, when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.asked = False, 0
        self.answering = threading.Event()
        self.answering.set()

    def token_by_digest(self, digest: bytes) -> Token | None:
        self.asked += 1
        assert self.answering.wait(20)
        if self.away:
            raise Unavailable("the control database is away")
        return super().token_by_digest(digest)


class Clock:
    """Seconds since 1970, as told."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def control() -> CountingControl:
    return CountingControl()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(control: CountingControl, clock: Clock) -> Tokens:
    return Tokens(control, now=clock)


async def test_a_minted_token_is_admitted_and_its_secret_is_kept_nowhere(
    control: CountingControl, tokens: Tokens
) -> None:
    minted = mint_token("acme", "litellm", [INGEST], now_ms=1, note="for tests")
    control.add_token(minted.row)
    token = await tokens.admit(f"Bearer {minted.text}")
    assert (token.tenant, token.gateway, token.scopes) == ("acme", "litellm", ("ingest",))
    assert minted.text.split("_")[1] == token.token_id
    assert minted.text.split("_", 2)[2] not in repr(minted.row)
    assert token.digest == token_digest(minted.text)
    assert await tokens.admit(f"bearer   {minted.text}  ") == token


async def test_an_answer_is_used_again_for_a_few_seconds(
    control: CountingControl, tokens: Tokens, clock: Clock
) -> None:
    minted = mint_token("acme", "g", [INGEST], now_ms=1)
    control.add_token(minted.row)
    control.looked_up = 0
    for _ in range(3):
        await tokens.admit(f"Bearer {minted.text}")
    assert control.looked_up == 1
    control.revoke_token(minted.row.token_id, 500)
    await tokens.admit(f"Bearer {minted.text}")
    clock.seconds += 5
    with pytest.raises(AccessDenied, match=f"token {minted.row.token_id} was revoked"):
        await tokens.admit(f"Bearer {minted.text}")


async def test_unknown_tokens_are_remembered_too_and_the_memory_is_bounded(
    control: CountingControl, tokens: Tokens
) -> None:
    unknown = "Bearer aff_0123456789ab_" + "x" * 43
    for _ in range(2):
        with pytest.raises(AccessDenied, match="does not know"):
            await tokens.admit(unknown)
    assert control.looked_up == 1
    assert CACHE_ENTRIES <= 10_000


async def test_a_token_expires_at_its_time_even_from_memory(
    control: CountingControl, tokens: Tokens, clock: Clock
) -> None:
    minted = mint_token("acme", "g", [INGEST], now_ms=1, expires_ms=1_002_000)
    control.add_token(minted.row)
    await tokens.admit(f"Bearer {minted.text}")
    clock.seconds = 1_002.0
    with pytest.raises(AccessDenied, match="has expired"):
        await tokens.admit(f"Bearer {minted.text}")


async def test_without_the_database_a_token_stays_admitted_for_its_grace(clock: Clock) -> None:
    control = AilingControl()
    tokens = Tokens(control, now=clock)
    minted = mint_token("acme", "g", [INGEST], now_ms=1)
    control.add_token(minted.row)
    await tokens.admit(f"Bearer {minted.text}")
    control.away = True
    for _ in range(3600 // 5 - 1):
        clock.seconds += 5
        assert (await tokens.admit(f"Bearer {minted.text}")).token_id == minted.row.token_id
    clock.seconds += 5
    with pytest.raises(Unavailable, match="the control database is away"):
        await tokens.admit(f"Bearer {minted.text}")
    control.away = False
    await tokens.admit(f"Bearer {minted.text}")


async def test_without_the_database_an_unknown_token_is_told_to_come_back(clock: Clock) -> None:
    control = AilingControl()
    tokens = Tokens(control, now=clock)
    minted = mint_token("acme", "g", [INGEST], now_ms=1)
    control.away = True
    with pytest.raises(Unavailable, match="the control database is away"):
        await tokens.admit(f"Bearer {minted.text}")
    control.away = False
    with pytest.raises(AccessDenied, match="does not know"):
        await tokens.admit(f"Bearer {minted.text}")
    control.add_token(minted.row)
    control.away = True
    clock.seconds += 5
    with pytest.raises(Unavailable, match="the control database is away"):  # the answer "unknown" has no grace
        await tokens.admit(f"Bearer {minted.text}")


async def test_grace_knows_what_it_was_told(clock: Clock) -> None:
    control = AilingControl()
    tokens = Tokens(control, now=clock)
    revoked = mint_token("acme", "g", [INGEST], now_ms=1)
    expiring = mint_token("acme", "g", [INGEST], now_ms=1, expires_ms=1_030_000)
    for minted in (revoked, expiring):
        control.add_token(minted.row)
        await tokens.admit(f"Bearer {minted.text}")
    control.revoke_token(revoked.row.token_id, 1)
    clock.seconds += 5
    with pytest.raises(AccessDenied, match="was revoked"):
        await tokens.admit(f"Bearer {revoked.text}")
    control.away = True
    clock.seconds += 20
    with pytest.raises(AccessDenied, match="was revoked"):
        await tokens.admit(f"Bearer {revoked.text}")
    await tokens.admit(f"Bearer {expiring.text}")
    clock.seconds += 5
    with pytest.raises(AccessDenied, match="has expired"):
        await tokens.admit(f"Bearer {expiring.text}")


async def test_a_silent_database_is_asked_once_and_not_waited_for(clock: Clock) -> None:
    control = AilingControl()
    tokens = Tokens(control, now=clock, patience_seconds=0.01)
    minted = mint_token("acme", "g", [INGEST], now_ms=1)
    control.add_token(minted.row)
    await tokens.admit(f"Bearer {minted.text}")
    control.answering.clear()
    control.asked = 0
    try:
        for _ in range(3):
            clock.seconds += 5
            await asyncio.gather(*[tokens.admit(f"Bearer {minted.text}") for _ in range(20)])
        assert control.asked == 1
        control.revoke_token(minted.row.token_id, 1)
        clock.seconds += 5
        late = asyncio.create_task(tokens.admit(f"Bearer {minted.text}"))
        await asyncio.sleep(0)
    finally:
        control.answering.set()
    await asyncio.gather(late, return_exceptions=True)
    clock.seconds += 5
    with pytest.raises(AccessDenied, match="was revoked"):
        await tokens.admit(f"Bearer {minted.text}")


def test_a_token_for_something_else_does_not_send() -> None:
    row = mint_token("acme", "g", ["query"], now_ms=1).row
    with pytest.raises(AccessDenied, match="has scope query, expected ingest"):
        require_scope(row, INGEST)


def test_no_two_tokens_are_alike() -> None:
    assert len({mint_token("a", "g", [INGEST], now_ms=1).text for _ in range(100)}) == 100


@given(st.text(), st.sampled_from(["", "Bearer ", "bearer aff_", "Basic "]))
async def test_any_header_is_refused_and_never_repeated(text: str, scheme: str) -> None:
    secret = f"{text}-hunter2"
    with pytest.raises(AccessDenied, match="token") as refused:
        await Tokens(MemoryControl()).admit(scheme + secret)
    assert "hunter2" not in str(refused.value)
