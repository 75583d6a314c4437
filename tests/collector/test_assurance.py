"""Every event that says who acted says who vouches for it: over every format, and whatever real gateways sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.format_payloads import Traffic, traffic
from collector.assemble import ACTOR_FIELDS, Stamp, assemble
from collector.catalogue import GATEWAYS
from collector.gateways import Draft, Format, Reading, Received, Unit

VOCABULARY = {"gateway_authenticated", "provider_authenticated", "client_asserted", "unknown"}
FORMATS = {f"{gateway.name}-{at}": one for gateway in GATEWAYS for at, one in enumerate(gateway.formats)}

ROWS = traffic()


def received(source: Format) -> Received:
    return Received(
        "acme", "any", "t", "http", "", "application/json", "", 1_787_305_200_125_000, source.name, "ab" * 32
    )


def bodies(folder: Path) -> Iterator[bytes]:
    """Each file as it is, and each line of it."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix in (".json", ".jsonl", ".ndjson", ".log", ".txt"):
            body = file.read_bytes()
            yield body
            if file.suffix != ".json":
                yield from body.splitlines()


def unvouched(source: Format, body: bytes) -> list[str]:
    """Of drafts as the format makes them, and of events: what is wrong."""
    reading = source.read(body, received(source))
    drafts = [draft.metadata for unit in reading.units if not unit.error for draft in unit.drafts]
    events = [event.metadata for made in assemble(reading, received(source), Stamp("c", 0)) for event in made]
    wrong = []
    for at, metadata in enumerate((*drafts, *events)):
        named = [field for field in ACTOR_FIELDS if metadata.get(field)]
        stated = metadata.get("assurance", "")
        exempt = source.name == "native" and at < len(drafts)
        if (named and stated not in VOCABULARY and not exempt) or stated not in {"", *VOCABULARY}:
            wrong.append(f"{metadata.get('kind')} has {', '.join(named)} and assurance {stated!r}")
    return wrong


@pytest.mark.parametrize("name", FORMATS)
def test_of_everything_that_sources_published(name: str, samples: Path) -> None:
    for body in bodies(samples):
        assert unvouched(FORMATS[name], body) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_of_a_record_of_each_format(row: Traffic) -> None:
    assert unvouched(row.format, row.bodies[0]) == []


def test_most_formats_name_actors() -> None:
    """So that the tests above say something."""
    naming = {
        row.format.name
        for row in ROWS
        for unit in row.format.read(row.bodies[0], received(row.format)).units
        for draft in unit.drafts
        if any(draft.metadata.get(field) for field in ACTOR_FIELDS)
    }
    assert len(naming) >= 10, naming


@pytest.mark.parametrize("field", ACTOR_FIELDS)
def test_a_native_event_that_does_not_say_is_unknown(field: str) -> None:
    native = next(gateway.formats[0] for gateway in GATEWAYS if gateway.name == "native")

    def assured(**fields: str) -> str:
        body = json.dumps({"kind": "prompt", "content": {}} | fields).encode()
        ((event,),) = assemble(native.read(body, received(native)), received(native), Stamp("c", 0))
        return event.metadata.get("assurance", "")

    assert assured(**{field: "ada"}) == "unknown"
    assert assured(**{field: "ada"}, assurance="gateway_authenticated") == "gateway_authenticated"
    assert assured(team_id="t") == ""


def test_no_format_can_leave_it_out() -> None:
    reading = Reading([Unit(b"{}", "1", [Draft("prompt", {"user_id": "ada"})])])
    source = next(iter(FORMATS.values()))
    ((event,),) = assemble(reading, received(source), Stamp("c", 0))
    assert event.metadata["assurance"] == "unknown"
