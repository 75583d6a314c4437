"""The monitor of a real ``affidavit up``: what it tells agrees with what was sent, and holds nothing of it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from up_process import Up, command_json

from affidavit.demo.deployment import wait_for
from affidavit.monitor import families

pytestmark = pytest.mark.slow

UP_TO_THE_ROLE = {"reading_errors_total", "bus_errors_total"} | {
    family.name
    for group in (families.SPOOL, families.FILES, families.FEEDS, families.PROXY, families.OUTSIDE)
    for family in group
}
"""Without a sample while nothing goes wrong, or over SQLite."""


def scraped(url: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in parse(httpx.get(f"{url}/metrics").text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def total(samples: list[tuple[dict[str, str], float]], **labels: str) -> float:
    return sum(value for own, value in samples if labels.items() <= own.items())


def test_every_metric_that_can_be_there_is(live: Up) -> None:
    expected = {
        name
        for _, group in families.SECTIONS
        for family in group
        if family.name not in UP_TO_THE_ROLE
        for name in family.samples()
    }
    assert expected <= set(scraped(live.monitor))


def test_everybody_is_ready_and_lives(live: Up) -> None:
    assert httpx.get(f"{live.monitor}/livez").text == "live\n"
    ready = httpx.get(f"{live.monitor}/readyz", params={"verbose": ""}).json()
    assert ready["status"] == "ready"
    assert set(ready["roles"]) == {"collector", "signer", "archive", "clickhouse"}


def test_the_counts_are_those_of_the_logs(live: Up) -> None:
    found = scraped(live.monitor)
    logs = {one["shard"]: one for one in command_json(live.data, "status")["shards"]}
    signed = sum(one["signed"] for name, one in logs.items() if name.startswith("events"))
    accepted = total(found["affidavit_collector_accepted_events_total"])
    assert accepted == signed == total(found["affidavit_signer_next_offset"], shard="events/0")
    assert total(found["affidavit_collector_requests_total"], status="2xx") >= 1
    assert total(found["affidavit_collector_in_flight_bytes"]) == 0
    assert total(found["affidavit_signer_unsigned_age_seconds"]) == 0
    assert total(found["affidavit_sink_rejected_records_total"]) == 0

    def delivered(sink: str) -> bool | None:
        records = total(scraped(live.monitor)["affidavit_sink_delivered_records_total"], sink=sink, shard="events/0")
        return True if records == accepted else None

    for sink in ("archive", "clickhouse"):
        wait_for(f"the {sink} sink", lambda sink=sink: delivered(sink))  # type: ignore[misc]


def test_no_label_is_a_tenant_a_user_a_token_or_a_path(live: Up) -> None:
    text = httpx.get(f"{live.monitor}/metrics").text
    known = {
        *(label for _, group in families.SECTIONS for family in group for label in family.labels),
        *("le", "major", "minor", "patchlevel", "implementation", "generation"),
    }
    assert set(re.findall(r'[{,]([a-z_]+)="', text)) <= known
    for word in ("acme", "aff_", str(live.data), Path(live.data).name, "@"):
        assert word not in text
