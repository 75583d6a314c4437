"""The contract of stores.control.Control, over every implementation."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from memory_control import MemoryControl

from schemas.errors import ConfigurationError, InvariantError, LedgerContradiction, Refused
from schemas.ids import Shard
from stores.control import Control, Lock, Log, Token
from stores.control.database import ControlDatabase

TOKEN = Token("t1", hashlib.sha256(b"one").digest(), "acme", "litellm", ("ingest",), 1000)
LOG = Log("example/events/0/2026q1", Shard("events", 0), "2026q1", 0, b"{}", 5)
LOCK = Lock(LOG.origin, 1, b"r" * 32, b"c" * 32, b"note 1")


@pytest.fixture(params=["sqlite", "memory"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    store: Control = (
        MemoryControl() if request.param == "memory" else ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    )
    store.migrate()
    yield store
    store.close()


def test_migrating_again_changes_nothing(control: Control) -> None:
    assert control.migrate() == []


def test_a_setting_is_fixed_once(control: Control) -> None:
    assert control.setting("deployment") is None
    control.fix_setting("deployment", "example")
    control.fix_setting("deployment", "example")
    assert control.setting("deployment") == "example"
    with pytest.raises(ConfigurationError, match="got 'other' for deployment, but it was fixed as 'example'"):
        control.fix_setting("deployment", "other")
    assert control.setting("deployment") == "example"


def test_tokens_are_found_by_digest(control: Control) -> None:
    second = Token("t2", b"2" * 32, "Zürich", "", ("ingest", "content"), 2000, 3000, None, "for the\nproxy")
    control.add_token(second)
    control.add_token(TOKEN)
    assert control.token_by_digest(TOKEN.digest) == TOKEN
    assert control.token_by_digest(second.digest) == second
    assert control.token_by_digest(b"3" * 32) is None
    assert control.tokens() == [TOKEN, second]


@pytest.mark.parametrize("twin", [replace(TOKEN, token_id="t2"), replace(TOKEN, digest=b"2" * 32)])
def test_a_token_is_added_once(control: Control, twin: Token) -> None:
    control.add_token(TOKEN)
    with pytest.raises(Refused, match=f"token {twin.token_id}: there is one with this id or digest"):
        control.add_token(twin)
    assert control.tokens() == [TOKEN]


def test_a_revocation_keeps_its_time(control: Control) -> None:
    control.add_token(TOKEN)
    assert control.revoke_token("t1", 7000)
    assert control.revoke_token("t1", 8000)
    assert not control.revoke_token("t9", 7000)
    assert control.token_by_digest(TOKEN.digest) == replace(TOKEN, revoked_ms=7000)


def test_a_log_is_opened_once_with_its_lock(control: Control) -> None:
    assert control.lock(LOG.origin) is None
    assert control.open_log(LOG, LOCK) == LOG
    assert control.open_log(replace(LOG, genesis=b"other", opened_ms=9), replace(LOCK, size=7)) == LOG
    assert control.lock(LOG.origin) == LOCK
    older = replace(LOG, origin="example/control/0/2026q1", shard=Shard("control", 0), opened_ms=1, closed=True)
    control.open_log(older, replace(LOCK, origin=older.origin))
    assert control.logs() == [older, LOG]
    with pytest.raises(InvariantError, match="with the lock of"):
        control.open_log(replace(LOG, origin="example/events/1/2026q1"), LOCK)


def test_a_lock_is_replaced_only_by_who_knows_it(control: Control) -> None:
    control.open_log(LOG, LOCK)
    second = replace(LOCK, size=2**40, note=b"note 2")
    control.replace_lock(LOCK, second)
    assert control.lock(LOG.origin) == second
    with pytest.raises(LedgerContradiction, match=r"no longer the checkpoint of size 1\b"):
        control.replace_lock(LOCK, replace(LOCK, size=2, note=b"note 3"))
    with pytest.raises(LedgerContradiction, match="no longer the checkpoint"):
        control.replace_lock(replace(LOCK, origin="none"), replace(LOCK, origin="none"))
    assert control.lock(LOG.origin) == second


def test_a_lock_never_shrinks_or_moves(control: Control) -> None:
    control.open_log(LOG, LOCK)
    for new in (replace(LOCK, size=0), replace(LOCK, origin="other")):
        with pytest.raises(InvariantError, match="got lock"):
            control.replace_lock(LOCK, new)
    assert control.lock(LOG.origin) == LOCK


def test_of_two_signers_one_wins(control: Control) -> None:
    control.open_log(LOG, LOCK)
    barrier = threading.Barrier(4)

    def sign(number: int) -> str:
        barrier.wait()
        try:
            control.replace_lock(LOCK, replace(LOCK, size=2, note=b"by %d" % number))
        except LedgerContradiction:
            return "lost"
        return f"by {number}"

    with ThreadPoolExecutor(4) as pool:
        (winner,) = [result for result in pool.map(sign, range(4)) if result != "lost"]
    lock = control.lock(LOG.origin)
    assert lock is not None
    assert lock.note == winner.encode()
