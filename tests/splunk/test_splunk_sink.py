"""The Splunk sink over a Splunk that does as it is documented: every answer, alone, and what it must lead to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_splunk import FakeSplunk, Fault, Token
from fake_splunk.hec import BAD_FIELDS, POISON
from ledgered import log_start, proofs
from sealed_records import events, messages, sealed, strays
from splunk_way import NAME, SHARD, SplunkWay, altered

from collector.sealing import Sealing
from schemas.errors import ConfigurationError, Unavailable
from schemas.event import Event
from schemas.ids import Offset
from sinks.contract import Accepted, Pause, Retry, Wait
from sinks.kept import position_name
from sinks.splunk.config import Route
from sinks.tls import Secret
from stores.bus import Message


def records(way: SplunkWay, count: int, start: int = 0) -> list[Message]:
    return messages(sealed(way.keys, count, start=start), SHARD, start=start)


def test_an_event_says_what_the_record_says() -> None:
    way = SplunkWay(host="collector-1", index="audit")
    batch = records(way, 4)
    assert way.run(batch) == {}
    (stored, *_) = way.splunk.events
    envelope = dict(stored.envelope)
    event = envelope.pop("event")
    assert envelope == {
        "time": 1_764_000_000.0,
        "host": "collector-1",
        "source": f"affidavit:{NAME}",
        "sourcetype": "affidavit:event",
        "index": "audit",
        "fields": {
            "affidavit_deployment": NAME,
            "affidavit_shard": "events/0",
            "affidavit_offset": 0,
            "affidavit_block": 0,
            "affidavit_tenant": "acme",
            "affidavit_kind": "prompt",
            "affidavit_schema": "affidavit.splunk.1",
        },
    }
    assert not {name for name in event if name.startswith("affidavit_")}
    assert event["occurred_at"] == "2025-11-24T16:00:00.000000Z"
    assert event["content"] == {"messages": [{"role": "user", "content": "text of event 0 " * 4}]}
    assert [stored.envelope["event"]["leaf"] for stored in way.splunk.events] == [
        proof.leaf.hex() for proof in proofs(batch, log_start())
    ]
    assert not [name for name, value in event.items() if value in ("", None, [], {})]


def test_content_stays_away_where_it_must() -> None:
    way = SplunkWay(content=False)
    way.run(records(way, 4))
    assert all("content" not in stored.envelope["event"] for stored in way.splunk.events)
    assert b"text of event" not in b"".join(way.splunk.bodies)


def test_strays_are_told_of_too() -> None:
    way = SplunkWay()
    batch = messages([*sealed(way.keys, 3), *strays()], SHARD)
    assert way.run(batch) == {}
    assert way.found() == dict.fromkeys(range(8), 1)
    assert way.splunk.events[5].envelope["event"]["metadata_status"] == "invalid"


def test_nothing_counts_before_it_is_acknowledged() -> None:
    way = SplunkWay(FakeSplunk({"token": Token(ack=True)}, commit_seconds=10.0))
    batch = records(way, 10)
    way.sink.resume(SHARD, Offset(0))
    assert way.accept(batch) == ()
    assert way.sink.settle(SHARD) == 0
    way.now += 9.9
    assert way.sink.settle(SHARD) == 0
    assert way.restart().resume(SHARD, Offset(0)) == 0, "a process that starts now sends it again"
    way = SplunkWay(FakeSplunk({"token": Token(ack=True)}, commit_seconds=10.0))
    way.sink.resume(SHARD, Offset(0))
    way.accept(batch := records(way, 10))
    way.now += 10.0
    assert way.sink.settle(SHARD) == 10
    assert way.restart().resume(SHARD, Offset(0)) == 10
    assert way.sink.last(SHARD, Offset(9)) == batch[9].commitments
    assert way.sink.last(SHARD, Offset(8)) is None


def test_without_acknowledgement_an_answer_of_200_counts() -> None:
    way = SplunkWay(FakeSplunk({"token": Token(ack=False)}), ack="none")
    assert way.run(records(way, 100)) == {}
    assert way.splunk.polls == 0
    assert way.found() == dict.fromkeys(range(100), 1)


def test_by_search_what_is_found_counts() -> None:
    splunk = FakeSplunk({"token": Token(ack=False)}, commit_seconds=20.0, search_token="searcher")
    way = SplunkWay(splunk, ack="reconcile", poll_seconds=5.0, ack_seconds=60.0)
    splunk.script = [None, Fault.LOST, None]
    assert way.run(records(way, 100)) == {}
    assert way.found() == dict.fromkeys(range(100), 1), "what was lost was sent again, and nothing else"
    assert {event.fields["affidavit_offset"] for event in splunk.events if event.fields.get("affidavit_resend")} == set(
        range(40, 80)
    )


def test_by_search_an_outage_of_the_search_loses_and_repeats_nothing() -> None:
    splunk = FakeSplunk({"token": Token(ack=False)}, search_token="another")
    way = SplunkWay(splunk, ack="reconcile", ack_seconds=30.0)
    way.sink.resume(SHARD, Offset(0))
    way.accept(records(way, 10))
    way.now += 1000
    assert way.sink.settle(SHARD) == 0
    outcome = way.deliver(records(way, 5, start=10))
    assert isinstance(outcome, Pause)
    assert "search_token" in outcome.reason
    splunk.search_token = "searcher"
    assert way.sink.settle(SHARD) == 10
    assert way.found() == dict.fromkeys(range(10), 1)


def test_reconcile_needs_a_search() -> None:
    from sinks.splunk.sink import SplunkSink

    way = SplunkWay()
    way.config = way.config.__class__(way.config.url, Secret("t"), NAME, ack="reconcile")
    with pytest.raises(ConfigurationError, match=r"splunk\.search_url"):
        SplunkSink(way.config, way.keys, way.cursors)


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_alone_loses_nothing(fault: Fault) -> None:
    """It strikes the second request; in the end every record is there, and only what may be repeated is."""
    way = SplunkWay(FakeSplunk({"token": Token(ack=True)}, indexers=2), ack_seconds=60.0)
    way.splunk.script = [None, fault]
    assert way.run(records(way, 100)) == {}
    assert set(way.found()) == set(range(100))
    repeats = {
        Fault.ANSWER_LOST,
        Fault.GARBLED,
        Fault.UNACKNOWLEDGED,
        Fault.NO_ACK_ID,
        Fault.RESTART,
        Fault.MOVED,
    }
    if fault not in repeats:
        assert set(way.found().values()) == {1}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.DISABLED, "enable the token"),
        (Fault.INVALID, "splunk.token_file"),
        (Fault.WRONG_INDEX, "create the index"),
        (Fault.NO_ACK, "set splunk.ack to none or reconcile"),
        (Fault.NO_ACK_ID, "turn indexer acknowledgement on"),
        (Fault.REDIRECT, "set splunk.url"),
        (Fault.UNKNOWN, "not a code that we know"),
    ],
)
def test_what_needs_a_person_pauses_and_says_what_to_do(fault: Fault, says: str) -> None:
    way = SplunkWay()
    way.splunk.script = [fault]
    batch = records(way, 5)
    outcome = way.deliver(batch)
    assert isinstance(outcome, Pause)
    assert says in outcome.reason
    assert isinstance(way.deliver(batch), Accepted)


def test_a_pause_that_splunk_asks_for_is_kept() -> None:
    way = SplunkWay()
    way.splunk.script = [Fault.LATER]
    assert way.deliver(records(way, 5)) == Retry("HEC code 9, Server is busy (HTTP 503)", 3.0)


def test_a_bad_event_is_convicted_alone() -> None:
    way = SplunkWay()
    batch = altered(way, 60, n7=POISON, n31=POISON, n59=POISON)
    rejected = way.run(batch, size=60)
    assert sorted(rejected) == [7, 31, 59]
    assert all("Invalid data format" in reason and POISON not in reason for reason in rejected.values())
    assert way.found() == dict.fromkeys(set(range(60)) - {7, 31, 59}, 1)


@pytest.mark.parametrize("fault", [Fault.NUMBERLESS, Fault.LYING])
def test_an_innocent_event_is_not_rejected(fault: Fault) -> None:
    way = SplunkWay()
    batch = altered(way, 40, n20=POISON)
    way.splunk.script = [fault] * 3
    assert list(way.run(batch, size=40)) == [20]
    assert way.found() == dict.fromkeys(set(range(40)) - {20}, 1)


def test_all_events_are_bad() -> None:
    way = SplunkWay()
    batch = altered(way, 12, **{f"n{at}": POISON for at in range(12)})
    assert sorted(way.run(batch)) == list(range(12))
    assert way.splunk.events == []


def test_fields_that_splunk_refuses_go_into_the_event() -> None:
    way = SplunkWay()
    made: list[Event] = events(5)
    made[2] = replace(made[2], tenant=BAD_FIELDS, metadata={**made[2].metadata, "tenant": BAD_FIELDS})
    assert way.run(messages(Sealing(way.keys).seal(made), SHARD)) == {}
    (bare,) = [event.envelope for event in way.splunk.events if "fields" not in event.envelope]
    assert bare["event"]["unindexed"]["affidavit_offset"] == 2
    assert len(way.splunk.events) == 5


def test_a_request_that_is_too_large_is_halved() -> None:
    way = SplunkWay(FakeSplunk({"token": Token()}, max_body=6000))
    assert way.run(records(way, 50), size=50) == {}
    assert way.found() == dict.fromkeys(range(50), 1)
    assert max(map(len, way.splunk.bodies)) <= 6000


def test_content_that_is_too_large_is_shortened_and_says_so() -> None:
    way = SplunkWay(max_event_bytes=20_000)
    text = "the beginning " + "x" * 100_000 + " the end"
    assert way.run(altered(way, 3, n1=text)) == {}
    content = way.splunk.events[1].envelope["event"]["content"]
    whole = json.dumps({"text": text}).encode()
    assert content["shortened"] is True
    assert content["bytes"] == len(whole)
    assert len(content["sha256"]) == 64
    assert content["beginning"].startswith('{"text": "the beginning x')
    assert content["end"].endswith(' the end"}')
    assert 4000 < len(json.dumps(way.splunk.events[1].envelope)) <= 20_000


def test_an_event_that_something_on_the_way_finds_too_large_shrinks() -> None:
    way = SplunkWay(FakeSplunk({"token": Token()}, max_body=9000))
    assert way.run(altered(way, 3, n1="y" * 100_000)) == {}
    assert way.splunk.events[-1].fields["affidavit_offset"] == 2
    assert way.found() == dict.fromkeys(range(3), 1)


def test_an_event_that_cannot_be_small_enough_is_rejected() -> None:
    way = SplunkWay(max_event_bytes=600)
    rejected = way.run(records(way, 2))
    assert sorted(rejected) == [0, 1]
    assert "splunk.max_event_bytes (600)" in rejected[0]
    way = SplunkWay(FakeSplunk({"token": Token()}, max_body=900))
    assert "even shortened" in way.run(records(way, 1))[0]


def test_events_go_to_the_index_of_the_first_route_that_matches() -> None:
    routes = (Route("prompts", {"tenant": "acme", "kind": "prompt"}), Route("acme", {"tenant": "acme"}))
    way = SplunkWay(index="rest", routes=routes)
    way.run(records(way, 40), size=40)
    by_index: dict[str, set[tuple[str, str]]] = {}
    for event in way.splunk.events:
        by_index.setdefault(event.index, set()).add((event.fields["affidavit_tenant"], event.fields["affidavit_kind"]))
    assert by_index == {
        "prompts": {("acme", "prompt")},
        "acme": {("acme", "tool_call")},
        "rest": {("globex", "response"), ("globex", "tool_result")},
    }
    assert way.splunk.requests == 3, "no request mixes indexes"


def test_an_index_that_is_refused_pauses_and_repeats_nothing_of_the_others() -> None:
    splunk = FakeSplunk({"token": Token(indexes=("main",))})
    way = SplunkWay(splunk, routes=(Route("secret", {"tenant": "globex"}),))
    batch = records(way, 20)
    outcome = way.deliver(batch)
    assert isinstance(outcome, Pause)
    assert "Incorrect index" in outcome.reason
    splunk.tokens["token"].indexes = ()
    assert way.run(batch) == {}
    assert way.found() == dict.fromkeys(range(20), 1)


def test_a_token_that_is_rotated_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token\n")
    way = SplunkWay(token=Secret(path=file))
    way.accept(records(way, 3))
    way.splunk.tokens = {"another": Token()}
    assert isinstance(way.deliver(records(way, 3, start=3)), Pause)
    file.with_suffix(".new").write_text("another\n")
    file.with_suffix(".new").replace(file)
    assert isinstance(way.deliver(records(way, 3, start=3)), Accepted)
    file.unlink()
    assert isinstance(way.deliver(records(way, 3, start=6)), Accepted)


def test_what_is_under_way_is_bounded() -> None:
    way = SplunkWay(FakeSplunk({"token": Token()}, commit_seconds=100.0), max_unconfirmed=50)
    way.sink.resume(SHARD, Offset(0))
    for start in (0, 20):
        way.accept(records(way, 20, start))
    assert isinstance(way.deliver(records(way, 20, 40)), Wait)
    way.now += 101
    assert way.sink.settle(SHARD) == 40
    way.accept(records(way, 20, 40))


def test_what_is_lost_is_sent_again_and_nothing_else() -> None:
    way = SplunkWay(ack_seconds=30.0)
    way.splunk.script = [None, Fault.LOST]
    batch = records(way, 60)
    way.sink.resume(SHARD, Offset(0))
    for start in (0, 20, 40):
        way.accept(batch[start : start + 20])
    assert way.sink.settle(SHARD) == 20
    way.now += 30
    assert way.sink.settle(SHARD) is None
    assert way.sink.resume(SHARD, Offset(0)) == 20
    way.accept(batch[20:60])
    assert way.sink.settle(SHARD) == 60
    assert way.found() == dict.fromkeys(range(60), 1)
    resent = [event for event in way.splunk.events if event.fields.get("affidavit_resend")]
    assert [event.fields["affidavit_offset"] for event in resent] == list(range(20, 40))


@pytest.mark.parametrize("fault", [Fault.RESTART, Fault.MOVED])
def test_acknowledgements_that_are_gone_are_noticed_at_once(fault: Fault) -> None:
    """Not after minutes: ids that begin again, or another cookie, say it."""
    way = SplunkWay(FakeSplunk({"token": Token()}, commit_seconds=5.0, indexers=2), concurrency=1)
    batch = records(way, 40)
    way.sink.resume(SHARD, Offset(0))
    way.accept(batch[:10])
    way.accept(batch[10:20])
    way.splunk.script = [fault]
    way.accept(batch[20:30])
    assert way.sink.settle(SHARD) is None
    way.run(batch)
    assert set(way.found()) == set(range(40))


def test_an_idle_channel_that_splunk_dropped_is_no_loss() -> None:
    way = SplunkWay()
    way.run(records(way, 10))
    way.now += 700
    way.run(records(way, 20))
    assert way.found() == dict.fromkeys(range(20), 1)


def test_a_ghost_cannot_move_the_position() -> None:
    way = SplunkWay()
    ghost = way.sink
    batch = records(way, 30)
    ghost.resume(SHARD, Offset(0))
    assert isinstance(ghost.deliver(SHARD, batch[:10]), Accepted)
    heir = way.restart()
    heir.resume(SHARD, Offset(0))
    assert isinstance(heir.deliver(SHARD, batch[:30]), Accepted)
    assert heir.settle(SHARD) == 30
    assert ghost.settle(SHARD) is None
    assert ghost.resume(SHARD, Offset(0)) == 30
    assert way.cursors.cursor(position_name("splunk", SHARD)).startswith("30 ")


def test_a_database_that_is_away_moves_nothing() -> None:
    way = SplunkWay()
    way.sink.resume(SHARD, Offset(0))
    way.accept(records(way, 10))
    real, way.cursors.move_cursor = way.cursors.move_cursor, _away  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="away"):
        way.sink.settle(SHARD)
    way.cursors.move_cursor = real  # type: ignore[method-assign]
    assert way.sink.settle(SHARD) == 10


def test_keys_that_are_away_in_the_middle_repeat_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent before is known, and not sent again."""
    way = SplunkWay()
    batch = records(way, 1200)
    real, calls = way.keys.by_id, [0]

    def by_id(wanted: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise Unavailable("the keys are away")
        return real(wanted)

    monkeypatch.setattr(way.keys, "by_id", by_id)
    outcome = way.deliver(batch)
    assert outcome == Retry("the keys are away", 1.0)
    assert set(way.found()) == set(range(500))
    assert way.run(batch, size=1200) == {}
    assert way.found() == dict.fromkeys(range(1200), 1)


def test_a_splunk_that_is_away_costs_little() -> None:
    """After a failure no more is made than one request of it, until Splunk answers."""
    way = SplunkWay()
    batch = records(way, 3000)
    way.splunk.script = [Fault.CUT] * 50
    assert isinstance(way.deliver(batch), Retry)
    asked = way.splunk.requests
    for _ in range(3):
        assert isinstance(way.deliver(batch), Retry)
    assert way.splunk.requests - asked <= 6
    way.splunk.script = []
    assert way.run(batch, size=3000) == {}
    assert way.found() == dict.fromkeys(range(3000), 1)


def _away(name: str, old: str, new: str, owner: str) -> None:
    raise Unavailable("the database is away")


def test_a_rejection_whose_letter_was_not_written_is_said_again() -> None:
    """The lane may lose the shard between the answer and the dead letter; the sink object lives on."""
    way = SplunkWay()
    batch = altered(way, 20, n7=POISON)
    way.sink.resume(SHARD, Offset(0))
    assert [offset for offset, _ in way.accept(batch)] == [7]
    assert way.sink.resume(SHARD, Offset(0)) == 0, "nothing was settled: the letter could not be written"
    assert [offset for offset, _ in way.accept(batch)] == [7]
    assert way.sink.settle(SHARD) == 20
    assert way.found() == dict.fromkeys(set(range(20)) - {7}, 1)


def test_files_for_tls_that_are_wrong_are_refused_at_the_start(tmp_path: Path) -> None:
    from sinks.splunk.sink import SplunkSink
    from sinks.tls import Tls

    way = SplunkWay(tls=Tls(tmp_path / "nothing.pem"))
    with pytest.raises(ConfigurationError, match=r"nothing\.pem"):
        SplunkSink(way.config, way.keys, way.cursors).open()


def test_a_certificate_that_goes_away_later_pauses(tmp_path: Path) -> None:
    """Channels are opened when they are needed; a file that is gone by then is for a person, and nothing fails."""
    from sinks.splunk.sink import SplunkSink
    from sinks.tls import Tls

    way = SplunkWay(tls=Tls(tmp_path / "nothing.pem"))
    sink = SplunkSink(way.config, way.keys, way.cursors)
    outcome = sink.deliver(SHARD, records(way, 3))
    assert isinstance(outcome, Pause)
    assert "nothing.pem" in outcome.reason
    sink.close()
