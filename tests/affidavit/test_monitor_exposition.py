"""The text of metrics, from readings made by hand; and what the page, the alerts and the dashboard say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitor_readings import CLICKHOUSE, FULL, NOW, SIGNER
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from affidavit.monitor import families, reference
from affidavit.monitor.exposition import expose
from affidavit.monitor.histogram import Histogram, decades
from affidavit.monitor.readings import Reading
from signer.state import AnchorState

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "monitor_golden.txt"
FAMILIES = [family for _, group in families.SECTIONS for family in group]
SAMPLES = {name for family in FAMILIES for name in family.samples()}

LABELS = {"version", "role", "part", "route", "status", "kind", "format", "reason", "call", "error", "shard", "sink"}
LABELS |= {"state", "le", "feed", "where", "files", "anchor"}


def registry(reading: Reading) -> CollectorRegistry:
    class Fixed:
        def collect(self) -> Iterator[Metric]:
            return expose(reading, NOW)

    made = CollectorRegistry()
    made.register(Fixed())
    return made


def values(reading: Reading) -> dict[str, float]:
    """Every sample of the text, by its name and labels."""
    return {
        f"{sample.name}{json.dumps(sample.labels, sort_keys=True)}": sample.value
        for family in parse(generate_latest(registry(reading)).decode())
        for sample in family.samples
    }


def test_the_whole_text() -> None:
    """To change it: ``python tests/affidavit/test_monitor_exposition.py``, and read the difference."""
    assert generate_latest(registry(FULL)).decode() == GOLDEN.read_text()


@pytest.mark.parametrize(("generated", "parser"), [(generate_latest, parse), (generate_openmetrics, parse_openmetrics)])
def test_both_formats_parse_to_every_family(generated: Any, parser: Any) -> None:
    parsed = list(parser(generated(registry(FULL)).decode()))
    kinds = {families.PREFIX + one.name.removesuffix("_total"): one.kind for one in FAMILIES}
    for metric in parsed:
        name = metric.name + ("_info" if metric.type == "info" else "")
        if name == "affidavit_build_info":
            continue
        assert metric.type == kinds[name.removesuffix("_total")], name
        assert metric.samples, f"{metric.name} has no sample in a reading where everything runs"
    assert len(parsed) == len(FAMILIES)


def test_labels_are_those_of_the_table_and_take_few_values() -> None:
    table = {family.full_name: set(family.labels) for family in FAMILIES}
    for metric in parse(generate_latest(registry(FULL)).decode()):
        for sample in metric.samples:
            name = re.sub(r"_(bucket|count|sum)$", "", sample.name) if metric.type == "histogram" else sample.name
            assert set(sample.labels) - {"le"} == table[name]
            assert set(sample.labels) <= LABELS


def test_parts_that_do_not_run_here_have_no_metrics() -> None:
    text = generate_latest(registry(Reading("1.2.3", FULL.roles))).decode()
    for word in ("signer_", "anchor_", "sink_", "spool_records", "collector_requests"):
        assert f"affidavit_{word}" not in text


def test_a_shard_that_was_given_up_keeps_its_counters_and_loses_its_gauges() -> None:
    found = values(FULL)
    given_up = '{"shard": "events/1", "sink": "clickhouse"}'
    assert found["affidavit_sink_delivered_records_total" + given_up] == 10
    assert "affidavit_sink_lag_records" + given_up not in found


def test_reasons_never_reach_the_metrics() -> None:
    text = generate_latest(registry(FULL)).decode()
    for secret in ("the table is missing", "H7", "audit.example.com"):
        assert secret not in text


def test_exactly_one_state_is_hot() -> None:
    hot = [at for at, value in values(FULL).items() if at.startswith("affidavit_sink_state") and value == 1]
    assert hot == ['affidavit_sink_state{"shard": "events/0", "sink": "clickhouse", "state": "paused"}']


def test_a_state_that_nobody_foresaw_is_told_too() -> None:
    shard = replace(CLICKHOUSE.shards[0], state="melting")  # type: ignore[arg-type]
    found = values(replace(FULL, sinks={"clickhouse": replace(CLICKHOUSE, shards=(shard,))}))
    assert found['affidavit_sink_state{"shard": "events/0", "sink": "clickhouse", "state": "melting"}'] == 1


def test_an_anchor_log_without_a_set_has_no_age() -> None:
    young = replace(SIGNER, anchors=AnchorState(owned=True))
    assert "affidavit_anchor_set_age_seconds{}" not in values(replace(FULL, signer=young))


def test_an_anchor_log_that_another_process_writes_is_not_told() -> None:
    elsewhere = replace(SIGNER, shards=SIGNER.shards[1:], anchors=replace(SIGNER.anchors, owned=False))
    assert not [at for at in values(replace(FULL, signer=elsewhere)) if at.startswith("affidavit_anchor")]


def test_a_clock_that_runs_ahead_makes_no_negative_age() -> None:
    early = values_at(FULL, NOW - 3600)
    assert early["affidavit_spool_oldest_age_seconds"] == early["affidavit_sink_paused_seconds"] == 0


def values_at(reading: Reading, now: float) -> dict[str, float]:
    return {sample.name: sample.value for family in expose(reading, now) for sample in family.samples}


def test_bounds_come_two_to_a_decade() -> None:
    assert decades(-3, 0) == (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    assert decades(0, 2) == (1.0, 3.0, 10.0, 30.0, 100.0)


def test_a_value_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram((1.0, 3.0))
    for value in (0.5, 1.0, 1.5, 3.0, 4.0):
        histogram.add(value)
    spread = histogram.distribution()
    assert spread.cumulative() == [("1.0", 2), ("3.0", 4), ("+Inf", 5)]
    assert spread.total == 10.0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_conventions(family: families.Family) -> None:
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not re.search(r"_(ms|millis|minutes|kb|mb|percent)\b", family.name)
    assert family.text
    assert not family.text.endswith(".")


def test_every_family_is_in_the_table_once() -> None:
    declared = {name: value for name, value in vars(families).items() if isinstance(value, families.Family)}
    assert sorted(map(id, declared.values())) == sorted(map(id, FAMILIES))
    assert len(SAMPLES) == sum(len(family.samples()) for family in FAMILIES)


def test_the_page_is_the_generated_one() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    assert page == reference.page(), "out of date: python -m affidavit.monitor.reference > docs/metrics.md"


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "deploy/prometheus/affidavit.rules.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((ROOT / "deploy/grafana/affidavit.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def unknown(expression: str) -> set[str]:
    """Words of an expression that look like metrics of ours, and are none."""
    return set(re.findall(r"\baffidavit_\w+", expression)) - SAMPLES


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_speaks_of_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Affidavit[A-Za-z]+", rule["alert"])
    assert "affidavit" in rule["expr"]
    assert not unknown(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    known = {label for family in FAMILIES for label in family.labels} | {"job", "instance"}
    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= known
    assert set(re.findall(r"(\w+)=~?\"", rule["expr"])) <= known


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))


def test_every_state_that_is_asked_for_is_one() -> None:
    """A misspelt state would be an alert that never fires."""
    told = {
        (sample.name, sample.labels["state"])
        for family in expose(FULL, NOW)
        for sample in family.samples
        if "state" in sample.labels
    }
    text = " ".join(rule["expr"] for rule in rules()) + json.dumps(panels()).replace('\\"', '"')
    asked = re.findall(r"(affidavit_\w+)\{[^}]*state=\"(\w+)\"", text)
    assert asked
    assert set(asked) <= told


def test_the_dashboard_speaks_of_metrics_that_exist() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/affidavit.json").read_text())
    assert dashboard["schemaVersion"] >= 41
    assert dashboard["id"] is None, "an id belongs to one Grafana"
    assert next(one["name"] for one in dashboard["templating"]["list"]) == "datasource"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["description"]
        for target in panel["targets"]:
            assert "affidavit" in target["expr"]
            assert not unknown(target["expr"]), panel["title"]


def test_every_metric_that_somebody_may_wake_up_for_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    for word in ("signer_unsigned_age", "sink_lag", "spool_records", "anchor_set_age", "acknowledgement", "bus_errors"):
        assert word in shown


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(ROOT / "tests/support"))
    GOLDEN.write_text(generate_latest(registry(FULL)).decode())
