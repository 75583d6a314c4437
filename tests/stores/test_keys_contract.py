"""The contract of stores.keys.Keys, over every implementation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from memory_keys import MemoryKeys

from schemas.ids import KeyId
from stores.control.database import ControlDatabase
from stores.keys import Keys, KeyScope
from stores.keys.database import DatabaseKeys
from stores.keys.kek import FileKek, create_kek_file

SCOPE = KeyScope("acme", "user@example.com", "standard", 1, "2026-03")


@pytest.fixture(params=["sqlite", "sqlite without cache", "postgresql", "postgresql without cache", "memory"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keys]:
    if request.param == "memory":
        yield MemoryKeys()
        return
    create_kek_file(tmp_path / "kek")
    on_postgres = request.param.startswith("postgresql")
    url = request.getfixturevalue("postgres").create() if on_postgres else f"sqlite:///{tmp_path}/control.db"
    control = ControlDatabase(url)
    control.migrate()
    capacity = 0 if "without" in request.param else 1000
    yield DatabaseKeys(control, FileKek(tmp_path / "kek"), capacity=capacity)
    control.close()


def test_a_scope_has_one_key(keys: Keys) -> None:
    (first,) = keys.for_scopes([SCOPE])
    assert (len(first.key_id), len(first.secret)) == (16, 32)
    assert keys.for_scopes([SCOPE, SCOPE]) == [first, first]
    assert keys.by_id([first.key_id]) == {first.key_id: first.secret}


@pytest.mark.parametrize(
    "other",
    [
        SCOPE._replace(tenant="b"),
        SCOPE._replace(subject=""),
        SCOPE._replace(retention_class=""),
        SCOPE._replace(part_type=2),
        SCOPE._replace(month="2026-04"),
        KeyScope("acmeuser@example.com", "", "standard", 1, "2026-03"),
    ],
)
def test_every_field_of_a_scope_counts(keys: Keys, other: KeyScope) -> None:
    first, second, again = keys.for_scopes([SCOPE, other, SCOPE])
    assert first == again
    assert first.key_id != second.key_id
    assert first.secret != second.secret


def test_many_at_once_come_in_the_order_given(keys: Keys) -> None:
    scopes = [SCOPE._replace(subject=f"ü{number % 700}") for number in range(1500)]
    found = keys.for_scopes(scopes)
    assert len({key.key_id for key in found}) == 700
    assert found[:700] == found[700:1400]
    assert keys.for_scopes(scopes[::-1]) == found[::-1]
    assert keys.by_id(key.key_id for key in found) == {key.key_id: key.secret for key in found}


def test_nothing_comes_of_nothing(keys: Keys) -> None:
    assert keys.for_scopes([]) == []
    assert keys.by_id([]) == {}
    assert keys.by_id([KeyId(bytes(16))]) == {}


def test_threads_that_ask_at_once_get_the_same_keys(keys: Keys) -> None:
    scopes = [SCOPE._replace(subject=str(number)) for number in range(50)]
    barrier = threading.Barrier(4)

    def ask(turn: int) -> dict[KeyScope, bytes]:
        barrier.wait()
        order = scopes if turn % 2 else scopes[::-1]
        return {scope: key.key_id for scope, key in zip(order, keys.for_scopes(order), strict=True)}

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(ask, range(4))
    assert all(other == first for other in others)
