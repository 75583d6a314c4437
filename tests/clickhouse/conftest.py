"""Fixtures of the ClickHouse tests: a database, keys, and a shard with its log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from embedded_engine import Database, database_of_its_own
from memory_keys import MemoryKeys


@pytest.fixture
def engine() -> Iterator[Database]:
    database = database_of_its_own()
    yield database
    database.close()


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()
