"""What the Kafka bus decides without Kafka: partitions, batches, gaps, errors, shares, settings."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from bus_messages import COMMITMENTS, PRINT, message
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, LedgerContradiction, LimitExceeded, Unavailable
from schemas.ids import Shard
from stores.bus.headers import Foreign
from stores.bus.kafka.assignment import Member, TopicPartition, assign
from stores.bus.kafka.config import KafkaConfig, KafkaSecurity, KafkaTopics
from stores.bus.kafka.errors import CODES, Answered, Means, Unreached, connection_error, translate
from stores.bus.kafka.partitioner import murmur2, partition_of
from stores.bus.kafka.records import BatchUnderWay, Chunk, pack, unpack
from stores.bus.kafka.security import msk_iam_token, tls_context
from stores.bus.kafka.settings import Found, check_topics, wanted

EVENTS0 = Shard("events", 0)


# From UtilsTest.testMurmur2 of Apache Kafka; Java's integers are signed.
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafka(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.binary(max_size=50), st.integers(1, 100))
def test_keys_go_where_other_producers_put_them(key: bytes, partitions: int) -> None:
    assert murmur2(key) == aiokafka_murmur2(key)
    assert partition_of(key, partitions) == (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions


def batch(messages: Sequence[Any], base: int, compression: str = "none") -> bytes:
    """A batch as a broker keeps it, from offset ``base`` on."""
    under_way = BatchUnderWay(compression, 1 << 20, 1000)
    for one in messages:
        assert under_way.add(pack(one))
    raw = bytearray(under_way.build(7, 0, 0))
    raw[:8] = base.to_bytes(8, "big")
    return bytes(raw)


def taken(raw: bytes, offset: int, *, max_records: int = 100, room: int = 1 << 20, values: bool = True) -> Any:
    return unpack(Chunk(raw, 0, 1000), EVENTS0, offset, max_records=max_records, room=room, values=values, alone=True)


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_batches_read_as_they_were_packed(compression: str) -> None:
    sent = [message(number) for number in range(9)]
    raw = batch(sent[:4], 10, compression) + batch(sent[4:], 14, compression)
    found = taken(raw, 12)
    assert [one.offset for one in found.messages] == list(range(12, 19))
    assert [one.value for one in found.messages] == [one.value for one in sent[2:]]
    assert found.rest is None


def test_a_batch_with_other_numbers_is_the_same_batch() -> None:
    under_way, again = BatchUnderWay("none", 1 << 20, 1000), BatchUnderWay("none", 1 << 20, 1000)
    for one in (under_way, again):
        one.add(pack(message(1)))
    under_way.build(7, 0, 0)
    assert under_way.build(99, 3, 12) == again.build(99, 3, 12)
    parsed = DefaultRecordBatch(under_way.build(99, 3, 12))
    assert parsed.validate_crc()
    assert (parsed.producer_id, parsed.producer_epoch, parsed.base_sequence) == (99, 3, 12)


def test_a_full_batch_takes_no_more() -> None:
    under_way = BatchUnderWay("none", 3000, 1000)
    taken_ones = [under_way.add(pack(message(number, value=b"x" * 1000))) for number in range(4)]
    assert taken_ones == [True, True, False, False]


def test_what_was_not_taken_is_the_rest() -> None:
    raw = batch([message(number) for number in range(4)], 0) + batch([message(4), message(5)], 4)
    found = taken(raw, 0, max_records=5)
    assert len(found.messages) == 5
    again = unpack(found.rest, EVENTS0, 5, max_records=5, room=100, values=True, alone=True)
    assert [one.offset for one in again.messages] == [5]
    assert again.rest is None


def test_half_a_batch_at_the_end_is_left() -> None:
    raw = batch([message(0)], 0) + batch([message(1)], 1)[:-1]
    found = taken(raw, 0)
    assert [one.offset for one in found.messages] == [0]
    assert found.rest is None


def test_room_does_not_bound_the_first() -> None:
    raw = batch([message(number, value=b"x" * 100) for number in range(3)], 0)
    assert len(taken(raw, 0, room=1).messages) == 1
    assert len(taken(raw, 0, room=250).messages) == 2
    later = unpack(Chunk(raw, 0, 1000), EVENTS0, 0, max_records=9, room=1, values=True, alone=False)
    assert later.messages == []


def test_a_gap_ends_a_read_and_stops_the_next() -> None:
    raw = batch([message(0), message(1)], 0) + batch([message(4)], 4)
    assert [one.offset for one in taken(raw, 0).messages] == [0, 1]
    with pytest.raises(LedgerContradiction, match="got no message at offsets 2 to 3, expected one at each"):
        taken(raw, 2)


def test_markers_of_a_transaction_are_a_gap() -> None:
    marker = bytearray(batch([message(9)], 2))
    marker[21:23] = (0x30).to_bytes(2, "big")
    raw = batch([message(0), message(1)], 0) + bytes(marker)
    assert [one.offset for one in taken(raw, 0).messages] == [0, 1]
    with pytest.raises(LedgerContradiction, match="events/0: got no message at offsets 2 to 2"):
        taken(raw, 2)


def test_offsets_compacted_away_are_a_gap() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    for delta in (0, 1, 3):
        builder.append(delta, 1000, b"k", b"v", [])
    raw = bytes(builder.build())
    assert [one.offset for one in taken(raw, 0).messages] == [0, 1]
    with pytest.raises(LedgerContradiction, match="at offsets 2 to 2"):
        taken(raw, 2)
    assert [one.offset for one in taken(raw, 3).messages] == [3]


def test_a_broken_checksum_is_not_read() -> None:
    raw = bytearray(batch([message(0)], 0))
    raw[-3] ^= 1
    with pytest.raises(Unavailable, match="whose checksum does not match"):
        taken(bytes(raw), 0)


def test_nothing_at_all() -> None:
    assert taken(b"", 5).messages == []
    assert taken(batch([message(0)], 0), 1).messages == []


def test_nulls_read_as_empty() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    headers = [("c", COMMITMENTS), ("id", bytes(16)), ("k", None), ("s", PRINT)]
    builder.append(0, 1000, None, b"v", headers)
    builder.append(1, 1000, b"k", None, [])
    first, second = taken(bytes(builder.build()), 0).messages
    assert (first.key, first.value, first.kind) == (b"", b"v", -1)
    assert first.headers == (("c", COMMITMENTS), ("id", bytes(16)), ("k", b""), ("s", PRINT))
    assert (second.key, second.value, second.headers) == (b"k", b"", ())


def test_only_commitments_that_are_valid_make_a_message_ours() -> None:
    wrong = COMMITMENTS[33:66] + COMMITMENTS[:33]
    headers = (("c", wrong), ("id", bytes(16)), ("k", b"\x01"), ("s", PRINT))
    (found,) = taken(batch([Foreign("events", b"k", b"v", headers)], 0), 0, values=False).messages
    assert (found.key, found.value, found.commitments, found.headers) == (b"k", b"v", wrong, headers)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (Unreached("127.0.0.1:9 is away"), Unavailable, "unavailable while reading: 127.0.0.1:9 is away"),
        (Answered(6), Unavailable, "NOT_LEADER_OR_FOLLOWER"),
        (Answered(19), Unavailable, "fewer replicas are in sync than min.insync.replicas demands"),
        (Answered(20), Unavailable, "fewer replicas are in sync"),
        (Answered(45), Unavailable, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
        (Answered(9999), Unavailable, "error 9999"),
        (Answered(3), ConfigurationError, "run affidavit init, or create the topic"),
        (Answered(29), ConfigurationError, "allow it with kafka-acls.sh"),
        (Answered(30, "group x"), ConfigurationError, "GROUP_AUTHORIZATION_FAILED: group x"),
        (Answered(38), ConfigurationError, "INVALID_REPLICATION_FACTOR"),
        (Answered(58), ConfigurationError, "SASL_AUTHENTICATION_FAILED"),
        (Answered(10), LimitExceeded, "raise max.message.bytes"),
    ],
)
def test_answers_are_translated(error: Answered | Unreached, kind: type[Exception], words: str) -> None:
    translated = translate(error, "reading")
    assert type(translated) is kind
    assert words in str(translated)


def test_codes_agree_with_aiokafka_where_it_knows_them() -> None:
    retriable = {code for code, known in CODES.items() if known.means in (Means.MOVED, Means.ABSENT)}
    for code, known in kafka_errors.kafka_errors.items():
        if code in CODES and known.retriable:
            assert code in retriable, known


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError(), Unreached, "h:1 did not answer in time"),
        (ConnectionRefusedError(111, "refused"), Unreached, "h:1"),
        (kafka_errors.KafkaConnectionError("closed"), Unreached, "closed"),
        (ssl.SSLCertVerificationError("x"), ConfigurationError, "does not verify"),
        (ssl.SSLEOFError(8, "closed"), Unreached, "closed"),
        (ssl.SSLError(1, "wrong version number"), ConfigurationError, "no TLS with the Kafka broker h:1"),
        (kafka_errors.SaslAuthenticationFailed("no"), ConfigurationError, "check user name and password"),
        (kafka_errors.UnsupportedSaslMechanismError("no"), ConfigurationError, "SASL mechanism"),
        (kafka_errors.IllegalSaslStateError("no"), ConfigurationError, "SASL mechanism"),
        (ValueError("Server sent wrong signature!"), ConfigurationError, "does not know our password"),
        (kafka_errors.IncompatibleBrokerVersion("no"), ConfigurationError, "Apache Kafka 3.1 or later"),
        (NotImplementedError("no"), ConfigurationError, "does not speak our version"),
    ],
)
def test_failures_of_connections_are_classified(error: Exception, kind: type[Exception], words: str) -> None:
    classified = connection_error(error, "h:1")
    assert type(classified) is kind
    assert words in str(classified)


NAMES = st.sampled_from(["a", "b", "c", "d"])
COUNTS = st.fixed_dictionaries({"events": st.integers(0, 9), "control": st.integers(0, 2)})
OWNED = st.frozensets(st.tuples(st.sampled_from(["events", "control"]), st.integers(0, 9)), max_size=8)
ALL = frozenset({"events", "control"})
MEMBERS = st.dictionaries(NAMES, st.builds(Member, st.just(ALL), OWNED, st.integers(-1, 5)), min_size=1)


@given(MEMBERS, COUNTS)
def test_shares_are_disjoint_and_whole_when_everybody_has_joined_again(
    members: dict[str, Member], counts: dict[str, int]
) -> None:
    everything = {(topic, number) for topic, count in counts.items() for number in range(count)}
    first = assign(members, counts)
    given_out = [one for share in first.values() for one in share]
    assert len(given_out) == len(set(given_out))
    assert set(given_out) <= everything
    for name, share in first.items():
        for other, member in members.items():
            stale = member.generation < members[name].generation
            taken_over = member.owned & share
            assert other == name or not taken_over or stale or member.generation == members[name].generation
    # Everybody gives up what it lost, and joins again: now all is given out, evenly, and nothing moves any more.
    second = assign({name: replace(members[name], owned=frozenset(first[name])) for name in members}, counts)
    assert {one for share in second.values() for one in share} == everything
    sizes = [len(share) for share in second.values()]
    assert max(sizes) - min(sizes) <= 1
    assert all(first[name] <= second[name] for name in members)
    third = assign({name: replace(members[name], owned=frozenset(second[name])) for name in members}, counts)
    assert third == second


def test_who_joins_gets_what_the_other_gives_up_first() -> None:
    everything: frozenset[TopicPartition] = frozenset(("events", number) for number in range(4))
    old, new = Member(ALL, everything, 3), Member(ALL, frozenset(), -1)
    first = assign({"old": old, "new": new}, {"events": 4})
    assert len(first["old"]) == 2
    assert first["new"] == set()
    second = assign({"old": replace(old, owned=frozenset(first["old"])), "new": new}, {"events": 4})
    assert second["old"] == first["old"]
    assert second["new"] == everything - first["old"]


def test_nobody_gets_what_it_did_not_ask_for() -> None:
    members = {
        "a": Member(frozenset({"events"}), frozenset(), -1),
        "b": Member(frozenset({"control"}), frozenset(), -1),
    }
    shares = assign(members, {"events": 3, "control": 1, "deadletter": 1})
    assert shares == {"a": {("events", 0), ("events", 1), ("events", 2)}, "b": {("control", 0)}}


CONFIG = KafkaConfig("kafka:9092", topics=KafkaTopics(partitions=3, replication=3, min_insync=2))


def found(name: str, **changes: Any) -> Found:
    settings = wanted(CONFIG) | {key.replace("_", "."): value for key, value in changes.items() if "_" in key}
    numbers = {key: value for key, value in changes.items() if "_" not in key}
    return Found(**({"partitions": CONFIG.partitions(name), "replicas": 3, "settings": settings} | numbers))


def all_found(**changes: Found) -> dict[str, Found]:
    return {name: found(name) for name in ("events", "control", "deadletter")} | changes


def test_topics_as_they_must_be() -> None:
    check_topics(CONFIG, all_found())
    generous = {"retention_ms": "-1", "max_message_bytes": "99999999", "min_insync_replicas": "3"}
    check_topics(CONFIG, all_found(events=found("events", partitions=12, **generous)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cleanup_policy": "compact"}, "got cleanup.policy=compact, expected delete"),
        ({"cleanup_policy": "compact,delete"}, "got cleanup.policy=compact,delete, expected delete"),
        ({"message_timestamp_type": "CreateTime"}, "expected LogAppendTime"),
        ({"min_insync_replicas": "1"}, "got min.insync.replicas=1, expected at least 2"),
        ({"retention_ms": "3600000"}, "got retention.ms=3600000, expected at least 604800000"),
        ({"retention_bytes": "1000"}, "got retention.bytes=1000, expected at least -1"),
        ({"max_message_bytes": "1000"}, "got max.message.bytes=1000, expected at least"),
        ({"replicas": 1}, "got replication factor 1, expected at least 2"),
        ({"partitions": 2}, "got 2 partitions, expected at least 3"),
    ],
)
def test_topics_that_could_lose_or_rearrange_messages(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=r"topic affidavit\.events: got ") as caught:
        check_topics(CONFIG, all_found(events=found("events", **change)))
    assert words in str(caught.value)
    assert ".sh --bootstrap-server kafka:9092 " in str(caught.value)


def test_the_command_that_mends_a_setting() -> None:
    unclean = found("events")
    unclean = replace(unclean, settings={**unclean.settings, "unclean.leader.election.enable": "true"})
    with pytest.raises(ConfigurationError, match=r"got unclean\.leader\.election\.enable=true") as caught:
        check_topics(CONFIG, all_found(events=unclean))
    assert (
        "run kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics "
        "--entity-name affidavit.events --add-config unclean.leader.election.enable=false"
    ) in str(caught.value)


def test_control_has_one_shard() -> None:
    with pytest.raises(ConfigurationError, match=r"topic affidavit\.control: got 2 partitions, expected exactly 1"):
        check_topics(CONFIG, all_found(control=found("control", partitions=2)))


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"no topic affidavit\.control") as caught:
        check_topics(CONFIG, {"events": found("events", cleanup_policy="compact", retention_ms="1")})
    for words in ("cleanup.policy=compact", "retention.ms=1,", "no topic affidavit.deadletter; run affidavit init"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KafkaConfig("kafka"), "expected host:port"),
        (lambda: KafkaConfig("kafka:0"), "expected host:port"),
        (lambda: KafkaConfig("a:1,,b:2"), "expected host:port"),
        (lambda: KafkaConfig("a:1", compression="gzip"), "got Kafka compression 'gzip'"),  # type: ignore[arg-type]
        (lambda: KafkaConfig("a:1", append_seconds=0), "append_seconds"),
        (lambda: KafkaTopics(partitions=0), "got 0 partitions"),
        (lambda: KafkaTopics(replication=1), "min.insync.replicas 2 with replication factor 1"),
        (lambda: KafkaSecurity("TLS"), "got Kafka security protocol 'TLS'"),  # type: ignore[arg-type]
        (lambda: KafkaSecurity("SSL", mechanism="PLAIN"), "expected SASL_SSL"),
        (lambda: KafkaSecurity("SASL_SSL"), "got SASL mechanism None"),
        (lambda: KafkaSecurity("SASL_SSL", mechanism="PLAIN", username="u"), "needs a user name and a password"),
        (lambda: KafkaSecurity("SASL_SSL", mechanism="OAUTHBEARER"), "needs a token provider"),
        (lambda: tls_context(KafkaSecurity("SSL", ca_file=Path("/none"))), "got CA file /none"),
        (lambda: tls_context(KafkaSecurity("SSL", certificate_file=Path("/none"))), "got client certificate /none"),
    ],
)
def test_configurations_that_cannot_be_meant(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=r"got|needs") as caught:
        make()
    assert words in str(caught.value)


def test_secrets_do_not_show() -> None:
    security = KafkaSecurity(
        "SASL_SSL", mechanism="PLAIN", username="u", password="hush-1", key_password="hush-2", token=lambda: "hush-3"
    )
    assert "hush" not in repr(KafkaConfig("a:1", security=security))


def test_msk_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(ConfigurationError, match="pip install aws-msk-iam-sasl-signer-python"):
        msk_iam_token("eu-central-1")
