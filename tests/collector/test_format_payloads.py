"""What the formats are measured on: each format of the catalogue is there, and none of its records is an error."""

from __future__ import annotations

import pytest

from bench.format_payloads import BATCH, Traffic, traffic
from collector.catalogue import GATEWAYS
from collector.gateways import Received

ROWS = traffic()


def test_every_format_is_measured() -> None:
    known = {one.name for gateway in GATEWAYS for one in gateway.formats}
    assert known - {row.format.name for row in ROWS} == set(), "add a record to bench/format_payloads.py"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_payload_is_read(row: Traffic) -> None:
    received = Received("acme", "bench", "t", "http", "", row.media_type, "", 1_787_305_300_000_000, row.format.name)
    units = [unit for body in row.bodies for unit in row.format.read(body, received).units]
    assert [unit.error for unit in units if unit.error] == []
    assert BATCH // 3 < len(units) <= BATCH
    assert len({unit.source for unit in units}) == len(units)
