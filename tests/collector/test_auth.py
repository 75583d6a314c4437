"""Tokens: who is admitted, for how long an answer is remembered, and what is never said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_control import MemoryControl

from collector.auth import CACHE_ENTRIES, INGEST, Tokens, mint_token, require_scope, token_digest
from schemas.errors import AccessDenied
from stores.control import Token


class CountingControl(MemoryControl):
    """Counts look-ups."""

    looked_up = 0

    def token_by_digest(self, digest: bytes) -> Token | None:
        self.looked_up += 1
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
