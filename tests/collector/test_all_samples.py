"""Every payload that a real source published comes through the native API with no leaf and no byte lost, whether or not
its own format is known yet."""

from __future__ import annotations

import json
from pathlib import Path

from kept_leaves import assert_kept

from collector.assemble import Stamp, assemble
from collector.gateways import Received
from collector.gateways.native import NativeFormat

RECEIVED = Received("acme", "native", "t1", "http", "127.0.0.1", "application/json", "", 1_764_000_000_000_000)


def payloads(samples: Path) -> list[Path]:
    found = sorted(samples.glob("*/*.json"))
    assert len(found) >= 16
    return found


def test_as_the_content_of_a_native_event_no_leaf_is_lost(samples: Path) -> None:
    for path in payloads(samples):
        payload = json.loads(path.read_bytes())
        body = json.dumps({"kind": "prompt", "content": payload}).encode()
        (unit,) = NativeFormat().read(body, RECEIVED).units
        assert not unit.error, path.name
        assert_kept(payload, unit.drafts)


def test_sent_as_they_are_they_are_kept_byte_for_byte(samples: Path) -> None:
    for path in payloads(samples):
        body = path.read_bytes()
        reading = NativeFormat().read(body, RECEIVED)
        events = [event for unit in assemble(reading, RECEIVED, Stamp("c", 0, "default")) for event in unit]
        assert events, path.name
        assert {event.kind for event in events} == {"unparsed"}, path.name
        assert b"".join(event.source or b"" for event in events) == body.strip(), path.name
