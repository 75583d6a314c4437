"""Dead letters as the command line sees them: one for each record, whatever else lies on the topic."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from memory_bus import MemoryBus
from memory_control import MemoryControl
from memory_keys import MemoryKeys
from sealed_records import messages, sealed, strays

from affidavit.deadletters import choose, name_of, parse_name, read_letters
from schemas.errors import EvidenceIncomplete, MalformedInput
from schemas.ids import CONTROL, DEADLETTER, EVENTS, Offset, Shard
from sinks.deadletter import DeadLetter, outgoing

SHARD = Shard(EVENTS, 0)


@pytest.fixture
def wiring() -> Any:
    """A deployment's bus and control database, with letters of three records, one of them twice, and strays."""
    bus = MemoryBus({EVENTS: 1, CONTROL: 1, DEADLETTER: 1})
    batch = messages(sealed(MemoryKeys(), 3), SHARD)
    letters = [DeadLetter("splunk", "bad", 1000 + at, message) for at, message in enumerate(batch)]
    letters.append(DeadLetter("splunk", "bad again", 2000, batch[1]))
    letters.append(DeadLetter("syslog", "bad there", 3000, batch[0], whole=False))
    asyncio.run(bus.append([*map(outgoing, letters), *strays(DEADLETTER)]))
    return SimpleNamespace(existing_bus=bus, control=MemoryControl())


def test_one_for_each_record_and_sink(wiring: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = asyncio.run(read_letters(wiring))
    assert [(one.name, one.copies, one.letter.reason) for one in found] == [
        ("splunk/events/0/0", 1, "bad"),
        ("splunk/events/0/1", 2, "bad again"),
        ("splunk/events/0/2", 1, "bad"),
        ("syslog/events/0/0", 1, "bad there"),
    ]
    assert caplog.text.count("is no dead letter, and left out") == 5
    assert found[0].as_dict()["kind"] == "prompt"


def test_what_was_delivered_since_waits_no_more(wiring: Any) -> None:
    wiring.control.move_cursor("deadletter/splunk/events/0/1", "", "delivered 4000", "")
    found = asyncio.run(read_letters(wiring))
    assert [one.name for one in choose(found, sink="splunk")] == ["splunk/events/0/0", "splunk/events/0/2"]
    assert len(choose(found, delivered=True)) == 4
    (named,) = choose(found, ["splunk/events/0/1"])
    assert named.delivered_ms == 4000
    with pytest.raises(EvidenceIncomplete, match=r"no dead letter splunk/events/0/9"):
        choose(found, ["splunk/events/0/9"])


def test_names() -> None:
    assert parse_name("splunk/events/0/12") == ("splunk", SHARD, Offset(12))
    letter = DeadLetter("a", "", 0, messages(sealed(MemoryKeys(), 1), SHARD)[0])
    assert parse_name(name_of(letter)) == ("a", SHARD, Offset(0))
    for text in ("", "splunk", "splunk/events/0/x", "/events/0/1", "splunk/other/0/1"):
        with pytest.raises(MalformedInput):
            parse_name(text)
