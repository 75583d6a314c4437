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

from schemas.errors import ConfigurationError, InvariantError, LedgerContradiction, LockLost, Refused
from schemas.ids import Shard
from stores.control import Control, Lock, Log, Token
from stores.control.database import ControlDatabase
from stores.control.succession import recorded_successor

TOKEN = Token("t1", hashlib.sha256(b"one").digest(), "acme", "litellm", ("ingest",), 1000)
LOG = Log("example/events/0/2026q1", Shard("events", 0), "2026q1", 0, b"{}", 5)
LOCK = Lock(LOG.origin, 1, b"r" * 32, b"c" * 32, b"note 1")


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    store: Control
    if request.param == "memory":
        store = MemoryControl()
    elif request.param == "sqlite":
        store = ControlDatabase(f"sqlite:///{tmp_path}/control.db")
    else:
        store = ControlDatabase(request.getfixturevalue("postgres").create())
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


def test_of_two_first_logs_of_a_shard_one_is_opened(control: Control) -> None:
    """Two signers, one on each side of the end of a quarter."""
    control.open_log(LOG, LOCK)
    other = replace(LOG, origin="example/events/0/2026q2", term="2026q2", opened_ms=6)
    assert control.open_log(other, replace(LOCK, origin=other.origin)) == LOG
    assert control.logs() == [LOG]
    assert control.lock(other.origin) is None


def test_a_lock_is_replaced_only_by_who_knows_it(control: Control) -> None:
    control.open_log(LOG, LOCK)
    second = replace(LOCK, size=2**40, note=b"note 2")
    control.replace_lock(LOCK, second)
    assert control.lock(LOG.origin) == second
    with pytest.raises(LedgerContradiction, match=r"no longer the checkpoint of size 1\b"):
        control.replace_lock(LOCK, replace(LOCK, size=2, note=b"note 3"))
    with pytest.raises(LedgerContradiction, match="there is no such log"):
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


NEXT = replace(LOG, origin="example/events/0/2026q2", term="2026q2", start_offset=41, opened_ms=9)
NEXT_LOCK = replace(LOCK, origin=NEXT.origin, note=b"note of the next")


def test_a_closed_log_changes_no_more(control: Control) -> None:
    control.open_log(LOG, LOCK)
    with pytest.raises(LedgerContradiction, match="no longer the checkpoint of size 1"):
        control.close_log(LOG.origin, replace(LOCK, note=b"other"))
    assert control.logs() == [LOG]
    control.close_log(LOG.origin, LOCK)
    control.close_log(LOG.origin, LOCK)
    with pytest.raises(LedgerContradiction, match="the log is closed and gets no further leaves"):
        control.replace_lock(LOCK, replace(LOCK, size=2, note=b"note 2"))
    with pytest.raises(LedgerContradiction, match="no longer the checkpoint of size 1"):
        control.close_log(LOG.origin, replace(LOCK, note=b"other"))
    assert control.logs() == [replace(LOG, closed=True)]
    assert control.lock(LOG.origin) == LOCK
    assert control.open_log(LOG, LOCK) == replace(LOG, closed=True)


def test_only_a_log_that_is_there_is_closed(control: Control) -> None:
    with pytest.raises(LedgerContradiction, match="there is no such log"):
        control.close_log(LOG.origin, LOCK)
    with pytest.raises(InvariantError, match="with the lock of"):
        control.close_log(NEXT.origin, LOCK)


def test_a_log_is_closed_and_the_next_opened_at_once(control: Control) -> None:
    control.open_log(LOG, LOCK)
    assert control.succeed_log(LOCK, NEXT, NEXT_LOCK) == NEXT
    assert control.logs() == [replace(LOG, closed=True), NEXT]
    assert (control.lock(LOG.origin), control.lock(NEXT.origin)) == (LOCK, NEXT_LOCK)
    again = replace(NEXT, genesis=b"other", opened_ms=99)
    grown = replace(NEXT_LOCK, size=7, note=b"grown")
    control.replace_lock(NEXT_LOCK, grown)
    assert control.succeed_log(LOCK, again, replace(NEXT_LOCK, note=b"again")) == NEXT
    assert control.lock(NEXT.origin) == grown


def test_a_log_that_was_closed_alone_gets_its_successor_later(control: Control) -> None:
    control.open_log(LOG, LOCK)
    control.close_log(LOG.origin, LOCK)
    assert control.succeed_log(LOCK, NEXT, NEXT_LOCK) == NEXT
    assert control.logs() == [replace(LOG, closed=True), NEXT]


def test_a_successor_that_must_not_be(control: Control) -> None:
    with pytest.raises(LedgerContradiction, match="there is no such log"):
        control.succeed_log(LOCK, NEXT, NEXT_LOCK)
    control.open_log(LOG, LOCK)
    with pytest.raises(LedgerContradiction, match="no longer the checkpoint of size 1"):
        control.succeed_log(replace(LOCK, note=b"stale"), NEXT, NEXT_LOCK)
    with pytest.raises(LedgerContradiction, match=r"it is of shard .*, its successor of"):
        control.succeed_log(LOCK, replace(NEXT, shard=Shard("events", 1)), NEXT_LOCK)
    for log, lock in ((NEXT, LOCK), (LOG, LOCK), (replace(NEXT, closed=True), NEXT_LOCK)):
        with pytest.raises(InvariantError, match="as successor of"):
            control.succeed_log(LOCK, log, lock)
    assert control.logs() == [LOG]


def test_two_open_logs_of_a_shard_as_an_earlier_version_could_open_them() -> None:
    with pytest.raises(LedgerContradiction, match=r"was opened before, for shard .*, and this log is open"):
        recorded_successor(LOCK, NEXT, [LOG, NEXT])
    third = replace(NEXT, origin="example/events/0/2026q3", term="2026q3")
    with pytest.raises(LedgerContradiction, match="has another open log, example/events/0/2026q2"):
        recorded_successor(LOCK, third, [LOG, NEXT])


def test_of_two_successors_one_wins(control: Control) -> None:
    control.open_log(LOG, LOCK)
    barrier = threading.Barrier(4)

    def succeed(number: int) -> str:
        log = replace(NEXT, origin=f"example/events/0/{number}", term=str(number))
        barrier.wait()
        try:
            return control.succeed_log(LOCK, log, replace(NEXT_LOCK, origin=log.origin)).term
        except LedgerContradiction:
            return "lost"

    with ThreadPoolExecutor(4) as pool:
        (winner,) = [result for result in pool.map(succeed, range(4)) if result != "lost"]
    assert [log.term for log in control.logs() if not log.closed] == [winner]


def test_a_log_is_closed_or_grows_never_both(control: Control) -> None:
    for turn in range(20):
        log = replace(LOG, origin=f"example/events/{turn}/1", shard=Shard("events", turn + 1))
        lock, grown = replace(LOCK, origin=log.origin), replace(LOCK, origin=log.origin, size=2, note=b"note 2")
        control.open_log(log, lock)
        barrier = threading.Barrier(2)

        def race(close: bool, barrier: threading.Barrier = barrier, lock: Lock = lock, grown: Lock = grown) -> bool:
            barrier.wait()
            try:
                control.close_log(lock.origin, lock) if close else control.replace_lock(lock, grown)
            except LedgerContradiction:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            closed, replaced = pool.map(race, (True, False))
        assert closed != replaced
        assert control.lock(lock.origin) == (grown if replaced else lock)


def test_a_cursor_is_moved_only_from_where_it_is_known_to_be(control: Control) -> None:
    assert control.cursor("activities") == ""
    control.move_cursor("activities", "", "a\x00b", "")
    assert control.cursor("activities") == "a\x00b"
    with pytest.raises(LockLost, match="feed activities: its cursor is no longer where it was"):
        control.move_cursor("activities", "", "c", "")
    with pytest.raises(LockLost, match="its cursor is no longer where it was"):
        control.move_cursor("elsewhere", "x", "c", "")
    control.move_cursor("activities", "a\x00b", "c", "")
    assert control.cursor("activities") == "c"
    assert control.cursor("elsewhere") == ""


def test_a_feed_has_one_owner_until_its_lease_ends(control: Control) -> None:
    assert control.claim_feed("activities", "one", 1000, 2000)
    assert not control.claim_feed("activities", "two", 1999, 3000)
    control.move_cursor("activities", "", "a", "one")
    assert control.claim_feed("activities", "one", 1999, 2500)
    assert not control.claim_feed("activities", "two", 2499, 3500)
    assert control.claim_feed("activities", "two", 2500, 3500)
    with pytest.raises(LockLost, match="polled by two now, not by one; claim it again"):
        control.move_cursor("activities", "a", "b", "one")
    assert control.cursor("activities") == "a"
    control.move_cursor("activities", "a", "b", "two")
    assert control.claim_feed("others", "one", 0, 10)


def test_a_lease_is_given_back_by_its_owner_alone(control: Control) -> None:
    control.release_feed("activities", "nobody")
    assert control.claim_feed("activities", "one", 1000, 9000)
    control.release_feed("activities", "two")
    assert not control.claim_feed("activities", "two", 1001, 9000)
    control.release_feed("activities", "one")
    assert control.claim_feed("activities", "two", 1001, 9000)


def test_of_many_who_claim_a_feed_and_move_its_cursor_one_wins(control: Control) -> None:
    barrier = threading.Barrier(4)

    def claim(number: int) -> bool:
        barrier.wait()
        return control.claim_feed("activities", f"owner {number}", 0, 10)

    def move(number: int) -> bool:
        barrier.wait()
        try:
            control.move_cursor("tail", "", f"line {number}", "")
        except LockLost:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim, range(4))) == 1
        assert sum(pool.map(move, range(4))) == 1


def test_directories_come_into_force_one_after_the_other(control: Control) -> None:
    assert control.directories() == []
    first = control.add_directory("*", "ab" * 32, 1000, "ops")
    second = control.add_directory("acme", "cd" * 32, 2000, "Zoë")
    third = control.add_directory("*", "ab" * 32, 3000, "ops")
    assert first.number < second.number < third.number
    assert control.directories() == [first, second, third]
    assert (third.tenant, third.sha256, third.loaded_ms, third.operator) == ("*", "ab" * 32, 3000, "ops")


def test_the_register_grows_by_one_entry_after_the_other(control: Control) -> None:
    assert (control.register_end(), control.register_entries()) == (0, [])
    control.append_register(1, b"one")
    control.append_register(2, b"two\x00")
    control.append_register(2, b"two\x00")
    assert (control.register_end(), control.register_entries(), control.register_entries(1)) == (
        2,
        [b"one", b"two\x00"],
        [b"two\x00"],
    )
    for number, entry in ((2, b"other"), (4, b"four"), (1, b"two\x00")):
        with pytest.raises(LockLost, match="the register of holds"):
            control.append_register(number, entry)
    assert control.register_entries() == [b"one", b"two\x00"]


def test_of_two_who_append_the_same_number_one_is_told(control: Control) -> None:
    def append(name: bytes) -> str:
        try:
            control.append_register(1, name)
        except LockLost:
            return "lost"
        return "done"

    with ThreadPoolExecutor(4) as threads:
        told = sorted(threads.map(append, [b"a", b"b", b"c", b"d"]))
    assert told == ["done", "lost", "lost", "lost"]
    assert control.register_end() == 1
