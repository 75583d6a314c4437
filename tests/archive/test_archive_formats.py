"""Segments, plans and names: strict both ways, readable by others, and clear about every wrong byte."""

from __future__ import annotations

import io
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro_binary import avro_bytes
from schemas.errors import MalformedInput
from schemas.ids import CONTROL, EVENTS, Offset, Shard
from schemas.segment import BLOCK_BYTES, SegmentRecord, encode_segment, pack_item, parse_segment, segment_header
from sinks.archive.names import (
    MAX_NAME_BYTES,
    STRAY,
    Scope,
    decode_name,
    encode_name,
    parse_plan_key,
    parse_segment_key,
    plan_key,
    read_scope,
    retention_date,
    scope_prefix,
    segment_key,
)
from sinks.archive.plan import Plan, PlannedObject, format_plan, parse_plan
from stores.objects.keys import check_key

SHARD = Shard(EVENTS, 7)
KEY = segment_key(Scope("acme", "standard", date(2026, 11, 24)), SHARD, Offset(0), Offset(1000))

names = st.text(max_size=40)
shards = st.builds(Shard, st.sampled_from([EVENTS, CONTROL]), st.integers(0, 300))
offsets = st.integers(0, 10**18).map(Offset)
days = st.dates(date(1970, 1, 1), date(9990, 1, 1))
headers = st.lists(
    st.tuples(st.binary(max_size=9).map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.binary())
)


@st.composite
def records(draw: st.DrawFn) -> list[SegmentRecord]:
    places = sorted(draw(st.sets(offsets, min_size=1, max_size=12)))
    return [
        SegmentRecord(
            place,
            draw(st.integers(0, 2**48)),
            draw(st.integers(-1, 255)),
            draw(st.sampled_from([b"", bytes(16)])),
            draw(st.binary(max_size=99)),
            draw(st.binary(max_size=300)),
            draw(st.binary(max_size=20)),
            tuple(draw(headers)),
        )
        for place in places
    ]


def segment(count: int, size: int = 200) -> bytes:
    rng = random.Random(count)
    return encode_segment(KEY, [pack_item(at, 5, 1, bytes(16), b"c" * 33, rng.randbytes(size)) for at in range(count)])


@given(records())
def test_a_segment_reads_back_as_it_was_written(wanted: list[SegmentRecord]) -> None:
    data = encode_segment(KEY, [pack_item(*record) for record in wanted])
    assert list(parse_segment(KEY, data)) == wanted
    assert encode_segment(KEY, [pack_item(*record) for record in parse_segment(KEY, data)]) == data


@given(records())
def test_any_avro_reader_reads_a_segment(wanted: list[SegmentRecord]) -> None:
    data = encode_segment(KEY, [pack_item(*record) for record in wanted])
    reader = fastavro.reader(io.BytesIO(data))
    assert reader.metadata["affidavit.segment"] == KEY
    found: list[Any] = list(reader)
    assert [item["value"] for item in found] == [record.value for record in wanted]
    assert [(item["offset"], item["time_ms"], item["kind"]) for item in found] == [record[:3] for record in wanted]
    assert [
        tuple((pair["name"].decode("utf-8", "surrogateescape"), pair["value"]) for pair in item["headers"])
        for item in found
    ] == [record.headers for record in wanted]


def test_a_large_segment_has_blocks_that_any_reader_skips_through() -> None:
    data = segment(4000)
    blocks = list(fastavro.block_reader(io.BytesIO(data)))
    assert len(blocks) == len(data) // BLOCK_BYTES + 1
    assert sum(block.num_records for block in blocks) == 4000
    assert all(block.size <= BLOCK_BYTES for block in blocks)
    assert [record.offset for record in parse_segment(KEY, data)] == list(range(4000))


def test_a_record_larger_than_a_block_gets_a_block_of_its_own() -> None:
    sizes = [10, 3 * BLOCK_BYTES, 10, BLOCK_BYTES - 40, 10]
    items = [pack_item(at, 5, 1, b"", b"", bytes(size)) for at, size in enumerate(sizes)]
    data = encode_segment(KEY, items)
    assert [len(record.value) for record in parse_segment(KEY, data)] == sizes
    assert [block.num_records for block in fastavro.block_reader(io.BytesIO(data))] == [1, 1, 2, 1]


def test_every_cut_of_a_segment_is_refused() -> None:
    data = segment(12, 20)
    for end in range(len(data)):
        with pytest.raises(MalformedInput, match=r"^got "):
            list(parse_segment(KEY, data[:end]))
    with pytest.raises(MalformedInput, match=r"^got "):
        list(parse_segment(KEY, data + b"\x00"))


def test_every_changed_byte_of_a_segment_is_refused_or_shows() -> None:
    """A changed byte of the framing is an error; a changed byte of a field gives another record. Nothing else."""
    data = segment(6, 20)
    wanted = list(parse_segment(KEY, data))
    rng = random.Random(6)
    for at in range(len(data)):
        for bit in (1 << rng.randrange(8), 0x80, 0xFF):
            changed = data[:at] + bytes((data[at] ^ bit,)) + data[at + 1 :]
            try:
                found = list(parse_segment(KEY, changed))
            except MalformedInput:
                continue
            assert found != wanted
            assert encode_segment(KEY, [pack_item(*record) for record in found]) == changed


@given(st.binary(max_size=200))
def test_noise_behind_a_header_is_refused_or_is_a_segment(noise: bytes) -> None:
    data = segment_header(KEY) + noise
    try:
        found = list(parse_segment(KEY, data))
    except MalformedInput:
        return
    assert encode_segment(KEY, [pack_item(*record) for record in found]) == data


def test_a_segment_knows_its_key() -> None:
    other = segment_key(Scope("globex", "standard", date(2026, 11, 24)), SHARD, Offset(0), Offset(1000))
    with pytest.raises(MalformedInput, match=r"do not begin with the segment\.v1 header of this key"):
        list(parse_segment(other, segment(3)))


def test_blocks_cut_elsewhere_are_refused() -> None:
    """The same records in other blocks are a valid Avro file, and not what we write."""
    items = [pack_item(at, 5, 1, b"", b"", b"v") for at in range(2)]
    whole = encode_segment(KEY, items)
    header = segment_header(KEY)
    halves = [encode_segment(KEY, [item])[len(header) :] for item in items]
    assert len(list(fastavro.reader(io.BytesIO(header + halves[0] + halves[1])))) == 2
    with pytest.raises(MalformedInput, match="whose first record fits into the block before it"):
        list(parse_segment(KEY, header + halves[0] + halves[1]))
    assert len(list(parse_segment(KEY, whole))) == 2


@given(names)
def test_names_are_safe_and_reversible(name: str) -> None:
    encoded = encode_name(name)
    assert decode_name(encoded) == name
    assert encoded == encoded.lower()
    assert encoded not in (".", "..")
    assert not encoded.startswith(("_", "."))
    if len(encoded) <= MAX_NAME_BYTES:
        check_key(f"segments/{encoded}/x")


@given(st.text("abcxyz019.-@+_=", max_size=12))
def test_only_what_would_be_written_is_read_as_a_name(text: str) -> None:
    try:
        name = decode_name(text)
    except MalformedInput:
        return
    assert encode_name(name) == text


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("acme", "acme"),
        ("", "="),
        ("Acme Corp", "=41cme=20=43orp"),
        ("_stray", "=5fstray"),
        ("..", "=2e."),
        ("a/b", "a=2fb"),
        ("é", "=c3=a9"),
        ("a=b", "a=3db"),
    ],
)
def test_names_by_example(name: str, encoded: str) -> None:
    assert encode_name(name) == encoded


@given(names, names, days, shards, offsets, offsets)
def test_segment_keys_read_back(
    tenant: str, retention_class: str, day: date, shard: Shard, first: Offset, end: Offset
) -> None:
    key = segment_key(Scope(tenant, retention_class, day), shard, first, end)
    assert parse_segment_key(key) == (Scope(tenant, retention_class, day), shard, first, end)


def test_the_key_of_strays_reads_back() -> None:
    key = segment_key(Scope(STRAY, STRAY, date(2026, 1, 1), stray=True), SHARD, Offset(3), Offset(4))
    assert key.startswith("segments/_stray/_stray/2026-01-01/events-7/")
    assert parse_segment_key(key).scope.stray


@given(shards, offsets)
def test_plan_keys_read_back(shard: Shard, first: Offset) -> None:
    assert parse_plan_key(plan_key(shard, first)) == (shard, first)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "segments/acme/standard/2026-11-24/events-0/1-2.avro",
        KEY + "x",
        KEY.replace("2026-11-24", "2026-13-24"),
        KEY.replace("acme", "Acme"),
        KEY.replace("events-7", "events-07"),
        KEY.replace("events-7", "others-7"),
    ],
)
def test_other_keys_are_no_segments(key: str) -> None:
    with pytest.raises(MalformedInput, match=r"got .*, expected"):
        parse_segment_key(key)


@given(names, names, st.binary(max_size=5))
def test_the_scope_is_read_from_the_first_bytes(tenant: str, retention_class: str, rest: bytes) -> None:
    prefix = avro_bytes(tenant.encode()) + avro_bytes(retention_class.encode())
    found = scope_prefix(bytes(16) + prefix + rest)
    assert found == prefix
    scope = read_scope(found, 1)
    fits = max(len(encode_name(tenant)), len(encode_name(retention_class))) <= MAX_NAME_BYTES
    assert scope == (
        Scope(tenant, retention_class, date(1970, 1, 2)) if fits else Scope(STRAY, STRAY, date(1970, 1, 2), stray=True)
    )


@given(st.binary(max_size=80))
def test_any_bytes_have_a_scope(value: bytes) -> None:
    scope = read_scope(scope_prefix(value), 20_000)
    key = segment_key(scope, SHARD, Offset(0), Offset(1))
    assert parse_segment_key(check_key(key)).scope == scope


def test_retention_dates_are_whole_days_after_the_day_of_receipt() -> None:
    assert retention_date(date(2026, 11, 24), 0) is None
    assert retention_date(date(2026, 11, 24), 1) == datetime(2026, 11, 26, tzinfo=UTC)
    assert retention_date(date(2028, 2, 28), 365) == datetime(2029, 2, 28, tzinfo=UTC)


def plan_of(parts: int, *, dated: bool = True) -> Plan:
    end = Offset(parts * 10)
    objects = tuple(
        PlannedObject(
            segment_key(Scope(f"tenant-{at}", "standard", date(2026, 11, 24)), SHARD, Offset(0), end),
            10,
            Offset(at * 10),
            Offset(at * 10 + 9),
            12_345,
            f"{at:064x}",
            datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=at) if dated else None,
            at % 2 == 1,
        )
        for at in range(parts)
    )
    return Plan(SHARD, Offset(0), end, objects)


@pytest.mark.parametrize("parts", [1, 2, 30])
@pytest.mark.parametrize("dated", [True, False])
def test_a_plan_reads_back_as_it_was_written(parts: int, dated: bool) -> None:
    plan = plan_of(parts, dated=dated)
    assert parse_plan(format_plan(plan)) == plan


def test_every_changed_byte_of_a_plan_is_refused_or_shows() -> None:
    plan = plan_of(2)
    data = format_plan(plan)
    for at in range(len(data)):
        for new in b'0 "}x\xff':
            changed = data[:at] + bytes((new,)) + data[at + 1 :]
            if changed == data:
                continue
            try:
                found = parse_plan(changed)
            except MalformedInput:
                continue
            assert found != plan
            assert format_plan(found) == changed
    for end in range(len(data)):
        with pytest.raises(MalformedInput, match="not a plan"):
            parse_plan(data[:end])


@given(st.binary(max_size=60))
def test_noise_is_no_plan(noise: bytes) -> None:
    with pytest.raises(MalformedInput, match="not a plan"):
        parse_plan(noise)
