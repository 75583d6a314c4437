"""The Splunk app: what it names exists, what it shows is what the sink emits, and Splunk's own inspection passes."""

from __future__ import annotations

import configparser
import csv
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from debian import install_library
from own_venv import own_venv
from splunk_way import SplunkWay, altered

from schemas.metadata import schema
from sinks.splunk.envelope import INDEXED

DEPLOY = Path(__file__).parents[2] / "deploy" / "splunk"
APP = DEPLOY / "app"
REQUIREMENTS = Path(__file__).with_name("appinspect-requirements.txt")

INTERNAL = {"_time", "_raw", "_indextime", "host", "source", "sourcetype", "index", "count", "linecount"}
BESIDE = {"shard", "offset", "bus_time", "leaf", "metadata_status", "content_status", "status_reason"}
BESIDE |= {"content_object", "content_bytes", "content"}
"""What the sink adds to the metadata (docs/splunk.md)."""
SHORTENED = {"content.shortened", "content.bytes", "content.sha256", "content.beginning", "content.end"}

WORDS = set(
    re.findall(
        r"\w+",
        """search stats tstats timechart chart table sort dedup eval where fieldformat eventstats rename mvexpand bin
        spath lookup regex fillnull by as and or not dc count sum avg min max latest earliest values p50 p95 stdev span
        limit output path value true false null now relative_time coalesce case if match like lower substr mvindex
        strftime""",
    )
)
"""Commands, functions, options and operators: anything else in a search is a field."""


def conf(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",), strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((APP / "default" / f"{name}.conf").read_text())
    return parser


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("splunk_app_build", DEPLOY / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def views() -> dict[str, dict[str, Any]]:
    """The JSON of each view, as it lies in the app."""
    found = {}
    for path in sorted((APP / "default/data/ui/views").glob("*.xml")):
        root = ElementTree.parse(path).getroot()
        found[path.stem] = json.loads(root.findtext("definition") or "")
    return found


def searches() -> Iterator[tuple[str, str]]:
    """Every search of the app, and where it is."""
    for name, view in views().items():
        for source in view["dataSources"].values():
            yield f"{name}: {source['name']}", source["options"]["query"]
    for name, section in conf("savedsearches").items():
        if "search" in section:
            yield name, section["search"]
    for file in ("macros", "eventtypes"):
        for name, section in conf(file).items():
            if text := section.get("definition") or section.get("search"):
                yield f"{file}: {name}", text


def emitted() -> set[str]:
    """Fields that a search may name."""
    known = {field["name"] for field in schema("metadata.v1")["fields"]} | BESIDE | SHORTENED | INTERNAL
    known |= {
        INDEXED + name for name in ("deployment", "shard", "offset", "block", "tenant", "kind", "schema", "resend")
    }
    for section in conf("props").values():
        known |= {name.removeprefix("EVAL-") for name in section if name.startswith("EVAL-")}
    return known


def named(search: str) -> tuple[set[str], set[str]]:
    """Fields that a search reads, and those that it makes."""
    text = re.sub(r"`[^`]*`", " ", search)
    text = re.sub(r'"[^"]*"', '""', text)
    made = set(re.findall(r"\bas\s+([A-Za-z_]\w*)", text, re.IGNORECASE))
    made |= set(re.findall(r"(?:\beval\s+|,\s*|\bfieldformat\s+)([A-Za-z_]\w*)\s*=(?!=)", text))
    made |= set(re.findall(r"\boutput=(\w+)", text))
    for found in re.findall(r"\blookup\s+\w+\s+\w+\s+OUTPUT\s+([\w ]+)", text):
        made |= set(found.split())
    text = re.sub(r"\blookup\s+\w+", " ", text)
    read = set(re.findall(r"(?<![\w.$'])[a-z_][a-z0-9_]*(?:\.[a-z_]+|\{\})*(?![\w(])", text))
    return {name.removesuffix("{}") for name in read}, made


@pytest.mark.parametrize(("where", "search"), list(searches()), ids=[where for where, _ in searches()])
def test_every_field_of_a_search_is_emitted(where: str, search: str) -> None:
    read, made = named(search)
    values = set(re.findall(r"(?:kind|outcome|operation|content_state|sourcetype|index)!?=+\"?([\w.:*]+)", search))
    unknown = {name for name in read - made - emitted() - WORDS - values if not name.isdigit()}
    assert not unknown, f"{where} names {sorted(unknown)}"


@pytest.mark.parametrize(("where", "search"), list(searches()), ids=[where for where, _ in searches()])
def test_every_macro_and_lookup_exists(where: str, search: str) -> None:
    macros = {re.sub(r"\(.*", "", name) for name in conf("macros").sections()}
    assert set(re.findall(r"`(\w+)[^`]*`", search)) <= macros
    assert set(re.findall(r"\blookup\s+(\w+)", search)) <= set(conf("transforms").sections())
    assert "`affidavit_" in search or "index=affidavit" in search or "sourcetype=" in search, "no search of everything"


def test_what_the_mapping_reads_is_emitted() -> None:
    for stanza, section in conf("props").items():
        for name, text in section.items():
            if name.startswith("EVAL-"):
                read, _ = named(text)
                known = emitted() | WORDS | {"operation"}
                assert read <= known | {name.removesuffix("{}") for name in known}, f"[{stanza}] {name}"


@pytest.mark.parametrize("text", ["`affidavit_events` usr=*", "`affidavit_events` | stats dc(evnt_id) as n by tenant"])
def test_the_lint_finds_a_field_that_nobody_emits(text: str) -> None:
    read, made = named(text)
    assert read - made - emitted() - WORDS


def test_lookups_are_there_and_have_the_columns_that_are_asked_for() -> None:
    for section in conf("transforms").values():
        if "filename" in section:
            with (APP / "lookups" / section["filename"]).open() as file:
                rows = list(csv.DictReader(file))
            assert rows
            assert {"tool_name", "risk", "reason"} == set(rows[0])
            assert all(row["risk"].isdigit() for row in rows)


def test_views_events_types_and_tags_are_there() -> None:
    nav = ElementTree.parse(APP / "default/data/ui/nav/default.xml").getroot()
    assert {view.get("name") for view in nav.iter("view")} == {*views(), "search"}
    assert {name.removeprefix("eventtype=") for name in conf("tags").sections()} <= set(conf("eventtypes").sections())
    saved = conf("savedsearches").sections()
    assert all(name.startswith("Affidavit") for name in saved), "the bar lists them by this word"
    assert len(views()) == 6


def test_nothing_runs_until_somebody_turns_it_on() -> None:
    for section in conf("savedsearches").sections():
        assert conf("savedsearches")[section]["enableSched"] == "0"


def test_views_are_what_the_panels_say() -> None:
    for name, text in builder().files().items():
        assert (APP / name).read_text() == text, "run python deploy/splunk/build.py views"


def test_every_token_of_a_view_has_an_input() -> None:
    for name, view in views().items():
        tokens = {one["options"]["token"] for one in view["inputs"].values()}
        used = {
            word
            for source in view["dataSources"].values()
            for word in re.findall(r"\$(\w+)\$", source["options"]["query"])
        }
        assert used <= tokens, name
        places = [block["position"] for block in view["layout"]["structure"]]
        for at, one in enumerate(places):
            for other in places[at + 1 :]:
                apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], name


def test_indexed_fields_are_those_of_the_sink() -> None:
    way = SplunkWay(max_event_bytes=20_000)
    way.run(altered(way, 8, n1="x" * 50_000))
    way.sink = way.restart()
    fields = {name for event in way.splunk.events for name in event.fields}
    assert fields | {INDEXED + "resend"} == set(conf("fields").sections())
    body = {name for event in way.splunk.events for name in event.envelope["event"]}
    assert body <= emitted()
    content = way.splunk.events[1].envelope["event"]["content"]
    assert {f"content.{name}" for name in content} == SHORTENED
    sourcetypes = {event.envelope["sourcetype"] for event in way.splunk.events}
    assert sourcetypes <= set(conf("props").sections())


def test_versions_agree() -> None:
    manifest = json.loads((APP / "app.manifest").read_text())
    app = conf("app")
    assert manifest["info"]["id"]["version"] == app["launcher"]["version"] == app["id"]["version"]
    assert manifest["info"]["id"]["name"] == app["package"]["id"] == app["id"]["name"] == builder().NAME


@pytest.mark.slow
@pytest.mark.parametrize("tags", ["", "cloud", "private_victoria", "future"])
def test_splunks_own_inspection(tags: str, tmp_path: Path) -> None:
    if find_library("magic") is None:
        install_library("magic", "libmagic1")
    assert find_library("magic") is not None, "splunk-appinspect needs libmagic1"
    package, report = tmp_path / "affidavit.tar.gz", tmp_path / "report.json"
    package.write_bytes(builder().package())
    assert builder().package() == package.read_bytes()
    inspect = own_venv("appinspect-venv", REQUIREMENTS) / "splunk-appinspect"
    asked = [str(inspect), "inspect", str(package), "--mode", "precert", "--data-format", "json"]
    asked += ["--output-file", str(report), *(["--included-tags", tags] if tags else [])]
    ran = subprocess.run(asked, capture_output=True, text=True)
    found = json.loads(report.read_text())  # it exits with 0 whatever it found
    wrong = [
        f"{check['result']}: {check['name']}: {[message['message'] for message in check['messages']]}"
        for one in found["reports"]
        for group in one["groups"]
        for check in group["checks"]
        if check["result"] in ("failure", "error", "future_failure", "warning")
    ]
    assert not wrong, wrong
    assert found["summary"]["success"] > 10, ran.stdout


def test_the_builder_is_a_command(tmp_path: Path) -> None:
    out = tmp_path / "app.tar.gz"
    subprocess.run([sys.executable, str(DEPLOY / "build.py"), "package", str(out)], check=True)
    assert out.read_bytes()[:2] == b"\x1f\x8b"
