"""A deployment with the demonstration's traffic, running for as long as tests ask it things; and a stopped one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from embedded_engine import release_engine
from traffic import Stopped, send_traffic
from up_process import Up


@pytest.fixture(autouse=True)
def no_engine_of_other_tests() -> None:
    """Commands that are run in this process open the engine themselves."""
    release_engine()


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running deployment, everything signed and queryable."""
    up = Up(tmp_path_factory.mktemp("live") / "data", AFFIDAVIT_ARCHIVE_SEGMENT_SECONDS="1")
    up.start()
    send_traffic(up)
    yield up
    assert up.stop() == 0, up.log[-2000:]


@pytest.fixture(scope="package")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A deployment that was stopped. Tests copy it before they change anything."""
    up = Up(tmp_path_factory.mktemp("stopped") / "data")
    up.start()
    send_traffic(up)
    assert up.stop() == 0, up.log[-2000:]
    return Stopped(up.data, datetime.now(UTC).isoformat(timespec="seconds"))
